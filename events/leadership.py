"""Which partitions of a cell's outbox this process leads: its share of them, by leases.

Every relay that lives says so once a second and counts the others; it takes free partitions up to its share, and gives
back what is more. One that dies is missed when its leases end. One that alone cannot reach the broker steps aside for
the others, and comes back when it can, or is the last: where nobody can, one keeps them all and nothing goes round.
"""

import asyncio
import contextlib
import datetime as dt
import logging
import uuid
from collections.abc import Mapping
from typing import Final

from domain.errors import Overloaded
from events.metrics import OUTBOX_AGE, OUTBOX_LAG, QUARANTINED, RELAY_FAILURES, RELAY_LEADS
from events.process import backoffs
from events.reach import Reach
from storage import outbox_leases
from storage.cells import Cell
from storage.outbox_leases import Led
from storage.outbox_reading import Position, fetch_backlog

LEASE: Final = dt.timedelta(seconds=3)
TEND_EVERY_S: Final = 1.0
OLD_S: Final = 60.0
SILENT_S: Final = 4.0
"""For how long the broker may owe a relay an answer before that leaves its partitions to others."""
_LOG: Final = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Another relay leads this partition."""


class Leadership:
    """Takes, keeps and gives back the partitions of one cell."""

    def __init__(self, cell: Cell, reach: Reach | None = None) -> None:
        self._cell = cell
        self._reach = reach or Reach()
        self.is_aside = False
        self.holder = uuid.uuid4()
        self.led: dict[int, Led] = {}
        self.leads = asyncio.Event()
        """Set while there is something to do at the broker: partitions are led, or it is to be found again."""
        self._surplus: list[int] = []

    async def run(self) -> None:
        """Tend the leases until cancelled, whatever becomes of the broker; then give all back."""
        pauses = backoffs()
        try:
            while True:
                try:
                    await self.tend()
                    pauses = backoffs()
                    await asyncio.sleep(TEND_EVERY_S)
                except (Overloaded, OSError) as error:
                    RELAY_FAILURES.labels(type(error).__name__).inc()
                    _LOG.warning("cell %d: leases cannot be tended: %s", self._cell.number, type(error).__name__)
                    await asyncio.sleep(next(pauses))
        finally:
            await self._leave()

    async def tend(self) -> None:
        """Renew what is led, take what is free up to the share, and see what is too much."""
        if self.is_aside:
            return
        if self.led and self._reach.silent_s > SILENT_S and not await self.is_alone():
            await self._step_aside()
            return
        share = await outbox_leases.meet(self._cell, self.holder, LEASE)
        kept = await outbox_leases.renew(self._cell, self.holder, LEASE)
        self.drop(set(self.led) - kept)
        if not self.led:
            self._reach.heard()  # what was owed before is no measure of what is led from now on
        if len(self.led) < share:
            for led in await outbox_leases.claim(self._cell, self.holder, LEASE, limit=share - len(self.led)):
                self.led[led.number] = led
                _LOG.info("cell %d: leads partition %d", self._cell.number, led.number)
        self._surplus = sorted(self.led)[share:]
        self._tell()
        await self._measure()

    def drop(self, numbers: set[int]) -> None:
        """Lead partitions no longer that somebody else has, or may have by now."""
        for number in numbers:
            self.led.pop(number, None)
            OUTBOX_AGE.labels(self._cell.number, number).set(0)  # whoever leads it now tells
            OUTBOX_LAG.labels(self._cell.number, number).set(0)
        self._tell()

    async def is_alone(self) -> bool:
        """Tell whether no other relay lives, but those that have stepped aside."""
        return await outbox_leases.count_others(self._cell, self.holder) == 0

    async def _step_aside(self) -> None:
        """Leave everything to the others, what is on its way to the broker as well: they repeat it in order."""
        _LOG.warning("cell %d: the broker is out of reach from here; others take over", self._cell.number)
        numbers, self.is_aside, self._surplus = set(self.led), True, []
        self.drop(numbers)
        await outbox_leases.leave(self._cell, self.holder)
        await outbox_leases.release(self._cell, self.holder, numbers)

    def come_back(self) -> None:
        """Take part again; called where nothing of what was led before is on its way to the broker any more."""
        _LOG.info("cell %d: takes partitions again", self._cell.number)
        self.is_aside = False
        self._tell()

    async def give_back_surplus(self) -> None:
        """Release what is above the share; called where nothing of it is on its way to the broker."""
        numbers = {number for number in self._surplus if number in self.led}
        self._surplus = []
        if numbers:
            self.drop(numbers)
            await outbox_leases.release(self._cell, self.holder, numbers)

    async def save(self, positions: Mapping[int, Position]) -> None:
        """Store how far partitions have come.

        Raises:
            LeaseLost: one of them has another holder; the rest is stored.
        """
        saved = await outbox_leases.save(self._cell, self.holder, positions, LEASE)
        for number in saved & self.led.keys():
            self.led[number].position = positions[number]
        if lost := set(positions) - saved:
            self.drop(lost)
            raise LeaseLost

    def _tell(self) -> None:
        RELAY_LEADS.labels(self._cell.number).set(len(self.led))
        if self.led or self.is_aside:
            self.leads.set()
        else:
            self.leads.clear()
        if not self.led:
            QUARANTINED.labels(self._cell.number).set(0)  # whoever leads now tells

    async def _measure(self) -> None:
        if not self.led:
            return
        positions = {number: led.position for number, led in self.led.items()}
        for number, backlog in (await fetch_backlog(self._cell, positions)).items():
            OUTBOX_AGE.labels(self._cell.number, number).set(backlog.age)
            OUTBOX_LAG.labels(self._cell.number, number).set(backlog.rows)
            if backlog.age > OLD_S:
                _LOG.error(
                    "cell %d: %d facts of partition %d wait, the oldest for %d s",
                    self._cell.number,
                    backlog.rows,
                    number,
                    backlog.age,
                )

    async def _leave(self) -> None:
        with contextlib.suppress(Overloaded):
            await outbox_leases.release(self._cell, self.holder, set(self.led))
            await outbox_leases.leave(self._cell, self.holder)
        self.drop(set(self.led))
