"""The purge worker: purges whose time to come back is over, and certifies what every consumer has acknowledged.

One worker at a time does it for a cell, by a lease; a few people a turn, so that nobody else has to wait. A worker that
is killed leaves nothing that the next does not go on with.
"""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Final

from events.leased import Lease, OneByOne, run_leased
from events.metrics import PURGED, PURGES_DUE, PURGES_FAILED
from storage.cells import Cell
from storage.purges import Purges, count_due, fetch_acknowledged, fetch_due

LEASE: Final = dt.timedelta(seconds=30)
_JOB: Final = "purge"

Clock = Callable[[], dt.datetime]


def wall_clock() -> dt.datetime:
    """Tell the time."""
    return dt.datetime.now(dt.UTC)


@dataclasses.dataclass(frozen=True, slots=True)
class Turns:
    """How often a cell is looked at (seconds), and how many people are purged at most each time."""

    every: float = 1.0
    people: int = 20


class Purger:
    """Purges the people of one cell."""

    def __init__(
        self,
        purges: Purges,
        cell: Cell,
        *,
        clock: Clock = wall_clock,
        folder: Path | None = None,
        turns: Turns = Turns(),
    ) -> None:
        self._purges = purges
        self._cell = cell
        self._clock = clock
        self._folder = folder
        self._turns = turns
        self._one_by_one = OneByOne(_JOB, PURGES_FAILED)

    async def run(self) -> None:
        """Work until cancelled; whatever fails is tried again, after a growing pause."""
        lease = Lease(self._cell, _JOB, LEASE)
        await run_leased(lease, self.take_turn, every=self._turns.every, failures=PURGES_FAILED)

    async def take_turn(self) -> None:
        """Purge some whose time is over, and certify some whose erasure everybody has acknowledged."""
        PURGES_DUE.labels(self._cell.number).set(await count_due(self._cell, self._clock()))
        people, one_by_one = self._turns.people, self._one_by_one
        for user_id in await fetch_due(self._cell, self._clock(), people, but=one_by_one.put_off):
            await one_by_one.attempt(user_id, self._erase(user_id))
        consumers = self._purges.consumers
        for user_id in await fetch_acknowledged(self._cell, consumers, people, but=one_by_one.put_off):
            await one_by_one.attempt(user_id, self._certify(user_id))

    async def _erase(self, user_id: int) -> None:
        if await self._purges.begin(user_id, self._clock()):
            await self._purges.erase(user_id, self._clock())
            PURGED.labels("erased").inc()

    async def _certify(self, user_id: int) -> None:
        document = await self._purges.certify(user_id, self._clock())
        if document is None:
            return
        if self._folder is not None:
            certificate = self._purges.signer.read(document)
            await asyncio.to_thread(_keep, self._folder / f"{certificate.id}.json", document)
        await self._purges.forget(user_id)
        PURGED.labels("certified").inc()


def _keep(path: Path, document: str) -> None:
    """Write a certificate, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".fresh")
    fresh.write_text(document)
    fresh.replace(path)
