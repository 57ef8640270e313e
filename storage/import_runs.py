"""What an import remembers between two starts: its run, its rejected rows, and who may import right now."""

import contextlib
import dataclasses
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

import asyncpg
from asyncpg.exceptions import DeadlockDetectedError, LockNotAvailableError, SerializationError

from storage.cells import Connection, Record
from storage.generations import BEGIN_GENERATION
from storage.import_rows import Reject

T = TypeVar("T")
if TYPE_CHECKING:
    Pool = asyncpg.Pool[Record]
else:
    Pool = asyncpg.Pool
PEOPLE_FILE: Final = 1
FOLLOWS_FILE: Final = 2
_LOCK: Final = 5_461_011  # any number, as long as every version of Kith takes the same
_ATTEMPTS: Final = 5
# Statements may take their time, but whoever waits for a lock, or idles in a transaction, gives way to the service.
_SERVER_SETTINGS: Final = {
    "application_name": "kith import",
    "idle_in_transaction_session_timeout": "60s",
    "lock_timeout": "20s",
    "plan_cache_mode": "auto",
    "timezone": "UTC",
}

# Rows on their way into `relationships`, for the length of a transaction.
_MAKE_SLICE: Final = """
CREATE TEMPORARY TABLE import_slice (LIKE relationships INCLUDING DEFAULTS) ON COMMIT DELETE ROWS
"""

_BEGIN: Final = "INSERT INTO import_runs (run) VALUES ($1) ON CONFLICT (run) DO NOTHING"

_FETCH: Final = """
SELECT started_at, finished_at, people_read, people_loaded, loaded, known FROM import_runs WHERE run = $1
"""

_ADVANCE: Final = """
UPDATE import_runs SET people_read = $2, people_loaded = people_loaded + $3 WHERE run = $1
"""

_FINISH: Final = "UPDATE import_runs SET finished_at = now(), loaded = $2, known = $3 WHERE run = $1"

_REJECT: Final = """
INSERT INTO import_rejects (run, file, line, reason)
SELECT $1, $2, r.line, r.reason
FROM unnest($3::bigint[], $4::text[]) AS r (line, reason)
ON CONFLICT (run, file, line) DO NOTHING
"""

_REJECTED: Final = "SELECT line, reason FROM import_rejects WHERE run = $1 AND file = $2 ORDER BY line"

_REASONS: Final = """
SELECT reason, count(*) AS times FROM import_rejects WHERE run = $1 GROUP BY reason ORDER BY times DESC, reason
"""

_LOADED: Final = """
SELECT coalesce(sum(loaded), 0)::bigint AS loaded, coalesce(sum(known), 0)::bigint AS known
FROM import_positions
WHERE run = $1
"""

# One statement sees one moment, so that it may run beside the service.
_WRONG_COUNTS: Final = """
SELECT count(*) AS accounts,
       count(*) FILTER (
           WHERE c.followers + coalesce(s.followers, 0) <> coalesce(r.followers, 0)
              OR c.following <> coalesce(r.following, 0)
       ) AS wrong
FROM user_counts c
LEFT JOIN (
    SELECT user_id, sum(followers) AS followers FROM user_count_slots GROUP BY user_id
) s ON s.user_id = c.user_id
LEFT JOIN (
    SELECT owner_id, count(*) FILTER (WHERE followed_by = 2) AS followers,
           count(*) FILTER (WHERE follows = 2) AS following
    FROM relationships
    GROUP BY owner_id
) r ON r.owner_id = c.user_id
"""


class AnotherImport(Exception):
    """Another import is running; wait until it has finished."""


@dataclasses.dataclass(frozen=True, slots=True)
class Cells:
    """The cells as an import uses them: with patient pools of their own."""

    pools: tuple[Pool, ...]

    @property
    def directory(self) -> Pool:
        """Give the cell where names and the import's own tables are."""
        return self.pools[0]


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """One source with one set of files, and how far it has come.

    `loaded` follows are new and `known` ones were there already; both are told at the end.
    """

    key: str
    source: str
    started_at: dt.datetime
    finished_at: dt.datetime | None
    people_read: int
    people_loaded: int
    loaded: int
    known: int


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """How many accounts a cell has, and for how many a counter is not what the rows say."""

    accounts: int
    wrong: int


