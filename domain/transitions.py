"""What each action makes of a pair. Pure: no sequence of actions ever leaves a block beside a follow."""

import dataclasses
import datetime as dt
from collections.abc import Callable

from msgspec.structs import replace

from domain.departures import ArchivedEdges
from domain.events import EventType
from domain.relationships import FollowState, Relationship


@dataclasses.dataclass(frozen=True, slots=True)
class PairEvent:
    """What happened between actor and target; `reverse` where what changed was the target's own edge or block."""

    type: EventType
    reverse: bool = False
    was_pending: bool = False
    restored: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """What an action makes of a pair, seen from the actor; no events means that nothing changes.

    The first `lapsed` of the events tell what time had ended before; the rest is the actor's doing.
    """

    after: Relationship
    events: tuple[PairEvent, ...] = ()
    lapsed: int = 0

    @property
    def deed(self) -> PairEvent | None:
        """Give the first event that is the actor's own doing."""
        return self.events[self.lapsed] if len(self.events) > self.lapsed else None


Transition = Callable[[Relationship, dt.datetime], Change | None]
"""An action on a pair: (the actor's side, now) to a change, or None where the other is not available to the actor."""


def follow(*, target_is_private: bool) -> Transition:
    """Follow, or ask a private account for it; a block either way makes the other unavailable."""

    def transition(before: Relationship, now: dt.datetime) -> Change | None:
        if before.blocks or before.blocked_by:
            return None
        if before.follows is not FollowState.NONE:
            return Change(before)
        state = FollowState.PENDING if target_is_private else FollowState.ACTIVE
        event = EventType.FOLLOW_REQUESTED if target_is_private else EventType.FOLLOW_CREATED
        return Change(replace(before, follows=state, follows_at=now), (PairEvent(event),))

    return _once_lapsed(transition)


def unfollow() -> Transition:
    """Stop following, or withdraw the request."""

    def transition(before: Relationship, _now: dt.datetime) -> Change | None:
        if before.blocks or before.blocked_by:
            return None
        if before.follows is FollowState.NONE:
            return Change(before)
        return Change(replace(before, follows=FollowState.NONE, follows_at=None), _cut(before.follows))

    return _once_lapsed(transition)


def cancel_request() -> Transition:
    """Withdraw a request that waits; a follow that is in force stays."""

    def transition(before: Relationship, _now: dt.datetime) -> Change | None:
        if before.blocks or before.blocked_by:
            return None
        if before.follows is not FollowState.PENDING:
            return Change(before)
        return Change(replace(before, follows=FollowState.NONE, follows_at=None), _cut(before.follows))

    return _once_lapsed(transition)


def accept() -> Transition:
    """Accept the other's request; without one nothing changes."""

    def transition(before: Relationship, now: dt.datetime) -> Change | None:
        if before.blocks or before.blocked_by:
            return None
        if before.followed_by is not FollowState.PENDING:
            return Change(before)
        after = replace(before, followed_by=FollowState.ACTIVE, followed_by_at=now)
        accepted = PairEvent(EventType.FOLLOW_ACCEPTED, reverse=True)
        return Change(after, (accepted, PairEvent(EventType.FOLLOW_CREATED, reverse=True)))

    return _once_lapsed(transition)


def reject() -> Transition:
    """Reject the other's request; without one nothing changes."""

    def transition(before: Relationship, _now: dt.datetime) -> Change | None:
        if before.blocks or before.blocked_by:
            return None
        if before.followed_by is not FollowState.PENDING:
            return Change(before)
        after = replace(before, followed_by=FollowState.NONE, followed_by_at=None)
        return Change(after, (PairEvent(EventType.FOLLOW_REJECTED, reverse=True, was_pending=True),))

    return _once_lapsed(transition)


def remove_follower() -> Transition:
    """End the other's follow, or reject the other's request."""

    def transition(before: Relationship, _now: dt.datetime) -> Change | None:
        if before.blocks or before.blocked_by:
            return None
        if before.followed_by is FollowState.NONE:
            return Change(before)
        after = replace(before, followed_by=FollowState.NONE, followed_by_at=None)
        return Change(after, _cut(before.followed_by, reverse=True))

    return _once_lapsed(transition)


def sever() -> Transition:
    """End follows and requests both ways, because the actor is gone; blocks stay."""

    def transition(before: Relationship, _now: dt.datetime) -> Change | None:
        cut = _cut(before.follows) + _cut(before.followed_by, reverse=True)
        if not cut:
            return Change(before)
        return Change(
            replace(
                before, follows=FollowState.NONE, follows_at=None, followed_by=FollowState.NONE, followed_by_at=None
            ),
            cut,
        )

    return transition


