"""Read replicas: which of them may answer a read, by how far they have come; wherever there is doubt, the cell does.

Only statements of `storage.lists.ON_REPLICAS` come here: nothing that decides who sees what, and nothing that is kept
under an epoch or a version, for which a row that lags would stay wrong until the next change.
"""

import asyncio
import collections
import contextlib
import dataclasses
import enum
import itertools
import logging
import math
import random
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Final

import asyncpg

from domain.errors import KithError
from storage.cells import Cell, Record, ShardMap
from storage.limits import Priority
from storage.metrics import REPLICA_READS

LAG_S: Final = 2.0
"""How old what a replica shows may be."""
LOOK_EVERY_S: Final = 0.5
ATTEMPT_S: Final = 0.5
"""How long a replica may take for a connection, and for an answer, before the cell is asked."""
CONNECTIONS: Final = 10

Positions = Mapping[int, int]
"""How far a replica must have come, by the number of its cell: a place in the cell's log. No entry: no matter."""

_SETTINGS: Final = {
    "application_name": "kith replica reads",
    "default_transaction_read_only": "on",
    "statement_timeout": "1s",
    "timezone": "UTC",
}
_FAILURES: Final = (
    asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError
)  # fmt: skip
_LOG: Final = logging.getLogger(__name__)

# The places of two logs can be compared only where one is the copy of the other; and the log of a Citus coordinator
# says nothing of what its workers have done.
_HOME: Final = """
SELECT pg_current_wal_insert_lsn() AS position, s.system_identifier, d.oid AS database
FROM pg_control_system() s, pg_database d
WHERE d.datname = current_database() AND NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')
"""

_COPY: Final = """
SELECT pg_last_wal_replay_lsn() AS position, s.system_identifier, d.oid AS database
FROM pg_control_system() s, pg_database d
WHERE d.datname = current_database() AND pg_is_in_recovery()
"""

_POSITION: Final = "SELECT pg_current_wal_insert_lsn() AS position"


class Why(enum.StrEnum):
    """Why a read was answered by whom it was."""

    FRESH = "fresh"
    AWAY = "away"
    BEHIND = "behind"
    TOKEN = "token"  # noqa: S105 - the request's token is ahead of the replica
    FAILED = "failed"


@dataclasses.dataclass(slots=True, eq=False)
class Replica:
    """A copy of one cell's database, and how far it was known to be when it was last looked at."""

    cell: Cell
    pool: "asyncpg.Pool[Record]"
    _homes: collections.deque[tuple[float, int]] = dataclasses.field(
        default_factory=lambda: collections.deque(maxlen=8)
    )
    _position: int | None = None
    _as_of: float = -math.inf

    def judge(self, position: int) -> Why:
        """Tell whether the replica may be read by who must not see less than a position: FRESH, or why it may not."""
        if self._position is None:
            return Why.AWAY
        if time.monotonic() - self._as_of > LAG_S:
            return Why.BEHIND
        return Why.TOKEN if self._position < position else Why.FRESH

    async def fetch(self, statement: str, arguments: Sequence[object], position: int) -> list[Record] | None:
        """Run one reading statement for who must not see less than a position.

        None where the replica turns out not to have come so far, or fails; it is then not used until it is looked at.
        """
        try:
            async with self.pool.acquire(timeout=ATTEMPT_S) as connection:
                if self.judge(position) is not Why.FRESH:
                    return None
                return await connection.fetch(statement, *arguments, timeout=ATTEMPT_S)
        except _FAILURES:
            self._position = None
            return None

    async def look(self) -> None:
        """Compare the replica with its cell: what it shows is what the cell was when its log had come that far."""
        asked = time.monotonic()
        homes = await self.cell.fetch(_HOME, priority=Priority.FACT)  # a busy cell is when replicas are needed
        copies = await self._fetch_copy()
        if not homes or not copies or _origin(homes[0]) != _origin(copies[0]):
            self._position = None
            return
        self._homes.append((asked, homes[0]["position"]))
        self._place(copies[0]["position"])

    async def _fetch_copy(self) -> list[Record]:
        try:
            async with self.pool.acquire(timeout=ATTEMPT_S) as connection:
                return await connection.fetch(_COPY, timeout=ATTEMPT_S)
        except _FAILURES:
            return []

    async def meet(self, connection: "asyncpg.Connection[Record]") -> None:
        """Take note of where a new connection has led: a replica that was started again may be behind what it was."""
        rows = await connection.fetch(_COPY, timeout=ATTEMPT_S)
        if not rows:
            self._position = None
        elif self._position is not None:
            self._place(min(self._position, rows[0]["position"]))

    def _place(self, position: int) -> None:
        self._position = position
        self._as_of = max((at for at, home in self._homes if home <= position), default=-math.inf)

    async def watch(self) -> None:
        """Look again and again; a replica that nobody could look at is too old by itself."""
        before = Why.AWAY
        while True:
            with contextlib.suppress(KithError, *_FAILURES):
                await self.look()
            now = self.judge(0)
            if now is not before:
                level = logging.INFO if now is Why.FRESH else logging.WARNING
                _LOG.log(level, "a replica of cell %d is %s", self.cell.number, now.value)
            before = now
            await asyncio.sleep(LOOK_EVERY_S)


