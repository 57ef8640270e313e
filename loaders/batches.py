"""What a tick of the loop asks for, joined into batches; a few are under way at once for each place, the rest wait."""

import asyncio
import collections
import math
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Final, Generic, TypeVar

from domain import deadlines
from domain.errors import DeadlineExceeded, Overloaded

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
T = TypeVar("T")

MAX_BATCH: Final = 500
IN_FLIGHT: Final = 2
"""Batches under way at once per place: what is asked for meanwhile is joined into the next."""

Place = tuple[int, bool, int]
"""A cell, whether it is asked directly, and the one viewer whose own the facts are; 0 where they are nobody's own."""


class Batch(Generic[K, V]):
    """Keys that are asked for together, by how many, and what came of it; `until` is set when it starts."""

    __slots__ = ("_done", "_waiting", "asked", "direct", "found", "until")

    def __init__(self, *, direct: bool) -> None:
        self.asked: dict[K, int] = {}
        self.found: Mapping[K, V] = {}
        self.direct = direct
        self.until: float | None = None
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting: list[asyncio.Future[None]] = []

    def ask(self, key: K, times: int = 1) -> None:
        """Ask for one more key, or for one once more."""
        self.asked[key] = self.asked.get(key, 0) + times

    def may_be_joined_at(self, now: float) -> bool:
        """Tell whether what comes of it may be used by whoever asks now."""
        return self.until is None or now < self.until

    def succeed(self, found: Mapping[K, V]) -> None:
        """Tell all who wait what was found."""
        self.found = found
        self._done.set_result(None)
        self._wake_all()

    def fail(self, error: BaseException) -> None:
        """Tell all who wait, if anybody does, that it failed."""
        self._done.set_exception(error if isinstance(error, Exception) else Overloaded(retryAfter=1))
        self._done.exception()
        self._wake_all()

    @property
    def has_failed(self) -> bool:
        """Tell whether it ended by an error."""
        return self._done.done() and self._done.exception() is not None

    async def wait(self) -> None:
        """Wait for what comes of it, no longer than one's own deadline; who is cancelled takes nothing from others.

        Raises:
            DeadlineExceeded: that has passed.
        """
        done = self._done
        if not done.done():
            left, loop = deadlines.left(math.inf), done.get_loop()
            woken: asyncio.Future[None] = loop.create_future()
            self._waiting.append(woken)
            timer = loop.call_later(left, _wake, woken) if left < math.inf else None
            try:
                await woken
            finally:
                if timer is not None:
                    timer.cancel()
            if not done.done():
                raise DeadlineExceeded
        done.result()

    def _wake_all(self) -> None:
        for woken in self._waiting:
            _wake(woken)


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


def start_soon(start: Callable[[T], None], what: T) -> None:
    """Start something when this turn of the loop and the next are over: fields beside, in tasks of theirs, may join."""
    loop = asyncio.get_running_loop()
    loop.call_soon(loop.call_soon, start, what)


class Batches(Generic[K, V]):
    """Starts batches, each place's in order."""

    def __init__(self, run: Callable[[Place, Batch[K, V]], Awaitable[None]]) -> None:
        self._run = run
        self._waiting: dict[Place, collections.deque[Batch[K, V]]] = {}
        self._active: dict[Place, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def join(self, place: Place) -> Batch[K, V]:
        """Give the batch that starts next, with room for a key."""
        queue = self._waiting.get(place)
        if queue is None:
            queue = self._waiting[place] = collections.deque()
        if not queue or len(queue[-1].asked) >= MAX_BATCH:
            queue.append(Batch(direct=place[1]))
            start_soon(self._start_waiting, place)
        return queue[-1]

    async def settle(self) -> None:
        """Wait for all that was asked for."""
        while self._waiting or self._tasks:
            await (asyncio.wait(self._tasks) if self._tasks else asyncio.sleep(0))

    def _start(self, place: Place, batch: Batch[K, V]) -> None:
        self._active[place] = self._active.get(place, 0) + 1
        task = asyncio.create_task(self._run_one(place, batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _start_waiting(self, place: Place) -> None:
        """Start what the place has room for; the rest when a batch ends. Nobody's deadline is that of a joint batch."""
        queue = self._waiting.get(place)
        with deadlines.under(None):
            while queue and self._active.get(place, 0) < IN_FLIGHT:
                self._start(place, queue.popleft())
        if not queue:
            self._waiting.pop(place, None)

    async def _run_one(self, place: Place, batch: Batch[K, V]) -> None:
        try:
            await self._run(place, batch)
        finally:
            self._active[place] -= 1
            self._start_waiting(place)
            if not self._active[place]:
                del self._active[place]  # there are as many places as viewers
