"""Changing a pair: one lock, one decision, both rows, both counters, the audit row and the events."""

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

from domain.errors import KithError
from domain.events import AnyPayload, BlockPayload, Event, EventType, FollowPayload
from domain.follow_limits import FollowLimits
from domain.ids import NodeType, OpaqueIds
from domain.notifications import ended_kinds
from domain.relationships import Relationship, count_change
from domain.transitions import Change, PairEvent, Transition
from domain.users import Counts
from storage import outbox
from storage.audit import write_audit
from storage.cells import Connection
from storage.counters import FollowUse, fetch_follow_use, move_counts
from storage.database import Database
from storage.notifications import withdraw
from storage.relationships import relationship_of
from storage.repeats import AlreadyDone
from storage.wholly import wholly

# Takes the row's lock whether or not the row was there, and returns it, in one round trip.
_LOCK: Final = """
INSERT INTO relationships AS r (owner_id, other_id)
VALUES ($1, $2)
ON CONFLICT (owner_id, other_id) DO UPDATE SET version = r.version
RETURNING follows, follows_at, followed_by, followed_by_at, blocks, blocks_until, blocked_by, blocked_by_until,
          blocks_since, blocked_by_since, mutes, mutes_until, version, follows_version, followed_by_version
"""

_WRITE: Final = """
INSERT INTO relationships AS r (owner_id, other_id, follows, follows_at, followed_by, followed_by_at,
                                blocks, blocks_until, blocked_by, blocked_by_until, version, blocks_since,
                                blocked_by_since, follows_version, followed_by_version, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, now())
ON CONFLICT (owner_id, other_id) DO UPDATE
SET follows = $3, follows_at = $4, followed_by = $5, followed_by_at = $6, blocks = $7, blocks_until = $8,
    blocked_by = $9, blocked_by_until = $10, version = $11, blocks_since = $12,
    blocked_by_since = $13, follows_version = $14, followed_by_version = $15, updated_at = excluded.updated_at
"""


_STRICTER: Final = frozenset({EventType.USER_BLOCKED, EventType.FOLLOW_REMOVED})

LAPSED: Final = "lapsed"
"""The action of an audit row where time ended something, and nobody did."""


Within = Callable[[Connection, Relationship, Relationship], Awaitable[None]]


class FollowLimitReached(KithError):
    """You follow as many people as you may; unfollow somebody first."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Side:
    """One row of a pair, as it was and as it is to be."""

    owner_id: int
    other_id: int
    before: Relationship
    after: Relationship


async def change_pair(
    database: Database,
    actor_id: int,
    other_id: int,
    transition: Transition,
    now: dt.datetime,
    *,
    limits: FollowLimits | None = None,
    within: Within | None = None,
) -> Change | None:
    """Apply an action of `actor_id` to a pair; None where the other is not available to the actor.

    The lower id's row decides and is the truth. Where both live in one cell everything is one transaction; where they
    do not, the second row follows at once in its own cell, and again by the event until it has the version.
    `within` runs in the transaction that decides, where something changes, with the actor's side before and after.

    Raises:
        FollowLimitReached: the actor would follow more people than `limits` allow, or ask more; exact for follows where
            the actor's counters are in the deciding cell, and otherwise as of just before.
        Overloaded: a cell did not answer; the action may be repeated as it is.
    """
    return await wholly(_change_pair(database, actor_id, other_id, transition, now, limits, within))


async def _change_pair(  # noqa: PLR0917 - as its caller has them
    database: Database,
    actor_id: int,
    other_id: int,
    transition: Transition,
    now: dt.datetime,
    limits: FollowLimits | None,
    within: Within | None,
) -> Change | None:
    low, high = sorted((actor_id, other_id))
    cell, actor_cell = database.shards.home(low), database.shards.home(actor_id)
    use = await fetch_follow_use(actor_cell, actor_id) if limits is not None else None

    async def work(connection: Connection) -> Change:
        row = await _lock(connection, low, high)
        before = row if actor_id == low else row.mirrored()
        change = transition(before, now)
        if change is None or not change.events:
            raise _Unchanged(change)
        after = change.after.as_next_of(before)
        sides = (
            _Side(actor_id, other_id, before, after),
            _Side(other_id, actor_id, before.mirrored(), after.mirrored()),
        )
        if within is not None:
            await within(connection, before, after)
        with _passing_over(before):
            await _record(database, connection, sides[0], change)
        moved = await _write(connection, [side for side in sides if database.shards.home(side.owner_id) is cell])
        if limits is not None and use is not None:
            _check_limits(limits, change, use, moved.get(actor_id))
        return dataclasses.replace(change, after=after)

    change = await _unless_unchanged(cell.transact(work))
    if change is None:
        return None
    try:
        if database.shards.home(high) is not cell:
            await _apply_side(database, high, low, change.after if actor_id == high else change.after.mirrored())
    finally:
        # Also where nothing changed: it may be the repeat of an action whose news got lost.
        await database.freshness.pair_changed(low, high, stricter=_is_stricter(change), version=change.after.version)
    return change


def _is_stricter(change: Change) -> bool:
    """Tell whether somebody may see less than before; of a repeat, whether it may have been so."""
    types = {event.type for event in change.events}
    return not types or not types.isdisjoint(_STRICTER)


async def _unless_unchanged(work: Awaitable[Change]) -> Change | None:
    try:
        return await work
    except _Unchanged as unchanged:
        return unchanged.change


@contextlib.contextmanager
def _passing_over(before: Relationship) -> Iterator[None]:
    """Leave the pair as it is where an earlier run of the same mutation has changed it."""
    try:
        yield
    except AlreadyDone as done:
        raise _Unchanged(Change(before)) from done


class _Unchanged(KithError):
    """Roll back: the action changes nothing."""

    def __init__(self, change: Change | None) -> None:
        super().__init__()
        self.change = change


async def apply_side(database: Database, owner_id: int, other_id: int, side: Relationship) -> bool:
    """Bring a row that does not decide to the version given, with its owner's counters; False if it had it already."""
    applied = await _apply_side(database, owner_id, other_id, side)
    if applied:
        await database.freshness.pair_changed(owner_id, other_id, stricter=True)
    return applied


