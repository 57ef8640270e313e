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
_Step = tuple[contextvars.Context, Callable[..., object], tuple[Any, ...]]
"""A call that is due: in which context, what, and with which arguments."""


class NobodyWakes(Exception):
    """Somebody waits for what will never come."""


class _Soon(asyncio.Handle):
    """Stands for each call that is due at once: they are so many that none has a handle of its own."""

    __slots__ = ()

    def __init__(self) -> None:
        pass

    def cancel(self) -> None:
        raise NotImplementedError("what is due at once cannot be taken back here")


class _Timer(asyncio.TimerHandle):
    """A call that is due at some time, and may be taken back until then."""

    __slots__ = ()

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._callback: Any = callback
        self._args = args
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True

    def fire(self) -> None:
        if not self._cancelled:
            self._callback(*self._args)


_SOON: Final = _Soon()


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs what is ready in order; of what is due at one time, a seeded choice comes first."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._chance: Final = random.Random(seed).random
        self._now = 1000.0
        self._due: deque[_Step] = deque()
        self._timers: list[tuple[float, float, int, _Step | asyncio.Future[None]]] = []
        self._count = 0
        self._nobodys = contextvars.Context()
        self.errors: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _loop, context: self.errors.append(context))

    def time(self) -> float:
        return self._now

    get_debug = staticmethod(bool)  # False; every future asks for it

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        del name  # nobody asks for it, and a task that has none makes one
        return asyncio.Task(coro, loop=self, name="", context=context)

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        self._due.append((contextvars.copy_context() if context is None else context, callback, args))
        return _SOON

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        timer = _Timer(callback, args)
        self._set(when, (contextvars.copy_context() if context is None else context, timer.fire, ()))
        return timer

    def pause(self, seconds: float) -> asyncio.Future[None]:
        """Give what is done after some time."""
        future = asyncio.Future[None](loop=self)
        self._set(self._now + seconds, future)
        return future

    def end_after(self, seconds: float, future: asyncio.Future[None]) -> None:
        """Have a future done after some time, unless it was cancelled."""
        self._set(self._now + seconds, future)

    def do_after(self, seconds: float, callback: Callable[[], object]) -> None:
        """Call something after some time, whoever goes away meanwhile, in nobody's context."""
        self._set(self._now + seconds, (self._nobodys, callback, ()))

    def _set(self, when: float, what: "_Step | asyncio.Future[None]") -> None:
        self._count = count = self._count + 1
        heapq.heappush(self._timers, (when, self._chance(), count, what))

    def run(self, work: Coroutine[Any, Any, T], *, within: float) -> T:
        """Run until some work is done; raises NobodyWakes after `within` seconds of virtual time."""
        asyncio.events._set_running_loop(self)
        try:
            task = self.create_task(work)
            self._run_until(task, self._now + within)
            return task.result()
        finally:
            asyncio.events._set_running_loop(None)
            self.close()

    def _run_until(self, task: asyncio.Task[Any], end: float) -> None:
        """Do what is due, and let time pass until something else is, until a task is done."""
        due, next_due = self._due, self._due.popleft
        while True:
            while due:
                context, callback, args = next_due()
                try:
                    context.run(callback, *args)
                except Exception as error:  # noqa: BLE001 - as any loop does
                    self.call_exception_handler({"message": f"a callback failed: {error!r}", "exception": error})
            if task.done():
                return
            if not self._timers or self._now > end:
                raise NobodyWakes
            self._let_time_pass()

    def _let_time_pass(self) -> None:
        """Go to the next moment at which something is due."""
        timers, due, pop = self._timers, self._due, heapq.heappop
        now = self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= now:
            what = pop(timers)[3]
            if isinstance(what, tuple):
                due.append(what)
            elif not what.done():
                what.set_result(None)
