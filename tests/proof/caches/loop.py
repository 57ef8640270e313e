"""An event loop whose time passes only while it waits: a day takes a second, and a seed always gives one order.

It does what a loop must and nothing beyond: many thousands of schedules spend their time here.
"""

import asyncio
import contextvars
import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class NobodyWakes(Exception):
    """Somebody waits for what will never come."""


class _Step(asyncio.TimerHandle):
    """A call that is due at once or at some time."""

    __slots__ = ()

    def __init__(
        self, when: float, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context | None
    ) -> None:
        self._when = when
        self._callback: Any = callback
        self._args = args
        self._context = context if context is not None else contextvars.copy_context()
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs what is ready in order; of what is due at one time, a seeded choice comes first."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._chance: Final = random.Random(seed).random
        self._now = 1000.0
        self._due: deque[_Step] = deque()
        self._timers: list[tuple[float, float, int, _Step | asyncio.Future[None]]] = []
        self._count = 0
        self.errors: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _loop, context: self.errors.append(context))

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        return asyncio.Task(coro, loop=self, name=str(name or ""), context=context)

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        step = _Step(0.0, callback, args, context)
        self._due.append(step)
        return step

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        step = _Step(when, callback, args, context)
        self._set(when, step)
        return step

    def pause(self, seconds: float) -> asyncio.Future[None]:
        """Give what is done after some time."""
        future = asyncio.Future[None](loop=self)
        self._set(self._now + seconds, future)
        return future

    def _set(self, when: float, what: "_Step | asyncio.Future[None]") -> None:
        self._count += 1
        heapq.heappush(self._timers, (when, self._chance(), self._count, what))

    def run(self, work: Coroutine[Any, Any, T], *, within: float) -> T:
        """Run until some work is done; raises NobodyWakes after `within` seconds of virtual time."""
        asyncio.events._set_running_loop(self)
        try:
            task = self.create_task(work)
            end = self._now + within
            while not task.done():
                if not self._turn(end) and not task.done():
                    raise NobodyWakes
            return task.result()
        finally:
            asyncio.events._set_running_loop(None)
            self.close()

    def _turn(self, end: float) -> bool:
        """Do what is due, and let time pass until something else is; False where nothing will be."""
        due, timers = self._due, self._timers
        while due:
            step = due.popleft()
            if not step._cancelled:
                try:
                    step._context.run(step._callback, *step._args)
                except Exception as error:  # noqa: BLE001 - as any loop does
                    self.call_exception_handler({"message": f"a callback failed: {error!r}", "exception": error})
        if not timers or self._now > end:
            return False
        now = self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= now:
            what = heapq.heappop(timers)[3]
            if isinstance(what, _Step):
                if not what._cancelled:
                    due.append(what)
            elif not what.done():
                what.set_result(None)
        return True
