"""Schedules that chance hardly ever comes upon, written down: with the one guard that they need, and without it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest

from domain import deadlines
from domain.errors import DeadlineExceeded, Overloaded
from domain.ids import cell_of
from loaders.loaders import Loaders
from storage.epochs import profile_epoch_key
from storage.generations import LEASE_S
from storage.redis_client import CacheUnavailable
from tests.proof.caches.fakes import THEN, pause
from tests.proof.caches.loop import VirtualLoop
from tests.proof.caches.planted import PLANTED
from tests.proof.caches.schedule import PEOPLE, Process, World, in_its_time

SEED: Final = 1
VIEWER: Final = next(person for person in PEOPLE if person >> 12 & 1 == 0)
PERSON: Final = next(person for person in PEOPLE if person >> 12 & 1 == 1)
"""Two who live in different cells: the generation of one may be known while that of the other is not."""
Script = Callable[[World], Awaitable[None]]


async def play(script: Script, loop: VirtualLoop) -> list[str]:
    """Play a script in which every answer takes a millisecond, unless it says otherwise."""
    world = World(SEED, loop)
    world.timing.short = lambda: 0.001  # type: ignore[method-assign]
    world.is_calm = False
    for process in world.processes:
        await world.read(process, VIEWER, VIEWER)
        await process.caches.generations.met()
        await look(process)
    await script(world)
    for process in world.processes:
        await process.caches.settle()
    return world.wrong


def wrong_in(script: Script) -> list[str]:
    loop = VirtualLoop(SEED)
    with in_its_time(SEED, loop):
        return loop.run(play(script, loop), within=60.0)


async def look(process: Process) -> None:
    for cell in process.cells:
        await process.caches.generations.look(cell)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def answering_late(process: Process, seconds: float) -> AsyncIterator[None]:
    """Have the person's cell answer what is asked meanwhile so much later than it looks at what it holds."""
    cell: Any = process.cells[1]
    delays = iter((0.0, seconds))
    cell._delay = lambda: next(delays, 0.001)
    try:
        yield
    finally:
        del cell._delay


async def begin_late(world: World, reader: Process, seconds: float, moment: float) -> asyncio.Task[None]:
    """Begin to read what will be answered so much later, and give it a moment."""
    async with answering_late(reader, seconds):
        first = world.loop.create_task(world.read(reader, VIEWER, PERSON))
        await pause(moment)
    return first


async def all_is_forgotten_while_an_old_answer_is_on_its_way(world: World) -> None:
    """Have Redis lose the word of a change before a process that is reading has looked again."""
    maker, reader = world.processes
    first = await begin_late(world, reader, 0.5, 0.1)
    await world.edit(maker, PERSON, dies=False)
    world.server.evict_stream()
    await world.read(reader, VIEWER, PERSON)
    await first


async def an_answer_is_on_its_way_from_before_a_generation_was_known(world: World) -> None:
    """Have a cell be slow to one who has not heard of its generation, and the change be told to no Redis."""
    maker, reader = world.processes
    for heard in (reader.caches.generations._known, reader.caches.generations._looked_at):
        del heard[cell_of(PERSON)]
    first = await begin_late(world, reader, LEASE_S + 0.65, 0.05)
    world.timing.faults.cut_off = {maker.redis}
    changed = world.loop.create_task(world.edit(maker, PERSON, dies=False))
    await pause(LEASE_S - 0.2)
    await look(reader)
    await changed
    await world.read(reader, VIEWER, PERSON)
    await first


async def a_cell_is_away_from_one_who_remembers(world: World) -> None:
    """Have a change be told to no Redis, and its generation to all but one process, which remembers the person."""
    maker, reader = world.processes
    await world.read(reader, VIEWER, PERSON)
    world.timing.faults.cut_off = {maker.redis, reader.cells[cell_of(PERSON)]}
    world.is_calm = False
    changed = world.loop.create_task(world.edit(maker, PERSON, dies=False))
    await pause(LEASE_S - 0.5)
    await reader.caches.generations.look(reader.cells[cell_of(VIEWER)])  # type: ignore[arg-type]
    await changed
    await world.read(reader, VIEWER, PERSON)


