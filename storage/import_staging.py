"""Follows of an import on their way: resolved to Kith ids and kept in the directory cell, in the order of the pairs.

The file is in any order, and the two directions of a pair may stand far apart in it. Staged, each pair is written
once, with both directions, and the cells are filled in the order of their keys.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from storage.cells import Connection, Record
from storage.import_files import Files, batched
from storage.import_rows import FollowRow, Reject
from storage.import_runs import FOLLOWS_FILE, Cells, Run, reject, transact

Key = tuple[int, int]
"""The lower and the higher id of a pair."""

_READ: Final = "SELECT follows_read FROM import_staged WHERE run = $1"

_FORGET_POSITIONS: Final = "DELETE FROM import_positions"

_EMPTY: Final = "TRUNCATE import_edges, import_staged"

_FORGET_REJECTS: Final = "DELETE FROM import_rejects WHERE run = $1 AND file = $2"

_BEGIN: Final = "INSERT INTO import_staged (run) VALUES ($1)"

_ADVANCE: Final = "UPDATE import_staged SET follows_read = $2 WHERE run = $1"

# The deciding cell of a pair is the one that is written in its lower id, as `domain.ids.cell_of` reads it. People whose
# accounts are not written (an import of other files was abandoned half-way) are unknown.
_STAGE: Final = """
WITH follows AS (
    SELECT f.line, f.followed_at, a.user_id AS follower, b.user_id AS followee
    FROM unnest($4::bigint[], $5::text[], $6::text[], $7::timestamptz[]) AS f (line, follower, followee, followed_at)
    LEFT JOIN imported_users a ON a.old_id = f.follower AND a.source = $3 AND a.pending_username IS NULL
    LEFT JOIN imported_users b ON b.old_id = f.followee AND b.source = $3 AND b.pending_username IS NULL
), staged AS (
    INSERT INTO import_edges (cell, low_id, high_id, direction, line, followed_at)
    SELECT (least(follower, followee) >> 12) & 1023, least(follower, followee), greatest(follower, followee),
           CASE WHEN $8 THEN 3 WHEN follower < followee THEN 1 ELSE 2 END, line, followed_at
    FROM follows
    WHERE follower <> followee
    ORDER BY line
    ON CONFLICT DO NOTHING
    RETURNING line
)
INSERT INTO import_rejects (run, file, line, reason)
SELECT $1, $2, line, CASE WHEN follower IS NULL THEN 'unknown follower'
                          WHEN followee IS NULL THEN 'unknown followee'
                          ELSE 'duplicate follow' END
FROM follows
WHERE line NOT IN (SELECT line FROM staged)
ON CONFLICT (run, file, line) DO NOTHING
"""

_COUNT: Final = """
SELECT coalesce(sum(CASE direction WHEN 3 THEN 2 ELSE 1 END), 0)::bigint AS follows FROM import_edges
"""

_SLICE: Final = """
SELECT low_id, high_id, min(followed_at) FILTER (WHERE direction IN (1, 3)) AS low_follows_at,
       min(followed_at) FILTER (WHERE direction IN (2, 3)) AS high_follows_at
FROM import_edges
WHERE cell = $1 AND (low_id, high_id) > ($2::bigint, $3::bigint)
GROUP BY low_id, high_id
ORDER BY low_id, high_id
LIMIT $4
"""

_REJECT_PAIRS: Final = """
INSERT INTO import_rejects (run, file, line, reason)
SELECT $1, $2, e.line, $3
FROM import_edges e
JOIN unnest($5::bigint[], $6::bigint[]) AS p (low_id, high_id) ON e.low_id = p.low_id AND e.high_id = p.high_id
WHERE e.cell = $4
ON CONFLICT (run, file, line) DO NOTHING
"""


async def stage_follows(cells: Cells, run: Run, files: Files, *, batch: int, report: Callable[[int], None]) -> int:
    """Stage the follows that are not staged yet; gives how many wait. `report` is told how many rows have been read."""
    read = await cells.directory.fetchval(_READ, run.key)
    if read is None:
        await _begin(cells, run)
        read = 0
    for rows in batched(files.read_follows(), batch, skip=read):
        read += len(rows)
        await transact(cells.directory, partial(_stage, run=run, files=files, batch=rows, read=read))
        report(read)
    # Without it the planner would sort all that is left for each slice.
    await cells.directory.execute("ANALYZE import_edges")
    return int(await cells.directory.fetchval(_COUNT))


async def _begin(cells: Cells, run: Run) -> None:
    """Make room: what another run has staged is lost, and so its positions are, if it is taken up again."""
    for pool in cells.pools:
        await pool.execute(_FORGET_POSITIONS)

    async def work(connection: Connection) -> None:
        await connection.execute(_EMPTY)
        await connection.execute(_FORGET_REJECTS, run.key, FOLLOWS_FILE)
        await connection.execute(_BEGIN, run.key)

    await transact(cells.directory, work)


async def _stage(
    connection: Connection, run: Run, files: Files, batch: Sequence[FollowRow | Reject], read: int
) -> None:
    rows = [row for row in batch if isinstance(row, FollowRow)]
    await reject(connection, run, FOLLOWS_FILE, [row for row in batch if isinstance(row, Reject)])
    await connection.execute(
        _STAGE,
        run.key,
        FOLLOWS_FILE,
        run.source,
        [row.line for row in rows],
        [row.follower for row in rows],
        [row.followee for row in rows],
        [row.followed_at or run.started_at for row in rows],
        files.mutual,
    )
    await connection.execute(_ADVANCE, run.key, read)


async def fetch_slice(cells: Cells, number: int, beyond: Key, limit: int) -> list[Record]:
    """Fetch the next pairs that a cell decides, each with the time of either follow (None: no such follow)."""
    return await cells.directory.fetch(_SLICE, number, *beyond, limit)


async def reject_pairs(cells: Cells, run: Run, number: int, pairs: Sequence[Key], reason: str) -> None:
    """Remember the rows that named these pairs of a cell as rejected."""
    if pairs:
        low_ids, high_ids = zip(*pairs, strict=True)
        await cells.directory.execute(_REJECT_PAIRS, run.key, FOLLOWS_FILE, reason, number, low_ids, high_ids)


async def clear_staging(cells: Cells) -> None:
    """Empty the staging tables."""
    await cells.directory.execute(_EMPTY)
