"""The root of all subscriptions."""

import datetime as dt
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, cast

import strawberry
from strawberry.types import Info

from resolvers import notifications
from schema.enums import NotificationKind
from schema.fields import attribute
from schema.users import User

if TYPE_CHECKING:
    from resolvers.notifications import Delivered


@strawberry.interface(description="Something that a person is told; `cursor` resumes the stream after it.")
class Notification:
    """Source: `resolvers.notifications.Delivered`."""

    id: strawberry.ID
    cursor: str
    kind: NotificationKind = attribute("notification.kind")
    actor: User | None
    created_at: dt.datetime = attribute("notification.created_at")
    read_at: dt.datetime | None = attribute("notification.read_at")


@strawberry.type(description="Somebody began to follow the viewer.")
class FollowNotification(Notification):
    """Source: `resolvers.notifications.Delivered`."""

    @classmethod
    def is_type_of(cls, source: "Delivered", _info: Any) -> bool:
        """Tell whether a notification is of this kind."""
        return source.notification.kind is NotificationKind.FOLLOW


async def _follow_received(info: Info[Any, None], after: str | None = None) -> AsyncGenerator[FollowNotification, None]:
    async for delivered in notifications.stream(info.context.app, NotificationKind.FOLLOW, after):
        yield cast("FollowNotification", delivered)


@strawberry.type
class Subscription:
    """What can be listened to."""

    follow_received: AsyncGenerator[FollowNotification, None] = strawberry.subscription(
        resolver=_follow_received, description="Who begins to follow the viewer, from now on or after a cursor."
    )
