"""The rows of a list as they are remembered: who, and where that is in the list, from which since when is read."""

import datetime as dt
import operator
import struct
from collections.abc import Sequence
from typing import Final

import msgspec

from domain.pages import Position

PLACE_BYTES: Final = 16
UNIX_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_SENT: Final = struct.Struct(">qq")
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


def read_sent(rows: bytes) -> list[ListEntry]:
    """Read rows as the database sends them packed: a time and an id each, eight bytes and eight bytes."""
    return [
        ListEntry(user_id, Position(since + _DATABASE_EPOCH, user_id).packed())
        for since, user_id in _SENT.iter_unpack(rows)
    ]


def read_places(places: bytes) -> list[ListEntry]:
    """Read rows of which the places were kept, one behind the other."""
    return [
        ListEntry(user_id, places[at : at + PLACE_BYTES])
        for at, (_, user_id) in zip(range(0, len(places), PLACE_BYTES), _SENT.iter_unpack(places), strict=True)
    ]
