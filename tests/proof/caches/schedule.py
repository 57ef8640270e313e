"""One seeded schedule: processes read and change while Redis, cells and callers fail; and what was wrong then."""

import asyncio
import contextlib
import dataclasses
import gc
import itertools
import os
import random
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any, Final
from unittest import mock

from domain import deadlines
from domain.errors import DeadlineExceeded, Overloaded
from domain.ids import OpaqueIds, cell_of
from domain.relationships import Relationship
from domain.users import Counts
from loaders import Caches
from loaders.caches import Bounds
from loaders.kinds import SIDES, TALLIES, USERS, Kind, SideKey
from loaders.loaders import Loaders
from storage import entries
from storage.cells import ShardMap
from storage.freshness import Remembered
from storage.generations import Generations
from tests.proof.caches.fakes import FOLLOWED, THEN, CellStore, FakeCell, FakeRedis, Faults, RedisServer, Timing, pause
from tests.proof.caches.loop import NobodyWakes, VirtualLoop

PROCESSES: Final = 2
PEOPLE: Final = tuple((number + 7) << 22 | number % 2 << 12 for number in range(3))
ACTIONS: Final = 16
PATIENCE_S: Final = 60.0
COLLECT_AFTER: Final = 5
IDS: Final = OpaqueIds(bytes(32))
TOLD_AFTER: Final = (0.002, 0.02, 0.2, 2.8)
"""How long after a change the consumer hears of it: at once, or when whoever waited for leases has answered."""
HURRY_S: Final = (-1.0, 0.001, 0.003, 0.01, 0.05)
"""How long whoever is in a hurry has."""
GAPS: Final = (0.0, 0.0, 0.0, 0.001, 0.001, 0.002, 0.002, 0.004, 0.004, 0.008, 0.008, 0.02, 0.02, 0.05, 0.3, 1.1)


@dataclasses.dataclass(slots=True)
class Process:
    """One simulated web process."""

    caches: Caches
    redis: FakeRedis
    cells: tuple[FakeCell, ...]


