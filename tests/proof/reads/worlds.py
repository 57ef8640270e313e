"""Several processes' worth of caches over one Valkey of their own and two cells, in which people write and read."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import itertools
import random
import secrets
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from domain import deadlines, transitions
from domain.errors import DeadlineExceeded, Overloaded
from domain.events import EventType
from domain.ids import OpaqueIds
from domain.relationships import ListKind
from domain.transitions import Transition
from loaders import Caches, Loaders, describe, open_caches
from loaders.comparison import Report, compare
from loaders.inspection import Line
from storage import generations, wholly
from storage.cells import open_cells
from storage.database import Database
from storage.lists import Span
from storage.mutes import Mute, Unmute, change_mute
from storage.pairs import change_pair
from storage.redis_client import CacheUnavailable, Redis, open_redis
from storage.relationships import fetch_truth
from storage.users import NewUser, change_user, create_user, fetch_users
from tests.conftest import KEY, eventually
from tests.proof.reads.delays import delayed
from tests.valkey import Server

PROCESSES: Final = 2
PEOPLE: Final = 40
WRITERS: Final = 100
READERS: Final = 4
PAGE: Final = 10
IMPATIENT: Final = 0.03
DYING: Final = 0.02
BUSY_S: Final = 0.05
ALL_FAULTS: Final = frozenset({"freeze", "empty", "kill", "cut"})
TOLD_WITHIN_S: Final = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Process:
    """What one web process has."""

    redis: Redis
    caches: Caches

    @property
    def database(self) -> Database:
        return self.caches.database


@dataclasses.dataclass(slots=True)
class World:
    """The processes, their people, and what has been done."""

    server: Server
    processes: Sequence[Process]
    people: Sequence[int]
    random: random.Random
    written: int = 0
    refused: int = 0
    faults: int = 0
    unheard: list[Callable[[], Awaitable[None]]] = dataclasses.field(default_factory=list)

    async def write(self, number: int, faults: Collection[str]) -> None:
        """Change so many things, with many at it at once, others reading, and faults of these kinds all the while."""
        remaining = iter(range(number))
        helpers = [
            asyncio.create_task(work) for work in (*(self._read_on() for _ in range(READERS)), self._fail(faults))
        ]

        async def write_on() -> None:
            for _ in remaining:
                await self._write_one()

        try:
            await asyncio.gather(*(write_on() for _ in range(WRITERS)))
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    async def quiesce(self) -> None:
        """Let everything end that is under way, events tell what their makers could not, and leases run out.

        Until then a process may go by what it remembers: a change that makes nothing stricter waits for nobody.
        """
        if self.server.process.poll() is not None:
            self.server.start()
        self.server.send(signal.SIGCONT)
        while running := list(wholly._RUNNING):
            await asyncio.wait(running)
        for process in self.processes:
            await eventually(lambda caches=process.caches: self._remembers(caches), within=TOLD_WITHIN_S)  # type: ignore[misc]
        for hear in self.unheard:
            await _patiently(hear)
        self.unheard.clear()
        await asyncio.sleep(generations.LEASE_S)

    async def check(self) -> Report:
        """Have every process read of everybody, and compare what is then remembered with the cells."""
        for process, viewer in itertools.product(self.processes, self.people[::8]):
            await _patiently(lambda process=process, viewer=viewer: read(process, viewer, self.people))  # type: ignore[misc]
        for process in self.processes:
            await process.caches.settle()
        lines = {f"process {number}": await _described(one) for number, one in enumerate(self.processes)}
        shards = self.processes[0].database.shards
        # By a client of its own: a process's hears of Redis's lives for that process alone.
        async with open_redis(self.server.url) as redis, open_caches(shards, OpaqueIds(KEY), redis) as own:
            return await compare(own, redis, lines)

    async def _remembers(self, caches: Caches) -> bool:
        """Tell whether a process goes by Redis again for people of both cells: it may meet a new server only now."""
        return None not in [await caches.begin(viewer) for viewer in self.people[:2]]

    async def _write_one(self) -> None:
        process = self.random.choice(self.processes)
        work = self._any_change(process)
        if self.random.random() < IMPATIENT:
            work = self._impatiently(work)
        try:
            await work
        except (Overloaded, DeadlineExceeded):
            self.refused += 1
            await asyncio.sleep(BUSY_S)
        self.written += 1

    async def _impatiently(self, work: Awaitable[object]) -> None:
        """Be cancelled, or out of time, at any point of it."""
        seconds = self.random.uniform(0, 0.02)
        if self.random.random() < 0.5:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(work, seconds)
        else:
            with deadlines.within(seconds):
                await work

    def _any_change(self, process: Process) -> Awaitable[object]:
        one, other = self.random.sample(self.people, 2)
        roll = self.random.random()
        if roll < 0.2:
            return self._edit(process, one)
        if roll < 0.25:
            return self._mute(process, one, other)
        return self._change_pair(process, one, other)

    async def _edit(self, process: Process, user_id: int) -> None:
        bio = secrets.token_hex(4)

        async def hear() -> None:
            await _hear_user(process.database, user_id)

        with self._heard_of(hear):
            await change_user(
                self._of_maker(process, hear),
                user_id,
                lambda user: msgspec.structs.replace(user, bio=bio),
                event=EventType.USER_UPDATED,
            )

    async def _mute(self, process: Process, one: int, other: int) -> None:
        async def hear() -> None:
            await process.database.freshness.pair_changed(one, one, stricter=False)

        with self._heard_of(hear):
            await change_mute(process.database, one, other, self.random.choice((Mute(None), Unmute())))

    async def _change_pair(self, process: Process, one: int, other: int) -> None:
        async def hear() -> None:
            await _hear_pair(process.database, one, other)

        with self._heard_of(hear):
            database = self._of_maker(process, hear)
            await change_pair(database, one, other, self._any_transition(), dt.datetime.now(dt.UTC))

    @contextlib.contextmanager
    def _heard_of(self, hear: Callable[[], Awaitable[None]]) -> Iterator[None]:
        """Have the event heard of a change that was not answered: a cell that was cut off may have committed it."""
        try:
            yield
        except BaseException:
            self.unheard.append(hear)
            raise

    def _of_maker(self, process: Process, hear: Callable[[], Awaitable[None]]) -> Database:
        """Give the database, of a maker now and then that dies after its commit and tells nobody.

        Whether it came to commit nobody may know, as when it was cut off: its event is heard in any case.
        """
        if self.random.random() >= DYING:
            return process.database
        self.unheard.append(hear)
        return Database(process.database.shards, process.database.ids)

    def _any_transition(self) -> Transition:
        made = (transitions.follow(target_is_private=False), transitions.unfollow(), transitions.unblock())
        return self.random.choice((*made, transitions.block(until=None)))

    async def _read_on(self) -> None:
        while True:
            with contextlib.suppress(Overloaded, DeadlineExceeded):
                await read(self.random.choice(self.processes), self.random.choice(self.people), self._some())
            await asyncio.sleep(0)

    def _some(self) -> list[int]:
        return self.random.sample(self.people, PAGE)

    async def _fail(self, faults: Collection[str]) -> None:
        """Freeze Redis, empty it, kill it, or cut connections to the cells, in turn by chance."""
        while faults:
            await asyncio.sleep(self.random.uniform(0.1, 1.0))
            await getattr(self, f"_{self.random.choice(sorted(faults))}")()
            self.faults += 1

    async def _freeze(self) -> None:
        self.server.send(signal.SIGSTOP)
        try:
            await asyncio.sleep(self.random.uniform(0.01, 0.4))
        finally:
            self.server.send(signal.SIGCONT)

    async def _empty(self) -> None:
        with contextlib.suppress(CacheUnavailable):
            await self.processes[0].redis.run(lambda client: client.flushall())

    async def _kill(self) -> None:
        self.server.send(signal.SIGKILL)
        try:
            await asyncio.sleep(self.random.uniform(0, 0.3))
        finally:
            self.server.start()

    async def _cut(self) -> None:
        """Cut the connections that are in use, with whatever is under way on them."""
        for cell in self.random.choice(self.processes).database.shards.cells:
            for holder in cell.loans.pool._holders:  # type: ignore[attr-defined] # the stubs leave it out
                if holder._con is not None:
                    holder._con.terminate()


async def read(process: Process, viewer_id: int, user_ids: Sequence[int]) -> None:
    """Read people, what they are to the viewer, what shows of their counts, and their lists' heads."""
    loaders = Loaders(process.caches, viewer_id, dt.datetime.now(dt.UTC))
    await loaders.fetch_people(user_ids)
    await loaders.counts.load_many(user_ids)
    for kind in (ListKind.FOLLOWERS, ListKind.FOLLOWING):
        await loaders.fetch_list(kind, user_ids, Span(None, downward=True, limit=PAGE))


