"""People as clients see them. Every source is `Visible`: whom the gate does not show is not there."""

import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

import strawberry

from domain.policies import FieldGroup
from domain.texts import MAX_LINKS
from domain.users import Counts
from privacy.policy import Visible
from resolvers import people
from resolvers.context import Context
from schema import lists
from schema.costs import PAGE, Cost, ListSize
from schema.enums import FollowState
from schema.fields import attribute, derived, level, of_class
from schema.lists import FollowerConnection

CountsOrLater = list[int | None] | Awaitable[list[int | None]]
Connection = Annotated[FollowerConnection, strawberry.lazy("schema.lists")]


@strawberry.interface(description="Anything that can be fetched by its id alone.")
class Node:
    """Relay's Node."""

    id: strawberry.ID


@strawberry.type(description="A link on a profile.")
class ProfileLink:
    """Source: `domain.users.ProfileLink`."""

    label: str
    url: str


def followers_count(context: Context, owners: Sequence[Visible]) -> CountsOrLater:
    """How many people follow this person, as far as the viewer may know."""
    known = people.recall_counts(context, owners)
    return _followers(known) if known is not None else _later(context, owners, "User.followersCount", _followers)


def following_count(context: Context, owners: Sequence[Visible]) -> CountsOrLater:
    """How many people this person follows, as far as the viewer may know."""
    known = people.recall_counts(context, owners)
    return _following(known) if known is not None else _later(context, owners, "User.followingCount", _following)


async def _later(
    context: Context, owners: Sequence[Visible], field: str, pick: Callable[[Sequence[Counts | None]], list[int | None]]
) -> list[int | None]:
    return pick(await people.fetch_counts_if_possible(context, owners, field))


def _followers(found: Sequence[Counts | None]) -> list[int | None]:
    return [counts.followers if counts is not None else None for counts in found]


def _following(found: Sequence[Counts | None]) -> list[int | None]:
    return [counts.following if counts is not None else None for counts in found]


async def email(context: Context, owners: Sequence[Visible]) -> list[str | None]:
    """The e-mail address, as its owner has confirmed it where one signs in."""
    return [details.email for details in await people.fetch_details(context, owners, FieldGroup.EMAIL)]


async def phone(context: Context, owners: Sequence[Visible]) -> list[str | None]:
    """The phone number, as E.164 has it."""
    return [details.phone for details in await people.fetch_details(context, owners, FieldGroup.PHONE)]


async def birth_date(context: Context, owners: Sequence[Visible]) -> list[dt.date | None]:
    """The date of birth."""
    return [details.birth_date for details in await people.fetch_details(context, owners, FieldGroup.BIRTH_DATE)]


@strawberry.type(description="A person. Whoever is hidden from the viewer is null, like somebody who never existed.")
class User(Node):
    """Source: `Visible`."""

    id: strawberry.ID = attribute("user.opaque_id")
    username: str = attribute("user.username")
    display_name: str | None = attribute("user.display_name")
    avatar_url: str | None = attribute("user.avatar_url")
    is_private: bool = attribute("user.policy.is_private", description="Followers have to be accepted.")
    bio: str | None = attribute("user.bio", group=FieldGroup.BIO)
    pronouns: str | None = attribute("user.pronouns", group=FieldGroup.PROFILE)
    location: str | None = attribute("user.location", group=FieldGroup.LOCATION)
    links: list[ProfileLink] | None = attribute(
        "user.links", group=FieldGroup.LINKS, size=ListSize(assumed_size=MAX_LINKS)
    )
    email: str | None = level(email, group=FieldGroup.EMAIL, cost=Cost(weight=1))
    phone: str | None = level(phone, group=FieldGroup.PHONE, cost=Cost(weight=1))
    birth_date: dt.date | None = level(birth_date, group=FieldGroup.BIRTH_DATE, cost=Cost(weight=1))
    created_at: dt.datetime | None = attribute("user.created_at", group=FieldGroup.PROFILE)
    profile_version: int | None = derived(
        lambda person: person.user.version if person.is_viewer else None,
        description="What `expectedVersion` refers to; null for everybody but the person.",
    )
    followers_count: int | None = level(followers_count, group=FieldGroup.COUNTS, cost=Cost(weight=1))
    following_count: int | None = level(following_count, group=FieldGroup.COUNTS, cost=Cost(weight=1))
    followers: Connection | None = level(lists.followers, group=FieldGroup.FOLLOWERS_LIST, size=PAGE)
    following: Connection | None = level(lists.following, group=FieldGroup.FOLLOWING_LIST, size=PAGE)
    mutual_followers: Connection | None = level(
        lists.mutual_followers, group=FieldGroup.FOLLOWERS_LIST, size=PAGE, cost=Cost(weight=5)
    )
    is_viewer: bool = attribute("is_viewer")
    viewer_is_following: bool = attribute("relationship.follows", member=FollowState.ACTIVE)
    is_following_viewer: bool = attribute("relationship.followed_by", member=FollowState.ACTIVE)
    viewer_follow_state: FollowState = attribute("relationship.follows")
    viewer_can_follow: bool = attribute("viewer_can_follow")
    viewer_has_blocked: bool = attribute("viewer_has_blocked")
    viewer_has_muted: bool = attribute("viewer_has_muted")

    is_type_of = of_class(Visible)
