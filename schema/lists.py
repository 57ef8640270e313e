"""Lists of people as Relay connections."""

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import strawberry

from domain.pages import page_request
from domain.relationships import FollowOrder, ListKind
from privacy.policy import Visible
from resolvers import lists
from resolvers.context import Context
from resolvers.lists import FollowerPage
from schema.costs import Cost
from schema.fields import column, level

if TYPE_CHECKING:
    from schema.users import User

Person = Annotated["User", strawberry.lazy("schema.users")]


@strawberry.type(description="Where a page stands in its list.")
class PageInfo:
    """Source: `domain.pages.PageInfo`."""

    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


def cursor(_context: Context, edges: Sequence[lists.FollowerEdge]) -> list[str]:
    """Where this person stands in the list: what `after` and `before` take."""
    return [edge.places.cursors[edge.index] for edge in edges]


@strawberry.type(description="A person in a list.")
class FollowerEdge:
    """Source: `resolvers.lists.FollowerEdge`."""

    cursor: str = column("cursor", cursor)
    node: Person
    followed_at: dt.datetime


async def total_count(context: Context, pages: Sequence[FollowerPage]) -> list[int | None]:
    """How many people this viewer could page through; null where the person hides the count."""
    return await lists.fetch_total_counts(context, pages)


@strawberry.type(description="A page of people.")
class FollowerConnection:
    """Source: `resolvers.lists.FollowerPage`."""

    edges: list[FollowerEdge]
    nodes: list[Person]
    page_info: PageInfo
    total_count: int | None = level(total_count, cost=Cost(weight=1))


async def followers(
    context: Context,
    owners: Sequence[Visible],
    *,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
    order_by: FollowOrder | None = None,
) -> list[FollowerPage]:
    """Who follows this person; null where the person hides the list. Give one of `first` and `last`, 1 to 100."""
    request = page_request(first, after, last, before)
    return await lists.fetch_pages(context, ListKind.FOLLOWERS, owners, request, order_by or FollowOrder.NEWEST_FIRST)


async def following(
    context: Context,
    owners: Sequence[Visible],
    *,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
    order_by: FollowOrder | None = None,
) -> list[FollowerPage]:
    """Whom this person follows; null where the person hides the list. Give one of `first` and `last`, 1 to 100."""
    request = page_request(first, after, last, before)
    return await lists.fetch_pages(context, ListKind.FOLLOWING, owners, request, order_by or FollowOrder.NEWEST_FIRST)


async def mutual_followers(
    context: Context,
    owners: Sequence[Visible],
    *,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
    order_by: FollowOrder | None = None,
) -> list[FollowerPage]:
    """Whom of this person's followers the viewer follows; null where the person hides the list."""
    request = page_request(first, after, last, before)
    return await lists.fetch_pages(context, ListKind.MUTUAL, owners, request, order_by or FollowOrder.NEWEST_FIRST)
