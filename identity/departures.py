"""What becomes of an account when its person deletes the own account, and is purged: told by the user service's facts.

Whoever is deleted has no session left, and may sign in again for the 30 days in which the person can come back: the
user service lets such a token do nothing else. On `user.purged` the account is erased, and that is acknowledged.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from domain.events import ACKNOWLEDGEMENTS, EventType, UserPayload
from events.broker import open_producer
from events.groups import expect_same_life, open_member, wait_for_topics
from events.records import ReceivedEvent, UnreadableRecord, read_record
from identity.accounts import fetch_account_by_subject
from identity.database import Connection, Database, Unavailable
from identity.erasures import erase_account
from identity.metrics import DEPARTURES
from identity.parts import Parts
from identity.sessions import end_sessions, fetch_sessions
from identity.tasks import running

NAME: Final = "identity"
"""Our name among those whose acknowledgement the certificate of an erasure waits for."""
GROUP: Final = "kith-identity"
TOPIC: Final = "users.v1"
SESSION_TIMEOUT_MS: Final = 10_000
DEVELOPMENT_SESSION_TIMEOUT_MS: Final = 2000  # the embedded broker holds a group's first join back for half of it
POLL_MS: Final = 500
PAUSE_S: Final = 1.0
_SOURCE: Final = "ce_source"
_LOG: Final = logging.getLogger(__name__)

Headers = Sequence[tuple[str, bytes]]


async def have_effect(connection: Connection, event: ReceivedEvent, now: dt.datetime) -> None:
    """Have a fact its effect, in a transaction; the same again does nothing."""
    if not isinstance(event.payload, UserPayload):
        return
    subject = event.payload.user_id
    if event.type is EventType.USER_DELETED:
        await _end_sessions(connection, subject, event.time, now)
        DEPARTURES.labels("sessions ended").inc()
    elif event.type is EventType.USER_PURGED:
        await erase_account(connection, subject, now)
        DEPARTURES.labels("erased").inc()


async def _end_sessions(connection: Connection, subject: str, until: dt.datetime, now: dt.datetime) -> None:
    """End the sessions that began before the person went; whoever has signed in since may want to come back."""
    account = await fetch_account_by_subject(connection, subject)
    if account is None:
        return
    for session in await fetch_sessions(connection, account.id, now):
        if session.authenticated_at <= until:
            await end_sessions(connection, account.id, now=now, only=session.id)


@dataclasses.dataclass(frozen=True, slots=True)
class Departures:
    """Follows the facts about people, as one member of a group."""

    database: Database
    bootstrap: str
    session_timeout_ms: int = SESSION_TIMEOUT_MS

    async def work(self) -> None:
        """Follow until cancelled; what passes is tried again, from the last offset that was committed."""
        while True:
            try:
                await self._follow()
            except (KafkaError, Unavailable, OSError) as error:
                _LOG.warning("facts about people wait: %s", type(error).__name__)
            except Exception:  # noqa: BLE001 - whatever the client library raises, following starts again
                _LOG.exception("facts about people wait")
            await asyncio.sleep(PAUSE_S)

    async def _follow(self) -> None:
        marks = await wait_for_topics(self.bootstrap, (TOPIC, ACKNOWLEDGEMENTS))
        async with (
            open_member(self.bootstrap, GROUP, (TOPIC,), self.session_timeout_ms, marks, hurry=False) as consumer,
            open_producer(self.bootstrap) as producer,
        ):
            while True:
                for place, records in (await consumer.getmany(timeout_ms=POLL_MS)).items():
                    await self._work_off(consumer, producer, place, records)
                await expect_same_life(consumer, marks)

    async def _work_off(
        self,
        consumer: AIOKafkaConsumer,
        producer: AIOKafkaProducer,
        place: TopicPartition,
        records: Sequence[ConsumerRecord],
    ) -> None:
        for record in records:
            if await self.have(record):
                headers = acknowledgement(record.headers)
                await producer.send_and_wait(ACKNOWLEDGEMENTS, record.value, record.key, headers=headers)
        await consumer.commit({place: records[-1].offset + 1})

    async def have(self, record: ConsumerRecord) -> bool:
        """Have a record its effect; True where it is to be acknowledged. What can never be read is passed over."""
        try:
            event = read_record(record.key, record.headers, record.value)
        except UnreadableRecord as error:
            _LOG.error("no fact at %s/%d/%d: %s", record.topic, record.partition, record.offset, error)
            return False
        if event is None:
            return False
        async with self.database.transaction() as connection:
            await have_effect(connection, event, dt.datetime.now(dt.UTC))
        return event.type is EventType.USER_PURGED


def acknowledgement(headers: Headers) -> list[tuple[str, bytes]]:
    """Give the headers of `user.purged` as they go back: as they came, with our name."""
    return [(name, NAME.encode() if name == _SOURCE else value) for name, value in headers]


@contextlib.asynccontextmanager
async def departures(parts: Parts) -> AsyncIterator[None]:
    """Follow for as long as the context is open, where it is known where the broker is."""
    if parts.settings.kafka_bootstrap is None:
        yield
        return
    timeout = SESSION_TIMEOUT_MS if parts.settings.is_production else DEVELOPMENT_SESSION_TIMEOUT_MS
    async with running(Departures(parts.database, parts.settings.kafka_bootstrap, timeout).work()):
        yield
