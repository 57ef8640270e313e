"""Planted bugs: `python -m tests.proof.model.planted NAME` runs the web server with one function of it replaced.

Each is a defect that somebody could make, and that the state machine must find. The service itself knows nothing of it.
"""

import dataclasses
import datetime as dt
import functools
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import structs

import server
from domain import transitions
from domain.events import Event, EventType
from domain.relationships import STRANGERS, CountChange, FollowState, Relationship, WaitingRequests, count_change
from domain.transitions import Change, PairEvent, Transition
from domain.users import Counts
from privacy import rules
from privacy.policy import Visible, see
from resolvers import outcomes
from resolvers.context import Context
from resolvers.visibility import meet
from storage import audit, counters, lists, mutes, outbox, pairs, pairs_at_once, relationships, requests
from storage.cells import Cell, Connection
from storage.database import Database

Bug = Callable[[], None]
BUGS: Final[dict[str, Bug]] = {}


def planted(bug: Bug) -> Bug:
    """Give a bug its name."""
    BUGS[bug.__name__] = bug
    return bug


def replace(place: str, name: str, value: object) -> None:
    """Put something else in the place of a module's name, which must be there."""
    module = importlib.import_module(place)
    assert hasattr(module, name)
    setattr(module, name, value)


def amended(transition: Transition, amend: Callable[[Relationship, Change], Change]) -> Transition:
    """Change what an action makes of a pair, where it is possible at all."""

    def amending(before: Relationship, now: dt.datetime) -> Change | None:
        change = transition(before, now)
        return None if change is None else amend(before, change)

    return amending


@planted
def block_keeps_the_follow() -> None:
    def block(*, until: dt.datetime | None) -> Transition:
        return amended(
            transitions.block(until=until),
            lambda before, change: Change(
                structs.replace(change.after, follows=before.follows, follows_at=before.follows_at),
                change.events[:1],
            ),
        )

    replace("resolvers.blocks", "block_transition", block)


@planted
def block_cuts_one_direction() -> None:
    def block(*, until: dt.datetime | None) -> Transition:
        return amended(
            transitions.block(until=until),
            lambda before, change: Change(
                structs.replace(change.after, followed_by=before.followed_by, followed_by_at=before.followed_by_at),
                tuple(event for event in change.events if not event.reverse),
            ),
        )

    replace("resolvers.blocks", "block_transition", block)


@planted
def block_tells_nothing_of_the_cut() -> None:
    def block(*, until: dt.datetime | None) -> Transition:
        return amended(transitions.block(until=until), lambda _before, change: Change(change.after, change.events[:1]))

    replace("resolvers.blocks", "block_transition", block)


@planted
def unblock_restores_the_follow() -> None:
    def unblock() -> Transition:
        def restore(before: Relationship, change: Change) -> Change:
            if not change.events:
                return change
            after = structs.replace(change.after, follows=FollowState.ACTIVE, follows_at=dt.datetime.now(dt.UTC))
            return Change(after, change.events) if before.blocks else change

        return amended(transitions.unblock(), restore)

    replace("resolvers.blocks", "unblock_transition", unblock)


@planted
def only_one_row_is_written() -> None:
    write = pairs._write

    async def write_one(connection: Connection, sides: Sequence[pairs._Side]) -> dict[int, Counts]:
        return await write(connection, sides[:1])

    async def apply_nothing(_database: Database, _owner: int, _other: int, _side: Relationship) -> bool:
        return False

    async def write_one_at_once(cell: Cell, pair: pairs_at_once.PairWrite) -> bool:
        return await pairs_at_once.write_at_once(cell, dataclasses.replace(pair, is_whole=False))

    replace("storage.pairs", "_write", write_one)
    replace("storage.pairs", "write_at_once", write_one_at_once)
    replace("storage.pairs", "apply_side", apply_nothing)


@planted
def counters_never_go_down() -> None:
    def change(before: Relationship, after: Relationship) -> CountChange:
        right = count_change(before, after)
        return CountChange(max(0, right.followers), max(0, right.following))

    replace("storage.pairs", "count_change", change)
    replace("storage.pairs_at_once", "count_change", change)


