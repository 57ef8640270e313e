"""What becomes of a notification, by what its actor is to the one who is told."""

import dataclasses
import datetime as dt
import enum
from typing import Final

from domain.relationships import FollowState, Relationship

MAX_NEW_ACCOUNT_DAYS: Final = 365


class NotificationTreatment(enum.IntEnum):
    """From the mildest to the strictest: shown, kept apart and neither told live nor counted, not kept. Stored."""

    ACCEPT = 1
    FILTER = 2
    DROP = 3


@dataclasses.dataclass(frozen=True, slots=True)
class NotificationPreferences:
    """One treatment for each thing that an actor can be; `version` only grows."""

    followed: NotificationTreatment = NotificationTreatment.ACCEPT
    strangers: NotificationTreatment = NotificationTreatment.ACCEPT
    new_accounts: NotificationTreatment = NotificationTreatment.ACCEPT
    new_account_days: int = 7
    version: int = 0


def treat(preferences: NotificationPreferences, side: Relationship, age: dt.timedelta) -> NotificationTreatment:
    """Decide about one notification; `side` is the owner's, `age` that of the actor's account.

    Whom the owner follows is treated as such, and nothing else counts. Everybody else is a stranger: that somebody
    follows or asks to is the very thing that is told. Of strangers with a new account the stricter of the two holds.
    """
    if side.follows is FollowState.ACTIVE:
        return preferences.followed
    is_new = age < dt.timedelta(days=preferences.new_account_days)
    return max(preferences.strangers, preferences.new_accounts) if is_new else preferences.strangers
