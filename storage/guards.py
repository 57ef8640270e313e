"""What stands in front of a cell: a breaker for when it is away, a limit for when it is busy, and the deadline."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from domain import deadlines
from domain.errors import DeadlineExceeded, Overloaded
from storage.breakers import Breaker
from storage.failures import AWAY, RETRY_AFTER_S, translated
from storage.limits import Limit, Priority
from storage.metrics import DEADLINES, REFUSED


class Guard:
    """Lets pieces of work through to one cell, `most` at once."""

    def __init__(self, dependency: str, most: int) -> None:
        self._dependency = dependency
        self.breaker = Breaker(dependency)
        self.limit = Limit(dependency, most)

    @contextlib.asynccontextmanager
    async def passing(self, priority: Priority) -> AsyncIterator[asyncio.Timeout]:
        """Do one piece of work with the cell, until the request's deadline, which what is given can lift.

        Raises:
            Overloaded: the cell is away or busy.
            DeadlineExceeded: the request has no time left; what was running is cancelled.
        """
        if self.breaker.is_open:
            REFUSED.labels(self._dependency).inc()
            raise Overloaded(retryAfter=RETRY_AFTER_S)
        try:
            # Seen from inside, the end of the time is a cancellation: neither breaker nor limit blames the cell for it.
            async with deadlines.heeded() as scope:
                with translated():
                    async with self.limit.slot(priority, *AWAY):
                        with self.breaker.passing(*AWAY):
                            yield scope
        except DeadlineExceeded:
            DEADLINES.labels(self._dependency).inc()
            raise

    @contextlib.asynccontextmanager
    async def probing(self) -> AsyncIterator[None]:
        """Ask for a sign of life, however long the queue is; raises Overloaded."""
        with translated(), self.breaker.passing(*AWAY):
            yield
