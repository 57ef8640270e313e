"""Rows of lists: what is kept of them says when and who, in the order of both."""

import datetime as dt
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.relationships import ListKind
from loaders.kinds import HEADS, Head
from storage.list_entries import UNIX_EPOCH, place_of, places_sent, since_of, split_places, user_ids_in

THEN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
DATABASE_EPOCH = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
moments = st.integers(0, 10**16).map(lambda age: UNIX_EPOCH + dt.timedelta(microseconds=age))
rows = st.lists(st.tuples(st.integers(0, (1 << 63) - 1), moments), max_size=20)


@given(rows)
def test_what_the_database_sends_packed_is_what_it_sends_row_by_row(known: list[tuple[int, dt.datetime]]) -> None:
    microsecond = dt.timedelta(microseconds=1)
    sent = b"".join(struct.pack(">qq", (since - DATABASE_EPOCH) // microsecond, user_id) for user_id, since in known)
    places = places_sent(sent)
    assert split_places(places) == [place_of(user_id, since) for user_id, since in known]
    assert list(zip(user_ids_in(places), map(since_of, split_places(places)), strict=True)) == known


@given(rows)
def test_places_stand_in_the_order_of_time_and_id(known: list[tuple[int, dt.datetime]]) -> None:
    in_order = sorted(known, key=lambda row: (row[1], row[0]))
    assert sorted(place_of(*row) for row in known) == [place_of(*row) for row in in_order]


@pytest.mark.parametrize("whole", [True, False])
def test_the_head_of_a_list_is_read_as_it_was_stored_and_nothing_else_is_taken_for_one(*, whole: bool) -> None:
    kind = HEADS[ListKind.FOLLOWERS]
    head = Head(place_of(7, THEN) + place_of(8, THEN), whole)
    stored = kind.encode(head)
    assert kind.decode(stored) == head
    for other in (b"", stored[:-1], stored + b"\0", msgspec.msgpack.encode((whole, [(7, THEN)])), b"\2" + stored[1:]):
        with pytest.raises(ValueError, match="form"):
            kind.decode(other)
