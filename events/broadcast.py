"""Every process hears of every fact about a profile from now on, for what it remembers: no group, no offsets kept.

What was before is nobody's business here: whoever starts to hear, or may have missed something, forgets what it
remembers (`on_gap`), and is told of all that comes after (`on_change`). A fact may come twice.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from domain.events import PAYLOADS, STREAMS, UserPayload
from events.clients import ask, start_client, stop_consumer
from events.groups import expect_same_life, wait_for_topics
from events.metrics import BROADCAST_GAPS, BROADCAST_HEARD, BROADCAST_SILENCE, PASSED_OVER
from events.process import backoffs
from events.reading import Illegible, Taken, take
from events.records import ReceivedEvent, UnreadableRecord, read_record
from events.security import client_options

HEARD_TOPICS: Final = tuple(sorted({f"{STREAMS[type_]}.v1" for type_, of in PAYLOADS.items() if of is UserPayload}))
"""Those with facts that end profiles, by version. What else is remembered ends in Redis, or is found in it."""
POLL_MS: Final = 500
FETCH_WAIT_MS: Final = 200  # the embedded broker computes a millisecond for each look
REQUEST_TIMEOUT_MS: Final = 5000  # a member of a group could not have one that short; here nobody joins anything
LOOK_AT_BROKER_EVERY_S: Final = 1.0
STEADY_AFTER_S: Final = 10.0
_LOG: Final = logging.getLogger(__name__)

OnChange = Callable[[ReceivedEvent], None]
OnGap = Callable[[], None]


class Broadcast:
    """Hears all facts of some topics, and knows how long ago it had heard all there was."""

    def __init__(
        self, bootstrap: str, *, on_change: OnChange, on_gap: OnGap, topics: tuple[str, ...] = HEARD_TOPICS
    ) -> None:
        self._bootstrap = bootstrap
        self._topics = topics
        self._on_change = on_change
        self._on_gap = on_gap
        self._next: dict[TopicPartition, int] = {}
        self._current_at = time.time()

    @property
    def silent_for(self) -> float:
        """Give the seconds since the broker last said that there was no more than was heard."""
        return max(0.0, time.time() - self._current_at)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen beside whatever else the process does, whether or not the broker is there."""
        task = asyncio.create_task(self.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def run(self) -> None:
        """Listen until cancelled; whatever fails is tried again, after a growing pause, and is a gap."""
        pauses = backoffs()
        while True:
            started = time.monotonic()
            try:
                await self._listen()
            except Exception as error:  # noqa: BLE001 - whatever the client library raises, listening starts again
                _LOG.warning("not heard for %.0f s: %s", self.silent_for, type(error).__name__)
            BROADCAST_SILENCE.set(self.silent_for)
            if time.monotonic() - started > STEADY_AFTER_S:
                pauses = backoffs()
            await asyncio.sleep(next(pauses))

    async def _listen(self) -> None:
        marks = await wait_for_topics(self._bootstrap, self._topics)
        async with self._open() as consumer:
            self._next = {place: await consumer.position(place) for place in consumer.assignment()}
            self._miss("began to listen")
            looked_at = time.monotonic()
            while True:
                batches = await ask(take(consumer, timeout_ms=POLL_MS))
                for place, records in batches.items():
                    self._hear(place, records)
                self._look_at_clock(consumer)
                if time.monotonic() - looked_at > LOOK_AT_BROKER_EVERY_S:
                    looked_at = time.monotonic()
                    await expect_same_life(consumer, marks)

    def _hear(self, place: TopicPartition, records: list[Taken]) -> None:
        for record in records:
            if record.offset != self._next.get(place, record.offset):
                self._miss("jumped")
            self._next[place] = record.offset + 1
            if isinstance(record, Illegible):
                continue  # as below
            try:
                event = read_record(record.key, record.headers, record.value)
            except UnreadableRecord:
                continue  # the consumer of the group makes a dead letter of it
            if event is None:
                PASSED_OVER.inc()
                self._miss("later than this code")
                continue
            BROADCAST_HEARD.inc()
            self._on_change(event)

    def _miss(self, reason: str) -> None:
        BROADCAST_GAPS.labels(reason).inc()
        self._on_gap()

    def _look_at_clock(self, consumer: AIOKafkaConsumer) -> None:
        """Note when the broker last answered for every partition, if by then all was heard."""
        answers = []
        for place in consumer.assignment():
            answered, end = consumer.last_poll_timestamp(place), consumer.highwater(place)
            if answered is None or end is None or self._next.get(place, 0) < end:
                break
            answers.append(answered / 1000)
        else:
            self._current_at = min(answers, default=self._current_at)
        BROADCAST_SILENCE.set(self.silent_for)

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            *self._topics,
            **client_options(self._bootstrap),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        try:
            await ask(start_client(consumer))
            yield consumer
        finally:
            await stop_consumer(consumer)
