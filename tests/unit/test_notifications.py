"""What a notification rests on, and what its reader wants of it. Pure."""

import datetime as dt

import msgspec
import pytest

from domain.ids import made_at, new_id
from domain.notification_preferences import NotificationPreferences, NotificationTreatment, treat
from domain.notifications import NotificationKind, ended_kinds
from domain.pages import round_count
from domain.relationships import FollowState, Relationship

ACCEPT, FILTER, DROP = NotificationTreatment
FOLLOW, REQUEST, ACCEPTED = NotificationKind
DAY = dt.timedelta(days=1)
FOLLOWED = Relationship(followed_by=FollowState.ACTIVE)
ASKED = Relationship(followed_by=FollowState.PENDING)
FOLLOWING = Relationship(follows=FollowState.ACTIVE)


def test_a_kind_holds_in_the_state_that_it_tells_of_and_in_no_other() -> None:
    held = {kind: [side for side in (FOLLOWED, ASKED, FOLLOWING) if kind.holds(side)] for kind in NotificationKind}
    assert held == {FOLLOW: [FOLLOWED], REQUEST: [ASKED], ACCEPTED: [FOLLOWING]}


def test_what_ends_is_named_and_what_goes_on_is_not() -> None:
    both = msgspec.structs.replace(FOLLOWED, follows=FollowState.ACTIVE)
    assert ended_kinds(both, FOLLOWED) == [ACCEPTED]
    assert ended_kinds(both, Relationship(blocks=True)) == [FOLLOW, ACCEPTED]
    assert ended_kinds(ASKED, FOLLOWED) == [REQUEST]
    assert ended_kinds(FOLLOWED, both) == []


def test_each_direction_keeps_the_version_of_its_last_change() -> None:
    one = FOLLOWED.as_next_of(Relationship(version=4))
    assert (one.version, one.follows_version, one.followed_by_version) == (5, 0, 5)
    two = msgspec.structs.replace(one, follows=FollowState.ACTIVE).as_next_of(one)
    assert (two.version, two.follows_version, two.followed_by_version) == (6, 6, 5)
    assert two.mirrored().mirrored() == two
    assert (two.mirrored().follows_version, two.mirrored().followed_by_version) == (5, 6)


def test_a_fact_is_current_until_its_own_direction_changes_again() -> None:
    side = msgspec.structs.replace(
        FOLLOWED, follows=FollowState.ACTIVE, version=9, followed_by_version=3, follows_version=9
    )
    assert [FOLLOW.is_current(side, version) for version in (2, 3, 4)] == [False, True, True]
    assert not ACCEPTED.is_current(side, 8)
    assert FOLLOW.is_current(FOLLOWED, 1), "where the version is not known, the state decides"


@pytest.mark.parametrize(
    ("side", "age", "expected"),
    [(FOLLOWING, 0, ACCEPT), (FOLLOWED, 0, DROP), (FOLLOWED, 8, FILTER), (ASKED, 6, DROP), (Relationship(), 7, FILTER)],
)
def test_strangers_with_a_new_account_get_the_stricter_of_two_treatments(
    side: Relationship, age: int, expected: NotificationTreatment
) -> None:
    preferences = NotificationPreferences(strangers=FILTER, new_accounts=DROP)
    assert treat(preferences, side, age * DAY) is expected
    milder = NotificationPreferences(strangers=FILTER, new_accounts=ACCEPT)
    assert treat(milder, side, age * DAY) is (ACCEPT if side is FOLLOWING else FILTER)


def test_the_age_of_an_account_is_read_from_its_id() -> None:
    moment = dt.datetime(2025, 5, 6, 7, 8, 9, 123_000, dt.UTC)
    assert made_at(new_id(3, at_ms=int(moment.timestamp() * 1000))) == moment


def test_counts_are_exact_up_to_a_thousand_and_then_rounded_down_to_two_digits() -> None:
    assert [round_count(exact) for exact in (0, 999, 1000, 1099, 1205, 99_999)] == [0, 999, 1000, 1000, 1200, 99_000]
