"""What an account must have before it may take a short name: few of them exist, and whoever squats has none of it."""

import dataclasses
import datetime as dt
import enum
from typing import Final

SHORT: Final = 4
"""Names of at most so many characters are short."""
MIN_AGE: Final = dt.timedelta(days=30)
MIN_FOLLOWERS: Final = 10


class UsernameRequirementCode(enum.Enum):
    """What an account needs for a short name."""

    ACCOUNT_AGE = "ACCOUNT_AGE"
    DISPLAY_NAME = "DISPLAY_NAME"
    FOLLOWERS = "FOLLOWERS"


@dataclasses.dataclass(frozen=True, slots=True)
class UsernameRequirement:
    """One line of the checklist."""

    code: UsernameRequirementCode
    message: str
    is_met: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Account:
    """What is looked at; a person who is still to sign up has none of it."""

    created_at: dt.datetime | None = None
    has_display_name: bool = False
    followers: int = 0


def requirements_for(key: str, account: Account, now: dt.datetime) -> list[UsernameRequirement]:
    """Give the checklist of a name for an account; a name that is not short needs nothing."""
    if len(key) > SHORT:
        return []
    old_enough = account.created_at is not None and now - account.created_at >= MIN_AGE
    lines = (
        (UsernameRequirementCode.ACCOUNT_AGE, f"The account is at least {MIN_AGE.days} days old.", old_enough),
        (UsernameRequirementCode.DISPLAY_NAME, "The profile has a display name.", account.has_display_name),
        (
            UsernameRequirementCode.FOLLOWERS,
            f"At least {MIN_FOLLOWERS} people follow the account.",
            account.followers >= MIN_FOLLOWERS,
        ),
    )
    return [UsernameRequirement(*line) for line in lines]
