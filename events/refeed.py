"""Feeding a new life of the broker what a lost one had, beside what is new.

Order is promised per key, and a consumer knows an event that it has had. So a key may be fed by itself, whole and in
order, at any time: before anything new of it is sent, and otherwise the keys that acted last come first, since what
nobody had consumed yet is most likely theirs. The pace is one that consumers keep up with: a topic is a queue, in which
what is new waits behind what is repeated.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final

from events.leadership import Leadership, LeaseLost
from events.metrics import REFED
from storage import outbox_leases
from storage.cells import Cell
from storage.outbox import RETENTION, OutboxRow
from storage.outbox_leases import Led
from storage.outbox_reading import fetch_latest_keys, fetch_of_keys

EVENTS_PER_S: Final = 2000
BATCH: Final = 200
_MOST_REMEMBERED: Final = 100_000
_LOG: Final = logging.getLogger(__name__)

Publish = Callable[[Sequence[OutboxRow]], Awaitable[int]]


class Refeed:
    """Feeds the keys of partitions again, as part of the relay's turns."""

    def __init__(self, cell: Cell, leadership: Leadership, publish: Publish) -> None:
        self._cell = cell
        self._leadership = leadership
        self._publish = publish
        self._fed: set[str] = set()
        self._due = 0.0

    async def feed_before(self, led: Led, rows: Sequence[OutboxRow]) -> None:
        """Feed what the broker has lost of the keys of rows that are about to be published."""
        if led.is_refed or not rows:
            return
        keys = {row.key for row in rows} - self._fed
        await self._feed(keys, led.refeed_to)
        if len(self._fed) > _MOST_REMEMBERED:
            self._fed.clear()  # whoever is forgotten is fed twice
        self._fed |= keys

    async def feed_some(self, expect_same_life: Callable[[], Awaitable[None]]) -> None:
        """Feed the next keys of one partition, when it is time."""
        led = next((led for led in self._leadership.led.values() if not led.is_refed), None)
        if led is None or self.pause:
            return
        keys, refeed_from = await fetch_latest_keys(
            self._cell, led.number, before=led.refeed_from, until=led.refeed_to, retention=RETENTION, limit=BATCH
        )
        count = await self._feed(keys, led.refeed_to)
        await expect_same_life()
        if not await outbox_leases.save_refeed(self._cell, self._leadership.holder, led.number, refeed_from):
            raise LeaseLost
        led.refeed_from = refeed_from
        self._due = time.monotonic() + count / EVENTS_PER_S
        if led.is_refed:
            _LOG.info("cell %d: partition %d is fed again", self._cell.number, led.number)

    @property
    def pause(self) -> float | None:
        """Give how long feeding waits for its next turn, in seconds; None when there is nothing to feed."""
        if all(led.is_refed for led in self._leadership.led.values()):
            return None
        return max(0.0, self._due - time.monotonic())

    async def _feed(self, keys: Collection[str], until: int) -> int:
        count, after, full = 0, 0, bool(keys)
        while full:
            rows = await fetch_of_keys(self._cell, keys, after=after, until=until, retention=RETENTION, limit=BATCH)
            count += await self._publish(rows)
            full = len(rows) == BATCH
            after = rows[-1].sequence if rows else after
        REFED.inc(count)
        return count
