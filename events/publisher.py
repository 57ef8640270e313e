"""Publishing rows in order, and telling what the broker refuses for good from what fails for now."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidMessageError, MessageSizeTooLargeError, RecordListTooLargeError

from domain.events import TOPICS
from events.records import headers_of, topic_of
from storage.outbox import OutboxRow
from storage.outbox_quarantine import Refusal

# Facts have a few hundred bytes. What is larger flies alone, so that nothing of its key is under way should the broker
# refuse it.
ORDINARY_BYTES: Final = 16_000
_REFUSED: Final = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidMessageError)

Passes = Callable[[OutboxRow], bool]
Refuse = Callable[[Refusal], Awaitable[None]]


class Publisher:
    """Sends rows to the broker; `refuse` is told at once of a row that will never be taken, and `passes` asked of each.

    After a refusal, rows of the key are expected not to pass any longer.
    """

    def __init__(self, producer: AIOKafkaProducer, *, passes: Passes, refuse: Refuse) -> None:
        self._producer = producer
        self._passes = passes
        self._refuse = refuse

    async def publish(self, rows: Sequence[OutboxRow]) -> int:
        """Send rows in order, and wait until the broker has all that pass; gives how many it took.

        Raises:
            KafkaError: the broker does not take rows now; some of them may have arrived.
        """
        return sum([await self._fly(flight) for flight in _flights(rows)])

    async def _fly(self, rows: Sequence[OutboxRow]) -> int:
        sent: list[tuple[OutboxRow, Awaitable[Any]]] = []
        for row in rows:
            if self._passes(row):
                if topic_of(row) not in TOPICS:
                    await self._refuse(Refusal(row, "UnknownTopic"))
                    continue
                try:
                    sent.append((row, await self._send(row)))
                except (*_REFUSED, UnicodeError) as error:
                    await self._refuse(Refusal(row, type(error).__name__))
        return await self._land(sent)

    async def _land(self, sent: Sequence[tuple[OutboxRow, Awaitable[Any]]]) -> int:
        """Wait for the acknowledgements; refusals are told before any other failure is raised."""
        results = await asyncio.gather(*(future for _, future in sent), return_exceptions=True)
        failures = [(row, result) for (row, _), result in zip(sent, results, strict=True) if _is_failure(result)]
        for row, failure in failures:
            if isinstance(failure, _REFUSED) and self._passes(row):
                await self._refuse(Refusal(row, type(failure).__name__))
        for _, failure in failures:
            if not isinstance(failure, _REFUSED):
                raise failure
        return len(sent) - len(failures)

    async def _send(self, row: OutboxRow) -> Awaitable[Any]:
        future: Awaitable[Any] = await self._producer.send(
            topic_of(row), row.payload, key=row.key.encode(), headers=headers_of(row)
        )
        return future


def _is_failure(result: object) -> bool:
    return isinstance(result, BaseException)


def _flights(rows: Sequence[OutboxRow]) -> Iterator[list[OutboxRow]]:
    """Cut rows so that each large one is by itself."""
    flight: list[OutboxRow] = []
    for row in rows:
        if len(row.payload) > ORDINARY_BYTES:
            yield from ([flight] if flight else [])
            yield [row]
            flight = []
        else:
            flight.append(row)
    if flight:
        yield flight
