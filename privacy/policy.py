"""Decisions, and the proof that one was made: a person reaches the API only as `Visible`."""

import dataclasses
import datetime as dt
import logging
from collections.abc import Callable, Sequence
from typing import Final, ParamSpec

from domain.policies import FieldGroup
from domain.relationships import FollowState, Relationship
from domain.users import User
from privacy.rules import (
    TO_MANAGE_BLOCK,
    TO_MEET,
    TO_SEE_GROUP,
    Decision,
    Question,
    Rule,
    Verdict,
)

P = ParamSpec("P")
_LOG: Final = logging.getLogger(__name__)

GROUP_BITS: Final = {group: 1 << place for place, group in enumerate(FieldGroup)}
"""The bit of each group in `Visible.shown`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Visible:
    """A person whom a viewer may meet, with the facts that every further decision about the two rests on.

    Only this module makes one; a test holds everybody else to that.
    """

    user: User
    relationship: Relationship
    viewer_id: int | None
    now: dt.datetime

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
        return decide_group(self._question(), group).allowed

    @property
    def shown(self) -> int:
        """Give the bits of all groups of this person's fields that the viewer may see."""
        return sum(bit for group, bit in GROUP_BITS.items() if self.allows(group))

    def _question(self) -> Question:
        return Question(viewer_id=self.viewer_id, target=self.user, relationship=self.relationship, now=self.now)


def see(viewer_id: int | None, target: User, relationship: Relationship, now: dt.datetime) -> Visible | None:
    """Decide whether the viewer may meet the target; None is all that anybody learns of a denial."""
    return _visible(Question(viewer_id, target, relationship, now), TO_MEET)


def see_own_block(viewer_id: int, target: User, relationship: Relationship, now: dt.datetime) -> Visible | None:
    """Show a person to whoever blocks that person, as the stub that managing the block needs."""
    return _visible(Question(viewer_id, target, relationship, now), TO_MANAGE_BLOCK)


def explain(question: Question, group: FieldGroup) -> Decision:
    """Name the rule by which a group of a person's fields does or does not show to somebody."""
    met = decide(question, TO_MEET)
    return decide_group(question, group) if met.allowed else met


def _visible(question: Question, rules: Sequence[Rule]) -> Visible | None:
    if not decide(question, rules).allowed:
        return None
    return Visible(question.target, question.relationship, question.viewer_id, question.now)


def decide(question: Question, rules: Sequence[Rule]) -> Decision:
    """Ask the rules in order; the first that does not skip decides, and the end of the list denies."""
    for rule in rules:
        verdict = _ask(rule, question)
        if verdict is not Verdict.SKIP:
            return Decision(allowed=verdict is Verdict.ALLOW, rule=rule.__name__)
    return Decision(allowed=False, rule="end_of_rules")


def decide_group(question: Question, group: FieldGroup) -> Decision:
    """Decide whether a field group shows to a viewer who may already meet the person."""
    for rule in TO_SEE_GROUP:
        verdict = _ask(rule, question, group)
        if verdict is not Verdict.SKIP:
            return Decision(allowed=verdict is Verdict.ALLOW, rule=rule.__name__)
    return Decision(allowed=False, rule="end_of_rules")


def _ask(rule: Callable[P, Verdict], *args: P.args, **kwargs: P.kwargs) -> Verdict:
    try:
        return rule(*args, **kwargs)
    except Exception:  # noqa: BLE001 - a rule that fails denies, whatever the reason
        _LOG.exception("privacy rule %s failed and denies", rule.__name__)
        return Verdict.DENY
