"""What becomes of a record that a consumer can do nothing with: a dead letter."""

import hashlib
import logging
import uuid
from typing import Final

import msgspec

from domain.events import EventType
from events.metrics import DEAD_LETTERED, DEAD_LETTERS
from events.reading import Illegible, Record
from events.records import ReceivedEvent, UnreadableRecord, read_record
from storage.database import Database
from storage.dead_letters import Letter, add_letter, count_letters

MAX_KEPT_BYTES: Final = 65_536
_LOG: Final = logging.getLogger(__name__)
_HEADERS: Final = msgspec.msgpack.Decoder(list[tuple[str, bytes | None]])


class Letters:
    """The dead letters of one consumer; they are in the database, and so outlive the broker."""

    def __init__(self, database: Database, consumer: str) -> None:
        self._shards = database.shards
        self._consumer = consumer

    async def bury(self, record: Record, reason: str) -> None:
        """Keep a record, and say so without its content.

        Raises:
            Overloaded: the directory cell does not answer; the record is not kept.
        """
        await self._add(letter_of(self._consumer, record, reason))

    async def bury_place(self, record: Illegible) -> None:
        """Keep the place of a record that cannot be read; raises Overloaded."""
        await self._add(_letter_of_place(self._consumer, record))

    async def _add(self, letter: Letter) -> None:
        await add_letter(self._shards.directory, letter)
        DEAD_LETTERED.labels(self._consumer, letter.reason).inc()
        place = (letter.topic, letter.partition, letter.offset)
        _LOG.error("dead letter %s from %s/%d/%d: %s", letter.id, *place, letter.reason)

    async def expect_cells(self) -> None:
        """Make sure that every cell answers: what fails while one is away may be the cell's fault.

        Raises:
            Overloaded: one does not.
        """
        for cell in self._shards.cells:
            await cell.ping()

    async def observe(self) -> None:
        """Count those that wait for somebody."""
        DEAD_LETTERS.labels(self._consumer).set(await count_letters(self._shards.directory, self._consumer))


def letter_of(consumer: str, record: Record, reason: str) -> Letter:
    """Make a letter of a record; a record that comes again, whatever its offset is then, makes the same one."""
    headers = msgspec.msgpack.encode([(name, text) for name, text in record.headers])
    value: bytes | None = record.value
    digest = hashlib.sha256()
    for part in (consumer.encode(), record.topic.encode(), record.key or b"", headers, value or b""):
        digest.update(len(part).to_bytes(8, "big") + part)
    size = len(value or b"") + len(headers) + len(record.key or b"")
    is_whole = size <= MAX_KEPT_BYTES
    return Letter(
        id=uuid.UUID(bytes=digest.digest()[:16]),
        consumer=consumer,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key if is_whole else None,
        headers=headers if is_whole else b"",
        value=value if is_whole else None,
        size=size,
        is_whole=is_whole,
        reason=reason,
    )


def _letter_of_place(consumer: str, record: Illegible) -> Letter:
    place = (consumer, record.topic, record.partition, record.offset)
    return Letter(
        uuid.UUID(bytes=hashlib.sha256(repr(place).encode()).digest()[:16]),
        *place,
        key=None,
        headers=b"",
        value=None,
        size=0,
        is_whole=False,
        reason="the name of a header is not UTF-8",
    )


def event_of(letter: Letter) -> ReceivedEvent | None:
    """Read a letter as the consumer read the record.

    Raises:
        UnreadableRecord: it still cannot be read.
    """
    if not letter.is_whole:
        raise UnreadableRecord("only its place was kept")
    return read_record(letter.key, _HEADERS.decode(letter.headers), letter.value)


def type_of(letter: Letter) -> EventType | None:
    """Give the type of fact that a letter says it is, if there is such a type."""
    headers = dict(_HEADERS.decode(letter.headers)) if letter.headers else {}
    name = (headers.get("ce_type") or b"").decode(errors="replace")
    return EventType(name) if name in set(EventType) else None
