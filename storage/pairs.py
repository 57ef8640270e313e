"""Changing a pair: one lock, one decision, both rows, both counters, the audit row and the events.

What the actor was shown a moment ago is mostly still so: then one statement does it all (`pairs_at_once.py`). Where it
is not, or a cell cannot do it so, the pair is locked and everything is written step by step.
"""

import contextlib
import dataclasses
import datetime as dt
import functools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

from domain.errors import KithError
from domain.events import EventType
from domain.follow_limits import FollowLimits
from domain.notifications import ended_kinds
from domain.relationships import STRANGERS, Relationship, count_change
from domain.repeats import current_effects
from domain.transitions import Change, Transition
from domain.users import Counts
from storage import outbox
from storage.audit import audit_row, write_audit
from storage.cells import Connection
from storage.counters import fetch_follow_use, move_counts
from storage.database import Database
from storage.notifications import withdraw
from storage.pair_actions import Asked, action_of, check_limits, events_of
from storage.pairs_at_once import OnlyUnderLock, PairWrite, row_of, write_at_once
from storage.relationships import fetch_relationships, relationship_of
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

_ATTEMPTS: Final = 3
"""How often is decided without the lock: by what is known, and twice by what is read."""

Within = Callable[[Connection, Relationship, Relationship], Awaitable[None]]


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
    known: Relationship | None = None,
    within: Within | None = None,
) -> Change | None:
    """Apply an action of `actor_id` to a pair; None where the other is not available to the actor.

    The lower id's row decides and is the truth. Where both live in one cell everything is one transaction; where they
    do not, the second row follows at once in its own cell, and again by the event until it has the version.
    `known` is the actor's side as it was a moment ago: where it still is so, there is less to ask.
    `within` runs in the transaction that decides, where something changes, with the actor's side before and after.

    Raises:
        FollowLimitReached: the actor would follow more people than `limits` allow, or ask more; exact for follows where
            the actor's counters are in the deciding cell, and otherwise as of just before.
        Overloaded: a cell did not answer; the action may be repeated as it is.
    """
    asked = Asked(database, actor_id, other_id, transition, now, limits)
    return await wholly(_change_pair(asked, known, within))


async def _change_pair(asked: Asked, known: Relationship | None, within: Within | None) -> Change | None:
    database, low, high = asked.database, asked.low, asked.high
    change = await _decide(asked, known, within)
    if change is None:
        return None
    tell = functools.partial(database.freshness.pair_changed, low, high, stricter=_is_stricter(change))
    try:
        if not asked.is_whole:
            await _apply_side(database, high, low, asked.seen_by(high, change.after))
    except BaseException:
        await tell()  # without the version: whoever brings the other row there tells again
        raise
    # Also where nothing changed: it may be the repeat of an action whose news got lost.
    await tell(version=change.after.version, pair=asked.seen_by(low, change.after))
    return change


async def _decide(asked: Asked, known: Relationship | None, within: Within | None) -> Change | None:
    """Decide and write in the cell that decides; what must be recorded as done, only under the lock."""
    if known is not None and within is None and current_effects() is None:
        with contextlib.suppress(OnlyUnderLock):
            return await _change_at_once(asked, known)
    return await _lock_and_change(asked, within)


async def _change_at_once(asked: Asked, known: Relationship) -> Change | None:
    """Decide by what is known, and write if that still is so; else by what is read, as where nothing changes.

    Raises:
        OnlyUnderLock: the cell is not plain, somebody else changes the pair all the time, or the actor follows many.
    """
    if not await asked.database.plain.has(asked.cell):
        raise OnlyUnderLock
    before, is_read = asked.seen_by(asked.low, known), False
    for _ in range(_ATTEMPTS):
        change = asked.transition(asked.seen_by(asked.low, before), asked.now)
        if change is not None and change.events:
            after = change.after.as_next_of(asked.seen_by(asked.low, before))
            if await write_at_once(asked.cell, await _write_of(asked, change, before, after)):
                return dataclasses.replace(change, after=after)
        elif is_read:
            return change
        found = await fetch_relationships(asked.database, asked.low, [asked.high])
        before, is_read = found.get(asked.high, STRANGERS), True
    raise OnlyUnderLock


