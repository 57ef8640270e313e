"""A viewer's side as one value, and what it is once a pair has changed."""

import datetime as dt

import pytest

from domain.relationships import FollowState, Relationship
from loaders.kinds import SIDE, Side

THEN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
FOLLOWS = Relationship(follows=FollowState.ACTIVE, version=4)
BLOCKS = Relationship(blocks=True, version=4)


def test_a_pair_that_has_changed_takes_its_place_and_the_mute_stays_the_viewers() -> None:
    muted = Relationship(mutes=True, mutes_until=THEN, version=3)
    before = Side({1: muted, 2: FOLLOWS}, complete=True)
    after = before.with_pair(1, BLOCKS)
    assert after is not None
    assert after.to(1) == Relationship(blocks=True, mutes=True, mutes_until=THEN, version=4)
    assert (after.to(2), before.to(1), after.complete) == (FOLLOWS, muted, True)


@pytest.mark.parametrize("known", [4, 5])
def test_a_pair_that_is_known_as_it_is_or_later_stays(known: int) -> None:
    side = Side({1: Relationship(blocked_by=True, version=known)}, complete=True)
    assert side.with_pair(1, FOLLOWS) is side


def test_one_pair_more_than_are_kept_together_is_too_much() -> None:
    full = Side(dict.fromkeys(range(SIDE), FOLLOWS), complete=True)
    assert full.with_pair(SIDE, FOLLOWS) is None
    assert full.with_pair(0, Relationship(version=5)) is not None


def test_of_a_side_that_is_too_much_nothing_is_known_and_nothing_changes() -> None:
    side = Side({}, complete=False)
    assert side.with_pair(1, FOLLOWS) is side


@pytest.mark.parametrize(("pair", "hidden"), [(FOLLOWS, set()), (BLOCKS, {1})])
def test_whom_blocks_hide_is_picked_out_again_only_where_a_block_has_changed(
    pair: Relationship, hidden: set[int]
) -> None:
    before = Side({2: BLOCKS}, complete=True)
    known = before.blocks
    after = before.with_pair(1, pair)
    assert after is not None
    assert (after.blocks is not known) is bool(hidden)
    assert set(after.blocks.at(THEN).ids) == {2} | hidden
