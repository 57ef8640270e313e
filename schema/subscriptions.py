"""The root of all subscriptions."""

from collections.abc import AsyncGenerator
from typing import Any, cast

import strawberry
from strawberry.types import Info

from resolvers import notifications
from schema.enums import NotificationKind
from schema.notifications import FollowNotification


async def _follow_received(info: Info[Any, None], after: str | None = None) -> AsyncGenerator[FollowNotification, None]:
    async for delivered in notifications.stream(info.context.app, NotificationKind.FOLLOW, after):
        yield cast("FollowNotification", delivered)


@strawberry.type
class Subscription:
    """What can be listened to."""

    follow_received: AsyncGenerator[FollowNotification, None] = strawberry.subscription(
        resolver=_follow_received, description="Who begins to follow the viewer, from now on or after a cursor."
    )
