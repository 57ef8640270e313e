"""What a tick of the loop asks for, joined into batches; a few are under way at once for each place, the rest wait."""

import asyncio
import collections
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from domain import deadlines
from domain.errors import Overloaded

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_BATCH: Final = 500
IN_FLIGHT: Final = 2
"""Batches under way at once per place: what is asked for meanwhile is joined into the next."""

Fetch = Callable[[Sequence[K]], Awaitable[Mapping[K, V]]]
Place = tuple[int, bool, int]
"""A cell, whether it is asked directly, and the one viewer whose own the facts are; 0 where they are nobody's own."""


class Batch(Generic[K, V]):
    """Keys that are asked for together, by how many, and what came of it; `until` is set when it starts."""

    __slots__ = ("asked", "direct", "done", "fetch", "found", "until")

    def __init__(self, fetch: Fetch[K, V], *, direct: bool) -> None:
        self.asked: dict[K, int] = {}
        self.found: Mapping[K, V] = {}
        self.fetch = fetch
        self.direct = direct
        self.until: float | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def ask(self, key: K, times: int = 1) -> None:
        """Ask for one more key, or for one once more."""
        self.asked[key] = self.asked.get(key, 0) + times

    def may_be_joined_at(self, now: float) -> bool:
        """Tell whether what comes of it may be used by whoever asks now."""
        return self.until is None or now < self.until

    def succeed(self, found: Mapping[K, V]) -> None:
        """Tell all who wait what was found."""
        self.found = found
        self.done.set_result(None)

    def fail(self, error: BaseException) -> None:
        """Tell all who wait, if anybody does, that it failed."""
        self.done.set_exception(error if isinstance(error, Exception) else Overloaded(retryAfter=1))
        self.done.exception()


class Batches(Generic[K, V]):
    """Starts batches, each place's in order."""

    def __init__(self, run: Callable[[Place, Batch[K, V]], Awaitable[None]]) -> None:
        self._run = run
        self._waiting: dict[Place, collections.deque[Batch[K, V]]] = {}
        self._active: dict[Place, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def join(self, place: Place, fetch: Fetch[K, V]) -> Batch[K, V]:
        """Give the batch that starts next, with room for a key."""
        queue = self._waiting.setdefault(place, collections.deque())
        if not queue or len(queue[-1].asked) >= MAX_BATCH:
            queue.append(Batch(fetch, direct=place[1]))
            asyncio.get_running_loop().call_soon(self._start_waiting, place)
        return queue[-1]

    def start(self, place: Place, batch: Batch[K, V]) -> None:
        """Start a batch now."""
        self._active[place] = self._active.get(place, 0) + 1
        task = asyncio.create_task(self._run_one(place, batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def under_way(self) -> set[asyncio.Task[None]]:
        """Give the tasks that are not done."""
        return set(self._tasks)

    def _start_waiting(self, place: Place) -> None:
        """Start what the place has room for; the rest when a batch ends. Nobody's deadline is that of a joint batch."""
        queue = self._waiting.get(place)
        with deadlines.under(None):
            while queue and self._active.get(place, 0) < IN_FLIGHT:
                self.start(place, queue.popleft())
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
