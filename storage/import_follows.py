"""Follows of an import into the relationship table, slice by slice, as live mutations would have written them.

The lower id's row of a pair decides. Where both people live in one cell, both rows and all counters of a slice are one
transaction; where they do not, the other rows follow in their own cell, by version, so that it may be repeated. Rows
are locked before counters, and counters by id, which is the order of live mutations.
"""

import asyncio
import datetime as dt
import operator
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final, NamedTuple

from msgspec.structs import replace

from domain.ids import cell_of
from domain.relationships import FollowState, Relationship, count_change
from storage.cells import Connection, Record
from storage.import_rows import BLOCKED
from storage.import_runs import Cells, Run, transact
from storage.import_staging import Key, fetch_slice, reject_pairs

# What the two rows of a pair share. A mute is its owner's own affair: it is neither read nor written here.
_COLUMNS: Final = (
    "follows",
    "follows_at",
    "followed_by",
    "followed_by_at",
    "blocks",
    "blocks_until",
    "blocked_by",
    "blocked_by_until",
    "version",
)
_values: Final = operator.attrgetter(*_COLUMNS)

_INSERT: Final = """
INSERT INTO relationships (owner_id, other_id, follows, follows_at, followed_by, followed_by_at, blocks, blocks_until,
                           blocked_by, blocked_by_until, version)
SELECT owner_id, other_id, follows, follows_at, followed_by, followed_by_at, blocks, blocks_until, blocked_by,
       blocked_by_until, version
FROM import_slice
ORDER BY owner_id, other_id
ON CONFLICT (owner_id, other_id) DO NOTHING
RETURNING owner_id, other_id
"""

_LOCK: Final = """
SELECT r.owner_id, r.other_id, r.follows, r.follows_at, r.followed_by, r.followed_by_at, r.blocks, r.blocks_until,
       r.blocked_by, r.blocked_by_until, r.version
FROM relationships r
JOIN unnest($1::bigint[], $2::bigint[]) AS p (owner_id, other_id)
     ON r.owner_id = p.owner_id AND r.other_id = p.other_id
ORDER BY r.owner_id, r.other_id
FOR NO KEY UPDATE OF r
"""

_FETCH: Final = """
SELECT r.owner_id, r.other_id, r.follows, r.follows_at, r.followed_by, r.followed_by_at, r.blocks, r.blocks_until,
       r.blocked_by, r.blocked_by_until, r.version
FROM relationships r
JOIN unnest($1::bigint[], $2::bigint[]) AS p (owner_id, other_id)
     ON r.owner_id = p.owner_id AND r.other_id = p.other_id
"""

_UPDATE: Final = """
UPDATE relationships r
SET follows = p.follows, follows_at = p.follows_at, followed_by = p.followed_by, followed_by_at = p.followed_by_at,
    blocks = p.blocks, blocks_until = p.blocks_until, blocked_by = p.blocked_by, blocked_by_until = p.blocked_by_until,
    version = p.version, updated_at = now()
FROM import_slice p
WHERE r.owner_id = p.owner_id AND r.other_id = p.other_id
"""

_LOCK_COUNTS: Final = """
SELECT user_id FROM user_counts WHERE user_id = ANY($1::bigint[]) ORDER BY user_id FOR NO KEY UPDATE
"""

_COUNT: Final = """
UPDATE user_counts c
SET followers = c.followers + p.followers, following = c.following + p.following
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS p (user_id, followers, following)
WHERE c.user_id = p.user_id
"""

_BEGIN: Final = "INSERT INTO import_positions (run) VALUES ($1) ON CONFLICT (run) DO NOTHING"

_POSITION: Final = "SELECT low_id, high_id, mirrored_low, mirrored_high FROM import_positions WHERE run = $1"

_DECIDED: Final = """
UPDATE import_positions SET low_id = $2, high_id = $3, loaded = loaded + $4, known = known + $5 WHERE run = $1
"""

_MIRRORED: Final = "UPDATE import_positions SET mirrored_low = $2, mirrored_high = $3 WHERE run = $1"


class Outcome(NamedTuple):
    """One row before and after; the same twice where nothing changed."""

    before: Relationship
    after: Relationship


Merge = Callable[[Relationship, Relationship], Relationship]
"""What becomes of a row that is there: (the row, what is wanted) to the row as it shall be."""


def wanted_pair(low_follows_at: dt.datetime | None, high_follows_at: dt.datetime | None) -> Relationship:
    """Make the deciding row of a pair that Kith knows nothing of."""
    return Relationship(
        follows=FollowState.NONE if low_follows_at is None else FollowState.ACTIVE,
        follows_at=low_follows_at,
        followed_by=FollowState.NONE if high_follows_at is None else FollowState.ACTIVE,
        followed_by_at=high_follows_at,
        version=1,
    )


def merge_follows(before: Relationship, wanted: Relationship) -> Relationship:
    """Add follows to a deciding row; a follow that is there keeps its time, and a block stands.

    Even one that has lapsed: its end is an event, which is not for an import to tell.
    """
    if before.blocks or before.blocked_by:
        return before
    after = before
    if wanted.follows > before.follows:
        after = replace(after, follows=wanted.follows, follows_at=wanted.follows_at)
    if wanted.followed_by > before.followed_by:
        after = replace(after, followed_by=wanted.followed_by, followed_by_at=wanted.followed_by_at)
    return before if after is before else replace(after, version=before.version + 1)


def newer(before: Relationship, wanted: Relationship) -> Relationship:
    """Take a row that does not decide to the version of the one that does."""
    return wanted if wanted.version > before.version else before


