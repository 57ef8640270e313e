"""One target of a setting, and around it everything that a viewer can be to somebody."""

import dataclasses
import datetime as dt
import secrets
from collections.abc import Mapping
from typing import Final

import msgspec

from domain.events import EventType
from domain.ids import NodeType
from domain.personal import PersonalDetails
from domain.policies import DEFAULT_AUDIENCES, Audience, FieldGroup, PrivacyPolicy
from domain.transitions import Transition, block, follow
from domain.users import ProfileLink
from storage.mutes import Mute, change_mute
from storage.pairs import change_pair
from storage.personal import change_details
from storage.users import NewUser, change_user, create_user
from tests.proof.leaks.model import VIEWERS, Setting
from tests.proof.leaks.service import Asker, Service, patiently

_FOLLOW: Final = follow(target_is_private=False)
_ACTS: Final[Mapping[str, tuple[tuple[str, str, Transition], ...]]] = {
    "mutual": (("viewer", "target", _FOLLOW), ("target", "viewer", _FOLLOW)),
    "follower": (("viewer", "target", _FOLLOW),),
    "requested": (("viewer", "target", follow(target_is_private=True)),),
    "followed": (("target", "viewer", _FOLLOW),),
    "blocked": (("target", "viewer", block(until=None)),),
    "blocking": (("viewer", "target", block(until=None)),),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """Somebody with an id and a name."""

    id: int
    name: str
    opaque_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class Viewers:
    """One person for each kind of viewer but the target itself and the anonymous; they last for many targets."""

    service: Service
    members: Mapping[str, Member]
    third: Member

    def asker(self, viewer: str, target: Member) -> Asker:
        """Give a viewer of the target as a client."""
        if viewer == "anonymous":
            return self.service.asker(None)
        return self.service.asker(target.opaque_id if viewer == "self" else self.members[viewer].opaque_id)


async def make_member(service: Service, name: str, number: int, **details: object) -> Member:
    """Make somebody in one of the cells."""
    username = f"{name}.{secrets.token_hex(5)}"
    new = NewUser(username, **details)  # type: ignore[arg-type] # whoever calls names real fields
    cell = number % len(service.database.shards.cells)
    user_id = await create_user(service.database, new, cell=cell, now=dt.datetime.now(dt.UTC))
    return Member(user_id, username, service.database.ids.encode(NodeType.USER, user_id))


async def make_viewers(service: Service) -> Viewers:
    """Make the viewers and a third person, whom all of them know."""
    kinds = [kind for kind in VIEWERS if kind not in ("self", "anonymous")]
    members = {kind: await make_member(service, kind, number) for number, kind in enumerate(kinds)}
    third = await make_member(service, "third", 0)
    return Viewers(service, members, third)


_DETAILS: Final = PersonalDetails("+4930123456", dt.date(1990, 2, 28), "target@example.org")


async def make_target(viewers: Viewers, setting: Setting, number: int, **details: object) -> Member:
    """Make a target: followed by and following the third person, and in its relation to each viewer."""
    service, members = viewers.service, viewers.members
    texts = {"bio": "bio", "pronouns": "they", "location": "here", "links": (ProfileLink("a", "https://a.example"),)}
    target = await make_member(service, "target", number, **{**texts, **details})
    await change_user(
        service.database,
        target.id,
        lambda user: msgspec.structs.replace(user, policy=policy_of(setting, members)),
        event=EventType.PRIVACY_UPDATED,
        beside=lambda connection: change_details(
            connection, service.parts.backend.vault, target.id, lambda _before: _DETAILS
        ),
    )
    await _pair(service, target, viewers.third, _FOLLOW)
    await _pair(service, viewers.third, target, _FOLLOW)
    for kind, acts in _ACTS.items():
        for actor, _, transition in acts:
            one, other = (members[kind], target) if actor == "viewer" else (target, members[kind])
            await _pair(service, one, other, transition)
    for member in members.values():
        await change_mute(service.database, member.id, target.id, Mute(None))
    return target


def policy_of(setting: Setting, members: Mapping[str, Member]) -> PrivacyPolicy:
    """Write a setting as the policy of the service."""
    audiences = {FieldGroup(group): Audience(audience) for group, audience in setting.audiences.items()}
    return PrivacyPolicy(
        is_private=setting.is_private,
        audiences={**DEFAULT_AUDIENCES, **audiences},
        allow=frozenset({members["allowed"].id}),
        deny=frozenset({members["denied"].id}),
    )


async def _pair(service: Service, actor: Member, other: Member, transition: Transition) -> None:
    now = dt.datetime.now(dt.UTC)
    await patiently(lambda: change_pair(service.database, actor.id, other.id, transition, now))
