"""Coroutines that are run at once, and become tasks only where they have to wait: most requests never have to.

Python 3.12 has eager tasks, which are tasks all the same. What runs here is none until it waits for a future. For what
calls back, as a look at Redis does, it waits as it is, and goes on within the call.
"""

import asyncio
import contextvars
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Final, Protocol

from domain.waiting import Begun

_CALLED: Final = object()
"""What is sent up by whoever will be called back."""
_enter: Callable[[asyncio.AbstractEventLoop, Any], None] = _enter_task
_leave: Callable[[asyncio.AbstractEventLoop, Any], None] = _leave_task


class Calls(Protocol):
    """What happens once, and tells of it."""

    def call(self, callback: Callable[[], None]) -> None:
        """Have a callback called when it happens, by no task."""

    def future(self) -> asyncio.Future[None]:
        """Give what is done when it happens."""


class Eager:
    """A coroutine in a context of its own, which runs when this is called; nobody waits for what it gives.

    What asks for the current task meanwhile gets this, as the documentation of asyncio has it for tasks of one's own
    kind: a time limit cancels it, or what it has become by then.
    """

    __slots__ = ("_context", "_coroutine", "_is_cancelled", "_is_over", "_loop", "_task")

    def __init__(self, coroutine: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> None:
        self._coroutine = coroutine
        self._loop = loop
        self._context = contextvars.copy_context()
        self._task: asyncio.Task[None] | None = None
        self._is_over = False
        """Whether it ended, or became a task."""
        self._is_cancelled = False

    def __call__(self) -> None:
        """Run until the coroutine has to wait, or ends; to be called by the loop, not by a task."""
        global _RUNNING  # noqa: PLW0603 - as asyncio keeps the current task
        if self._is_over:
            return
        coroutine, loop = self._coroutine, self._loop
        _enter(loop, self)
        _RUNNING = self
        try:
            if self._is_cancelled:
                self._is_cancelled = False
                waits_for = self._context.run(coroutine.throw, asyncio.CancelledError())
            else:
                waits_for = self._context.run(coroutine.send, None)
        except (StopIteration, asyncio.CancelledError):
            self._is_over = True
            return
        except BaseException:
            self._is_over = True
            raise
        finally:
            _RUNNING = None
            _leave(loop, self)
        if waits_for is not _CALLED:
            self._is_over = True
            self._task = loop.create_task(_end(Begun(coroutine, waits_for)), context=self._context)

    def cancel(self, msg: object = None) -> bool:
        """Have the coroutine cancelled where it waits; False where it has ended."""
        if self._task is not None:
            return self._task.cancel(msg)
        if not self._is_over:
            self._is_cancelled = True
            self._loop.call_soon(self._cancel)
        return not self._is_over

    def cancelling(self) -> int:
        """Tell how often it was cancelled, as a task does."""
        return self._task.cancelling() if self._task is not None else int(self._is_cancelled)

    def uncancel(self) -> int:
        """Take a cancellation back, as a task does."""
        return self._task.uncancel() if self._task is not None else 0

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        else:
            self()


_RUNNING: Eager | None = None
"""What runs now, if that is no task."""


def until(calls: Calls) -> Awaitable[None]:
    """Wait until something has happened: to be awaited at once, by a task or an eager coroutine itself.

    What either has begun beside, and goes on with later, must not wait in this way.
    """
    if _RUNNING is None:
        return calls.future()
    calls.call(_RUNNING)
    return _CALL


class _Call:
    """Waits to be called."""

    def __await__(self) -> Generator[object, None, None]:
        yield _CALLED


_CALL: Final = _Call()


async def _end(begun: Begun[None]) -> None:
    await begun