async def load_follows(cells: Cells, run: Run, *, batch: int, report: Callable[[int], None]) -> None:
    """Load what is staged, all cells at once; `report` is told how many follows each slice had."""
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(len(cells.pools)):
                group.create_task(_load_cell(cells, run, number, batch, report))
    except BaseExceptionGroup as errors:  # the first failure stops the others and is raised by itself
        raise errors.exceptions[0] from None


async def _load_cell(cells: Cells, run: Run, number: int, batch: int, report: Callable[[int], None]) -> None:
    pool = cells.pools[number]
    await pool.execute(_BEGIN, run.key)
    [row] = await pool.fetch(_POSITION, run.key)
    decided, mirrored = (row["low_id"], row["high_id"]), (row["mirrored_low"], row["mirrored_high"])
    while rows := await fetch_slice(cells, number, mirrored, batch):
        pairs = {(row["low_id"], row["high_id"]): wanted_pair(*row[2:]) for row in rows}
        fresh = {pair: wanted for pair, wanted in pairs.items() if pair > decided}
        if fresh:
            await transact(pool, partial(_decide, cells=cells, run=run, number=number, pairs=fresh))
        await _mirror_elsewhere(cells, number, pairs)
        mirrored = max(pairs)
        await pool.execute(_MIRRORED, run.key, *mirrored)
        report(_follows(pairs.values()))


async def _decide(
    connection: Connection, cells: Cells, run: Run, number: int, pairs: Mapping[Key, Relationship]
) -> None:
    """Write the deciding rows of a slice, the other rows that live in the same cell, and the counters."""
    outcomes = await _put(connection, pairs, merge_follows)
    blocked = [pair for pair, (before, _) in outcomes.items() if before.blocks or before.blocked_by]
    await reject_pairs(cells, run, number, blocked, BLOCKED)
    changed = {pair: after for pair, (before, after) in outcomes.items() if after is not before}
    others = {(high, low): side.mirrored() for (low, high), side in changed.items() if cell_of(high) == number}
    mirrors = await _put(connection, others, newer)
    loaded = _follows(pair.after for pair in outcomes.values()) - _follows(pair.before for pair in outcomes.values())
    known = _follows(pairs.values()) - _follows(pairs[pair] for pair in blocked) - loaded
    await connection.execute(_DECIDED, run.key, *max(pairs), loaded, known)
    await _count(connection, outcomes, mirrors)


def _follows(rows: Iterable[Relationship]) -> int:
    return sum((row.follows is FollowState.ACTIVE) + (row.followed_by is FollowState.ACTIVE) for row in rows)


async def _mirror_elsewhere(cells: Cells, number: int, pairs: Iterable[Key]) -> None:
    """Bring the rows that live in other cells to the version of the rows that decide."""
    homes: dict[int, list[Key]] = {}
    for pair in pairs:
        homes.setdefault(cell_of(pair[1]), []).append(pair)
    homes.pop(number, None)
    for home, keys in homes.items():
        truth = await cells.pools[number].fetch(_FETCH, *zip(*keys, strict=True))
        sides = {(row["other_id"], row["owner_id"]): _relationship(row).mirrored() for row in truth}
        await transact(cells.pools[home], partial(_mirror, sides=sides))


async def _mirror(connection: Connection, sides: Mapping[Key, Relationship]) -> None:
    await _count(connection, await _put(connection, sides, newer))


async def _put(connection: Connection, wanted: Mapping[Key, Relationship], merge: Merge) -> dict[Key, Outcome]:
    """Insert rows, in order of their keys; those that are there are locked and merged."""
    if not wanted:
        return {}
    absent = Relationship()
    await _fill_slice(connection, wanted)
    inserted = await connection.fetch(_INSERT)
    outcomes = {key: Outcome(absent, wanted[key]) for key in map(_key, inserted)}
    rest = [key for key in wanted if key not in outcomes]
    if rest:
        present = {_key(row): _relationship(row) for row in await connection.fetch(_LOCK, *zip(*rest, strict=True))}
        outcomes |= {key: Outcome(before, merge(before, wanted[key])) for key, before in present.items()}
        changed = {key: outcomes[key].after for key in present if outcomes[key].after is not outcomes[key].before}
        if changed:
            await _fill_slice(connection, changed)
            await connection.execute(_UPDATE)
    return outcomes


async def _fill_slice(connection: Connection, rows: Mapping[Key, Relationship]) -> None:
    await connection.execute("DELETE FROM import_slice")
    records = ((*key, *_values(row)) for key, row in rows.items())
    await connection.copy_records_to_table("import_slice", records=records, columns=("owner_id", "other_id", *_COLUMNS))


async def _count(connection: Connection, *outcomes: Mapping[Key, Outcome]) -> None:
    """Move the counters of all owners by what changed, as the last of all writes."""
    followers: dict[int, int] = {}
    following: dict[int, int] = {}
    for rows in outcomes:
        for (owner, _), (before, after) in rows.items():
            change = count_change(before, after)
            followers[owner] = followers.get(owner, 0) + change.followers
            following[owner] = following.get(owner, 0) + change.following
    owners = sorted(owner for owner in followers if followers[owner] or following[owner])
    if owners:
        await connection.execute(_LOCK_COUNTS, owners)
        changes = [followers[owner] for owner in owners], [following[owner] for owner in owners]
        await connection.execute(_COUNT, owners, *changes)


def _key(row: Record) -> Key:
    return row["owner_id"], row["other_id"]


def _relationship(row: Record) -> Relationship:
    state = {name: row[name] for name in _COLUMNS}
    return Relationship(
        **{**state, "follows": FollowState(state["follows"]), "followed_by": FollowState(state["followed_by"])}
    )
