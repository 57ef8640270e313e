"""Generations of what is remembered, one per cell, kept in the cell itself.

A change that could not be told to Redis begins a new generation of its people's cells: nothing that was remembered
before is found any more. Every process looks at the generations again and again; one that could not for LEASE_S
remembers nothing about the cell. So whoever began a generation and waited that long knows that no old fact is used,
and a cell that is away for less than that is missed by nobody who asks for what is remembered.

A Redis server in a life that a cell has not heard of begins a new generation as well: it may have lost a part of what
its predecessor was told. Until the cell has said that it knows it, nothing is remembered.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

from domain import deadlines
from domain.errors import Overloaded
from storage.cells import Cell, ShardMap
from storage.limits import Priority

LEASE_S: Final = 2.0
LOOK_EVERY_S: Final = 0.5
_LOG: Final = logging.getLogger(__name__)

_READ: Final = "SELECT generation FROM cache_generations"
BEGIN_GENERATION: Final = "UPDATE cache_generations SET generation = generation + 1 RETURNING generation"
MEET: Final = """
UPDATE cache_generations
SET generation = generation + 1, redis_lives = (redis_lives || $1)[greatest(1, cardinality(redis_lives || $1) - 63):]
WHERE NOT redis_lives @> $1
"""


class Generations:
    """This process's view of the generations, no older than the lease."""

    def __init__(self, shards: ShardMap, lost: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._shards = shards
        self._lost = lost
        self._clock = clock
        self._known: dict[int, int] = {}
        self._looked_at: dict[int, float] = {}
        self.sure_until = math.inf
        """Until when all that is known of any cell may be relied on: at this time ask `lapse`."""
        self._beginning: dict[int, asyncio.Task[None]] = {}
        self._untold: dict[int, set[str]] = {cell.number: set() for cell in shards.cells}
        self._meetings: set[asyncio.Task[None]] = set()

    def of(self, cell: int) -> int | None:
        """Give a cell's generation; None where it is not known for sure, and nothing may be remembered."""
        return self._known.get(cell) if self._clock() < self.known_until(cell) else None

    def known_until(self, cell: int) -> float:
        """Give until when a cell's generation may be relied on, and with it what was found under its name."""
        return self._looked_at.get(cell, -math.inf) + LEASE_S

    def lapse(self) -> None:
        """Rely no longer on cells that have not been heard of for the lease, and have forgotten what they said."""
        now = self._clock()
        if now >= self.sure_until:
            self._rely_on({cell: at for cell, at in self._looked_at.items() if now < at + LEASE_S})
            self._lost()

    def _rely_on(self, looked_at: dict[int, float]) -> None:
        self._looked_at = looked_at
        self.sure_until = min(looked_at.values(), default=math.inf) + LEASE_S

    async def begin(self, cell: Cell) -> None:
        """Begin a generation that whatever was read before this call has no part in; raises Overloaded.

        Those who ask while one is being begun share the next.
        """
        running = self._beginning.get(cell.number)
        if running is not None:
            await asyncio.wait([running])
        task = self._beginning.get(cell.number)
        if task is None or task.done():
            with deadlines.under(None):
                task = self._beginning[cell.number] = asyncio.create_task(self._begin(cell))
        await asyncio.shield(task)

    async def _begin(self, cell: Cell) -> None:
        started = self._clock()
        [row] = await cell.fetch(BEGIN_GENERATION, priority=Priority.FACT)
        self._saw(cell.number, row["generation"], started)

    def meet(self, life: str) -> None:
        """Rely on no generation until its cell has been told of a Redis server's life, which is begun at once."""
        self._rely_on({})
        self._lost()
        for cell in self._shards.cells:
            self._untold[cell.number].add(life)
            with deadlines.under(None):
                task = asyncio.create_task(self._look_now(cell))
            self._meetings.add(task)
            task.add_done_callback(self._meetings.discard)

    async def met(self) -> None:
        """Wait until cells have been told of whom was met, or have failed to answer: the watch then tells them."""
        while self._meetings:
            await asyncio.wait(self._meetings)

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Look at every cell's generation until left."""
        tasks = [asyncio.create_task(self._watch(cell)) for cell in self._shards.cells]
        try:
            yield
        finally:
            for task in (*tasks, *self._meetings):
                task.cancel()
            await asyncio.gather(*tasks, *self._meetings, *self._beginning.values(), return_exceptions=True)

    async def _watch(self, cell: Cell) -> None:
        while True:
            try:
                async with asyncio.timeout(LEASE_S - LOOK_EVERY_S):
                    await self.look(cell)
            except (Overloaded, TimeoutError) as error:
                left = max(0.0, self.known_until(cell.number) - self._clock())
                _LOG.warning("what cell %d said counts %.1f s more: %s", cell.number, left, type(error).__name__)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look_now(self, cell: Cell) -> None:
        with contextlib.suppress(Overloaded, TimeoutError):
            async with asyncio.timeout(LEASE_S):
                await self.look(cell)

    async def look(self, cell: Cell) -> None:
        """Read a cell's generation, once it knows of all servers that were met; raises Overloaded."""
        started, lives = self._clock(), set(self._untold[cell.number])
        if lives:
            await cell.fetch(MEET, sorted(lives), priority=Priority.FACT)
        [row] = await cell.fetch(_READ, priority=Priority.FACT)
        self._untold[cell.number] -= lives
        self._saw(cell.number, row["generation"], started)

    def _saw(self, cell: int, generation: int, at: float) -> None:
        self.lapse()
        if generation > self._known.get(cell, generation):
            self._lost()
        self._known[cell] = max(generation, self._known.get(cell, 0))
        if not self._untold[cell]:
            self._rely_on({**self._looked_at, cell: at})


async def fetch_generation(cell: Cell) -> int:
    """Fetch the generation that a cell is in; raises Overloaded."""
    [row] = await cell.fetch(_READ, priority=Priority.FACT)
    return int(row["generation"])


async def begin_everywhere(shards: ShardMap) -> None:
    """Begin new generations of all cells, for tools that change much and tell nobody; raises Overloaded."""
    await asyncio.gather(*(cell.fetch(BEGIN_GENERATION, priority=Priority.FACT) for cell in shards.cells))