class World:
    """The processes, what they share, and what has been answered so far."""

    def __init__(self, seed: int, loop: VirtualLoop) -> None:
        self.timing = Timing(seed, loop)
        self.random = self.timing.random
        self.loop = loop
        self.server = RedisServer(loop.time)
        self.stores = (CellStore(), CellStore())
        self.processes = [self._process() for _ in range(PROCESSES)]
        self.teller = self._teller()
        self.profiles: dict[int, int] = dict.fromkeys(PEOPLE, 1)
        self.pairs: dict[tuple[int, int], int] = {}
        self.edges: dict[int, int] = {}
        self.untold: asyncio.Queue[tuple[int, ...]] = asyncio.Queue()
        self.wrong: list[str] = []
        self.is_calm = True
        self.is_over = False
        for user_id in PEOPLE:
            store = self.store_of(user_id)
            store.versions[user_id], store.edges[user_id] = 1, 0

    def store_of(self, user_id: int) -> CellStore:
        return self.stores[cell_of(user_id)]

    def _cells(self) -> tuple[FakeCell, ...]:
        return tuple(FakeCell(number, store, self.timing) for number, store in enumerate(self.stores))

    def _process(self) -> Process:
        cells, redis = self._cells(), FakeRedis(self.server, self.timing)
        shards = ShardMap(cells)  # type: ignore[arg-type]
        caches = Caches(shards, IDS, redis, Bounds(100, 100_000), clock=self.loop.time)  # type: ignore[arg-type]
        redis.meet = caches.meet
        return Process(caches, redis, cells)

    def _teller(self) -> Remembered:
        """Make what the consumer has: it remembers nothing, and tells."""
        shards = ShardMap(self._cells())  # type: ignore[arg-type]
        generations = Generations(shards, lambda: None, self.loop.time)
        redis: Any = FakeRedis(self.server, self.timing)
        return Remembered(redis, shards, generations, lambda _ids: None, lambda _key: None)

    async def read(self, process: Process, viewer_id: int, user_id: int) -> None:
        """Read a person as a viewer does; what was answered before is a lower bound of what may be seen."""
        profile, pair = self.profiles[user_id], self.pairs.get((viewer_id, user_id), 0)
        edges, hidden = self.edges.get(user_id, 0), self._hidden_from(viewer_id, user_id)
        loaders = Loaders(process.caches, viewer_id, THEN)
        try:
            [user], [relationship] = await loaders.fetch_people([user_id])
            tally = await loaders.tallies.load(user_id)
            shown = await loaders.counts.load(user_id)
        except (Overloaded, DeadlineExceeded):
            if self.is_calm:
                self.wrong.append("failed with nothing wrong")
            return
        if user is None or user.version < profile:
            self.wrong.append("profile from before an answer")
        if relationship.version < pair:
            self.wrong.append("pair from before an answer")
        if tally.counts.followers < edges:
            self.wrong.append("counts from before an answer")
        if FOLLOWED - shown.following < hidden:
            self.wrong.append("counts with whom a block hides since an answer")

    def _hidden_from(self, viewer_id: int, user_id: int) -> int:
        """Count what must be taken off whom somebody follows, by the answers so far: whoever is in a pair is hidden."""
        return sum(self.pairs.get((other, user_id), 0) for other in PEOPLE if self.pairs.get((viewer_id, other)))

    async def read_in_a_hurry(self, process: Process, viewer_id: int, user_id: int, seconds: float) -> None:
        """Read with little time left, or none."""
        loaders = Loaders(process.caches, viewer_id, THEN)
        with deadlines.under(self.loop.time() + seconds), contextlib.suppress(Overloaded, DeadlineExceeded):
            await loaders.fetch_people([user_id])

    async def edit(self, process: Process, user_id: int, *, dies: bool) -> None:
        """Change a profile; a process that dies after the commit tells nobody and answers nothing."""
        await pause(self.timing.short())
        store = self.store_of(user_id)
        store.versions[user_id] += 1
        version = store.versions[user_id]
        self.untold.put_nowait((user_id, version))
        freshness = process.caches.database.freshness
        if not dies and await self._told(freshness.user_changed(user_id, stricter=True, version=version)):
            self.profiles[user_id] = max(self.profiles[user_id], version)

    async def block(self, process: Process, one_id: int, other_id: int, *, dies: bool) -> None:
        """Change a pair: the lower id's row, and then the other's in its own cell."""
        low, high = sorted((one_id, other_id))
        await pause(self.timing.short())
        store = self.store_of(low)
        version = store.pairs[low, high] = store.pairs.get((low, high), 0) + 1
        store.edges[low] += 1
        if self.store_of(high) is not store:
            await pause(self.timing.short())
        mirror = self.store_of(high)
        if mirror.pairs.get((high, low), 0) < version:
            mirror.pairs[high, low] = version
            mirror.edges[high] += 1
        edges = store.edges[low], mirror.edges[high]
        self.untold.put_nowait((low, high, version))
        freshness = process.caches.database.freshness
        now = Relationship(blocked_by=True, version=version)
        if not dies and await self._told(freshness.pair_changed(low, high, stricter=True, version=version, pair=now)):
            for pair in ((low, high), (high, low)):
                self.pairs[pair] = max(self.pairs.get(pair, 0), version)
            for user_id, count in zip((low, high), edges, strict=True):
                self.edges[user_id] = max(self.edges.get(user_id, 0), count)

    async def _told(self, telling: Awaitable[None]) -> bool:
        try:
            await telling
        except Overloaded:
            return False
        return True

    async def tell(self) -> None:
        """Do what the consumer does about facts: tell again, until it is told."""
        while True:
            *people, version = await self.untold.get()
            await pause(self.random.choice(TOLD_AFTER if not self.is_over else TOLD_AFTER[:1]))
            while True:
                with contextlib.suppress(Overloaded):
                    if len(people) == 1:
                        await self.teller.user_heard(people[0], version)
                    else:
                        await self.teller.pair_heard(people[0], people[1], version)
                    break
                await pause(0.1)
            self.untold.task_done()

    def compare(self) -> None:
        """Compare Redis and every memory with the cells, once nothing is under way."""
        for user_id in PEOPLE:
            store = self.store_of(user_id)
            stored = {
                "profile": self._stored(USERS, user_id, user_id),
                "counts": self._stored(TALLIES, user_id, user_id),
                "side": self._stored(SIDES, SideKey(user_id, b""), user_id),
            }
            if stored["profile"] is not None and stored["profile"].version < store.versions[user_id]:
                self.wrong.append("Redis holds an old profile")
            if stored["counts"] is not None and stored["counts"].counts.followers < store.edges[user_id]:
                self.wrong.append("Redis holds old counts")
            if stored["side"] is not None and self._is_old(stored["side"], user_id):
                self.wrong.append("Redis holds an old side")
            for process in self.processes:
                self._compare_memory(process, user_id)
        for process in self.processes:
            self._compare_edges(process)

    def _compare_edges(self, process: Process) -> None:
        for _, edges in process.caches.hidden_edges.kept():
            for user_id in PEOPLE:
                known = edges.shown(user_id, Counts(0, FOLLOWED))
                now = sum(self.store_of(other).pairs.get((other, user_id), 0) for other in edges.blocked.ids)
                if known is not None and FOLLOWED - known.following < now:
                    self.wrong.append("a memory holds whom the hidden knew")

    def _is_old(self, side: Any, viewer_id: int) -> bool:
        pairs = self.store_of(viewer_id).pairs
        return any(side.to(other).version < pairs.get((viewer_id, other), 0) for other in PEOPLE)

    def _stored(self, kind: Kind[Any, Any], key: Any, owner_id: int) -> Any:
        assert kind.epoch_of is not None
        found = self.server.read(kind.key(self.store_of(owner_id).generation, key))
        epoch = self.server.read(kind.epoch_of(key))
        return kind.decode(found[8:]) if found is not None and epoch is not None and found[:8] == epoch else None

    def _compare_memory(self, process: Process, user_id: int) -> None:
        store, memory = self.store_of(user_id), process.caches.memory
        held = memory.get(("user", user_id))
        if held is not None and held.value.version < store.versions[user_id]:
            self.wrong.append("a memory holds an old profile")
        counts = memory.get((TALLIES.name, user_id))
        if counts is not None and counts.value.counts.followers < store.edges[user_id]:
            self.wrong.append("a memory holds old counts")
        epoch = (self.server.read(f"epoch:{{{user_id}}}") or b"") + store.generation.to_bytes(8)
        side = process.caches.sides.recall_one(SideKey(user_id, epoch))
        if side is not None and self._is_old(side, user_id):
            self.wrong.append("a memory holds an old side")


