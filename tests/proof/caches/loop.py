"""An event loop whose time passes only while it waits: a day takes a second, and a seed always gives one order."""

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class NobodyWakes(Exception):
    """Somebody waits for what will never come."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs what is ready in order; of what is due at one time, a seeded choice comes first."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)
        self._now = 1000.0
        self._due: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, float, int, asyncio.TimerHandle]] = []
        self._count = 0
        self.errors: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _loop, context: self.errors.append(context))

    def time(self) -> float:
        return self._now

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._due.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._random.random(), self._count, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Leave it: it is passed over when its time comes."""

    def run(self, work: Coroutine[Any, Any, T], *, within: float) -> T:
        """Run until some work is done; raises NobodyWakes after `within` seconds of virtual time."""
        asyncio.events._set_running_loop(self)
        try:
            task = self.create_task(work)
            end = self._now + within
            while not task.done():
                self._turn(end)
            return task.result()
        finally:
            asyncio.events._set_running_loop(None)
            self.close()

    def _turn(self, end: float) -> None:
        due = self._due
        while due:
            handle = due.popleft()
            if not handle.cancelled():
                handle._run()
        if not self._timers or self._now > end:
            raise NobodyWakes
        self._now = max(self._now, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self._now:
            due.append(heapq.heappop(self._timers)[3])