@contextlib.asynccontextmanager
async def open_import(dsns: Sequence[str]) -> AsyncIterator[Cells]:
    """Open the cells for the one import that may run at a time.

    Raises:
        AnotherImport: one runs and does not end within 20 seconds.
    """
    async with contextlib.AsyncExitStack() as stack:
        size = len(dsns) + 2  # a worker per cell may be writing here, the directory serves the lock and a look-up too
        cells = Cells(tuple([await stack.enter_async_context(_pool(dsn, size)) for dsn in dsns]))
        holder = await stack.enter_async_context(cells.directory.acquire())
        try:
            # The connection of an import that was killed holds the lock until the server notices.
            await holder.execute("SELECT pg_advisory_lock($1)", _LOCK)
        except LockNotAvailableError as error:
            raise AnotherImport((AnotherImport.__doc__ or "").strip()) from error
        yield cells


def _pool(dsn: str, size: int) -> Pool:
    return asyncpg.create_pool(
        dsn, min_size=0, max_size=size, server_settings=_SERVER_SETTINGS, timeout=10, init=_prepare
    )


async def _prepare(connection: "asyncpg.Connection[Record]") -> None:
    await connection.execute(_MAKE_SLICE)


async def transact(pool: Pool, work: Callable[[Connection], Awaitable[T]]) -> T:
    """Run `work` in one transaction, and again, five times at most, where it had to give way to another."""
    for _ in range(_ATTEMPTS - 1):
        with contextlib.suppress(DeadlockDetectedError, LockNotAvailableError, SerializationError):
            return await _attempt(pool, work)
    return await _attempt(pool, work)


async def _attempt(pool: Pool, work: Callable[[Connection], Awaitable[T]]) -> T:
    async with pool.acquire() as connection, connection.transaction():
        return await work(connection)


async def begin(cells: Cells, key: str, source: str) -> Run:
    """Begin a run, or take up the one that was interrupted."""
    await cells.directory.execute(_BEGIN, key)
    [row] = await cells.directory.fetch(_FETCH, key)
    return Run(key, source, **row)


async def advance(connection: Connection, run: Run, people_read: int, people_loaded: int) -> None:
    """Remember that the first `people_read` rows are dealt with, `people_loaded` more people being loaded."""
    await connection.execute(_ADVANCE, run.key, people_read, people_loaded)


async def finish(cells: Cells, run: Run) -> None:
    """Close a run: started again, it changes nothing."""
    await cells.directory.execute(_FINISH, run.key, *await count_follows(cells, run))


async def reject(connection: Connection | Pool, run: Run, file: int, rejects: Sequence[Reject]) -> None:
    """Remember rejected rows; one that is remembered keeps its first reason."""
    if rejects:
        lines, reasons = [reject.line for reject in rejects], [reject.reason for reject in rejects]
        await connection.execute(_REJECT, run.key, file, lines, reasons)


async def read_rejects(cells: Cells, run: Run, file: int) -> AsyncIterator[Reject]:
    """Read the rejected rows of a file by line."""
    async with cells.directory.acquire() as connection, connection.transaction(readonly=True):
        async for row in connection.cursor(_REJECTED, run.key, file, prefetch=1000):
            yield Reject(row["line"], row["reason"])


async def count_reasons(cells: Cells, run: Run) -> dict[str, int]:
    """Count the rejected rows by reason, the most frequent first."""
    return {row["reason"]: row["times"] for row in await cells.directory.fetch(_REASONS, run.key)}


async def count_follows(cells: Cells, run: Run) -> tuple[int, int]:
    """Count the follows that this run has loaded so far, and those that it found there already."""
    rows = [(await pool.fetch(_LOADED, run.key))[0] for pool in cells.pools]
    return sum(row["loaded"] for row in rows), sum(row["known"] for row in rows)


async def check_counts(cells: Cells) -> list[Check]:
    """Compare every account's counters with its rows, in one statement per cell."""
    rows = [(await pool.fetch(_WRONG_COUNTS))[0] for pool in cells.pools]
    return [Check(row["accounts"], row["wrong"]) for row in rows]


async def analyse(cells: Cells) -> None:
    """Let the planner see what has been loaded, and running servers forget what they remember."""
    for pool in cells.pools:
        await pool.execute("ANALYZE users, user_counts, usernames, relationships")
        await pool.execute(BEGIN_GENERATION)