def _origin(row: Record) -> tuple[int, int]:
    return row["system_identifier"], row["database"]


@dataclasses.dataclass(frozen=True, slots=True)
class Replicas:
    """The replicas of the cells, by number; most worlds have none."""

    of_cell: Mapping[int, Sequence[Replica]] = dataclasses.field(default_factory=dict)

    async def fetch_by_home(
        self,
        shards: ShardMap,
        statement: str,
        user_ids: Collection[int],
        *arguments: object,
        positions: Positions,
        priority: Priority,
    ) -> list[Record]:
        """Run one statement per cell as `ShardMap.fetch_by_home` does, on replicas where they have come far enough.

        Raises:
            Overloaded: neither a replica nor the cell answers.
        """
        if not self.of_cell:
            return await shards.fetch_by_home(statement, user_ids, *arguments, priority=priority)
        batches = await asyncio.gather(
            *(
                self._fetch(cell, statement, (ids, *arguments), positions.get(cell.number, 0), priority)
                for cell, ids in shards.group(user_ids).items()
            )
        )
        return list(itertools.chain.from_iterable(batches))

    async def _fetch(
        self, cell: Cell, statement: str, arguments: Sequence[object], position: int, priority: Priority
    ) -> list[Record]:
        replicas = self.of_cell.get(cell.number, ())
        if not replicas:
            return await cell.fetch(statement, *arguments, priority=priority)
        judged = [(replica, replica.judge(position)) for replica in replicas]
        fresh = [replica for replica, why in judged if why is Why.FRESH]
        chosen = random.choice(fresh) if fresh else None  # noqa: S311 - no secret: it spreads readers
        rows = await chosen.fetch(statement, arguments, position) if chosen is not None else None
        if rows is not None:
            REPLICA_READS.labels("replica", Why.FRESH.value).inc()
            return rows
        REPLICA_READS.labels("primary", (Why.FAILED if fresh else judged[-1][1]).value).inc()
        return await cell.fetch(statement, *arguments, priority=priority)

    async def fetch_positions(self, shards: ShardMap, user_ids: Collection[int]) -> Positions | None:
        """Tell how far the home cells of some people have come, after a change; None where nobody needs or knows it.

        Never raises: what was changed has been changed.
        """
        if not self.of_cell:
            return None
        cells = list(shards.group(user_ids))
        try:
            found = await asyncio.gather(*(cell.fetch(_POSITION, priority=Priority.MUTATION) for cell in cells))
        except (KithError, *_FAILURES):
            return None
        return {cell.number: rows[0]["position"] for cell, rows in zip(cells, found, strict=True)}


@contextlib.asynccontextmanager
async def open_replicas(shards: ShardMap, dsns: Sequence[Sequence[str]]) -> AsyncIterator[Replicas]:
    """Open one pool per replica, given those of each cell in the order of the cells, and watch how far they come."""
    async with contextlib.AsyncExitStack() as stack:
        pairs = zip(shards.cells, dsns, strict=False)
        opened = {cell.number: [await _open(stack, cell, dsn) for dsn in of_cell] for cell, of_cell in pairs if of_cell}
        watches = [asyncio.create_task(replica.watch()) for of_cell in opened.values() for replica in of_cell]
        try:
            yield Replicas(opened)
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)


async def _open(stack: contextlib.AsyncExitStack, cell: Cell, dsn: str) -> Replica:
    async def meet(connection: "asyncpg.Connection[Record]") -> None:
        await replica.meet(connection)

    pool = await asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=CONNECTIONS,
        timeout=ATTEMPT_S,
        max_inactive_connection_lifetime=60.0,
        server_settings=_SETTINGS,
        init=meet,
    )
    stack.callback(pool.terminate)
    replica = Replica(cell, pool)
    return replica
