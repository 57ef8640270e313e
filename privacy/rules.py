"""The rules, in order. Each answers Allow, Deny or Skip; the end of a list denies."""

import dataclasses
import datetime as dt
import enum
from collections.abc import Callable, Sequence
from typing import Final

from domain.policies import Audience, FieldGroup
from domain.relationships import FollowState, Relationship
from domain.users import User, UserState


class Verdict(enum.Enum):
    """What one rule says."""

    ALLOW = "allow"
    DENY = "deny"
    SKIP = "skip"


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """Everything a decision rests on: `viewer_id` is None for the anonymous, `relationship` is the viewer's side."""

    viewer_id: int | None
    target: User
    relationship: Relationship
    now: dt.datetime


Rule = Callable[[Question], Verdict]
GroupRule = Callable[[Question, FieldGroup], Verdict]


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """The answer and the rule that gave it; `failed` where that rule could not be asked."""

    allowed: bool
    rule: str
    failed: bool = False


def deny_if_gone(question: Question) -> Verdict:
    """Nobody meets a deleted or suspended person, not even that person."""
    return Verdict.SKIP if question.target.state is UserState.ACTIVE else Verdict.DENY


def deny_if_either_blocked(question: Question) -> Verdict:
    """A block hides both from each other."""
    relationship, now = question.relationship, question.now
    blocked = relationship.blocked_by_at(now) or relationship.blocks_at(now)
    return Verdict.DENY if blocked else Verdict.SKIP


def allow_self(question: Question) -> Verdict:
    """People see themselves."""
    return Verdict.ALLOW if question.viewer_id == question.target.id else Verdict.SKIP


def allow_own_block(question: Question) -> Verdict:
    """Whoever blocks can manage the block; whether the other blocks back makes no difference to what is shown."""
    return Verdict.ALLOW if question.relationship.blocks_at(question.now) else Verdict.SKIP


def deny_own_block(question: Question, _group: FieldGroup) -> Verdict:
    """Of a person one blocks there is the stub and nothing else."""
    return Verdict.DENY if question.relationship.blocks_at(question.now) else Verdict.SKIP


def allow_everybody(_question: Question) -> Verdict:
    """Whom nothing hides can be met, if only as a stub."""
    return Verdict.ALLOW


def allow_own_group(question: Question, _group: FieldGroup) -> Verdict:
    """People see everything of their own."""
    return allow_self(question)


def deny_listed(question: Question, _group: FieldGroup) -> Verdict:
    """Whoever is on the deny list sees no group."""
    return Verdict.DENY if question.viewer_id in question.target.policy.deny else Verdict.SKIP


def allow_listed(question: Question, group: FieldGroup) -> Verdict:
    """Whoever is on the allow list sees every group that has any audience at all."""
    policy = question.target.policy
    if policy.audience_of(group) is Audience.ONLY_ME:
        return Verdict.SKIP
    return Verdict.ALLOW if question.viewer_id in policy.allow else Verdict.SKIP


def deny_strangers_of_private(question: Question, group: FieldGroup) -> Verdict:
    """A private account shows strangers its stub, and its counts if their audience allows."""
    if not question.target.policy.is_private or group is FieldGroup.COUNTS:
        return Verdict.SKIP
    return Verdict.SKIP if question.relationship.follows is FollowState.ACTIVE else Verdict.DENY


def allow_audience(question: Question, group: FieldGroup) -> Verdict:
    """The audience that the person chose for the group."""
    audience = question.target.policy.audience_of(group)
    return Verdict.ALLOW if _AUDIENCE_TESTS[audience](question) else Verdict.SKIP


_AUDIENCE_TESTS: Final[dict[Audience, Callable[[Question], bool]]] = {
    Audience.ONLY_ME: lambda _question: False,
    Audience.MUTUALS: lambda question: question.relationship.is_mutual,
    Audience.FOLLOWERS: lambda question: question.relationship.follows is FollowState.ACTIVE,
    Audience.SIGNED_IN: lambda question: question.viewer_id is not None,
    Audience.PUBLIC: lambda _question: True,
}

TO_MEET: Final[Sequence[Rule]] = (deny_if_gone, deny_if_either_blocked, allow_self, allow_everybody)
TO_MANAGE_BLOCK: Final[Sequence[Rule]] = (deny_if_gone, allow_own_block)
TO_SEE_GROUP: Final[Sequence[GroupRule]] = (
    allow_own_group,
    deny_own_block,
    deny_listed,
    allow_listed,
    deny_strangers_of_private,
    allow_audience,
)
