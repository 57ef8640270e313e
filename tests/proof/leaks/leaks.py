"""Leaks made on purpose, for as long as a context is open: what is meant to find leaks has to find each of them."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final
from unittest import mock

from domain.errors import UserErrorCode
from domain.ids import NodeType
from domain.pages import Position
from domain.tallies import Tally
from domain.usernames import username_key
from domain.users import Counts
from privacy.policy import Visible
from privacy.rules import TO_MEET, Question, Rule, Verdict, deny_if_either_blocked
from resolvers import follows, lists, notifications, outcomes, people, visibility
from resolvers.context import Context
from resolvers.outcomes import Outcome, refused
from storage import notification_groups
from storage import notifications as stored
from storage.lists import Span


@contextlib.contextmanager
def gate_ignores_their_block() -> Iterator[None]:
    """Have the gate look only at the viewer's own blocks."""

    def deny_if_viewer_blocks(question: Question) -> Verdict:
        return Verdict.DENY if question.relationship.blocks_at(question.now) else Verdict.SKIP

    rules = [deny_if_viewer_blocks if rule is deny_if_either_blocked else rule for rule in TO_MEET]
    with _meeting_by(rules):
        yield


@contextlib.contextmanager
def _meeting_by(rules: Sequence[Rule]) -> Iterator[None]:
    """Have the gate ask other rules, with nothing remembered of what the right ones said."""
    with mock.patch("privacy.policy.TO_MEET", rules), mock.patch("privacy.policy._REMEMBERED", {}):
        yield


@contextlib.contextmanager
def counts_keep_the_hidden() -> Iterator[None]:
    """Have counts keep whom a block hides."""

    def everybody(tally: Tally, _ids: frozenset[int]) -> Counts:
        return tally.counts

    with mock.patch("loaders.shown_counts.count_without", everybody):
        yield


@contextlib.contextmanager
def follow_tells_of_a_block() -> Iterator[None]:
    """Refuse to follow a person who blocks the viewer in other words than nobody."""
    act_on = outcomes.act_on

    async def telling(context: Context, opaque_id: str, *arguments: Any, **options: Any) -> Outcome:
        outcome = await act_on(context, opaque_id, *arguments, **options)
        user_id = context.ids.decode(NodeType.USER, opaque_id)
        if outcome.user is None and user_id is not None and await context.loaders.users.load(user_id) is not None:
            return refused(UserErrorCode.USER_UNAVAILABLE, "This person does not want to be followed.", "userId")
        return outcome

    with mock.patch.object(follows, "act_on", telling):
        yield


@contextlib.contextmanager
def unknown_names_are_quicker() -> Iterator[None]:
    """Answer for a name that nobody has without asking for the person: only time tells."""
    fetch = people.fetch_by_names

    async def hasty(context: Context, usernames: Sequence[str]) -> list[Visible | None]:
        keys = [username_key(name) or "" for name in usernames]
        if not any(await context.loaders.ids_by_name.load_many(keys)):
            return [None] * len(keys)
        return await fetch(context, usernames)

    with mock.patch.object(people, "fetch_by_names", hasty):
        yield


@contextlib.contextmanager
def pages_are_not_refilled() -> Iterator[None]:
    """Leave a page short that lost somebody to a block."""

    def forgetful(beyond: Position | None, downward: bool, limit: int, _without: Sequence[int]) -> Span:
        return Span(beyond, downward, limit)

    with mock.patch.object(lists, "MAX_ROUNDS", 1), mock.patch.object(lists, "Span", forgetful):
        yield


@contextlib.contextmanager
def notifications_skip_the_gate() -> Iterator[None]:
    """Tell of whoever acted, met or not, and of what was withdrawn."""
    meet, everything = visibility.meet, stored._FETCH_AFTER.replace("AND NOT n.withdrawn", "")

    async def careless(context: Context, user_ids: Sequence[int]) -> list[Visible | None]:
        with _meeting_by([rule for rule in TO_MEET if rule is not deny_if_either_blocked]):
            return await meet(context, user_ids)

    with (
        mock.patch.object(notifications, "meet", careless),
        mock.patch.object(stored, "_FETCH_AFTER", everything),
    ):
        yield


@contextlib.contextmanager
def groups_count_what_was_withdrawn() -> Iterator[None]:
    """Count in a group also those whose follow or request has ended."""
    counted = "(SELECT count(*) FROM notifications w WHERE w.owner_id = $1 AND w.burst = g.burst AND w.kind = g.kind)"
    page = notification_groups._PAGE_DOWN.replace("g.total - coalesce(h.total, 0) AS total", f"{counted} AS total")
    with mock.patch.object(notification_groups, "_PAGE_DOWN", page):
        yield


LEAKS: Final[Mapping[str, Callable[[], AbstractContextManager[None]]]] = {
    "gate": gate_ignores_their_block,
    "counts": counts_keep_the_hidden,
    "follow": follow_tells_of_a_block,
    "names": unknown_names_are_quicker,
    "pages": pages_are_not_refilled,
    "notifications": notifications_skip_the_gate,
    "groups": groups_count_what_was_withdrawn,
}
"""Each is found by the walker, or the walker is blind."""
