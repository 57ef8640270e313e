"""The owner's own side: who waits, whom one blocks or mutes, how many one may follow, and how others see one."""

import dataclasses
from typing import Final

from domain.errors import InvalidInput
from domain.ids import NodeType
from domain.pages import PageRequest
from domain.policies import (
    PRESETS,
    Audience,
    AudienceSetting,
    FieldGroup,
    PrivacyPolicy,
    PrivacyPreset,
    preset_of,
)
from domain.relationships import FollowOrder, FollowState, ListKind, Relationship
from privacy.policy import Visible, see
from privacy.policy import explain as explain_decision
from privacy.rules import Decision, Question
from resolvers.context import NOBODY, Context
from resolvers.lists import FollowerPage, fetch_pages
from resolvers.people import fetch_counts
from resolvers.visibility import fetch_known, meet_one, meet_own_blocks

SOMEBODY = -1
"""An id that no one has, for a viewer who is signed in and has no relation to the owner."""

BLOCKED_BY_YOU = "blocked_by_you"

_STANDINGS = {
    Audience.MUTUALS: Relationship(follows=FollowState.ACTIVE, followed_by=FollowState.ACTIVE),
    Audience.FOLLOWERS: Relationship(follows=FollowState.ACTIVE),
}


@dataclasses.dataclass(frozen=True, slots=True)
class FollowLimit:
    """How many people one may follow, and how many places are left."""

    limit: int
    used: int

    @property
    def remaining(self) -> int:
        """Give the places left; never less than none."""
        return max(0, self.limit - self.used)


@dataclasses.dataclass(frozen=True, slots=True)
class PresetTerms:
    """What a preset sets."""

    preset: PrivacyPreset
    is_private: bool
    audiences: tuple[AudienceSetting, ...]


PRESET_TERMS: Final = tuple(PresetTerms(preset, its.is_private, its.settings) for preset, its in PRESETS.items())


@dataclasses.dataclass(frozen=True, slots=True)
class PolicyView:
    """A policy as its owner reads it: people as opaque ids; `preset` is None where it equals none."""

    version: int
    is_private: bool
    preset: PrivacyPreset | None
    audiences: tuple[AudienceSetting, ...]
    allow: tuple[str, ...]
    deny: tuple[str, ...]
    presets: tuple[PresetTerms, ...] = PRESET_TERMS


async def fetch_own_page(context: Context, owner: Visible, kind: ListKind, request: PageRequest) -> FollowerPage:
    """Give a page of one of the lists that only their owner sees, newest first."""
    [page] = await fetch_pages(context, kind, [owner], request, FollowOrder.NEWEST_FIRST)
    return page


async def fetch_follow_limit(context: Context, owner: Visible) -> FollowLimit:
    """Give the owner's limit as the next follow will meet it."""
    await fetch_counts(context, [owner])
    counts = await context.loaders.counts.load(owner.user.id)
    return FollowLimit(limit=context.backend.limits.allowance(counts), used=counts.following)


async def read_own_policy(context: Context, owner: Visible) -> PolicyView:
    """Give the owner's policy; of the lists those whom the owner may meet, or blocks."""
    policy: PrivacyPolicy = owner.user.policy
    allow, deny = await _known(context, policy.allow), await _known(context, policy.deny)
    return PolicyView(owner.user.version, policy.is_private, preset_of(policy), policy.settings, allow, deny)


async def _known(context: Context, user_ids: frozenset[int]) -> tuple[str, ...]:
    known = await fetch_known(context, sorted(user_ids))
    return tuple(context.ids.encode(NodeType.USER, user_id) for user_id in known)


async def view_as(
    context: Context, owner: Visible, *, audience: Audience | None, opaque_id: str | None
) -> Visible | None:
    """Show the owner the own profile as an audience or a person meets it, through the real gate.

    Raises:
        InvalidInput: not exactly one of the two is given.
    """
    if (audience is None) == (opaque_id is None):
        raise InvalidInput("Give exactly one of `audience` and `userId`.")
    if audience is not None:
        viewer_id, relationship = _standing(owner, audience)
        return see(viewer_id, owner.user, relationship, context.now)
    other = await meet_one(context, context.ids.decode(NodeType.USER, opaque_id or "") or NOBODY)
    return see(other.user.id, owner.user, other.relationship.mirrored(), context.now) if other is not None else None


def _standing(owner: Visible, audience: Audience) -> tuple[int | None, Relationship]:
    if audience is Audience.ONLY_ME:
        return owner.user.id, Relationship()
    return (None if audience is Audience.PUBLIC else SOMEBODY), _STANDINGS.get(audience, Relationship())


async def explain(context: Context, owner: Visible, *, opaque_id: str, group: FieldGroup) -> Decision | None:
    """Name the rule by which a person does or does not see a group of the owner's fields.

    Whoever blocks the owner is as if not there: null, as for an unknown id. Whom the owner blocks is told as the
    owner's own doing, and whether that person blocks back makes no difference.
    """
    user_id = context.ids.decode(NodeType.USER, opaque_id) or NOBODY
    other = await meet_one(context, user_id)
    [blocked] = await meet_own_blocks(context, [user_id])
    if blocked is not None:
        return Decision(allowed=False, rule=BLOCKED_BY_YOU)
    if other is None:
        return None
    return explain_decision(Question(other.user.id, owner.user, other.relationship.mirrored(), context.now), group)
