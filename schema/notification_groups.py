"""What the viewer was told, in groups, as Relay connections."""

from collections.abc import Sequence

import strawberry

from domain.notifications import NotificationKind as Kind
from domain.pages import page_request
from privacy.policy import Visible
from resolvers import notification_groups
from resolvers.context import Context
from resolvers.notification_groups import SHOWN_ACTORS, Choice, MemberPage, NotificationPage, ShownGroup
from schema.costs import ListSize
from schema.enums import NotificationKind
from schema.fields import attribute, level
from schema.lists import PageInfo
from schema.notifications import Notification
from schema.users import User


@strawberry.type(description="A page of a group's notifications, the newest first.")
class NotificationMemberConnection:
    """Source: `resolvers.notification_groups.MemberPage`."""

    nodes: list[Notification]
    page_info: PageInfo


async def members(
    context: Context,
    groups: Sequence[ShownGroup],
    *,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
) -> list[MemberPage]:
    """The group's notifications one by one. Give one of `first` and `last`, 1 to 100."""
    return await notification_groups.fetch_member_pages(context, groups, page_request(first, after, last, before))


@strawberry.type(
    description="What came of one kind in a day (UTC), or since the viewer last read everything: one or many."
)
class NotificationGroup:
    """Source: `resolvers.notification_groups.ShownGroup`."""

    id: strawberry.ID
    kind: NotificationKind = attribute("key.kind")
    actors: list[User] = attribute(
        "actors", description="The latest three whom the viewer may meet.", size=ListSize(assumed_size=SHOWN_ACTORS)
    )
    count: int = attribute("count", description="Exact up to 1,000, above that rounded down to two digits.")
    unread_count: int = attribute("unread_count", description="Exact up to 1,000, above that rounded down.")
    notifications: NotificationMemberConnection = level(
        members, size=ListSize(slicing_arguments=["first", "last"], sized_fields=["nodes"])
    )


@strawberry.type(description="A group, and its latest notification.")
class NotificationEdge:
    """Source: `resolvers.notification_groups.NotificationEdge`."""

    cursor: str
    node: Notification
    group: NotificationGroup


@strawberry.type(description="A page of what the viewer was told: the latest notification of each group.")
class NotificationConnection:
    """Source: `resolvers.notification_groups.NotificationPage`."""

    edges: list[NotificationEdge]
    nodes: list[Notification]
    page_info: PageInfo


async def notifications(
    context: Context,
    owners: Sequence[Visible],
    *,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
    kinds: list[NotificationKind] | None = None,
    unread_only: bool = False,
    filtered: bool = False,
) -> list[NotificationPage]:
    """What the viewer was told, the newest first; `filtered` shows what the preferences keep apart instead."""
    request = page_request(first, after, last, before)
    choice = Choice(sorted(set(Kind if kinds is None else kinds)), unread_only, filtered)
    return [await notification_groups.fetch_page(context, owner, choice, request) for owner in owners]


async def unread_notifications_count(context: Context, owners: Sequence[Visible]) -> list[int]:
    """How much of it is unread; exact up to 1,000, above that rounded down to two digits."""
    return [await notification_groups.fetch_unread_count(context, owner.user.id) for owner in owners]
