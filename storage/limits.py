"""How much is asked of a database at once: a limit that follows how it does, a short queue, and who goes first."""

import asyncio
import collections
import contextlib
import enum
import math
from contextvars import ContextVar
from time import monotonic
from types import TracebackType
from typing import Final

from domain import deadlines
from domain.errors import DeadlineExceeded, Overloaded
from domain.held import Held
from storage.metrics import IN_FLIGHT, LIMIT, QUEUED, SHED
from storage.timeouts import AnswerWithin

RETRY_AFTER_S: Final = 1


class Priority(enum.IntEnum):
    """What a statement is for; what is worth less is refused earlier and served later."""

    FACT = 0
    """Who somebody is, and how two people stand to each other: nothing may be shown without it."""
    MUTATION = 1
    PROFILE = 2
    LIST = 3
    COUNT = 4


_ROOM: Final = {
    Priority.FACT: 1.0,
    Priority.MUTATION: 0.8,
    Priority.PROFILE: 0.6,
    Priority.LIST: 0.4,
    Priority.COUNT: 0.2,
}
"""How full the queue may be for one more of this priority to be let in, as a share of its places, and of the longest
wait where it has more than that."""

CROWD: Final = 8
"""What so many requests wait for is worth as much as anything: refused, it would fail them all."""

_WANTED_BY: ContextVar[int] = ContextVar("wanted_by", default=1)


def wanted_by(number: int) -> Held[int]:
    """Do some reading for which so many requests wait."""
    return Held(_WANTED_BY, number)


_MUTATIONS: Final = 0.75
"""The share of the limit that mutations may have: those that wait for each other's locks leave room for reads."""

_PATIENCE: Final = 4
"""How many times as long a change waits as a read: whoever is refused has to find out whether it was done."""

_WEIGHT: Final = 0.05
"""What the latest piece of work counts in the mean of how long they take."""

_SHRINK: Final = 0.9
_LATE_S: Final = 0.01


