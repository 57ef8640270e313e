"""What a person is told, as clients see it."""

import datetime as dt
from typing import TYPE_CHECKING, Any

import strawberry

from schema.enums import NotificationKind
from schema.fields import attribute
from schema.users import User

if TYPE_CHECKING:
    from resolvers.delivery import Delivered


@strawberry.interface(description="Something that a person is told; `cursor` resumes the stream after it.")
class Notification:
    """Source: `resolvers.delivery.Delivered`."""

    id: strawberry.ID
    cursor: str
    kind: NotificationKind = attribute("notification.kind")
    actor: User | None
    created_at: dt.datetime = attribute("notification.created_at")
    read_at: dt.datetime | None = attribute("notification.read_at")


@strawberry.type(description="Somebody began to follow the viewer.")
class FollowNotification(Notification):
    """Source: `resolvers.delivery.Delivered`."""

    @classmethod
    def is_type_of(cls, source: "Delivered", _info: Any) -> bool:
        """Tell whether a notification is of this kind."""
        return source.notification.kind is NotificationKind.FOLLOW


@strawberry.type(description="Somebody asks to follow the viewer.")
class FollowRequestNotification(Notification):
    """Source: `resolvers.delivery.Delivered`."""

    @classmethod
    def is_type_of(cls, source: "Delivered", _info: Any) -> bool:
        """Tell whether a notification is of this kind."""
        return source.notification.kind is NotificationKind.FOLLOW_REQUEST


@strawberry.type(description="Somebody lets the viewer follow, who had asked to.")
class FollowRequestAcceptedNotification(Notification):
    """Source: `resolvers.delivery.Delivered`."""

    @classmethod
    def is_type_of(cls, source: "Delivered", _info: Any) -> bool:
        """Tell whether a notification is of this kind."""
        return source.notification.kind is NotificationKind.FOLLOW_ACCEPTED
