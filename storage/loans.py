"""Connections of a pool on loan: one that comes back whole stays at hand for a moment, for who needs one next.

The pool makes, replaces and closes connections, and waits for what was cancelled on them. For that it spends a task or
two, a timeout and a timer on each loan, which together cost more than a statement does.
"""

import asyncio
import contextlib
import contextvars
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Final

import asyncpg

from storage.failures import LOST

Record = asyncpg.Record
if TYPE_CHECKING:
    Connection = asyncpg.pool.PoolConnectionProxy[Record]
else:
    Connection = asyncpg.pool.PoolConnectionProxy

AT_HAND_S: Final = 0.25
"""How long a connection is kept from the pool, at work or at hand."""
RETURN_TIMEOUT_S: Final = 1.0
"""How long the pool waits for a server to acknowledge what was cancelled on a connection, before it closes that."""


class Loan:
    """A connection, in the body of `async with` for one piece of work: who ends it by an exception gives it back."""

    __slots__ = ("_connection", "_loans", "until")

    def __init__(self, loans: "Loans", connection: Connection) -> None:
        self._loans = loans
        self._connection = connection
        self.until = monotonic() + AT_HAND_S

    @property
    def is_alive(self) -> bool:
        """Tell whether it may be used: the pool takes a connection back that is lost."""
        try:
            return not self._connection.is_closed()
        except asyncpg.InterfaceError:
            return False

    async def __aenter__(self) -> Connection:
        return self._connection

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if error is not None or not self._loans.keep(self):
            await self.end()

    async def end(self) -> None:
        """Give the connection back. That it is lost meanwhile takes nothing from what was done with it.

        The pool replaces such a connection; raised from here, its loss would have a committed transaction repeated.
        """
        with contextlib.suppress(*LOST, asyncpg.PostgresError, TimeoutError):
            await self._loans.pool.release(self._connection, timeout=RETURN_TIMEOUT_S)


class Loans:
    """Lends the connections of one pool."""

    def __init__(self, pool: "asyncpg.Pool[Record]") -> None:
        self.pool = pool
        self._at_hand: list[Loan] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._nobodys = contextvars.Context()
        self._is_closed = False

    async def take(self, within: float) -> Loan:
        """Lend the connection that was used last, or one of the pool's, for which it waits so many seconds.

        Raises:
            TimeoutError: the pool has none to give.
        """
        while self._at_hand:
            loan = self._at_hand.pop()
            if loan.is_alive:
                return loan
            await loan.end()
        return Loan(self, await self.pool.acquire(timeout=within))

    def keep(self, loan: Loan) -> bool:
        """Keep a connection at hand; False where it has been away from the pool for long enough."""
        if self._is_closed or loan.until <= monotonic():
            return False
        self._at_hand.append(loan)
        if self._timer is None:
            self._look_later()
        return True

    async def aclose(self) -> None:
        """Give back what is at hand, and keep nothing any more."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._end(self._at_hand)
        if self._ending:
            await asyncio.wait(self._ending)

    def _look_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(AT_HAND_S, self._look, context=self._nobodys)

    def _look(self) -> None:
        """Give back what has been at hand for long, to be closed if nobody needs it."""
        self._timer, now = None, monotonic()
        self._end([loan for loan in self._at_hand if loan.until <= now])
        if self._at_hand:
            self._look_later()

    def _end(self, loans: list[Loan]) -> None:
        self._at_hand = [loan for loan in self._at_hand if loan not in loans]
        for loan in loans:
            task = asyncio.create_task(loan.end())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