async def _apply_side(database: Database, owner_id: int, other_id: int, side: Relationship) -> bool:
    async def work(connection: Connection) -> bool:
        before = await _lock(connection, owner_id, other_id)
        if before.version >= side.version:
            raise _Unchanged(None)
        await _write(connection, [_Side(owner_id, other_id, before, side)])
        return True

    if side.version == 0:
        return False
    try:
        return await database.shards.home(owner_id).transact(work)
    except _Unchanged:
        return False


async def _lock(connection: Connection, owner_id: int, other_id: int) -> Relationship:
    [row] = await connection.fetch(_LOCK, owner_id, other_id)
    return relationship_of(row)


async def _record(database: Database, connection: Connection, acting: _Side, change: Change) -> None:
    """Write the audit row and the events of the actor's side; their order is taken while the pair is locked."""
    actor_id, other_id, after = acting.owner_id, acting.other_id, acting.after
    action = change.deed.type.value if change.deed is not None else LAPSED
    await write_audit(
        database,
        connection,
        actor_id,
        action,
        target_id=other_id,
        version=after.version,
        before=acting.before,
        after=after,
    )
    await outbox.append(connection, [_event(database.ids, actor_id, other_id, event, after) for event in change.events])


async def _write(connection: Connection, sides: Sequence[_Side]) -> dict[int, Counts]:
    """Write rows, the lower owner's first, then their owners' counters; and what no longer holds is told no more."""
    in_order = sorted(sides, key=lambda side: side.owner_id)
    for side in in_order:
        await _write_row(connection, side)
    moved = await move_counts(connection, {side.owner_id: count_change(side.before, side.after) for side in sides})
    for side in in_order:
        await withdraw(connection, side.owner_id, side.other_id, ended_kinds(side.before, side.after))
    return moved


def _check_limits(limits: FollowLimits, change: Change, use: FollowUse, moved: Counts | None) -> None:
    """Refuse one follow or request too many; `moved` is the actor's counters with it, where they are at hand."""
    deed = change.deed
    if deed is None or deed.reverse:
        return
    expected = Counts(use.counts.followers, use.counts.following + 1)
    if deed.type is EventType.FOLLOW_CREATED and limits.is_exceeded_by(moved or expected):
        raise FollowLimitReached
    with_requests = Counts(use.counts.followers, use.counts.following + use.waiting + 1)
    if deed.type is EventType.FOLLOW_REQUESTED and limits.is_exceeded_by(with_requests):
        raise FollowLimitReached


async def _write_row(connection: Connection, side: _Side) -> None:
    after = side.after
    await connection.execute(
        _WRITE,
        side.owner_id,
        side.other_id,
        after.follows,
        after.follows_at,
        after.followed_by,
        after.followed_by_at,
        after.blocks,
        after.blocks_until,
        after.blocked_by,
        after.blocked_by_until,
        after.version,
        after.blocks_since,
        after.blocked_by_since,
        after.follows_version,
        after.followed_by_version,
    )


def _event(ids: OpaqueIds, actor_id: int, other_id: int, event: PairEvent, after: Relationship) -> Event:
    actor = ids.encode(NodeType.USER, actor_id)
    other = ids.encode(NodeType.USER, other_id)
    return Event(type=event.type, actor_id=actor, payload=_payload(actor, other, event, after))


def _payload(actor: str, other: str, event: PairEvent, after: Relationship) -> AnyPayload:
    one, two = (other, actor) if event.reverse else (actor, other)
    if event.type in (EventType.USER_BLOCKED, EventType.USER_UNBLOCKED):
        until = after.blocks_until if event.type is EventType.USER_BLOCKED else None
        return BlockPayload(blocker_id=one, blocked_id=two, pair_version=after.version, expires_at=until)
    return FollowPayload(
        follower_id=one,
        followee_id=two,
        pair_version=after.version,
        was_pending=event.was_pending,
        restored=event.restored,
    )
