"""Reads Kith's facts and keeps the index: the effect first, the offset after it, and each fact once."""

import asyncio
import logging
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from examples.search_index.facts import TOPICS, Fact, NotAFact, read_fact
from examples.search_index.index import Block, Index, Profile
from examples.search_index.kith import Kith, Unanswered
from examples.search_index.reading import WAIT_MS, take

GROUP: Final = "search-index"
PAUSE_S: Final = 1.0
_LOG: Final = logging.getLogger(__name__)


class SearchIndexer:
    """One member of the group."""

    def __init__(self, index: Index, kith: Kith, bootstrap: str) -> None:
        self._index = index
        self._kith = kith
        self._bootstrap = bootstrap
        self.unreadable = 0
        """How many records were passed over: nobody could read them, now or ever."""

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
                places = list(consumer.assignment())
                for place in places:
                    await self._work_off(consumer, place, wait_ms=WAIT_MS // len(places))
                if not places:
                    await asyncio.sleep(WAIT_MS / 1000)
        finally:
            await consumer.stop()

    async def _work_off(self, consumer: AIOKafkaConsumer, place: TopicPartition, *, wait_ms: int) -> None:
        records, passed_over = await take(consumer, place, wait_ms=wait_ms)
        for record in records:
            await self._have(record)
        if passed_over:
            self._pass_over(place, await consumer.position(place) - 1, "cannot even be taken")
        if records or passed_over:
            await consumer.commit({place: await consumer.position(place)})

    def _pass_over(self, place: TopicPartition, offset: int, why: object) -> None:
        self.unreadable += 1
        _LOG.error("no fact at %s/%d/%d (%s): %d so far", place.topic, place.partition, offset, why, self.unreadable)

    async def _have(self, record: ConsumerRecord) -> None:
        """Have one record's effect; what can never be read, or comes from later than this code, is passed over."""
        try:
            fact = read_fact(record.headers, record.value)
            if fact is None or self._index.has_had(fact.id):
                return
            self._index.have(fact.id, await self._change_of(fact))
        except NotAFact as error:
            self._pass_over(TopicPartition(record.topic, record.partition), record.offset, error)

    async def _change_of(self, fact: Fact) -> Profile | Block | None:
        """Give what a fact changes in the index; None where that is nothing, as of a type that is not known here."""
        match fact.type:
            case "user.created" | "user.updated" | "user.restored" | "user.username_changed":
                user_id = fact.text("userId")
                return Profile(user_id, fact.number("userVersion"), await self._kith.fetch_person(user_id))
            case "user.deleted":
                return Profile(fact.text("userId"), fact.number("userVersion"), None)
            case "user.blocked" | "user.unblocked":
                holds = fact.type == "user.blocked"
                return Block(fact.text("blockerId"), fact.text("blockedId"), fact.number("pairVersion"), holds)
            case _:
                return None
