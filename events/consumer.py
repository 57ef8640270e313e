"""The consumer: reads facts and has their effects, each once: `python -m events.consumer`.

Records of a partition are worked on in order, partitions side by side. An offset is committed after the effect, so
that a crash repeats records; every effect knows the facts it has had. What fails for now is tried again and holds up
its partition only; what can never be read, or fails every time by the effect's own fault, becomes a dead letter, and
the partition goes on.
"""

import asyncio
import contextlib
import time
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from domain.errors import Overloaded
from domain.events import ACKNOWLEDGEMENTS
from events import acknowledgements
from events.clients import ClientFailed, ask
from events.effects import Effects, Subscription
from events.groups import Measures, expect_same_life, open_member, wait_for_topics
from events.handlers import Handlers
from events.holds import Holds
from events.letters import Letters
from events.process import Process, backoffs, run_process
from events.reading import Taken, take
from storage.redis_client import open_redis

GROUP: Final = "kith"
READ_TOPICS: Final = ("social.v1", "users.v1", "privacy.v1")
POLL_S: Final = 0.5
LOOK_AROUND_EVERY_S: Final = 1.0
SESSION_TIMEOUT_MS: Final = 10_000
DEVELOPMENT_SESSION_TIMEOUT_MS: Final = 2000  # the embedded broker holds a group's first join back for half of it
STEADY_AFTER_S: Final = 10.0


class Consumer:
    """Reads the topics of one subscription and has each fact's effect."""

    def __init__(
        self,
        bootstrap: str,
        subscription: Subscription,
        letters: Letters,
        *,
        session_timeout_ms: int = SESSION_TIMEOUT_MS,
    ) -> None:
        self._bootstrap = bootstrap
        self._subscription = subscription
        self._letters = letters
        self._session_timeout_ms = session_timeout_ms
        self._effects = Effects(subscription, letters)
        self._measures = Measures(subscription.group)
        self._holds = Holds()

    async def run(self) -> None:
        """Consume until cancelled; whatever fails is tried again, after a growing pause."""
        pauses = backoffs()
        while True:
            started = time.monotonic()
            try:
                await self._consume()
            except Exception as error:  # noqa: BLE001 - whatever the client library raises, consuming starts again
                self._effects.note_failure(error)
            finally:
                self._measures.end()
            if time.monotonic() - started > STEADY_AFTER_S:
                pauses = backoffs()
            await asyncio.sleep(next(pauses))

    async def _consume(self) -> None:
        topics = self._subscription.topics
        marks = await wait_for_topics(self._bootstrap, topics)
        group, hurry, timeout = self._subscription.group, self._subscription.hurry, self._session_timeout_ms
        async with open_member(self._bootstrap, group, topics, timeout, marks, hurry=hurry) as consumer:
            looked_around = 0.0
            while True:
                await self._turn(consumer)
                if time.monotonic() - looked_around > LOOK_AROUND_EVERY_S:
                    looked_around = time.monotonic()
                    await self._look_around(consumer, marks)

    async def _look_around(self, consumer: AIOKafkaConsumer, marks: frozenset[str]) -> None:
        await expect_same_life(consumer, marks)
        await self._measures.take(consumer)
        with contextlib.suppress(Overloaded):
            await self._letters.observe()

    async def _turn(self, consumer: AIOKafkaConsumer) -> None:
        """Work on what there is, in the partitions that are not held up."""
        self._holds.keep_only(consumer.assignment())
        consumer.resume(*self._holds.due())
        timeout_ms = int(self._holds.next_due_in(POLL_S) * 1000)
        batches = await ask(take(consumer, timeout_ms=timeout_ms))
        await asyncio.gather(*(self._work_off(consumer, *batch) for batch in batches.items()))

    async def _work_off(self, consumer: AIOKafkaConsumer, partition: TopicPartition, records: list[Taken]) -> None:
        """Work on records in order, up to the first that fails; what was done is committed, on the way out too."""
        done = 0
        try:
            for record in records:
                if not await self._effects.is_done(record):
                    self._hold(consumer, partition, record)
                    break
                done = record.offset + 1
                self._holds.release(partition)
        finally:
            if done:
                await self._commit(consumer, partition, done)

    def _hold(self, consumer: AIOKafkaConsumer, partition: TopicPartition, record: Taken) -> None:
        self._holds.hold(partition, record.offset)
        with contextlib.suppress(IllegalStateError):  # somebody else reads it now
            consumer.seek(partition, record.offset)
            consumer.pause(partition)

    async def _commit(self, consumer: AIOKafkaConsumer, partition: TopicPartition, offset: int) -> None:
        """Commit; where that fails somebody else reads the partition now, or the next commit says it as well."""
        try:
            await ask(consumer.commit({partition: offset}))
        except (KafkaError, ClientFailed, TimeoutError) as error:
            self._effects.note_failure(error)


async def _main(process: Process) -> None:
    async with open_redis(process.addresses.redis_url) as redis:
        subscription = Subscription(GROUP, READ_TOPICS, Handlers(process.database, redis).handle)
        timeout = SESSION_TIMEOUT_MS if process.settings.is_production else DEVELOPMENT_SESSION_TIMEOUT_MS
        acknowledged = Subscription(
            acknowledgements.GROUP,
            (ACKNOWLEDGEMENTS,),
            acknowledgements.AcknowledgementHandler(process.database).handle,
            acknowledgements.read_acknowledgement,
            hurry=False,
        )
        async with asyncio.TaskGroup() as group:
            for one in (subscription, acknowledged):
                letters = Letters(process.database, one.group)
                bootstrap = process.addresses.kafka_bootstrap
                group.create_task(Consumer(bootstrap, one, letters, session_timeout_ms=timeout).run())


if __name__ == "__main__":
    run_process(_main)