async def _hear_user(database: Database, user_id: int) -> None:
    users = await fetch_users(database, [user_id])
    await database.freshness.user_heard(user_id, users[user_id].version)


async def _hear_pair(database: Database, one_id: int, other_id: int) -> None:
    pair = await fetch_truth(database, one_id, other_id)
    await database.freshness.pair_heard(one_id, other_id, pair.version)


async def _described(process: Process) -> list[Line]:
    return await describe(process.caches) or await describe(process.caches)  # where Redis was late once


async def _answers(redis: Redis) -> bool:
    try:
        await redis.ping()
    except CacheUnavailable:
        return False
    return True


async def _patiently(work: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(TOLD_WITHIN_S):
        while True:
            with contextlib.suppress(Overloaded, DeadlineExceeded):
                return await work()
            await asyncio.sleep(BUSY_S)


@contextlib.asynccontextmanager
async def open_world(dsns: Sequence[str], folder: Path, seed: int, *, delay: float = 0.0) -> AsyncIterator[World]:
    """Open processes on their own Valkey and these cells, with people whom nobody else knows.

    What Redis answers to all but the first process is held for up to `delay` seconds.
    """
    server, rng = Server(folder), random.Random(seed)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(server.stop)
        processes = []
        for number in range(PROCESSES):
            shards = await stack.enter_async_context(open_cells(dsns))
            late = delay and number > 0
            port = await stack.enter_async_context(delayed(server.port, delay, rng)) if late else None
            url = f"redis://127.0.0.1:{port}" if port is not None else server.url
            redis = await stack.enter_async_context(open_redis(url))
            caches = await stack.enter_async_context(open_caches(shards, OpaqueIds(KEY), redis))
            processes.append(Process(redis, caches))
        await eventually(lambda: _answers(processes[0].redis), within=TOLD_WITHIN_S)
        database = processes[0].database
        people = [
            await create_user(
                database, NewUser(f"w{secrets.token_hex(6)}"), cell=number % len(dsns), now=dt.datetime.now(dt.UTC)
            )
            for number in range(PEOPLE)
        ]
        yield World(server, processes, people, rng)
