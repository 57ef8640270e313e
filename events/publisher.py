"""Publishing rows in order, and telling what the broker refuses for good from what fails for now."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidMessageError, KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from domain.events import TOPICS
from events.broker import BATCH_BYTES
from events.records import headers_of, topic_of
from storage.outbox import OutboxRow
from storage.outbox_quarantine import Refusal

# Facts have a few hundred bytes. What is larger flies alone, so that nothing of its key is under way should the broker
# refuse it.
ORDINARY_BYTES: Final = 16_000
# The client gives one batch after the other to a partition, and goes on with the next where one is lost. So all that
# flies together fits into one batch, whatever partition it is for: nothing can arrive before what it follows.
FLIGHT_BYTES: Final = BATCH_BYTES * 9 // 10
HEADERS_BYTES: Final = 1000
"""More than key, headers and framing of any record take."""
_REFUSED: Final = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidMessageError)

Passes = Callable[[OutboxRow], bool]
Refuse = Callable[[Refusal], Awaitable[None]]


def _nobody_hears() -> None:
    """Tell nobody."""


class Publisher:
    """Sends rows to the broker; `refuse` is told at once of a row that will never be taken, and `passes` asked of each.

    After a refusal, rows of the key are expected not to pass any longer. `alone` are the numbers of rows that must not
    fly with others; it is added to, and outlives the producer. `landed` hears of each flight that the broker has.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        *,
        passes: Passes,
        refuse: Refuse,
        alone: set[int],
        landed: Callable[[], None] = _nobody_hears,
    ) -> None:
        self._landed = landed
        self._producer = producer
        self._passes = passes
        self._refuse = refuse
        self._alone = alone

    async def publish(self, rows: Sequence[OutboxRow]) -> int:
        """Send rows in order, and wait until the broker has all that pass; gives how many it took.

        Raises:
            KafkaError: the broker does not take rows now; some of them may have arrived.
        """
        return sum([await self._fly(flight) for flight in _flights(rows, self._alone)])

    async def _fly(self, rows: Sequence[OutboxRow]) -> int:
        """Send rows at once: nothing is waited for between two of them, in which a part of a batch could leave."""
        ready = [row for row in rows if await self._is_ready(row)]
        sent: list[tuple[OutboxRow, Awaitable[Any]]] = []
        for row in filter(self._passes, ready):
            try:
                sent.append((row, await self._send(row)))
            except _REFUSED as error:
                await self._refuse(Refusal(row, type(error).__name__))
        return await self._land(sent)

    async def _is_ready(self, row: OutboxRow) -> bool:
        """Tell whether a row may fly, and get to know the partitions of its topic."""
        if not self._passes(row):
            return False
        if topic_of(row) not in TOPICS:
            await self._refuse(Refusal(row, "UnknownTopic"))
            return False
        await self._producer.partitions_for(topic_of(row))
        return True

    async def _land(self, sent: Sequence[tuple[OutboxRow, Awaitable[Any]]]) -> int:
        """Wait for the acknowledgements; what the broker refuses together it is to be asked about one by one.

        A producer that numbers its batches is of no use after a refusal, so that this is left to the next one.
        """
        results = await asyncio.gather(*(future for _, future in sent), return_exceptions=True)
        failures = [(row, result) for (row, _), result in zip(sent, results, strict=True) if _is_failure(result)]
        for _, failure in failures:
            if not isinstance(failure, _REFUSED):
                raise failure
        if failures and len(sent) > 1:
            self._alone.update(row.sequence for row, _ in failures)
            raise KafkaError("the broker refuses rows together")
        for row, failure in failures:
            await self._refuse(Refusal(row, type(failure).__name__))
        self._alone.difference_update(row.sequence for row, _ in sent)
        self._landed()
        return len(sent) - len(failures)

    async def _send(self, row: OutboxRow) -> Awaitable[Any]:
        future: Awaitable[Any] = await self._producer.send(
            topic_of(row), row.payload, key=row.key.encode(), headers=headers_of(row)
        )
        return future


def _is_failure(result: object) -> bool:
    return isinstance(result, BaseException)


def _flights(rows: Sequence[OutboxRow], alone: Collection[int]) -> Iterator[list[OutboxRow]]:
    """Cut rows into what fits into one batch, so that each large one is by itself."""
    flight: list[OutboxRow] = []
    size = 0
    for row in rows:
        is_ordinary = len(row.payload) <= ORDINARY_BYTES and row.sequence not in alone
        own = len(row.payload) + HEADERS_BYTES if is_ordinary else FLIGHT_BYTES
        if flight and size + own > FLIGHT_BYTES:
            yield flight
            flight, size = [], 0
        flight.append(row)
        size += own
    if flight:
        yield flight
