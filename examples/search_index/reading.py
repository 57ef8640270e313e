"""Taking records one partition at a time, also where one of them cannot even be taken.

The name of a record's header has to be UTF-8, and the client library fails on one that is not: on every attempt, and
before it has given what stands in front of it. Read one by one, the record at fault is where the consumer then stands.
"""

from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

WAIT_MS: Final = 500
REFETCH_MS: Final = 1000
AT_ONCE: Final = 50


async def take(consumer: AIOKafkaConsumer, place: TopicPartition, *, wait_ms: int) -> tuple[list[ConsumerRecord], int]:
    """Take the next records of a partition in order; the number counts those passed over, which is one at most."""
    try:
        return list((await consumer.getmany(place, timeout_ms=wait_ms, max_records=AT_ONCE)).get(place, ())), 0
    except UnicodeDecodeError:
        return await _take_one_by_one(consumer, place)


async def _take_one_by_one(consumer: AIOKafkaConsumer, place: TopicPartition) -> tuple[list[ConsumerRecord], int]:
    taken: list[ConsumerRecord] = []
    while len(taken) < AT_ONCE:
        try:
            batch = await consumer.getmany(place, timeout_ms=REFETCH_MS, max_records=1)
        except UnicodeDecodeError:
            consumer.seek(place, await consumer.position(place) + 1)
            return taken, 1
        if place not in batch:
            break
        taken += batch[place]
    return taken, 0
