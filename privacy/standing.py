"""What a viewer is to a person, as far as any rule asks: a few bits, so that equal cases are decided once."""

import datetime as dt
from typing import Final

from domain.relationships import STRANGERS, FollowState, Relationship
from domain.users import User, UserState

SIGNED_IN: Final = 1
SELF: Final = 2
FOLLOWS: Final = 4
FOLLOWED: Final = 8
BLOCKS: Final = 16
BLOCKED: Final = 32
LISTED_TO_ALLOW: Final = 64
LISTED_TO_DENY: Final = 128
GONE: Final = 256
WIDTH: Final = 9

# Looked up once: to read a member off its class costs as much as all else that is asked of one person.
_ACTIVE: Final = UserState.ACTIVE
_IN_FORCE: Final = FollowState.ACTIVE


def standing_of(viewer_id: int | None, target: User, relationship: Relationship, now: dt.datetime) -> int:
    """Pack the answers to everything that a rule asks of the two, but for the terms of the target's policy."""
    bits = 0 if viewer_id is None else SIGNED_IN | SELF if viewer_id == target.id else SIGNED_IN
    if relationship is not STRANGERS:
        bits |= _between(relationship, now)
    policy = target.policy
    if policy.allow and viewer_id in policy.allow:
        bits |= LISTED_TO_ALLOW
    if policy.deny and viewer_id in policy.deny:
        bits |= LISTED_TO_DENY
    return bits if target.state is _ACTIVE else bits | GONE


def standing_of_stranger(viewer_id: int | None) -> int:
    """Pack the same of somebody active, who is neither the viewer nor anything to the viewer, and lists nobody."""
    return 0 if viewer_id is None else SIGNED_IN


def _between(relationship: Relationship, now: dt.datetime) -> int:
    return (
        (FOLLOWS if relationship.follows is _IN_FORCE else 0)
        | (FOLLOWED if relationship.followed_by is _IN_FORCE else 0)
        | (BLOCKS if relationship.blocks_at(now) else 0)
        | (BLOCKED if relationship.blocked_by_at(now) else 0)
    )
