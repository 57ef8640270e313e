"""What the viewer wants to be told of."""

from collections.abc import Sequence

import strawberry

from domain.notification_preferences import NotificationPreferences as Preferences
from privacy.policy import Visible
from resolvers import notification_preferences as preferences
from resolvers.context import Context
from schema.enums import NotificationTreatment


@strawberry.type(description="What becomes of what people do, by what they are to the viewer.")
class NotificationPreferences:
    """Source: `domain.notification_preferences.NotificationPreferences`."""

    followed: NotificationTreatment
    strangers: NotificationTreatment
    new_accounts: NotificationTreatment
    new_account_days: int


async def notification_preferences(context: Context, owners: Sequence[Visible]) -> list[Preferences]:
    """What the viewer wants to be told of: whom the viewer follows, strangers, and of those who are new."""
    return [await preferences.fetch_preferences(context, owner) for owner in owners]
