"""The root of all subscriptions."""

from collections.abc import AsyncGenerator
from typing import Annotated, Any, Final

import strawberry
from strawberry.types import Info

from domain.scopes import Scope
from resolvers import notifications
from schema.enums import NotificationKind, OverflowPolicy
from schema.notifications import (
    FollowNotification,
    FollowRequestAcceptedNotification,
    FollowRequestNotification,
    Notification,
)

_RESUMED: Final = "from now on or after a cursor"

After = Annotated[
    str | None, strawberry.argument(description="The `cursor` of the last one received; nothing after it is left out.")
]
Overflow = Annotated[
    OverflowPolicy,
    strawberry.argument(description="What to do when more than 100 wait and the last 100 took more than 5 s."),
]


def _stream(
    info: Info[Any, None], after: str | None, overflow: OverflowPolicy, *kinds: NotificationKind
) -> AsyncGenerator[Any, None]:
    """Give the source itself, so that closing it lets go of what it holds at once; `is_type_of` finds the types."""
    info.context.app.require(Scope.READ)
    return notifications.stream(info.context.app, frozenset(kinds), after, overflow)


def _follow_received(
    info: Info[Any, None], after: After = None, on_overflow: Overflow = OverflowPolicy.CLOSE
) -> AsyncGenerator[FollowNotification, None]:
    return _stream(info, after, on_overflow, NotificationKind.FOLLOW)


def _follow_request_received(
    info: Info[Any, None], after: After = None, on_overflow: Overflow = OverflowPolicy.CLOSE
) -> AsyncGenerator[FollowRequestNotification, None]:
    return _stream(info, after, on_overflow, NotificationKind.FOLLOW_REQUEST)


def _follow_request_accepted(
    info: Info[Any, None], after: After = None, on_overflow: Overflow = OverflowPolicy.CLOSE
) -> AsyncGenerator[FollowRequestAcceptedNotification, None]:
    return _stream(info, after, on_overflow, NotificationKind.FOLLOW_ACCEPTED)


def _notification_received(
    info: Info[Any, None], after: After = None, on_overflow: Overflow = OverflowPolicy.CLOSE
) -> AsyncGenerator[Notification, None]:
    return _stream(info, after, on_overflow, *NotificationKind)


@strawberry.type
class Subscription:
    """What can be listened to."""

    follow_received: AsyncGenerator[FollowNotification, None] = strawberry.subscription(
        resolver=_follow_received, description=f"Who begins to follow the viewer, {_RESUMED}."
    )
    follow_request_received: AsyncGenerator[FollowRequestNotification, None] = strawberry.subscription(
        resolver=_follow_request_received, description=f"Who asks to follow the viewer, {_RESUMED}."
    )
    follow_request_accepted: AsyncGenerator[FollowRequestAcceptedNotification, None] = strawberry.subscription(
        resolver=_follow_request_accepted, description=f"Who lets the viewer follow after being asked, {_RESUMED}."
    )
    notification_received: AsyncGenerator[Notification, None] = strawberry.subscription(
        resolver=_notification_received, description=f"Everything the viewer is told, {_RESUMED}."
    )
