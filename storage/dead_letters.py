"""Dead letters: records that a consumer could do nothing with, kept in the directory cell for somebody to look at."""

import dataclasses
import datetime as dt
import uuid
from typing import Final

from storage.cells import Cell, Record

_ADD: Final = """
INSERT INTO dead_letters (id, consumer, topic, partition, record_offset, key, headers, value, size, is_whole, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (id) DO NOTHING
"""

_FETCH: Final = """
SELECT id, consumer, topic, partition, record_offset, key, headers, value, size, is_whole, reason, died_at
FROM dead_letters
WHERE (died_at, id) > ($1, $2)
ORDER BY died_at, id
LIMIT $3
"""

_FETCH_ONE: Final = """
SELECT id, consumer, topic, partition, record_offset, key, headers, value, size, is_whole, reason, died_at
FROM dead_letters
WHERE id = $1
"""

_REMOVE: Final = "DELETE FROM dead_letters WHERE id = $1 RETURNING true"

_COUNT: Final = "SELECT count(*) AS letters FROM dead_letters WHERE consumer = $1"

_LONG_AGO: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclasses.dataclass(frozen=True, slots=True)
class Letter:
    """One record as it came; `is_whole` unless it was too long to keep, and only its beginning was."""

    id: uuid.UUID
    consumer: str
    topic: str
    partition: int
    offset: int
    key: bytes | None
    headers: bytes
    value: bytes | None
    size: int
    is_whole: bool
    reason: str
    died_at: dt.datetime = _LONG_AGO


async def add_letter(cell: Cell, letter: Letter) -> None:
    """Keep a letter; one that is kept already stays as it is. Its time is the database's."""
    place = (letter.consumer, letter.topic, letter.partition, letter.offset)
    content = (letter.key, letter.headers, letter.value, letter.size, letter.is_whole)
    await cell.fetch(_ADD, letter.id, *place, *content, letter.reason)


async def fetch_letters(cell: Cell, limit: int, *, after: Letter | None = None) -> list[Letter]:
    """Fetch the letters that follow one, the oldest first, at most `limit`."""
    place = (after.died_at, after.id) if after is not None else (_LONG_AGO, uuid.UUID(int=0))
    return [_letter(row) for row in await cell.fetch(_FETCH, *place, limit)]


async def fetch_letter(cell: Cell, letter_id: uuid.UUID) -> Letter | None:
    """Fetch one letter."""
    rows = await cell.fetch(_FETCH_ONE, letter_id)
    return _letter(rows[0]) if rows else None


async def remove_letter(cell: Cell, letter_id: uuid.UUID) -> bool:
    """Remove a letter; False where there was none."""
    return bool(await cell.fetch(_REMOVE, letter_id))


async def count_letters(cell: Cell, consumer: str) -> int:
    """Count a consumer's letters."""
    [row] = await cell.fetch(_COUNT, consumer)
    return int(row["letters"])


def _letter(row: Record) -> Letter:
    return Letter(**{name: row[_COLUMNS.get(name, name)] for name in Letter.__slots__})


_COLUMNS: Final = {"offset": "record_offset"}
