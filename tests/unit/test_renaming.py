"""How often a name may be changed, and what a short one takes."""

import datetime as dt

from domain.renaming import RenameQuota
from domain.username_requirements import MIN_AGE, MIN_FOLLOWERS, Account, requirements_for

NOW = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
QUOTA = RenameQuota(most=3, within=30 * DAY, pause=DAY)


def test_whoever_has_changed_nothing_may() -> None:
    assert QUOTA.allowed_at([]) is None


def test_after_a_change_there_is_a_pause() -> None:
    assert QUOTA.allowed_at([NOW]) == NOW + DAY


def test_after_the_last_of_a_quota_the_first_must_be_old() -> None:
    assert QUOTA.allowed_at([NOW - 9 * DAY, NOW - 5 * DAY, NOW]) == NOW + 21 * DAY
    assert QUOTA.allowed_at([NOW - 29 * DAY - DAY / 2, NOW - DAY, NOW]) == NOW + DAY


def test_a_short_name_takes_an_account_that_somebody_lives_in() -> None:
    assert requirements_for("jonas", Account(), NOW) == []
    assert [line.is_met for line in requirements_for("jona", Account(), NOW)] == [False, False, False]
    grown = Account(NOW - MIN_AGE, has_display_name=True, followers=MIN_FOLLOWERS)
    assert all(line.is_met for line in requirements_for("jona", grown, NOW))
    young = Account(NOW - MIN_AGE + DAY, has_display_name=True, followers=MIN_FOLLOWERS - 1)
    assert [line.is_met for line in requirements_for("jona", young, NOW)] == [False, True, False]
