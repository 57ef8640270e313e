"""One session of the relay with the broker: its turns, each of which publishes what has come since the last."""

import datetime as dt
import logging
import time
import uuid
from collections.abc import Sequence
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from events.broker import ensure_topics, fetch_topics, mark_life, mark_of
from events.held_keys import HeldKeys
from events.leadership import Leadership
from events.lives import BrokerLost, confirm_connections
from events.metrics import RELAYED
from events.publisher import Publisher
from events.reach import Reach
from events.refeed import Refeed
from storage import outbox_leases, outbox_quarantine
from storage.cells import Cell
from storage.outbox import OutboxRow
from storage.outbox_leases import Led
from storage.outbox_quarantine import Held
from storage.outbox_reading import Batch, fetch_batch, fetch_of_keys

BATCH: Final = 250
LOOK_EVERY_S: Final = 1.0
HORIZON_EVERY_S: Final = 0.01
_EVER: Final = dt.timedelta(days=36_500)
_LAST: Final = 2**63 - 1
_LOG: Final = logging.getLogger(__name__)


class Session:
    """Publishes the partitions that are led, until the broker fails or begins a new life."""

    def __init__(
        self,
        cell: Cell,
        leadership: Leadership,
        admin: AIOKafkaAdminClient,
        producer: AIOKafkaProducer,
        *,
        alone: set[int],
        reach: Reach | None = None,
    ) -> None:
        self._cell = cell
        self._leadership = leadership
        self._admin = admin
        self._held = HeldKeys(cell)
        confirm_connections(producer, self._expect_same_life)
        self._reach = reach = reach or Reach()
        passes, refuse = self._held.passes, self._held.refuse
        self._publisher = Publisher(producer, passes=passes, refuse=refuse, alone=alone, landed=reach.heard)
        self._refeed = Refeed(cell, leadership, self._send)
        self._greeted: dict[int, Led] = {}
        self._looked_at = 0.0

    async def turn(self) -> float:
        """Publish the next rows of all partitions; gives how long the next turn may wait, in seconds.

        Raises:
            KafkaError: the broker fails, or has begun a new life.
            LeaseLost: another relay has taken a partition.
        """
        await self._leadership.give_back_surplus()
        await self._greet()
        await self._look()
        led = dict(self._greeted)
        batch = await fetch_batch(self._cell, {number: one.position for number, one in led.items()}, BATCH)
        await self._publish(led, batch)
        await self._refeed.feed_some(self._expect_same_life)
        return self._pause_after(batch)

    def _pause_after(self, batch: Batch) -> float:
        if batch.more:
            return 0.0
        refeed = self._refeed.pause
        return min(HORIZON_EVERY_S if batch.waiting else LOOK_EVERY_S, LOOK_EVERY_S if refeed is None else refeed)

    async def _greet(self) -> None:
        """Get to know the partitions taken since the last turn, and have those fed again that this life knows not."""
        led = dict(self._leadership.led)  # more may be taken meanwhile, which nothing is known of
        new = {number for number, one in led.items() if self._greeted.get(number) is not one}
        self._greeted = {number: one for number, one in self._greeted.items() if led.get(number) is one}
        if not new:
            return
        await self._held.refresh(led)
        with self._reach.asking():
            await ensure_topics(self._admin)
            topics = await fetch_topics(self._admin)
        strange = {number for number in new if not _is_known(led[number].broker, topics)}
        if strange:
            led |= await self._begin_life(strange)
        self._greeted = {number: one for number, one in led.items() if self._leadership.led.get(number) is one}

    async def _begin_life(self, numbers: set[int]) -> dict[int, Led]:
        life = uuid.uuid4()
        _LOG.info("cell %d feeds a new life of the broker", self._cell.number)
        begun = await outbox_leases.begin_life(self._cell, self._leadership.holder, numbers, life)
        self._leadership.led.update(fed := {led.number: led for led in begun})
        await mark_life(self._admin, life)
        return fed

    async def _look(self) -> None:
        """See once a second whether the broker lives the same life, and what operators have decided."""
        if time.monotonic() - self._looked_at < LOOK_EVERY_S:
            return
        await self._expect_same_life()
        await self._held.refresh(self._greeted)
        for held in self._held.to_retry():
            await self._retry(held)
        self._looked_at = time.monotonic()

    async def _retry(self, held: Held) -> None:
        """Publish what waits of a key, in order, before anything newer of it."""
        self._held.let_pass(held)
        after, full = held.sequence - 1, True
        while full and not self._held.is_held(held.key):
            rows = await fetch_of_keys(self._cell, [held.key], after=after, until=_LAST, retention=_EVER, limit=BATCH)
            RELAYED.inc(await self._send(rows))
            full = len(rows) == BATCH
            after = rows[-1].sequence if rows else after
        await self._expect_same_life()
        if not self._held.is_held(held.key):
            await outbox_quarantine.free(self._cell, held)
            _LOG.info("cell %d: the key of event %s is out of quarantine", self._cell.number, held.event_id)

    async def _publish(self, led: dict[int, Led], batch: Batch) -> None:
        """Publish a batch, and save the positions after the broker has it all."""
        for number, rows in batch.rows.items():
            await self._refeed.feed_before(led[number], rows)
        rows = [row for own in batch.rows.values() for row in own]
        if rows:
            RELAYED.inc(await self._send(rows))
            await self._expect_same_life()
            await self._leadership.save({number: batch.after[number] for number, own in batch.rows.items() if own})
        for number, own in batch.rows.items():
            if not own:
                led[number].position = batch.after[number]

    async def _send(self, rows: Sequence[OutboxRow]) -> int:
        with self._reach.asking():
            return await self._publisher.publish(rows)

    async def _expect_same_life(self) -> None:
        with self._reach.asking():
            topics = await fetch_topics(self._admin)
        if not all(_is_known(led.broker, topics) for led in self._greeted.values()):
            raise BrokerLost


def _is_known(broker: uuid.UUID | None, topics: set[str]) -> bool:
    return broker is not None and mark_of(broker) in topics
