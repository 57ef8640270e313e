"""What memory takes an entry for is no less than what it takes: else its bound in bytes would bound nothing."""

import datetime as dt
import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from domain.policies import MOST_RESTRICTIVE, PrivacyPolicy
from domain.relationships import FollowState, ListKind, Relationship
from domain.tallies import Blocks, Tally, pack_ids
from domain.users import Counts, ProfileLink, User, UserState
from loaders.kinds import BLOCKS, HEADS, NAMES, PAIRS, SIDES, TALLIES, USERS, Head, Kind, Side
from loaders.memory import Memory
from storage.list_entries import place_of
from tests.trust import Always

THEN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
FIRST = 1 << 60
ENTRIES, BYTES = 300, 300_000
ROOM = 1 << 40
PAIR = Relationship(
    follows=FollowState.ACTIVE, follows_at=THEN, followed_by=FollowState.ACTIVE, followed_by_at=THEN, blocks_until=THEN
)
BLOCKED = Relationship(blocked_by=True, blocked_by_since=THEN, version=FIRST)


def user(text: str, policy: PrivacyPolicy) -> User:
    links = (ProfileLink(text or "l", f"https://{text}.example"),) * (4 if text else 0)
    texts = (text or None,) * 5
    return User(FIRST, "x" * 22, "somebody", *texts, links, policy, UserState.ACTIVE, 1, THEN)


def head(size: int) -> Head:
    return Head(b"".join(place_of(FIRST + number, THEN) for number in range(size)), whole=True)


def tally(size: int) -> Tally:
    packed = pack_ids(range(FIRST, FIRST + size))
    return Tally(Counts(FIRST + size, FIRST + size), packed, packed)


def side(size: int) -> Side:
    return Side(dict.fromkeys(range(FIRST, FIRST + size), PAIR), complete=True)


VALUES: list[tuple[str, Kind[Any, Any], Any]] = [
    ("a bare profile", USERS, user("", PrivacyPolicy())),
    ("a full profile", USERS, user("w" * 160, MOST_RESTRICTIVE)),
    ("a profile in other letters", USERS, user("ü世𝔴" * 50, PrivacyPolicy())),
    ("nobody", USERS, None),
    ("a name", NAMES, FIRST),
    ("the counts of a newcomer", TALLIES, tally(0)),
    ("counts", TALLIES, tally(128)),
    ("counts of too many to be listed", TALLIES, Tally(Counts(FIRST, FIRST + 1), None, None, bytes(8))),
    ("an empty list", HEADS[ListKind.FOLLOWERS], head(0)),
    ("a list", HEADS[ListKind.FOLLOWERS], head(128)),
    ("the side of a newcomer", SIDES, side(0)),
    ("the side of many", SIDES, side(256)),
    (
        "the side of whom everybody blocks",
        SIDES,
        Side(dict.fromkeys(range(FIRST, FIRST + 256), BLOCKED), complete=True),
    ),
    ("a pair", PAIRS, PAIR),
    ("no blocks", BLOCKS, Blocks({})),
    ("blocks that lapse", BLOCKS, Blocks(dict.fromkeys(range(FIRST, FIRST + 500), THEN))),
    ("blocks that last", BLOCKS, Blocks(dict.fromkeys(range(FIRST, FIRST + 500)))),
]


def taken(kind: Kind[Any, Any], value: Any) -> tuple[int, int]:
    """Remember many copies as they are read from Redis: give the bytes they take, and what they are taken for."""
    encoded, memory = kind.encode(value), Memory(entries=ROOM, size=ROOM, trust=Always(), clock=lambda: 0.0)
    decode: Callable[[bytes], Any] = kind.decode
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(min(ENTRIES, 1 + BYTES // (len(encoded) + 1))):
            found = decode(encoded)
            memory.put((kind.name, FIRST + number), found, size=kind.weigh(found), until=1.0)
            if isinstance(found, Side):
                assert found.blocks.at(THEN).as_set is not None
            elif isinstance(found, Blocks):
                assert found.at(THEN).as_set is not None
            elif isinstance(found, Tally):
                assert found.mark() >= 0 or not found.is_listed
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before, memory.size
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("kind", "value"), [case[1:] for case in VALUES], ids=[case[0] for case in VALUES])
def test_an_entry_takes_no_more_than_it_is_taken_for(kind: Kind[Any, Any], value: Any) -> None:
    really, supposed = taken(kind, value)
    assert really <= supposed
