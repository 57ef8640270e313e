"""Decisions, and the proof that one was made: a person reaches the API only as `Visible`."""

import datetime as dt
import logging
from collections.abc import Callable, Sequence
from typing import Final, ParamSpec

import msgspec

from domain.policies import FieldGroup
from domain.relationships import STRANGERS, FollowState, Relationship
from domain.users import User, UserState
from privacy.rules import (
    TO_MANAGE_BLOCK,
    TO_MEET,
    TO_SEE_GROUP,
    Decision,
    Question,
    Rule,
    Verdict,
)
from privacy.standing import WIDTH, standing_of, standing_of_stranger

P = ParamSpec("P")
_LOG: Final = logging.getLogger(__name__)

GROUP_BITS: Final = {group: 1 << place for place, group in enumerate(FieldGroup)}
"""The bit of each group in `Visible.shown`."""


_MEET: Final = 1 << len(FieldGroup)
_MAX_REMEMBERED: Final = 50_000
_REMEMBERED: Final[dict[int, int]] = {}
"""What the rules said, by the terms of a policy and how the viewer stands to its owner: nothing of any person."""


class Visible(msgspec.Struct, frozen=True, gc=False):
    """A person whom a viewer may meet, with the facts that every further decision about the two rests on.

    Only this module makes one; a test holds everybody else to that. `shown` has the bits of all groups of the person's
    fields that the viewer may see.
    """

    user: User
    relationship: Relationship
    viewer_id: int | None
    now: dt.datetime
    shown: int

    @property
    def is_viewer(self) -> bool:
        """Tell whether this is the viewer's own person."""
        return self.viewer_id == self.user.id

    @property
    def viewer_can_follow(self) -> bool:
        """Tell whether following would do something: signed in, somebody else, not followed or asked yet."""
        stranger = self.relationship.follows is FollowState.NONE and not self.viewer_has_blocked
        return self.viewer_id is not None and not self.is_viewer and stranger

    @property
    def viewer_has_blocked(self) -> bool:
        """Tell whether the viewer's own block is in force; whether the person blocks back never shows."""
        return self.relationship.blocks_at(self.now)

    @property
    def viewer_has_muted(self) -> bool:
        """Tell whether the viewer's own mute is in force."""
        return self.relationship.mutes_at(self.now)

    def allows(self, group: FieldGroup) -> bool:
        """Tell whether the viewer may see a group of this person's fields."""
        return bool(self.shown & GROUP_BITS[group])


def see(viewer_id: int | None, target: User, relationship: Relationship, now: dt.datetime) -> Visible | None:
    """Decide whether the viewer may meet the target; None is all that anybody learns of a denial."""
    [seen] = see_all(viewer_id, [target], [relationship], now)
    return seen


def see_all(
    viewer_id: int | None, targets: Sequence[User | None], relationships: Sequence[Relationship], now: dt.datetime
) -> list[Visible | None]:
    """Decide about many people, and what the viewer is to each of them; None stands for nobody."""
    seen: list[Visible | None] = []
    remembered, append = _REMEMBERED.get, seen.append
    strangers, active, stranger = STRANGERS, UserState.ACTIVE, standing_of_stranger(viewer_id)
    for target, relationship in zip(targets, relationships, strict=True):
        if target is None:
            append(None)
            continue
        policy, standing = target.policy, stranger
        # Most people on a page are strangers, of whom nothing else has to be asked.
        if (
            relationship is not strangers
            or policy.allow
            or policy.deny
            or target.id == viewer_id
            or target.state is not active
        ):
            standing = standing_of(viewer_id, target, relationship, now)
        case = policy.terms << WIDTH | standing
        bits = remembered(case)
        if bits is None:
            bits = _ask_all(case, Question(viewer_id, target, relationship, now))
        append(Visible(target, relationship, viewer_id, now, bits ^ _MEET) if bits & _MEET else None)
    return seen


def see_own_block(viewer_id: int, target: User, relationship: Relationship, now: dt.datetime) -> Visible | None:
    """Show a person to whoever blocks that person, as the stub that managing the block needs."""
    question = Question(viewer_id, target, relationship, now)
    if not decide(question, TO_MANAGE_BLOCK).allowed:
        return None
    bits = _ask_all(target.policy.terms << WIDTH | standing_of(viewer_id, target, relationship, now), question)
    return Visible(target, relationship, viewer_id, now, bits & ~_MEET)


def _ask_all(case: int, question: Question) -> int:
    """Give the bits of what shows, and of meeting at all: by the rules, which are asked once for equal cases."""
    decisions = {_MEET: decide(question, TO_MEET)}
    decisions.update((bit, decide_group(question, group)) for group, bit in GROUP_BITS.items())
    bits = sum(bit for bit, decision in decisions.items() if decision.allowed)
    if not any(decision.failed for decision in decisions.values()):
        if len(_REMEMBERED) >= _MAX_REMEMBERED:
            _REMEMBERED.clear()
        _REMEMBERED[case] = bits
    return bits


def explain(question: Question, group: FieldGroup) -> Decision:
    """Name the rule by which a group of a person's fields does or does not show to somebody."""
    met = decide(question, TO_MEET)
    return decide_group(question, group) if met.allowed else met


def decide(question: Question, rules: Sequence[Rule]) -> Decision:
    """Ask the rules in order; the first that does not skip decides, and the end of the list denies."""
    return _first(rules, question)


def decide_group(question: Question, group: FieldGroup) -> Decision:
    """Decide whether a field group shows to a viewer who may already meet the person."""
    return _first(TO_SEE_GROUP, question, group)


def _first(rules: Sequence[Callable[P, Verdict]], *args: P.args, **kwargs: P.kwargs) -> Decision:
    for rule in rules:
        try:
            verdict = rule(*args, **kwargs)
        except Exception:  # noqa: BLE001 - a rule that fails denies, whatever the reason
            _LOG.exception("privacy rule %s failed and denies", rule.__name__)
            return Decision(allowed=False, rule=rule.__name__, failed=True)
        if verdict is not Verdict.SKIP:
            return Decision(allowed=verdict is Verdict.ALLOW, rule=rule.__name__)
    return Decision(allowed=False, rule="end_of_rules")
