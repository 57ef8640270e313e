"""The rows of a list: who, and since when, which are the packed `Position`s of the rows, one behind the other.

A row by itself takes eight times as much memory, and is made and freed with each page.
"""

import datetime as dt
import struct
from typing import Final

from domain.pages import Position

PLACE_BYTES: Final = 16
_NUMBER_BYTES: Final = 8
UNIX_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_DATABASE_EPOCH: Final = 946_684_800_000_000
"""Where the database's time begins, with the year 2000, in microseconds since 1970."""


def place_of(user_id: int, since: dt.datetime) -> bytes:
    """Pack the row of somebody who is in the list since some time: places have the order of time and id."""
    return Position((since - UNIX_EPOCH) // _MICROSECOND, user_id).packed()


def since_of(place: bytes) -> dt.datetime:
    """Tell since when somebody is in the list."""
    return UNIX_EPOCH + dt.timedelta(microseconds=Position.of(place).major)


def user_ids_in(places: bytes) -> tuple[int, ...]:
    """Give who is in rows."""
    return _unpack(places)[1::2]


def split_places(places: bytes) -> list[bytes]:
    """Give each row by itself."""
    return [places[at : at + PLACE_BYTES] for at in range(0, len(places), PLACE_BYTES)]


def places_sent(rows: bytes) -> bytes:
    """Give the places of rows as the database sends them packed: a time and an id each, eight bytes and eight bytes."""
    numbers = [*_unpack(rows)]
    numbers[::2] = [since + _DATABASE_EPOCH for since in numbers[::2]]
    return struct.pack(f">{len(numbers)}q", *numbers)


def _unpack(numbers: bytes) -> tuple[int, ...]:
    return struct.unpack(f">{len(numbers) // _NUMBER_BYTES}q", numbers)