def resume(edges: ArchivedEdges) -> Transition:
    """Bring back what was severed when the actor went, unless anything has happened to the pair since."""

    def transition(before: Relationship, _now: dt.datetime) -> Change | None:
        if before.version != edges.version or before.blocks or before.blocked_by:
            return Change(before)
        after = replace(
            before,
            follows=edges.follows,
            follows_at=edges.follows_at,
            followed_by=edges.followed_by,
            followed_by_at=edges.followed_by_at,
        )
        return Change(after, _brought_back(edges.follows) + _brought_back(edges.followed_by, reverse=True))

    return transition


def _brought_back(state: FollowState, *, reverse: bool = False) -> tuple[PairEvent, ...]:
    if state is FollowState.NONE:
        return ()
    event = EventType.FOLLOW_CREATED if state is FollowState.ACTIVE else EventType.FOLLOW_REQUESTED
    return (PairEvent(event, reverse=reverse, restored=True),)


def expire(*, requests_before: dt.datetime) -> Transition:
    """Clear what time has ended: blocks past their end, and requests that have waited since before a time."""

    def transition(before: Relationship, now: dt.datetime) -> Change | None:
        lapsed = _lapse(before, now)
        after, events = lapsed.after, lapsed.events
        if _is_stale(after.follows, after.follows_at, requests_before):
            events += _cut(after.follows)
            after = replace(after, follows=FollowState.NONE, follows_at=None)
        if _is_stale(after.followed_by, after.followed_by_at, requests_before):
            events += _cut(after.followed_by, reverse=True)
            after = replace(after, followed_by=FollowState.NONE, followed_by_at=None)
        return Change(after, events, lapsed=len(events))

    return transition


def _is_stale(state: FollowState, since: dt.datetime | None, limit: dt.datetime) -> bool:
    return state is FollowState.PENDING and since is not None and since < limit


def block(*, until: dt.datetime | None) -> Transition:
    """Block: cuts follows and requests both ways.

    Whoever blocked the actor first is unavailable, as for every other action: an answer that differed from the one
    for an unknown id would tell of the block.
    """

    def transition(before: Relationship, now: dt.datetime) -> Change | None:
        if before.blocks and before.blocks_until == until:
            return Change(before)
        if before.blocked_by and not before.blocks:
            return None
        cut = _cut(before.follows) + _cut(before.followed_by, reverse=True)
        after = replace(
            before,
            follows=FollowState.NONE,
            follows_at=None,
            followed_by=FollowState.NONE,
            followed_by_at=None,
            blocks=True,
            blocks_until=until,
            blocks_since=before.blocks_since or now,
        )
        return Change(after, (PairEvent(EventType.USER_BLOCKED), *cut))

    return _once_lapsed(transition)


def unblock() -> Transition:
    """Take a block back; nothing that it cut is restored."""

    def transition(before: Relationship, _now: dt.datetime) -> Change | None:
        if not before.blocks:
            return None if before.blocked_by else Change(before)
        after = replace(before, blocks=False, blocks_until=None, blocks_since=None)
        return Change(after, (PairEvent(EventType.USER_UNBLOCKED),))

    return _once_lapsed(transition)


def _once_lapsed(transition: Transition) -> Transition:
    """Clear blocks that have ended before an action is decided; their end is told with what the action changes."""

    def settled(before: Relationship, now: dt.datetime) -> Change | None:
        lapsed = _lapse(before, now)
        change = transition(lapsed.after, now)
        if change is None:
            return None
        if not change.events:
            return Change(before)
        return Change(change.after, lapsed.events + change.events, lapsed=len(lapsed.events))

    return settled


def _lapse(before: Relationship, now: dt.datetime) -> Change:
    after, events = before, []
    if before.blocks and not before.blocks_at(now):
        after = replace(after, blocks=False, blocks_until=None, blocks_since=None)
        events.append(PairEvent(EventType.USER_UNBLOCKED))
    if before.blocked_by and not before.blocked_by_at(now):
        after = replace(after, blocked_by=False, blocked_by_until=None, blocked_by_since=None)
        events.append(PairEvent(EventType.USER_UNBLOCKED, reverse=True))
    return Change(after, tuple(events))


def _cut(state: FollowState, *, reverse: bool = False) -> tuple[PairEvent, ...]:
    """Tell of an edge or a request that ends; of none where there was none."""
    if state is FollowState.NONE:
        return ()
    was_pending = state is FollowState.PENDING
    return (PairEvent(EventType.FOLLOW_REMOVED, reverse=reverse, was_pending=was_pending),)
