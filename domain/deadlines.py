"""Until when the work of one request may go on: set once at the front door, heeded wherever something is waited for.

The deadline travels in a context variable, so that it needs no argument in every function. Tasks inherit it. Whoever
joins the questions of several requests into one must not inherit the deadline of whoever asked first: it runs the joint
work `under(latest(...))` all of theirs, and each caller goes on waiting for no longer than its own.
"""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Iterable
from contextvars import ContextVar
from time import monotonic

from domain.errors import DeadlineExceeded
from domain.held import Held

_DEADLINE: ContextVar[float | None] = ContextVar("deadline", default=None)


def current() -> float | None:
    """Give the deadline of the work at hand, in seconds of the monotonic clock; None where there is none."""
    return _DEADLINE.get()


def under(deadline: float | None) -> Held[float | None]:
    """Do some work under this deadline, whatever held before."""
    return Held(_DEADLINE, deadline)


def within(seconds: float) -> Held[float | None]:
    """Do some work in that many seconds from now, or in what is left if that is less."""
    deadline, outer = monotonic() + seconds, _DEADLINE.get()
    return Held(_DEADLINE, deadline if outer is None else min(deadline, outer))


def latest(deadlines: Iterable[float | None]) -> float | None:
    """Give the deadline of work that several wait for: the last of theirs, none if one of them has none."""
    found = list(deadlines)
    return max((deadline for deadline in found if deadline is not None), default=None) if None not in found else None


def is_over() -> bool:
    """Tell whether the deadline has passed."""
    deadline = current()
    return deadline is not None and deadline <= monotonic()


@contextlib.asynccontextmanager
async def heeded() -> AsyncIterator[asyncio.Timeout]:
    """Cancel what runs in the body when the deadline passes; `reschedule(None)` on what it gives lifts that.

    Raises:
        DeadlineExceeded: it has passed.
    """
    scope = asyncio.timeout(None if current() is None else left(math.inf))
    try:
        async with scope:
            yield scope
    except TimeoutError as error:
        if scope.expired():
            raise DeadlineExceeded from error
        raise


def left(most: float) -> float:
    """Give the seconds that one may wait: `most`, or what is left until the deadline if that is less.

    Raises:
        DeadlineExceeded: nothing is left.
    """
    deadline = _DEADLINE.get()
    if deadline is None:
        return most
    remaining = deadline - monotonic()
    if remaining <= 0:
        raise DeadlineExceeded
    return min(most, remaining)