async def _write_of(asked: Asked, change: Change, before: Relationship, after: Relationship) -> PairWrite:
    """Give all that the deciding cell writes; `before` is the lower person's side, `after` the actor's."""
    database, actor_id, other_id, most = asked.database, asked.actor_id, asked.other_id, None
    if asked.limits is not None:
        most = asked.limits.allowance(Counts())
        home = database.shards.home(actor_id)
        if home is not asked.cell or not any(event.type is EventType.FOLLOW_CREATED for event in change.events):
            check_limits(asked.limits, change, await fetch_follow_use(home, actor_id), None)
    sides = asked.seen_by(asked.low, before), after
    return PairWrite(
        asked.low,
        asked.high,
        before,
        asked.seen_by(asked.low, after),
        asked.is_whole,
        audit_row(database, actor_id, action_of(change), other_id, after.version, *sides),
        events_of(database, actor_id, other_id, change, after),
        most,
    )


async def _lock_and_change(asked: Asked, within: Within | None) -> Change | None:
    """Lock the pair, decide, and write step by step."""
    database, actor_id, other_id, limits = asked.database, asked.actor_id, asked.other_id, asked.limits
    use = await fetch_follow_use(database.shards.home(actor_id), actor_id) if limits is not None else None

    async def work(connection: Connection) -> Change:
        before = asked.seen_by(asked.low, await _lock(connection, asked.low, asked.high))
        change = asked.transition(before, asked.now)
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
        moved = await _write(connection, [side for side in sides if database.shards.home(side.owner_id) is asked.cell])
        if limits is not None and use is not None:
            check_limits(limits, change, use, moved.get(actor_id))
        return dataclasses.replace(change, after=after)

    return await _unless_unchanged(asked.cell.transact(work))


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
    cell = database.shards.home(owner_id)
    if side.version == 0:
        return False
    if await database.plain.has(cell):
        before = (await fetch_relationships(database, owner_id, [other_id])).get(other_id, STRANGERS)
        if before.version >= side.version:
            return False
        if await write_at_once(cell, PairWrite(owner_id, other_id, before, side, is_whole=False)):
            return True

    async def work(connection: Connection) -> bool:
        before = await _lock(connection, owner_id, other_id)
        if before.version >= side.version:
            raise _Unchanged(None)
        await _write(connection, [_Side(owner_id, other_id, before, side)])
        return True

    try:
        return await cell.transact(work)
    except _Unchanged:
        return False


async def _lock(connection: Connection, owner_id: int, other_id: int) -> Relationship:
    [row] = await connection.fetch(_LOCK, owner_id, other_id)
    return relationship_of(row)


async def _record(database: Database, connection: Connection, acting: _Side, change: Change) -> None:
    """Write the audit row and the events of the actor's side; their order is taken while the pair is locked."""
    actor_id, other_id, after = acting.owner_id, acting.other_id, acting.after
    await write_audit(
        database,
        connection,
        actor_id,
        action_of(change),
        target_id=other_id,
        version=after.version,
        before=acting.before,
        after=after,
    )
    await outbox.append(connection, events_of(database, actor_id, other_id, change, after))


async def _write(connection: Connection, sides: Sequence[_Side]) -> dict[int, Counts]:
    """Write rows, the lower owner's first, then their owners' counters; and what no longer holds is told no more."""
    in_order = sorted(sides, key=lambda side: side.owner_id)
    for side in in_order:
        await connection.execute(_WRITE, *row_of(side.owner_id, side.other_id, side.after))
    moved = await move_counts(connection, {side.owner_id: count_change(side.before, side.after) for side in sides})
    for side in in_order:
        await withdraw(connection, side.owner_id, side.other_id, ended_kinds(side.before, side.after))
    return moved