class Limit:
    """Lets `most` in at once, fewer while the database is slow; the others wait for a place, or are refused at once.

    The queue has `places`, and more for reads while the last of them can expect to be called in within `longest_wait`,
    or its share of it: a crowd that a database in good order is done with in a moment is no overload.

    Additive increase, multiplicative decrease. A read that takes longer than `slow` seconds, or anything that fails,
    takes a tenth off the limit, once per `window` seconds; a window in which the limit was reached and nothing was slow
    adds one. A read takes a millisecond or two, so that a slow one tells of the database and not of itself; a mutation
    may just have waited for another's lock.
    """

    def __init__(
        self,
        dependency: str,
        most: int,
        *,
        least: int = 2,
        slow: float = 0.25,
        window: float = 0.1,
        places: int | None = None,
        longest_wait: float = 0.5,
    ) -> None:
        self._dependency = dependency
        self._most = float(most)
        self._least = float(min(least, most))
        self._slow = slow
        self._window = window
        self._places = most * 4 if places is None else places
        self._longest_wait = longest_wait
        self._limit = self._most
        self._changed = monotonic()
        self._was_reached = False
        self._takes = math.inf
        self._moved = -math.inf
        self._in_flight = 0
        self._mutations = 0
        self._waiting: dict[Priority, collections.deque[asyncio.Future[None]]] = {
            priority: collections.deque() for priority in Priority
        }
        self._shown_in_flight = IN_FLIGHT.labels(dependency)  # a function would not be asked by another process
        LIMIT.labels(dependency).set(most)

    @property
    def limit(self) -> int:
        """Give how many are let in at once now."""
        return int(self._limit)

    @property
    def in_flight(self) -> int:
        """Count who is in."""
        return self._in_flight

    @property
    def queued(self) -> int:
        """Count who waits."""
        return sum(map(len, self._waiting.values()))

    async def enter(self, priority: Priority, *failures: type[BaseException]) -> "Place":
        """Give a place, which is left at the end of a `with`; `failures` say that the database is in trouble.

        Raises:
            Overloaded: the queue has no room for this priority, or the wait was too long.
            DeadlineExceeded: the request has no time left.
        """
        if priority is not Priority.MUTATION and _WANTED_BY.get() >= CROWD:
            priority = Priority.FACT
        await self._enter(priority)
        return Place(self, priority, failures)

    def note_slow(self, due: float) -> None:
        """Take a read for slow, unless this process itself is late: then the answer may lie in the socket unread."""
        if asyncio.get_running_loop().time() - due <= _LATE_S:
            self._shrink()

    def end(self, priority: Priority, began: float, *, is_done: bool, has_failed: bool) -> None:
        """Take in how a piece of work ended, and give its place to who waits."""
        if is_done:
            self._learn(began, asyncio.get_running_loop().time())
        elif has_failed:
            self._shrink()
        self._leave(priority)
        self._grow()

    @property
    def slow(self) -> float:
        """Tell how long a read may take that is not slow (seconds)."""
        return self._slow

    async def _enter(self, priority: Priority) -> None:
        now = asyncio.get_running_loop().time()
        if self._has_place(priority):
            self._take(priority)
            self._moved = now
            return
        self._was_reached = True
        queued, room = self.queued, _ROOM[priority]
        if queued >= self._places * room and (
            priority is Priority.MUTATION or self._expected_wait(queued, now) >= self._longest_wait * room
        ):
            raise self._shed(priority)
        await self._wait(priority)

    def _expected_wait(self, queued: int, now: float) -> float:
        """Estimate how long one more than so many waits (seconds): long, where the database is done with nothing."""
        return max(self._takes, now - self._moved) * (queued + 1) / self._limit

    def _learn(self, began: float, ended: float) -> None:
        """Take in how long a piece of work took that was done."""
        took = ended - began
        self._takes = took if self._takes == math.inf else self._takes + (took - self._takes) * _WEIGHT
        self._moved = ended

    def _has_place(self, priority: Priority) -> bool:
        free = self._in_flight < self.limit
        return free and (priority is not Priority.MUTATION or self._mutations < max(1, int(self.limit * _MUTATIONS)))

    def _take(self, priority: Priority) -> None:
        self._in_flight += 1
        self._mutations += priority is Priority.MUTATION
        self._shown_in_flight.set(self._in_flight)

    def _leave(self, priority: Priority) -> None:
        self._in_flight -= 1
        self._mutations -= priority is Priority.MUTATION
        self._shown_in_flight.set(self._in_flight)
        self._call_in()

    def _call_in(self) -> None:
        """Give free places to those who wait, the most urgent first, and of those who came first."""
        for priority, waiting in self._waiting.items():
            while waiting and self._has_place(priority):
                waiter = waiting.popleft()
                if not waiter.done():
                    self._take(priority)
                    waiter.set_result(None)

    async def _wait(self, priority: Priority) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting[priority].append(waiter)
        QUEUED.labels(self._dependency).set(self.queued)
        try:
            patience = self._longest_wait * (_PATIENCE if priority is Priority.MUTATION else 1)
            async with AnswerWithin(deadlines.left(patience)):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():  # called in, and gone
                self._leave(priority)
            else:
                self._forget(priority, waiter)
            if isinstance(error, TimeoutError):
                raise DeadlineExceeded if deadlines.is_over() else self._shed(priority) from None
            raise
        finally:
            QUEUED.labels(self._dependency).set(self.queued)

    def _forget(self, priority: Priority, waiter: asyncio.Future[None]) -> None:
        with contextlib.suppress(ValueError):
            self._waiting[priority].remove(waiter)

    def _shed(self, priority: Priority) -> Overloaded:
        SHED.labels(self._dependency, priority.name.lower()).inc()
        return Overloaded(retryAfter=RETRY_AFTER_S)

    def _shrink(self) -> None:
        if monotonic() - self._changed >= self._window:
            self._change_to(max(self._least, self._limit * _SHRINK))

    def _grow(self) -> None:
        if self._was_reached and monotonic() - self._changed >= self._window:
            self._change_to(min(self._most, self._limit + 1))
            self._call_in()

    def _change_to(self, limit: float) -> None:
        self._limit = limit
        self._changed = monotonic()
        self._was_reached = False
        LIMIT.labels(self._dependency).set(self.limit)


class Place:
    """A place among those who are let in, in the body of a `with` or until it is left."""

    __slots__ = ("_began", "_failures", "_limit", "_priority", "_timer")

    def __init__(self, limit: Limit, priority: Priority, failures: tuple[type[BaseException], ...]) -> None:
        loop = asyncio.get_running_loop()
        self._limit = limit
        self._priority = priority
        self._failures = failures
        self._began = loop.time()
        self._timer: asyncio.TimerHandle | None = None
        if priority is not Priority.MUTATION:
            due = self._began + limit.slow
            self._timer = loop.call_at(due, limit.note_slow, due)

    def leave(self, error: BaseException | None = None) -> None:
        """Leave it, and tell what the work ended with."""
        if self._timer is not None:
            self._timer.cancel()
        has_failed = isinstance(error, self._failures)
        self._limit.end(self._priority, self._began, is_done=error is None, has_failed=has_failed)

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.leave(error)
