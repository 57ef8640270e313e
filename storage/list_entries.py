"""The rows of a list: who, and where that is in the list, from which since when is read.

Many rows are kept as their places, packed one behind the other: a row by itself takes eight times as much memory.
"""

import datetime as dt
import operator
import struct
from collections.abc import Sequence
from typing import Final

import msgspec

from domain.pages import Position

PLACE_BYTES: Final = 16
_NUMBER_BYTES: Final = 8
UNIX_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_DATABASE_EPOCH: Final = 946_684_800_000_000
"""Where the database's time begins, with the year 2000, in microseconds since 1970."""


class ListEntry(msgspec.Struct, frozen=True, gc=False):
    """One row of a list: who, and the packed `Position`, whose first half is since when, in microseconds since 1970."""

    user_id: int
    place: bytes

    @classmethod
    def of(cls, user_id: int, since: dt.datetime) -> "ListEntry":
        """Make the entry of somebody who is in the list since some time."""
        return cls(user_id, Position((since - UNIX_EPOCH) // _MICROSECOND, user_id).packed())

    @property
    def position(self) -> Position:
        """Give the place of this row."""
        return Position.of(self.place)

    @property
    def since(self) -> dt.datetime:
        """Tell since when."""
        return UNIX_EPOCH + dt.timedelta(microseconds=self.position.major)


PLACE: Final = operator.attrgetter("place")


def places_of(entries: Sequence[ListEntry]) -> list[bytes]:
    """Give the places of rows, packed."""
    return list(map(PLACE, entries))


def places_sent(rows: bytes) -> bytes:
    """Give the packed places of rows as the database sends them: a time and an id each, eight bytes and eight bytes."""
    numbers = [*_unpack(rows)]
    numbers[::2] = [since + _DATABASE_EPOCH for since in numbers[::2]]
    return struct.pack(f">{len(numbers)}q", *numbers)


def read_places(places: bytes) -> list[ListEntry]:
    """Read rows of which the places are packed."""
    each = [places[at : at + PLACE_BYTES] for at in range(0, len(places), PLACE_BYTES)]
    return list(map(ListEntry, user_ids_in(places), each))


def user_ids_in(places: bytes) -> tuple[int, ...]:
    """Give who is in rows of which the places are packed."""
    return _unpack(places)[1::2]


def _unpack(numbers: bytes) -> tuple[int, ...]:
    return struct.unpack(f">{len(numbers) // _NUMBER_BYTES}q", numbers)
