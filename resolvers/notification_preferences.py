"""What the viewer wants to be told of."""

import dataclasses
from collections.abc import Mapping

from domain.errors import UserError, UserErrorCode
from domain.notification_preferences import (
    MAX_NEW_ACCOUNT_DAYS,
    NotificationPreferences,
    NotificationTreatment,
)
from privacy.policy import Visible
from resolvers.consistency import PROFILE
from resolvers.context import Context, require_viewer
from resolvers.visibility import meet_one
from storage.notification_preferences import change_notification_preferences, fetch_notification_preferences


@dataclasses.dataclass(frozen=True, slots=True)
class PreferencesOutcome:
    """The preferences afterwards, or why they stay as they are."""

    preferences: NotificationPreferences | None = None
    user_errors: tuple[UserError, ...] = ()
    consistency_token: str | None = None


async def fetch_preferences(context: Context, owner: Visible) -> NotificationPreferences:
    """Give what the owner wants."""
    return await fetch_notification_preferences(context.database, owner.user.id)


async def update_preferences(
    context: Context, treatments: Mapping[str, NotificationTreatment], new_account_days: int | None
) -> PreferencesOutcome:
    """Change the treatments named, and from which age on an account is new no longer; what is not named stays.

    It holds for what comes: a notification that was kept apart stays there.
    """
    owner_id = await require_viewer(context)
    if new_account_days is not None and not 1 <= new_account_days <= MAX_NEW_ACCOUNT_DAYS:
        message = f"This lies between 1 and {MAX_NEW_ACCOUNT_DAYS} days."
        return PreferencesOutcome(
            user_errors=(UserError(UserErrorCode.INVALID_VALUE, message, ("input", "newAccountDays")),)
        )

    def change(before: NotificationPreferences) -> NotificationPreferences:
        days = before.new_account_days if new_account_days is None else new_account_days
        return dataclasses.replace(before, **treatments, new_account_days=days)

    preferences = await change_notification_preferences(context.database, owner_id, change)
    viewer = await meet_one(context, owner_id)
    versions = {PROFILE + viewer.user.opaque_id: viewer.user.version} if viewer else {}
    token = await context.issue_token(versions, (owner_id,))
    return PreferencesOutcome(preferences, consistency_token=token)