@planted
def a_retry_counts_again() -> None:
    change_pair = pairs.change_pair

    async def change_and_count(database: Database, actor: int, other: int, *rest: Any, **options: Any) -> Change | None:
        change = await change_pair(database, actor, other, *rest, **options)
        if change is not None and not change.events and change.after.follows is FollowState.ACTIVE:
            again = {actor: CountChange(0, 1)}
            await database.shards.home(actor).transact(lambda connection: counters.move_counts(connection, again))
        return change

    replace("resolvers.outcomes", "change_pair", change_and_count)


@planted
def a_second_follow_is_news() -> None:
    def follow(*, target_is_private: bool) -> Transition:
        right = transitions_follow(target_is_private=target_is_private)

        def transition(before: Relationship, now: dt.datetime) -> Change | None:
            change = right(before, now)
            if change is None or change.events or before.follows is not FollowState.ACTIVE:
                return change
            return Change(structs.replace(before, follows_at=now), (PairEvent(EventType.FOLLOW_CREATED),))

        return transition

    transitions_follow = transitions.follow
    replace("domain.transitions", "follow", follow)


@planted
def accept_needs_no_request() -> None:
    def accept() -> Transition:
        def follow_anyway(before: Relationship, change: Change) -> Change:
            if before.followed_by is not FollowState.NONE:
                return change
            after = structs.replace(before, followed_by=FollowState.ACTIVE, followed_by_at=dt.datetime.now(dt.UTC))
            return Change(after, (PairEvent(EventType.FOLLOW_CREATED, reverse=True),))

        return amended(transitions_accept(), follow_anyway)

    transitions_accept = transitions.accept
    replace("domain.transitions", "accept", accept)


@planted
def private_accounts_are_followed_at_once() -> None:
    follow = transitions.follow
    replace("domain.transitions", "follow", lambda *, target_is_private: follow(target_is_private=False))  # noqa: ARG005


@planted
def a_follow_lifts_the_own_block() -> None:
    follow = transitions.follow

    def follow_after_all(*, target_is_private: bool) -> Transition:
        right = follow(target_is_private=target_is_private)
        return lambda before, now: right(structs.replace(before, blocks=False, blocks_until=None), now)

    async def meet_anybody(context: Context, user_id: int) -> Visible | None:
        [person] = await meet(context, [user_id])
        [user] = await context.loaders.users.load_many([user_id])
        return person or (see(context.viewer_id, user, STRANGERS, context.now) if user is not None else None)

    replace("domain.transitions", "follow", follow_after_all)
    replace("resolvers.follows", "act_on", functools.partial(outcomes.act_on, show=meet_anybody))


@planted
def cancelling_ends_the_follow() -> None:
    replace("domain.transitions", "cancel_request", transitions.unfollow)


@planted
def unblocking_is_silent() -> None:
    columns = outbox.columns

    def columns_of_most(events: Sequence[Event]) -> tuple[object, ...]:
        return columns([event for event in events if event.type is not EventType.USER_UNBLOCKED])

    replace("storage.outbox", "columns", columns_of_most)


@planted
def nothing_is_news() -> None:
    def remove_follower() -> Transition:
        def tell_anyway(_before: Relationship, change: Change) -> Change:
            return Change(change.after, change.events or (PairEvent(EventType.FOLLOW_REMOVED, reverse=True),))

        return amended(right(), tell_anyway)

    right = transitions.remove_follower
    replace("domain.transitions", "remove_follower", remove_follower)


@planted
def rejecting_leaves_no_audit_row() -> None:
    async def write_most(
        database: Database, connection: Connection, actor_id: int, action: str, **details: Any
    ) -> None:
        if action != EventType.FOLLOW_REJECTED.value:
            await audit.write_audit(database, connection, actor_id, action, **details)

    async def write_most_at_once(cell: Cell, pair: pairs_at_once.PairWrite) -> bool:
        is_rejected = pair.audit is not None and EventType.FOLLOW_REJECTED.value in pair.audit
        return await pairs_at_once.write_at_once(cell, dataclasses.replace(pair, audit=None) if is_rejected else pair)

    replace("storage.pairs", "write_audit", write_most)
    replace("storage.pairs", "write_at_once", write_most_at_once)


