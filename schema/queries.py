"""The root of all queries."""

from collections.abc import Awaitable, Sequence

import strawberry

from domain.errors import InvalidInput
from domain.scopes import Scope
from privacy.policy import Visible
from resolvers import people, usernames
from resolvers.context import Context
from schema.costs import ListSize
from schema.fields import root
from schema.rate_limits import RateLimit, rate_limit
from schema.usernames import UsernameAvailability
from schema.users import Node, User
from schema.viewer import Viewer

PeopleOrLater = list[Visible | None] | Awaitable[list[Visible | None]]


def me(context: Context, roots: Sequence[object]) -> PeopleOrLater:
    """The signed-in person; null for an anonymous viewer."""
    known = people.recall_viewer(context)
    return known * len(roots) if known is not None else _later(people.fetch_viewer(context), roots)


def viewer(context: Context, roots: Sequence[object]) -> PeopleOrLater:
    """What only the signed-in person sees; null for an anonymous viewer."""
    known = people.recall_viewer(context)
    return known * len(roots) if known is not None else _later(people.fetch_viewer(context), roots)


def user(
    context: Context,
    roots: Sequence[object],
    *,
    username: str | None = None,
    id: strawberry.ID | None = None,
) -> PeopleOrLater:
    """One person by exactly one of name and id."""
    known = people.recall_one(context, username=username, opaque_id=id)
    if known is not None:
        return known * len(roots)
    return _later(people.fetch_one(context, username=username, opaque_id=id), roots)


async def _later(person: Awaitable[Visible | None], roots: Sequence[object]) -> list[Visible | None]:
    return [await person] * len(roots)


async def users(
    context: Context,
    roots: Sequence[object],
    *,
    ids: list[strawberry.ID] | None = None,
    usernames: list[str] | None = None,
) -> list[list[Visible | None]]:
    """Up to 100 people by exactly one of ids and names, in that order; null where hidden."""
    if (ids is None) == (usernames is None):
        raise InvalidInput("Give exactly one of `ids` and `usernames`.")
    if ids is not None:
        found = await people.fetch_by_ids(context, ids)
    else:
        found = await people.fetch_by_names(context, usernames or [])
    return [found] * len(roots)


async def node(context: Context, roots: Sequence[object], *, id: strawberry.ID) -> list[Visible | None]:
    """Anything by its id."""
    return await people.fetch_by_ids(context, [id]) * len(roots)


async def nodes(context: Context, roots: Sequence[object], *, ids: list[strawberry.ID]) -> list[list[Visible | None]]:
    """Up to 100 things by their ids, in that order; null where hidden."""
    return [await people.fetch_by_ids(context, ids)] * len(roots)


async def username_availability(
    context: Context, roots: Sequence[object], *, username: str
) -> list[usernames.Availability]:
    """Whether the viewer, or a newcomer where nobody is signed in, could have a name."""
    return [await usernames.fetch_availability(context, username)] * len(roots)


@strawberry.type
class Query:
    """What can be read."""

    me: User | None = root(Scope.READ, me)
    viewer: Viewer | None = root(Scope.READ, viewer)
    user: User | None = root(Scope.READ, user)
    users: list[User | None] = root(Scope.READ, users, size=ListSize(slicing_arguments=["ids", "usernames"]))
    node: Node | None = root(Scope.READ, node)
    nodes: list[Node | None] = root(Scope.READ, nodes, size=ListSize(slicing_arguments=["ids"]))
    username_availability: UsernameAvailability = root(Scope.READ, username_availability)
    rate_limit: RateLimit | None = root(Scope.READ, rate_limit)
