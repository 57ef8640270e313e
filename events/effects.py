"""One record at a time: its effect, or its end as a dead letter."""

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from domain.errors import Overloaded
from events.letters import Letters
from events.metrics import CONSUMED, CONSUMER_FAILURES, PASSED_OVER
from events.reading import Illegible, Record, Taken
from events.records import Headers, ReceivedEvent, UnreadableRecord, read_record
from storage.redis_client import CacheUnavailable

EFFECT_TIMEOUT_S: Final = 60.0
FAULTS: Final = 6
"""How often an effect may fail by its own fault before the fact becomes a dead letter: about 3 s of trying."""
FAULTY_IN_A_ROW: Final = 10
"""How many such dead letters there may be with nothing done in between: what fails on all facts is not their fault."""

_PASSING: Final = (Overloaded, CacheUnavailable, OSError, TimeoutError, KafkaError)
_LOG: Final = logging.getLogger(__name__)

Handle = Callable[[ReceivedEvent], Awaitable[None]]
Read = Callable[[bytes | None, Headers, bytes | None], ReceivedEvent | None]


@dataclasses.dataclass(frozen=True, slots=True)
class Subscription:
    """Who reads what, and the effect it has; the effect must know by itself which facts it has had.

    `handle` raises Overloaded, CacheUnavailable or OSError for what passes, UnreadableRecord for what never will;
    anything else is a fault of its own. An effect that nobody waits for is in no hurry: it is had within half a second.
    """

    group: str
    topics: tuple[str, ...]
    handle: Handle
    read: Read = read_record
    hurry: bool = True


class EffectHangs(Exception):
    """An effect did not end in time."""


class Effects:
    """Has the effects of one subscription, and knows which records fail by the effect's own fault."""

    def __init__(self, subscription: Subscription, letters: Letters) -> None:
        self._subscription = subscription
        self._letters = letters
        self._faults: dict[TopicPartition, tuple[int, int]] = {}
        self._buried_in_a_row = 0

    async def is_done(self, record: Taken) -> bool:
        """Have one record's effect, or bury it; False where it is to be tried again, with nothing skipped."""
        try:
            if isinstance(record, Illegible):
                await self._letters.bury_place(record)
                return True
            return await self._work_on(record)
        except _PASSING as error:
            self.note_failure(error)
            return False

    def note_failure(self, error: Exception) -> None:
        """Count a failure and say so, by its name alone."""
        CONSUMER_FAILURES.labels(type(error).__name__).inc()
        _LOG.warning("consumer %s: %s; it will be tried again", self._subscription.group, type(error).__name__)

    async def _work_on(self, record: Record) -> bool:
        try:
            event = self._subscription.read(record.key, record.headers, record.value)
            if event is None:
                PASSED_OVER.inc()
                return True
            await self._handle(event)
        except UnreadableRecord as error:
            await self._letters.bury(record, str(error))
        except _PASSING:
            raise
        except Exception as error:  # noqa: BLE001 - an effect's own fault, whatever it is
            self.note_failure(error)
            return await self._is_buried(record, error)
        else:
            self._buried_in_a_row = 0
            CONSUMED.labels(event.type.value).inc()
        return True

    async def _handle(self, event: ReceivedEvent) -> None:
        timer = asyncio.timeout(EFFECT_TIMEOUT_S)
        try:
            async with timer:
                await self._subscription.handle(event)
        except TimeoutError as error:
            if timer.expired():
                raise EffectHangs from error
            raise

    async def _is_buried(self, record: Record, error: Exception) -> bool:
        """Bury a record whose effect has failed often enough while every cell answered, unless all facts fail."""
        if await self._count_faults(record) < FAULTS:
            return False
        if self._buried_in_a_row >= FAULTY_IN_A_ROW:
            _LOG.error("consumer %s fails on whatever comes, and stands still", self._subscription.group)
            return False
        self._buried_in_a_row += 1
        await self._letters.bury(record, type(error).__name__)
        return True

    async def _count_faults(self, record: Record) -> int:
        """Count how often a record has failed in a row; what fails while a cell is away begins anew."""
        partition = TopicPartition(record.topic, record.partition)
        offset, faults = self._faults.pop(partition, (record.offset, 0))
        await self._letters.expect_cells()
        faults = faults + 1 if offset == record.offset else 1
        self._faults[partition] = (record.offset, faults)
        return faults
