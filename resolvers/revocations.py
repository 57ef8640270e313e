"""Which tokens are refused before they end: kept in memory, so that every door asks without waiting.

The rows of the cells are the truth. They are read when Redis calls, when its line was down, and in any case every few
seconds: a revocation holds within a fraction of a second, and within five seconds without Redis.
"""

import asyncio
import contextlib
import datetime as dt
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final

from domain.ids import cell_of
from domain.revocations import Credentials, Revocation, RevocationKind
from storage.cells import Cell
from storage.channels import Listeners, Notice
from storage.database import Database
from storage.revocations import fetch_revocations

POLL_EVERY_S: Final = 3.0
CLOCKS_DIFFER_S: Final = 60.0
_TIDY_ABOVE: Final = 1000
_EVER: Final = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_LOG: Final = logging.getLogger(__name__)

_Key = tuple[int, RevocationKind, str]


class Revocations:
    """What is revoked, as far as this process knows; `on_revoked` is told of each that is news."""

    def __init__(
        self, database: Database, listeners: Listeners, *, on_revoked: Callable[[Revocation], None] | None = None
    ) -> None:
        self._cells = database.shards.cells
        self._listeners = listeners
        self._on_revoked = on_revoked
        self._known: dict[_Key, Revocation] = {}
        self._tidy_above = _TIDY_ABOVE
        self._called = {cell.number: asyncio.Event() for cell in self._cells}

    def cover(self, credentials: Credentials) -> bool:
        """Tell whether a token is refused."""
        if not self._known:
            return False
        session = (RevocationKind.SESSION, credentials.session or "")
        asked = (session, (RevocationKind.TOKEN, credentials.token_id), (RevocationKind.EARLIER, ""))
        found = (self._known.get((credentials.user_id, *key)) for key in asked)
        return any(revocation is not None and revocation.covers(credentials) for revocation in found)

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator["Revocations"]:
        """Read all there is, and then what comes, until the context closes."""
        self._listeners.on_notice.add(self._hear)
        tasks = [asyncio.create_task(self._watch(cell)) for cell in self._cells]
        try:
            yield self
        finally:
            self._listeners.on_notice.discard(self._hear)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _hear(self, notice: Notice) -> None:
        number = cell_of(notice.revoked_of) if notice.revoked_of is not None else None
        if number is not None and number in self._called:
            self._called[number].set()
        elif notice.is_gap:
            for called in self._called.values():
                called.set()

    async def _watch(self, cell: Cell) -> None:
        after, called = _EVER, self._called[cell.number]
        while True:
            called.clear()
            try:
                found, after = await fetch_revocations(cell, after)
                self._learn(found)
            except Exception as error:  # noqa: BLE001 - whatever goes wrong, the watch goes on
                _LOG.warning("cell %d does not say what is revoked: %s", cell.number, type(error).__name__)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_EVERY_S):
                    await called.wait()

    def _learn(self, found: Iterable[Revocation]) -> None:
        for revocation in found:
            key = (revocation.user_id, revocation.kind, revocation.name)
            if self._known.get(key) != revocation:
                self._known[key] = revocation
                if self._on_revoked is not None:
                    self._on_revoked(revocation)
        if len(self._known) > self._tidy_above:
            self._tidy()

    def _tidy(self) -> None:
        over = time.time() - CLOCKS_DIFFER_S
        self._known = {key: known for key, known in self._known.items() if known.ends_at > over}
        self._tidy_above = max(_TIDY_ABOVE, 2 * len(self._known))
