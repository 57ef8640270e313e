"""Cells, one PostgreSQL endpoint each (plain, or a Citus coordinator) with its pool, and the map from ids to cells."""

import asyncio
import collections
import contextlib
import dataclasses
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Final, ParamSpec, TypeVar

import asyncpg

from domain import deadlines
from domain.errors import DeadlineExceeded, UnknownCell
from domain.ids import cell_of
from storage import loans
from storage.failures import LATE, LOST, REPEATABLE, RETRY_AFTER_S, OutcomeUnknown
from storage.guards import Guard
from storage.limits import Priority
from storage.loans import Loan, Loans

P = ParamSpec("P")
T = TypeVar("T")
Record = loans.Record
Connection = loans.Connection

ACQUIRE_TIMEOUT_S: Final = 1.0
COMMAND_TIMEOUT_S: Final = 5.0
_ROLL_BACK_TIMEOUT_S: Final = 0.5
_BEFORE_REPEATING_S: Final = (0.01, 0.1)
_WITHOUT_EFFECT: Final = (*LOST, *REPEATABLE)
_SERVER_SETTINGS: Final = {
    "application_name": "kith",
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "3s",
    "statement_timeout": "5s",
    "timezone": "UTC",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """The unit of ownership: the users whose ids name it live here, whole."""

    number: int
    loans: Loans
    guard: Guard
    read_timeout: float = COMMAND_TIMEOUT_S

    async def fetch(self, statement: str, *arguments: object, priority: Priority = Priority.PROFILE) -> list[Record]:
        """Run one reading statement; repeated, twice at most, when the connection turns out to be lost.

        Raises:
            Overloaded: the cell does not answer in time, or has too much to do for this priority.
            DeadlineExceeded: the request has no time left.
        """
        with await self.guard.enter(priority):
            return await _repeated(self._fetch, statement, arguments)

    async def _fetch(self, statement: str, arguments: Sequence[object]) -> list[Record]:
        async with await self._take() as connection:
            seconds = deadlines.left(self.read_timeout)
            try:
                return await connection.fetch(statement, *arguments, timeout=seconds)
            except TimeoutError as error:
                if seconds < self.read_timeout:
                    raise DeadlineExceeded from error
                raise

    async def transact(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `work` in one transaction; repeated whole, twice at most, when it fails before the commit was sent.

        Raises:
            Overloaded: the cell does not answer in time, or the outcome of the commit is not known; every mutation
                is idempotent, so that the caller may repeat it.
            DeadlineExceeded: the request has no time left; nothing was done.
        """
        with await self.guard.enter(Priority.MUTATION):
            async with deadlines.heeded() as scope:
                return await _repeated(self._attempt, work, scope)

    async def _attempt(self, work: Callable[[Connection], Awaitable[T]], scope: asyncio.Timeout) -> T:
        async with await self._take() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                result = await work(connection)
                await _lift(scope)
            except BaseException:
                await _roll_back(transaction)
                raise
            try:
                await transaction.commit()
            except (*LOST, *LATE, *REPEATABLE) as error:
                raise OutcomeUnknown(retryAfter=RETRY_AFTER_S) from error  # not for `transact` to repeat
            return result

    async def commit(self, statement: str, *arguments: object) -> list[Record]:
        """Run one statement that is a transaction of its own; repeated where it is certain to have had no effect.

        Nothing but its own time ends it, as with the commit of `transact`.

        Raises:
            Overloaded: as `transact` does.
            DeadlineExceeded: the request has no time left; nothing was done.
        """
        with await self.guard.enter(Priority.MUTATION):
            return await _repeated(self._commit, statement, arguments)

    async def _commit(self, statement: str, arguments: Sequence[object]) -> list[Record]:
        async with await self._take() as connection:
            if deadlines.is_over():
                raise DeadlineExceeded
            try:
                return await connection.fetch(statement, *arguments)
            except (*LOST, *LATE) as error:
                raise OutcomeUnknown(retryAfter=RETRY_AFTER_S) from error  # not for `commit` to repeat

    async def _take(self) -> Loan:
        """Take a connection, which is given back by `async with`."""
        seconds = deadlines.left(ACQUIRE_TIMEOUT_S)
        try:
            return await self.loans.take(seconds)
        except TimeoutError as error:
            if seconds < ACQUIRE_TIMEOUT_S:
                raise DeadlineExceeded from error
            raise

    async def ping(self) -> None:
        """Ask the cell for a sign of life; raises Overloaded."""
        with self.guard.probing():
            await self._fetch("SELECT 1", ())


async def _lift(scope: asyncio.Timeout) -> None:
    """Let nothing but its own time end a commit: whoever has committed must know it, and be able to tell the caches."""
    if scope.expired():
        await asyncio.sleep(0)  # the cancellation is on its way: take it here, before anything is committed
    scope.reschedule(None)


async def _repeated(attempt: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Repeat what had no effect, after a moment in which those connections are noticed that were lost with this one.

    A server that ends its connections takes a while to end them all: the second moment is the longer one.
    """
    for moment in _BEFORE_REPEATING_S:
        try:
            return await attempt(*args, **kwargs)
        except _WITHOUT_EFFECT:
            await asyncio.sleep(deadlines.left(moment))
    return await attempt(*args, **kwargs)


async def _roll_back(transaction: asyncpg.transaction.Transaction) -> None:
    with contextlib.suppress(*LOST, asyncpg.PostgresError, TimeoutError):
        async with asyncio.timeout(_ROLL_BACK_TIMEOUT_S):
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
        grouped: collections.defaultdict[int, list[int]] = collections.defaultdict(list)
        for user_id in user_ids:
            grouped[cell_of(user_id)].append(user_id)
        return {self.cells[number]: ids for number, ids in grouped.items() if number < len(self.cells)}

    async def fetch_by_home(
        self, statement: str, user_ids: Iterable[int], *arguments: object, priority: Priority = Priority.PROFILE
    ) -> list[Record]:
        """Run one statement per cell, at once, with that cell's ids as $1; the rows come in no promised order."""
        groups = self.group(user_ids)
        if len(groups) == 1:
            [(cell, ids)] = groups.items()
            return await cell.fetch(statement, ids, *arguments, priority=priority)
        batches = await asyncio.gather(
            *(cell.fetch(statement, ids, *arguments, priority=priority) for cell, ids in groups.items())
        )
        return list(itertools.chain.from_iterable(batches))


async def _leave_as_it_is(_connection: object) -> None:
    """Spare the statement that forgets what a session has set: nothing here sets anything beyond a transaction."""


@contextlib.asynccontextmanager
async def open_cells(
    dsns: Sequence[str], *, connections: int = 20, read_timeout: float = COMMAND_TIMEOUT_S
) -> AsyncIterator[ShardMap]:
    """Open one pool per cell, of at most `connections` each; the pools fill as they are used.

    A read that has no answer after `read_timeout` seconds says that the cell is away; where people wait for reads, that
    must be well before their requests' deadlines, which say nothing about it.
    """
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
                reset=_leave_as_it_is,
            )
            lent = Loans(await stack.enter_async_context(pool))
            stack.push_async_callback(lent.aclose)
            cells.append(Cell(number, lent, Guard(f"cell {number}", connections), read_timeout))
        yield ShardMap(tuple(cells))