class Disasters:
    """What goes wrong in one schedule: some kinds of fault, chosen by the seed."""

    STRIKES: Final = ("restart", "goes back", "evict", "redis away", "cells away")
    KINDS: Final = (*STRIKES, "dies", "cancel", "hurry", "fails", "late", "slow")

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = world.random
        self.kinds = {kind for kind in self.KINDS if world.random.random() < 0.3}
        faults = world.timing.faults
        faults.redis_fails = 0.15 if "fails" in self.kinds else 0.0
        faults.redis_late = 0.15 if "late" in self.kinds else 0.0
        faults.cell_fails = 0.1 if "fails" in self.kinds else 0.0
        faults.cell_slow = 0.15 if "slow" in self.kinds else 0.0
        world.is_calm = not self.kinds & {"cells away", "fails"}

    async def strike(self) -> None:
        """Let one disaster happen, if the schedule has any of its kind."""
        kind, world = self._random.choice(self.STRIKES), self._world
        if kind not in self.kinds:
            return
        process = self._random.choice(world.processes)
        if kind == "restart":
            world.server.forget()
        elif kind == "goes back":
            go_back = world.server.snapshot()
            await pause(self._random.choice((0.02, 0.1, 0.4)))
            go_back()
        elif kind == "evict":
            for key in self._random.sample(sorted(world.server.values), min(2, len(world.server.values))):
                del world.server.values[key]
            if self._random.random() < 0.5:
                world.server.evict_stream()
        else:
            out: set[object] = {process.redis} if kind == "redis away" else set(process.cells)
            world.timing.faults.cut_off |= out
            await pause(self._random.choice((0.05, 2.2, 3.5)))
            world.timing.faults.cut_off -= out

    def end(self) -> None:
        """Let nothing go wrong any more."""
        self._world.timing.faults = Faults()


