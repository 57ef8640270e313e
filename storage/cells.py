"""Cells, one PostgreSQL endpoint each (plain, or a Citus coordinator) with its pool, and the map from ids to cells."""

import asyncio
import contextlib
import dataclasses
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

import asyncpg
from asyncpg.exceptions import (
    AdminShutdownError,
    CannotConnectNowError,
    CrashShutdownError,
    DeadlockDetectedError,
    IdleInTransactionSessionTimeoutError,
    InsufficientResourcesError,
    InterfaceError,
    InternalClientError,
    InvalidCachedStatementError,
    LockNotAvailableError,
    PostgresConnectionError,
    QueryCanceledError,
    ReadOnlySQLTransactionError,
    SerializationError,
)

from domain.errors import Overloaded, UnknownCell
from domain.ids import cell_of

T = TypeVar("T")
Record = asyncpg.Record
if TYPE_CHECKING:
    Connection = asyncpg.pool.PoolConnectionProxy[Record]
else:
    Connection = asyncpg.pool.PoolConnectionProxy

ACQUIRE_TIMEOUT_S: Final = 1.0
COMMAND_TIMEOUT_S: Final = 5.0
_SERVER_SETTINGS: Final = {
    "application_name": "kith",
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "3s",
    "statement_timeout": "5s",
    "timezone": "UTC",
}
_LOST: Final = (
    PostgresConnectionError,
    AdminShutdownError,
    CrashShutdownError,
    CannotConnectNowError,
    IdleInTransactionSessionTimeoutError,
    ReadOnlySQLTransactionError,
    InterfaceError,
    InternalClientError,
    ConnectionError,
    FileNotFoundError,
)
_REPEATABLE: Final = (InvalidCachedStatementError, DeadlockDetectedError, SerializationError)
_BUSY: Final = (TimeoutError, InsufficientResourcesError, LockNotAvailableError, QueryCanceledError)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn what a driver raises when the database cannot serve into the one error that callers know."""
    try:
        yield
    except (*_LOST, *_REPEATABLE, *_BUSY) as error:
        raise Overloaded(retryAfter=1) from error


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """The unit of ownership: the users whose ids name it live here, whole."""

    number: int
    pool: "asyncpg.Pool[Record]"

    async def fetch(self, statement: str, *arguments: object) -> list[Record]:
        """Run one reading statement; repeated once when the connection turns out to be lost.

        Raises:
            Overloaded: the cell does not answer in time.
        """
        with _translated():
            try:
                return await self._fetch(statement, arguments)
            except (*_LOST, *_REPEATABLE):
                return await self._fetch(statement, arguments)

    async def _fetch(self, statement: str, arguments: Sequence[object]) -> list[Record]:
        async with self.pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
            return await connection.fetch(statement, *arguments)

    async def transact(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `work` in one transaction; repeated whole, twice at most, when it fails before the commit was sent.

        Raises:
            Overloaded: the cell does not answer in time, or the outcome of the commit is not known; every mutation
                is idempotent, so that the caller may repeat it.
        """
        with _translated():
            for _ in range(2):
                with contextlib.suppress(*_LOST, *_REPEATABLE):
                    return await self._attempt(work)
            return await self._attempt(work)

    async def _attempt(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async with self.pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                result = await work(connection)
            except BaseException:
                await _roll_back(transaction)
                raise
            with _translated():  # from here on the outcome may be unknown: not for `transact` to repeat
                await transaction.commit()
            return result

    async def ping(self) -> None:
        """Ask the cell for a sign of life; raises Overloaded."""
        await self.fetch("SELECT 1")


async def _roll_back(transaction: asyncpg.transaction.Transaction) -> None:
    with contextlib.suppress(*_LOST, asyncpg.PostgresError, TimeoutError):
        await transaction.rollback()


@dataclasses.dataclass(frozen=True, slots=True)
class ShardMap:
    """Says which cell is home to which id, and groups batches by cell."""

    cells: tuple[Cell, ...]

    @property
    def directory(self) -> Cell:
        """Give the one cell where names are unique; adding cells never moves a name."""
        return self.cells[0]

    def home(self, user_id: int) -> Cell:
        """Give the home cell of a user.

        Raises:
            UnknownCell: the id names a cell that is not configured.
        """
        number = cell_of(user_id)
        if number >= len(self.cells):
            raise UnknownCell
        return self.cells[number]

    def group(self, user_ids: Iterable[int]) -> dict[Cell, list[int]]:
        """Group ids by home cell; ids of cells that are not configured belong to nobody and are left out."""
        grouped: dict[int, list[int]] = {}
        for user_id in user_ids:
            grouped.setdefault(cell_of(user_id), []).append(user_id)
        return {self.cells[number]: ids for number, ids in grouped.items() if number < len(self.cells)}

    async def fetch_by_home(self, statement: str, user_ids: Iterable[int], *arguments: object) -> list[Record]:
        """Run one statement per cell, at once, with that cell's ids as $1; the rows come in no promised order."""
        groups = self.group(user_ids)
        if len(groups) == 1:
            [(cell, ids)] = groups.items()
            return await cell.fetch(statement, ids, *arguments)
        batches = await asyncio.gather(*(cell.fetch(statement, ids, *arguments) for cell, ids in groups.items()))
        return list(itertools.chain.from_iterable(batches))


@contextlib.asynccontextmanager
async def open_cells(dsns: Sequence[str], *, connections: int = 20) -> AsyncIterator[ShardMap]:
    """Open one pool per cell, of at most `connections` each; the pools fill as they are used."""
    async with contextlib.AsyncExitStack() as stack:
        cells = []
        for number, dsn in enumerate(dsns):
            pool = asyncpg.create_pool(
                dsn,
                min_size=0,
                max_size=connections,
                command_timeout=COMMAND_TIMEOUT_S,
                timeout=ACQUIRE_TIMEOUT_S * 2,
                max_inactive_connection_lifetime=60.0,
                server_settings=_SERVER_SETTINGS,
            )
            cells.append(Cell(number, await stack.enter_async_context(pool)))
        yield ShardMap(tuple(cells))
