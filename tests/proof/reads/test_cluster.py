"""A Valkey cluster in which slots move and masters die while people write and read: no answer is out of date.

A long proof: six servers that have to agree on who is gone take their time.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import os
import random
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec
import pytest

from domain import transitions
from domain.errors import DeadlineExceeded, Overloaded
from domain.events import EventType
from domain.ids import OpaqueIds
from embedded import Addresses
from loaders import Caches, Loaders, open_caches
from loaders.comparison import compare
from storage.cells import open_cells
from storage.epochs import profile_epoch_key
from storage.generations import LEASE_S
from storage.pairs import change_pair
from storage.redis_client import open_redis
from storage.users import NewUser, change_user, create_user
from tests.clusters import WITHIN_S, Cluster, open_cluster
from tests.conftest import KEY, eventually

PROCESSES: Final = 2
PEOPLE: Final = 12
WRITERS: Final = 3
READERS: Final = 4
PACE_S: Final = 0.01
SEED: Final = 20_261_125


@dataclasses.dataclass(slots=True)
class World:
    """Processes over one cluster, and the versions of what has been answered."""

    cluster: Cluster
    processes: list[Caches]
    people: list[int]
    random: random.Random
    profiles: dict[int, int] = dataclasses.field(default_factory=dict)
    pairs: dict[tuple[int, int], int] = dataclasses.field(default_factory=dict)
    written: int = 0
    read: int = 0
    remembered: int = 0
    wrong: list[str] = dataclasses.field(default_factory=list)

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Write and read all the while."""
        tasks = [asyncio.create_task(self._again(self._write)) for _ in range(WRITERS)]
        tasks += [asyncio.create_task(self._again(self._read)) for _ in range(READERS)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            self.wrong += [repr(error) for error in ended if not isinstance(error, asyncio.CancelledError)]

    async def goes_on(self) -> None:
        """Wait until more was written, and more was read while what is remembered could be used."""
        written, remembered = self.written + 20, self.remembered + 50

        async def has() -> bool:
            return self.written >= written and self.remembered >= remembered

        await eventually(has, within=WITHIN_S)

    async def _again(self, work: Callable[[Caches], Awaitable[None]]) -> None:
        while True:
            with contextlib.suppress(Overloaded, DeadlineExceeded):
                await work(self.random.choice(self.processes))
            await asyncio.sleep(PACE_S)

    async def _write(self, caches: Caches) -> None:
        one, other = self.random.sample(self.people, 2)
        if self.random.random() < 0.4:
            bio = secrets.token_hex(4)
            user = await change_user(
                caches.database, one, lambda user: msgspec.structs.replace(user, bio=bio), event=EventType.USER_UPDATED
            )
            assert user is not None
            self.profiles[one] = max(self.profiles.get(one, 0), user.version)
        else:
            transition = self.random.choice((transitions.block(until=None), transitions.unblock()))
            change = await change_pair(caches.database, one, other, transition, dt.datetime.now(dt.UTC))
            for pair in ((one, other), (other, one)) if change is not None else ():
                self.pairs[pair] = max(self.pairs.get(pair, 0), change.after.version)  # type: ignore[union-attr]
        self.written += 1

    async def _read(self, caches: Caches) -> None:
        """Read a person as a viewer does; what was answered before is a lower bound of what may be seen."""
        viewer, person = self.random.sample(self.people, 2)
        profile, pair = self.profiles.get(person, 0), self.pairs.get((viewer, person), 0)
        loaders = Loaders(caches, viewer, dt.datetime.now(dt.UTC))
        [user], [found] = await loaders.fetch_people([person])
        if user is None or user.version < profile:
            self.wrong.append("a profile from before an answer")
        if found.version < pair:
            self.wrong.append("a pair from before an answer")
        self.read += 1
        self.remembered += loaders.asker.epoch is not None


@pytest.fixture
async def world(addresses: Addresses, short_folder: Path) -> AsyncIterator[World]:
    async with contextlib.AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(open_cluster(short_folder))
        processes = []
        for _ in range(PROCESSES):
            shards = await stack.enter_async_context(open_cells(addresses.postgres_dsns[1:]))
            redis = await stack.enter_async_context(open_redis(cluster.url))
            processes.append(await stack.enter_async_context(open_caches(shards, OpaqueIds(KEY), redis)))
        people = [
            await create_user(
                processes[0].database, NewUser(f"k{secrets.token_hex(6)}"), cell=number % 2, now=dt.datetime.now(dt.UTC)
            )
            for number in range(PEOPLE)
        ]
        yield World(cluster, processes, people, random.Random(SEED))


@pytest.mark.skipif(os.environ.get("PROVE") != "long", reason="masters that die are missed after seconds only")
async def test_while_slots_move_and_a_master_dies_no_answer_is_out_of_date(world: World) -> None:
    cluster, [one, other, third, *_] = world.cluster, world.people
    async with world.at_work():
        await world.goes_on()
        for key in ("changes", profile_epoch_key(one), profile_epoch_key(other)):
            await cluster.move(key)
            await world.goes_on()
        gone = await cluster.master_of("changes")
        gone.send(signal.SIGKILL)
        await cluster.failed_over("changes", gone)
        await world.goes_on()
        gone.start()
        frozen = await cluster.master_of(profile_epoch_key(third))
        frozen.send(signal.SIGSTOP)
        await cluster.failed_over(profile_epoch_key(third), frozen)
        await world.goes_on()
        frozen.send(signal.SIGCONT)
        await world.goes_on()
    for caches in world.processes:
        await caches.settle()
    await asyncio.sleep(LEASE_S)
    report = await compare(world.processes[0], world.processes[0].redis, {})
    sys.stdout.write(
        f"{world.written} writes, {world.read} reads, {world.remembered} of them with what is remembered, "
        f"{len(world.wrong)} wrong; {sum(report.compared.values())} entries compared, {len(report.stale)} stale\n"
    )
    assert world.wrong == []
    assert report.stale == frozenset()
