"""What stands in front of a cell: a breaker for when it is away, a limit for when it is busy, and the deadline."""

import contextlib
from collections.abc import Iterator
from types import TracebackType

from domain.errors import DeadlineExceeded, Overloaded
from storage.breakers import Breaker, BreakerOpen
from storage.failures import AWAY, RETRY_AFTER_S, UNSERVED
from storage.limits import Limit, Place, Priority
from storage.metrics import DEADLINES, REFUSED


class Guard:
    """Lets pieces of work through to one cell, `most` at once."""

    def __init__(self, dependency: str, most: int) -> None:
        self._dependency = dependency
        self.breaker = Breaker(dependency)
        self.limit = Limit(dependency, most)

    async def enter(self, priority: Priority) -> "Passing":
        """Let one piece of work with the cell begin, which is done in the body of a `with`.

        Raises:
            Overloaded: the cell is away or busy.
            DeadlineExceeded: the request has no time left.
        """
        if self.breaker.is_open:
            REFUSED.labels(self._dependency).inc()
            raise Overloaded(retryAfter=RETRY_AFTER_S)
        try:
            place = await self.limit.enter(priority, *AWAY)
        except DeadlineExceeded:
            self.count_late()
            raise
        return Passing(self, place)

    def count_late(self) -> None:
        """Count a piece of work that was ended by the deadline of its request."""
        DEADLINES.labels(self._dependency).inc()

    @contextlib.contextmanager
    def probing(self) -> Iterator[None]:
        """Ask for a sign of life, however long the queue is; raises Overloaded."""
        try:
            with self.breaker.passing(*AWAY):
                yield
        except UNSERVED as error:
            raise Overloaded(retryAfter=RETRY_AFTER_S) from error


class Passing:
    """One piece of work with a cell: how it ends is told to the breaker and to the limit.

    What says that the cell cannot serve becomes the one error that callers know. A deadline that has passed says
    nothing about the cell.
    """

    __slots__ = ("_guard", "_place", "_ticket")

    def __init__(self, guard: Guard, place: Place) -> None:
        self._guard = guard
        self._place = place

    def __enter__(self) -> None:
        try:
            self._ticket = self._guard.breaker.admit()
        except BreakerOpen as error:  # while the work waited for its place
            self._place.leave(error)
            raise Overloaded(retryAfter=RETRY_AFTER_S) from error

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._guard.breaker.settle(self._ticket, error, AWAY)
        self._place.leave(error)
        if isinstance(error, DeadlineExceeded):
            self._guard.count_late()
        elif isinstance(error, UNSERVED):
            raise Overloaded(retryAfter=RETRY_AFTER_S) from error
