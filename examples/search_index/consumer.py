"""Reads Kith's facts and keeps the index: the effect first, the offset after it, and each fact once."""

import asyncio
import logging
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from examples.search_index.facts import TOPICS, Fact, NotAFact, read_fact
from examples.search_index.index import Block, Index, Profile
from examples.search_index.kith import Kith, Unanswered

GROUP: Final = "search-index"
PAUSE_S: Final = 1.0
_LOG: Final = logging.getLogger(__name__)


class SearchIndexer:
    """One member of the group."""

    def __init__(self, index: Index, kith: Kith, bootstrap: str) -> None:
        self._index = index
        self._kith = kith
        self._bootstrap = bootstrap

    async def run(self) -> None:
        """Follow the facts until cancelled; what passes is tried again, from the last offset that was committed."""
        while True:
            try:
                await self._follow()
            except (KafkaError, Unanswered, OSError) as error:
                _LOG.warning("pausing: %s", type(error).__name__)
            await asyncio.sleep(PAUSE_S)

    async def _follow(self) -> None:
        consumer = AIOKafkaConsumer(
            *TOPICS,
            bootstrap_servers=self._bootstrap,
            group_id=GROUP,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        try:
            await consumer.start()
            while True:
                for place, records in (await consumer.getmany(timeout_ms=500)).items():
                    await self._work_off(consumer, place, records)
        finally:
            await consumer.stop()

    async def _work_off(self, consumer: AIOKafkaConsumer, place: TopicPartition, records: list[ConsumerRecord]) -> None:
        for record in records:
            await self._have(record)
        await consumer.commit({place: records[-1].offset + 1})

    async def _have(self, record: ConsumerRecord) -> None:
        """Have one record's effect; what can never be read, or comes from later than this code, is passed over."""
        try:
            fact = read_fact(record.headers, record.value)
            if fact is None or self._index.has_had(fact.id):
                return
            self._index.have(fact.id, await self._change_of(fact))
        except NotAFact as error:
            _LOG.error("no fact at %s/%d/%d: %s", record.topic, record.partition, record.offset, error)

    async def _change_of(self, fact: Fact) -> Profile | Block | None:
        """Give what a fact changes in the index; None where that is nothing, as of a type that is not known here."""
        payload: dict[str, Any] = fact.payload
        try:
            match fact.type:
                case "user.created" | "user.updated":
                    user_id = payload["userId"]
                    return Profile(user_id, payload["userVersion"], await self._kith.fetch_person(user_id))
                case "user.deleted":
                    return Profile(payload["userId"], payload["userVersion"], None)
                case "user.blocked" | "user.unblocked":
                    holds = fact.type == "user.blocked"
                    return Block(payload["blockerId"], payload["blockedId"], payload["pairVersion"], holds)
                case _:
                    return None
        except KeyError as error:
            raise NotAFact("a field is missing") from error
