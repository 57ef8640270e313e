"""The part of our schema that is measured, as Strawberry's documentation writes one: loaders, extensions, async fields.

It reads people through the gate and `resolvers` as our own schema does.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final

import strawberry
from strawberry.dataloader import DataLoader
from strawberry.extensions import FieldExtension
from strawberry.types import Info

from domain.pages import PageRequest
from domain.policies import FieldGroup
from domain.relationships import FollowOrder, FollowState, ListKind
from domain.users import Counts
from privacy.policy import Visible
from resolvers import lists, people
from resolvers.context import Context
from resolvers.lists import FollowerEdge as EdgeSource
from resolvers.lists import FollowerPage
from resolvers.visibility import meet


class Facts:
    """What resolvers of one request ask: one loader a kind of fact."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.people: DataLoader[int, Visible | None] = DataLoader(self._load_people)
        self.counts: DataLoader[Visible, Counts | None] = DataLoader(
            self._load_counts, cache_key_fn=lambda person: person.user.id
        )

    async def _load_people(self, user_ids: list[int]) -> Sequence[Visible | None]:
        return await meet(self.context, user_ids)

    async def _load_counts(self, found: list[Visible]) -> Sequence[Counts | None]:
        return await people.fetch_counts(self.context, found)

    async def by_name(self, username: str) -> Visible | None:
        """Give a person by name."""
        return await people.fetch_one(self.context, username=username, opaque_id=None)

    async def viewer(self) -> Visible | None:
        """Give the viewer."""
        return await self.people.load(self.context.viewer_id) if self.context.viewer_id is not None else None

    async def followers(self, owner: Visible, first: int) -> FollowerPage:
        """Give a page of followers."""
        request = PageRequest(size=first, cursor=None, backward=False)
        order = FollowOrder.NEWEST_FIRST
        [page] = await lists.fetch_pages(self.context, ListKind.FOLLOWERS, [owner], request, order)
        return page


class Shown(FieldExtension):
    """Asks for each field whether it shows, as Strawberry's documentation writes an extension."""

    def __init__(self, group: FieldGroup) -> None:
        self._group = group

    async def resolve_async(self, next_: Any, source: "User", info: Info[Facts, None], **arguments: Any) -> Any:
        """Give the field, or null."""
        return await next_(source, info, **arguments) if source.person.allows(self._group) else None


@strawberry.type
class PageInfo:
    has_next_page: bool
    end_cursor: str | None


@strawberry.type
class FollowerEdge:
    cursor: str
    node: "User"

    @classmethod
    def of(cls, edge: EdgeSource) -> "FollowerEdge":
        return cls(cursor=edge.cursor, node=User(person=edge.node))


@strawberry.type
class FollowerConnection:
    edges: list[FollowerEdge]
    page_info: PageInfo


@strawberry.type
class User:
    person: strawberry.Private[Visible]

    @strawberry.field
    async def id(self) -> strawberry.ID:
        return strawberry.ID(self.person.user.opaque_id)

    @strawberry.field
    async def username(self) -> str:
        return self.person.user.username

    @strawberry.field
    async def display_name(self) -> str | None:
        return self.person.user.display_name

    @strawberry.field
    async def avatar_url(self) -> str | None:
        return self.person.user.avatar_url

    @strawberry.field
    async def viewer_is_following(self) -> bool:
        return self.person.relationship.follows is FollowState.ACTIVE

    @strawberry.field(extensions=[Shown(FieldGroup.BIO)])
    async def bio(self) -> str | None:
        return self.person.user.bio

    @strawberry.field(extensions=[Shown(FieldGroup.PROFILE)])
    async def pronouns(self) -> str | None:
        return self.person.user.pronouns

    @strawberry.field(extensions=[Shown(FieldGroup.LOCATION)])
    async def location(self) -> str | None:
        return self.person.user.location

    @strawberry.field(extensions=[Shown(FieldGroup.PROFILE)])
    async def created_at(self) -> dt.datetime | None:
        return self.person.user.created_at

    @strawberry.field(extensions=[Shown(FieldGroup.COUNTS)])
    async def followers_count(self, info: Info[Facts, None]) -> int | None:
        counts = await info.context.counts.load(self.person)
        return counts.followers if counts is not None else None

    @strawberry.field(extensions=[Shown(FieldGroup.COUNTS)])
    async def following_count(self, info: Info[Facts, None]) -> int | None:
        counts = await info.context.counts.load(self.person)
        return counts.following if counts is not None else None

    @strawberry.field(extensions=[Shown(FieldGroup.FOLLOWERS_LIST)])
    async def followers(self, info: Info[Facts, None], first: int) -> FollowerConnection | None:
        page = await info.context.followers(self.person, first)
        info_of = PageInfo(has_next_page=page.page_info.has_next_page, end_cursor=page.page_info.end_cursor)
        return FollowerConnection(edges=[FollowerEdge.of(edge) for edge in page.edges], page_info=info_of)


@strawberry.type
class Query:
    @strawberry.field
    async def me(self, info: Info[Facts, None]) -> User | None:
        person = await info.context.viewer()
        return User(person=person) if person is not None else None

    @strawberry.field
    async def user(self, info: Info[Facts, None], username: str) -> User | None:
        person = await info.context.by_name(username)
        return User(person=person) if person is not None else None


STOCK: Final = strawberry.Schema(query=Query)
