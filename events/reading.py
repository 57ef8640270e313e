"""Taking records from a consumer, also those that the client library itself cannot read.

The name of a header has to be UTF-8, and the library fails on one that is not: on every attempt, before it has given
what stands in front of it, and with the records of other partitions lost that it had taken in the same breath. So each
partition is taken by itself, and one that fails record by record, up to the one at fault.
"""

import asyncio
import dataclasses
from typing import Final, TypeAlias

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

BATCH: Final = 50
REFETCH_MS: Final = 1000

Record: TypeAlias = ConsumerRecord  # of bytes and bytes; the library's types are not there to be checked


@dataclasses.dataclass(frozen=True, slots=True)
class Illegible:
    """The place of a record that nobody can read."""

    topic: str
    partition: int
    offset: int


Taken: TypeAlias = Record | Illegible


async def take(consumer: AIOKafkaConsumer, *, timeout_ms: int) -> dict[TopicPartition, list[Taken]]:
    """Wait for records and take them, each partition's in order, at most `BATCH` of each and one more."""
    try:
        # One record at first: whatever fails, nothing that was taken of another partition is lost with it.
        batches: dict[TopicPartition, list[Taken]] = await consumer.getmany(timeout_ms=timeout_ms, max_records=1)
    except UnicodeDecodeError:
        places = list(consumer.assignment())
        careful = await asyncio.gather(*(_take_up_to_the_illegible(consumer, place) for place in places))
        return {place: taken for place, taken in zip(places, careful, strict=True) if taken}
    for place in consumer.assignment():
        if rest := await _take_from(consumer, place):
            batches.setdefault(place, []).extend(rest)
    return batches


async def _take_from(consumer: AIOKafkaConsumer, place: TopicPartition) -> list[Taken]:
    try:
        return list((await consumer.getmany(place, max_records=BATCH)).get(place, ()))
    except UnicodeDecodeError:
        return await _take_up_to_the_illegible(consumer, place)


async def _take_up_to_the_illegible(consumer: AIOKafkaConsumer, place: TopicPartition) -> list[Taken]:
    """Take one record after the other; the one that fails is where the consumer then stands, and is passed over."""
    taken: list[Taken] = []
    while len(taken) < BATCH:
        try:
            batch = await consumer.getmany(place, timeout_ms=REFETCH_MS, max_records=1)
        except UnicodeDecodeError:
            offset = await consumer.position(place)
            consumer.seek(place, offset + 1)
            return [*taken, Illegible(place.topic, place.partition, offset)]
        if place not in batch:
            break
        taken += batch[place]
    return taken
