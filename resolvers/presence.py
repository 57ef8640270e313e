"""Who is connected to this process, and the end of the connections of whoever may not be any more.

A notice through Redis ends them within milliseconds. Without Redis the look at all who are connected, one statement
per cell and second, finds the deleted and the suspended; whose token is revoked is told by `resolvers.revocations`.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Final, TypeVar

from domain.revocations import Credentials, Revocation
from storage.channels import Listeners, Notice
from storage.database import Database
from storage.line_leases import LineLeases
from storage.users import fetch_active

LOOK_EVERY_S: Final = 1.0
_LOG: Final = logging.getLogger(__name__)

K = TypeVar("K")
CutOff = Callable[[], None]
"""Ends a connection; may be called more than once."""


class Presence:
    """Knows how to end every connection that speaks for somebody, by person and by session."""

    def __init__(self, database: Database, listeners: Listeners, leases: LineLeases | None = None) -> None:
        self._database = database
        self._listeners = listeners
        self._leases = leases
        self._look_every = LOOK_EVERY_S
        self._by_user: dict[int, set[CutOff]] = {}
        self._by_session: dict[str, set[CutOff]] = {}
        self._credentials: dict[CutOff, Credentials] = {}
        self._doubted: set[int] = set()
        self._news = asyncio.Event()

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator["Presence"]:
        """Watch until the context closes."""
        self._listeners.on_notice.add(self._notice)
        tasks = [asyncio.create_task(work) for work in (self._look_at_all(), self._look_at_doubted())]
        try:
            yield self
        finally:
            self._listeners.on_notice.discard(self._notice)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @contextlib.contextmanager
    def present(self, credentials: Credentials, cut_off: CutOff) -> Iterator[None]:
        """Count a connection as somebody's until the context closes; `cut_off` must be its own."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(_held(self._by_user, credentials.user_id, cut_off))
            if credentials.session is not None:
                stack.enter_context(_held(self._by_session, credentials.session, cut_off))
            self._credentials[cut_off] = credentials
            stack.callback(self._credentials.pop, cut_off)
            yield

    @contextlib.asynccontextmanager
    async def counted(self, user_id: int, most: int) -> AsyncIterator[bool]:
        """Count one more connection of a person in all processes together; False where there are `most` already."""
        if self._leases is None:
            yield True
            return
        async with self._leases.held(user_id, most) as has_room:
            yield has_room

    def end(self, revocation: Revocation) -> None:
        """Cut off every connection whose token is revoked."""
        for cut_off in list(self._by_user.get(revocation.user_id, ())):
            if revocation.covers(self._credentials[cut_off]):
                cut_off()

    def _notice(self, notice: Notice) -> None:
        if notice.session is not None:
            _cut_off(self._by_session.get(notice.session))
        if notice.user_id in self._by_user:
            self._doubted.add(notice.user_id)
            self._news.set()

    async def _look_at_all(self) -> None:
        while True:
            await asyncio.sleep(self._look_every)
            await self._look_at(list(self._by_user))

    async def _look_at_doubted(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            doubted, self._doubted = list(self._doubted), set()
            await self._look_at(doubted)

    async def _look_at(self, user_ids: Sequence[int]) -> None:
        """Cut off those who are gone; a cell that does not answer says nothing about anybody."""
        try:
            active = await fetch_active(self._database, user_ids) if user_ids else set()
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, the watch goes on
            _LOG.warning("nobody says who is still active: %s", type(error).__name__)
            return
        for user_id in user_ids:
            if user_id not in active:
                _cut_off(self._by_user.get(user_id))


@contextlib.contextmanager
def _held(entries: dict[K, set[CutOff]], key: K, cut_off: CutOff) -> Iterator[None]:
    entries.setdefault(key, set()).add(cut_off)
    try:
        yield
    finally:
        entries[key].discard(cut_off)
        if not entries[key]:
            del entries[key]


def _cut_off(connections: set[CutOff] | None) -> None:
    for cut_off in list(connections or ()):
        cut_off()