async def an_epoch_is_lost_while_an_old_answer_is_on_its_way(world: World) -> None:
    """Have Redis lose the epoch that a change began, before what was read earlier is stored."""
    maker, reader = world.processes
    first = await begin_late(world, reader, 0.5, 0.1)
    await world.edit(maker, PERSON, dies=False)
    del world.server.values[profile_epoch_key(PERSON)]
    await first
    await reader.caches.settle()
    await world.read(reader, VIEWER, PERSON)


def told_late(world: World, process: Process, seconds: float) -> asyncio.Task[None]:
    """Have what a process tells Redis next come so much later, when the process has long given up; gives when."""
    redis: Any = process.redis
    send, told = redis.exchange, world.loop.create_future()

    async def lose(commands: Any) -> None:
        redis.exchange = send
        told.set_result(commands)
        raise CacheUnavailable

    async def arrive() -> None:
        commands = await told
        await pause(seconds)
        await send(commands)

    redis.exchange = lose
    return world.loop.create_task(arrive())


async def an_attempt_comes_late(world: World) -> None:
    """Have the first attempt to tell of a change take effect after the next change."""
    maker, reader = world.processes
    late = told_late(world, maker, 1.0)
    await world.block(maker, VIEWER, PERSON, dies=False)
    await world.read(reader, VIEWER, PERSON)
    await world.block(maker, VIEWER, PERSON, dies=False)
    await late
    await world.read(reader, VIEWER, PERSON)


async def one_who_waits_is_in_a_hurry(world: World) -> None:
    """Have two wait for one answer, and the time of one of them be over before it comes."""
    reader = world.processes[0]
    world.is_calm = True
    first = await begin_late(world, reader, 0.5, 0.1)
    await world.read_in_a_hurry(reader, VIEWER, PERSON, 0.1)
    await first


SCRIPTS: Final = {
    "all flights go on when everything is forgotten": all_is_forgotten_while_an_old_answer_is_on_its_way,
    "lost announcements do not show": all_is_forgotten_while_an_old_answer_is_on_its_way,
    "flights are joined however old": an_answer_is_on_its_way_from_before_a_generation_was_known,
    "the next attempt renews to the same epochs": an_attempt_comes_late,
    "memory outlives the lease on generations": a_cell_is_away_from_one_who_remembers,
    "the generation is known for ever": a_cell_is_away_from_one_who_remembers,
    "a fill begins the epoch that was not there": an_epoch_is_lost_while_an_old_answer_is_on_its_way,
    "callers share their cancellation": one_who_waits_is_in_a_hurry,
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_rare_schedule_is_right_and_misses_the_guard_that_is_taken_away(name: str) -> None:
    assert wrong_in(SCRIPTS[name]) == []
    with PLANTED[name].plant():
        assert wrong_in(SCRIPTS[name]) != []


def test_every_guard_that_chance_does_not_miss_is_missed_by_a_script() -> None:
    assert {name for name, planted in PLANTED.items() if planted.seed is None} <= SCRIPTS.keys()


async def a_cell_is_away(world: World) -> None:
    """Answer what is remembered until the lease on its generation ends; then show nobody by guess."""
    process = world.processes[0]
    await world.read(process, VIEWER, PERSON)
    world.timing.faults.cut_off = set(process.cells)
    for seconds in (0.5, 1.0):
        await pause(seconds)
        assert await is_answered(process)
    await pause(LEASE_S - 1.5)
    assert not await is_answered(process)
    world.timing.faults.cut_off = set()
    await look(process)
    assert await is_answered(process)


async def is_answered(process: Process) -> bool:
    try:
        with deadlines.under(None):
            [user], _ = await Loaders(process.caches, VIEWER, THEN).fetch_people([PERSON])
    except (Overloaded, DeadlineExceeded):
        return False
    return user is not None


async def watched(world: World) -> None:
    async with world.processes[0].caches.generations.watched():
        await a_cell_is_away(world)


def test_a_cell_that_is_away_for_less_than_the_lease_is_missed_by_nobody_and_then_its_people_are_not_shown() -> None:
    assert wrong_in(watched) == []