@planted
def counts_show_the_hidden() -> None:
    replace("loaders.shown_counts", "count_without", lambda tally, _hidden: tally.counts)


@planted
def lists_show_the_hidden() -> None:
    async def meet_all(context: Context, user_ids: Sequence[int]) -> list[Visible | None]:
        people = await context.loaders.users.load_many(user_ids)
        return [see(context.viewer_id, one, STRANGERS, context.now) if one is not None else None for one in people]

    replace("resolvers.lists", "meet", meet_all)
    replace("resolvers.lists", "Span", lambda beyond, downward, limit, _without: lists.Span(beyond, downward, limit))


@planted
def the_gate_ignores_blocks_of_the_other() -> None:
    def deny_if_blocks(question: rules.Question) -> rules.Verdict:
        return rules.Verdict.DENY if question.relationship.blocks_at(question.now) else rules.Verdict.SKIP

    right = rules.TO_MEET
    replace(
        "privacy.policy",
        "TO_MEET",
        [deny_if_blocks if rule is rules.deny_if_either_blocked else rule for rule in right],
    )
    replace("privacy.policy", "_REMEMBERED", {})


@planted
def strangers_read_private_lists() -> None:
    right = rules.TO_SEE_GROUP
    replace("privacy.policy", "TO_SEE_GROUP", [rule for rule in right if rule is not rules.deny_strangers_of_private])
    replace("privacy.policy", "_REMEMBERED", {})


@planted
def a_mute_shows_on_the_other_side() -> None:
    async def mute_both(database: Database, owner: int, other: int, change: mutes.Mute | mutes.Unmute) -> bool:
        changed = await mutes.change_mute(database, owner, other, change)
        if changed:
            await database.shards.home(other).fetch(
                "UPDATE relationships SET mutes = $3 WHERE owner_id = $1 AND other_id = $2",
                other,
                owner,
                isinstance(change, mutes.Mute),
            )
        return changed

    replace("resolvers.mutes", "change_mute", mute_both)


@planted
def any_change_of_a_pair_lifts_mutes() -> None:
    replace("storage.pairs", "_WRITE", pairs._WRITE.replace("version = $11,", "version = $11, mutes = false,"))


@planted
def going_public_leaves_the_requests() -> None:
    async def settle_nothing(_database: Database, _owner: int, _now: dt.datetime, *, limit: int) -> int:
        return limit - limit

    replace("resolvers.policies", "settle_requests_of", settle_nothing)


@planted
def going_public_always_accepts() -> None:
    async def decide(connection: Connection, owner_id: int, choice: WaitingRequests | None) -> None:
        await requests.decide_requests(connection, owner_id, choice and WaitingRequests.ACCEPT)

    replace("resolvers.policies", "decide_requests", decide)


@planted
def blocks_are_remembered_too_long() -> None:
    fetch, kept = lists.fetch_blocked_ids, dict[int, list[int]]()

    async def fetch_once(database: Database, viewer_id: int, now: dt.datetime) -> list[int]:
        if viewer_id not in kept:
            kept[viewer_id] = await fetch(database, viewer_id, now)
        return kept[viewer_id]

    replace("storage.lists", "fetch_blocked_ids", fetch_once)


@planted
def relationships_are_remembered_too_long() -> None:
    fetch, kept = relationships.fetch_relationships, dict[tuple[int, int], Relationship]()

    async def fetch_missing(database: Database, viewer_id: int, others: Sequence[int]) -> dict[int, Relationship]:
        found = await fetch(database, viewer_id, [other for other in others if (viewer_id, other) not in kept])
        kept.update({(viewer_id, other): relationship for other, relationship in found.items()})
        return {other: kept[viewer_id, other] for other in others if (viewer_id, other) in kept}

    replace("storage.relationships", "fetch_relationships", fetch_missing)


if __name__ == "__main__":
    BUGS[sys.argv[1]]()
    raise SystemExit(server.main(["web"]))