async def play(seed: int, loop: VirtualLoop) -> list[str]:
    """Play one schedule, and give what was wrong."""
    world = World(seed, loop)
    disasters = Disasters(world)
    async with _watched(world), asyncio.TaskGroup() as group:
        teller = group.create_task(world.tell())
        with contextlib.suppress(Overloaded):
            await asyncio.gather(*_looks_at_generations(world))
        tasks = [asyncio.create_task(action) async for action in _actions(world, disasters)]
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        ended += await asyncio.gather(*_looks(world), return_exceptions=True)  # answers that took long are seen, too
        world.wrong += [repr(error) for error in ended if isinstance(error, Exception)]
        disasters.end()
        world.is_over = True
        await world.untold.join()
        teller.cancel()
        await _quiet(world)
        world.compare()
    return world.wrong


async def _actions(world: World, disasters: Disasters) -> AsyncIterator[Any]:
    """Give what is done, one after another, with the time between as the seed has it."""
    choose = world.random
    reads: list[asyncio.Task[None]] = []
    for _ in range(ACTIONS):
        process, (one, other) = choose.choice(world.processes), choose.sample(PEOPLE[: choose.choice((2, 3))], 2)
        what = choose.random()
        dies = "dies" in disasters.kinds and choose.random() < 0.3
        if what < 0.55:
            reads.append(asyncio.create_task(world.read(process, one, other)))
        elif what < 0.68:
            yield world.edit(process, other, dies=dies)
        elif what < 0.82:
            yield world.block(process, one, other, dies=dies)
        elif what < 0.88 and "hurry" in disasters.kinds:
            yield world.read_in_a_hurry(process, one, other, choose.choice(HURRY_S))
        elif what < 0.92 and "cancel" in disasters.kinds and reads:
            choose.choice(reads).cancel()
        else:
            yield disasters.strike()
        await pause(choose.choice(GAPS))
    for task in reads:
        yield _ended(task)


def _looks(world: World) -> list[Awaitable[None]]:
    return [world.read(process, *pair) for process in world.processes for pair in itertools.permutations(PEOPLE[:2])]


async def _ended(task: asyncio.Task[None]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await task


@contextlib.asynccontextmanager
async def _watched(world: World) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        for process in world.processes:
            await stack.enter_async_context(process.caches.generations.watched())
        yield


async def _quiet(world: World) -> None:
    """Wait for what is under way, until Redis has heard what it was told late, and processes of generations."""
    await asyncio.gather(*(process.caches.settle() for process in world.processes))
    await pause(max(0.0, world.server.told_until - world.loop.time()))
    await asyncio.gather(*_looks_at_generations(world))
    for process in world.processes:
        await process.caches.begin(None)


def _looks_at_generations(world: World) -> list[Awaitable[None]]:
    return [process.caches.generations.look(cell) for process in world.processes for cell in process.cells]  # type: ignore[arg-type]


def find_wrong(seed: int) -> list[str]:
    """Play the schedule of a seed in a loop of its own, and give what was wrong, each kind once."""
    loop = VirtualLoop(seed)
    try:
        with in_its_time(seed, loop):
            wrong = loop.run(play(seed, loop), within=PATIENCE_S)
    except NobodyWakes:
        return ["somebody waits for ever"]
    return sorted({*wrong, *(str(error["message"]) for error in loop.errors)})


@contextlib.contextmanager
def in_its_time(seed: int, loop: VirtualLoop) -> Iterator[None]:
    """Have all that is left to chance or to the time come from a seed and a loop."""
    random.seed(seed)
    few = seed % 2 * entries.FEW  # what is read for few is read as for many in every other schedule
    with (
        mock.patch.object(deadlines, "monotonic", loop.time),
        mock.patch.object(os, "urandom", random.randbytes),
        mock.patch.object(entries, "FEW", few),
    ):
        yield


def failing(seeds: range) -> Iterator[tuple[int, list[str]]]:
    """Give the seeds whose schedules go wrong, and what was wrong."""
    gc.freeze()
    gc.disable()  # a quarter of the time of a schedule; what it leaves behind is collected now and then
    try:
        for seed in seeds:
            if wrong := find_wrong(seed):
                yield seed, wrong
            if seed % COLLECT_AFTER == 0:
                gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()
