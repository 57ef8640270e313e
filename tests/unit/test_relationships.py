"""The pair as a state machine: what no sequence of actions may ever lead to."""

import datetime as dt
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.events import EventType
from domain.relationships import FollowState, Relationship, count_change
from domain.transitions import Transition, block, follow, unblock, unfollow
from storage import relationships

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
ACTIONS: dict[str, Callable[[dt.datetime], Transition]] = {
    "follow": lambda _now: follow(target_is_private=False),
    "ask": lambda _now: follow(target_is_private=True),
    "unfollow": lambda _now: unfollow(),
    "block": lambda _now: block(until=None),
    "block for an hour": lambda now: block(until=now + HOUR),
    "unblock": lambda _now: unblock(),
}
steps = st.lists(st.tuples(st.booleans(), st.sampled_from(sorted(ACTIONS)), st.integers(0, 90)), max_size=30)


@given(steps)
def test_no_sequence_of_actions_leaves_a_block_beside_a_follow(sequence: list[tuple[bool, str, int]]) -> None:
    side, now = Relationship(), NOW
    counts = [0, 0]
    for by_other, action, minutes in sequence:
        now += dt.timedelta(minutes=minutes)
        before = side.mirrored() if by_other else side
        change = ACTIONS[action](now)(before, now)
        if change is None:
            continue
        assert (change.after == before) == (not change.events)
        moved = count_change(before, change.after)
        side = change.after.mirrored() if by_other else change.after
        mine = count_change(before.mirrored(), change.after.mirrored()) if by_other else moved
        counts = [counts[0] + mine.followers, counts[1] + mine.following]
        blocked = side.blocks or side.blocked_by
        assert not (blocked and (side.follows or side.followed_by))
        assert counts == [side.followed_by is FollowState.ACTIVE, side.follows is FollowState.ACTIVE]


@given(steps)
def test_repeating_an_action_changes_nothing(sequence: list[tuple[bool, str, int]]) -> None:
    side = Relationship()
    for by_other, action, _ in sequence:
        before = side.mirrored() if by_other else side
        change = ACTIONS[action](NOW)(before, NOW)
        if change is not None:
            again = ACTIONS[action](NOW)(change.after, NOW)
            assert again is not None
            assert again.after == change.after
            assert again.events == ()
            side = change.after.mirrored() if by_other else change.after


def test_seen_twice_from_the_other_end_a_pair_is_itself() -> None:
    side = Relationship(follows=FollowState.ACTIVE, follows_at=NOW, blocked_by=True, version=3)
    assert side.mirrored().mirrored() == side
    assert side.mirrored().followed_by is FollowState.ACTIVE


def test_a_block_tells_of_every_edge_that_it_cuts() -> None:
    before = Relationship(follows=FollowState.PENDING, followed_by=FollowState.ACTIVE)
    change = block(until=None)(before, NOW)
    assert change is not None
    assert [(event.type, event.reverse, event.was_pending) for event in change.events] == [
        (EventType.USER_BLOCKED, False, False),
        (EventType.FOLLOW_REMOVED, False, True),
        (EventType.FOLLOW_REMOVED, True, False),
    ]


def test_whoever_blocked_first_cannot_be_blocked_or_followed_or_unfollowed() -> None:
    blocked = Relationship(blocked_by=True)
    for action in ACTIONS.values():
        assert action(NOW)(blocked, NOW) is None
    both = msgspec.structs.replace(blocked, blocks=True)
    assert block(until=None)(both, NOW) is not None
    assert unblock()(both, NOW) is not None


def test_a_block_that_has_ended_stands_in_nobodys_way_and_its_end_is_told() -> None:
    ended = Relationship(blocked_by=True, blocked_by_until=NOW)
    change = follow(target_is_private=False)(ended, NOW)
    assert change is not None
    assert change.after == Relationship(follows=FollowState.ACTIVE, follows_at=NOW)
    assert [(event.type, event.reverse) for event in change.events] == [
        (EventType.USER_UNBLOCKED, True),
        (EventType.FOLLOW_CREATED, False),
    ]


@pytest.mark.parametrize("statement", [relationships._FETCH, relationships._FETCH_SIDE])
def test_what_is_read_by_its_place_in_a_row_is_asked_for_in_the_order_of_the_fields(statement: str) -> None:
    columns = statement.partition("SELECT")[2].partition("FROM")[0]
    assert [name.strip() for name in columns.split(",")] == ["other_id", *Relationship.__struct_fields__]
