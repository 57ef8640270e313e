"""Parts are killed while people follow and unfollow: the run heals by itself, loses nothing and tells nothing twice.

`KITH_KILLS=20` kills each part twenty times instead of once.
"""

import asyncio
import collections
import contextlib
import dataclasses
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic
from typing import Final

import aiohttp
import pytest
from gql.transport.exceptions import TransportError

from tests.acceptance.main_job import MainJob, running, until
from tests.acceptance.people import People, Person, Refused, cursor_of_now, meet_everybody

KILLS: Final = int(os.environ.get("KITH_KILLS", "1"))
PARTS: Final = ("PostgreSQL", "Valkey", "Kafka broker", "relay", "consumer", "upkeep", "identity", "web")
HEALED_WITHIN_S: Final = 60.0
CAUGHT_UP_WITHIN_S: Final = 60.0
WALKERS: Final = 3
PACE_S: Final = 0.01 * KILLS
"""The embedded broker keeps nothing, and each of its lives is fed with all events so far: few, where it has many."""
KILLS_PER_OWNER: Final = 50
AWAY: Final = (aiohttp.ClientError, TransportError, OSError, TimeoutError)
"""What a client meets while nobody answers."""


@dataclasses.dataclass(slots=True)
class Walker:
    """A client that follows and unfollows somebody for ever, and knows what was acknowledged."""

    follower: Person
    followee: Person
    acknowledged: bool = False
    attempted: bool = False
    steps: int = 0
    lost: int = 0
    codes: "collections.Counter[str]" = dataclasses.field(default_factory=collections.Counter)

    async def run(self) -> None:
        """Walk until cancelled."""
        while True:
            try:
                await self.step()
            except Refused as refused:
                self.codes[refused.code] += 1
                await asyncio.sleep(0.02)
            except AWAY:
                await asyncio.sleep(0.02)

    async def step(self) -> None:
        """Compare what is there with what was acknowledged, and change it."""
        await self.compare()
        self.attempted = not self.acknowledged
        await (self.follower.follow(self.followee) if self.attempted else self.follower.unfollow(self.followee))
        self.acknowledged = self.attempted
        self.steps += 1
        await asyncio.sleep(PACE_S)

    async def compare(self) -> None:
        """Read the state: the one acknowledged, or the one of the last attempt, whose answer may have been lost."""
        data = await self.follower.ask("query($id: ID!) { user(id: $id) { viewerIsFollowing } }", id=self.followee.id)
        found = bool(data["user"]["viewerIsFollowing"])
        self.lost += found not in (self.acknowledged, self.attempted)
        self.acknowledged = self.attempted = found


@dataclasses.dataclass(slots=True)
class Listener:
    """Somebody who listens for followers, and resumes after the last event whenever the connection breaks."""

    owner: Person
    start: str
    told: "collections.Counter[str]" = dataclasses.field(default_factory=collections.Counter)
    expected: set[str] = dataclasses.field(default_factory=set)

    async def run(self) -> None:
        """Listen until cancelled."""
        cursor = self.start
        while True:
            with contextlib.suppress(*AWAY, StopAsyncIteration):
                async with self.owner.live(after=cursor) as live:
                    while True:
                        event = (await anext(live.events))["followReceived"]
                        cursor = event["cursor"]
                        self.told[event["actor"]["username"]] += 1
            await asyncio.sleep(0.05)

    async def hear(self, *followers: Person) -> None:
        """Wait until these are told of."""
        self.expected |= {follower.name for follower in followers}
        await until(lambda: all(follower.name in self.told for follower in followers), CAUGHT_UP_WITHIN_S)

    async def hear_all(self) -> None:
        """Wait until everybody expected is told of, and check that nobody is twice."""
        await until(lambda: self.told.keys() >= self.expected, CAUGHT_UP_WITHIN_S)
        assert self.told == collections.Counter(self.expected)


@dataclasses.dataclass(slots=True)
class World:
    """A run with walkers, listeners and a stock of followers, and what was measured."""

    people: People
    walkers: list[Walker]
    listeners: list[Listener]
    followers: list[Person]
    figures: dict[str, dict[str, list[float]]]
    kills: int = 0

    @property
    def job(self) -> MainJob:
        """Give the run."""
        return self.people.job

    def next_pair(self) -> tuple[Listener, Person, Person]:
        """Give a listener, and two people who do not follow its owner yet."""
        number = self.kills
        self.kills += 1
        at = 2 * (number % KILLS_PER_OWNER)
        return self.listeners[number // KILLS_PER_OWNER], self.followers[at], self.followers[at + 1]

    def measured(self, part: str, what: str, seconds: float) -> None:
        """Note how long something took after a kill."""
        self.figures.setdefault(part, {}).setdefault(what, []).append(seconds)


@pytest.fixture(scope="module")
async def world(short_folder: Path) -> AsyncIterator[World]:
    """Run the main job on two cells, with clients at work."""
    async with running(short_folder / "r", cells=2) as job, asyncio.TaskGroup() as group:
        people = await meet_everybody(job)
        walkers = [Walker(people.take(), people.take()) for _ in range(WALKERS)]
        owners = [people.take() for _ in range(1 + (KILLS * len(PARTS) - 1) // KILLS_PER_OWNER)]
        listeners = [Listener(owner, await cursor_of_now(people, owner)) for owner in owners]
        followers = [people.take() for _ in range(2 * min(KILLS_PER_OWNER, KILLS * len(PARTS)))]
        tasks = [group.create_task(work) for work in [*(w.run() for w in walkers), *(one.run() for one in listeners)]]
        made = World(people, walkers, listeners, followers, {})
        yield made
        for task in tasks:
            task.cancel()
        report(made)


def report(world: World) -> None:
    """Print what was measured."""
    lines = [
        f"{part}: " + ", ".join(f"{what} at most {max(taken):.2f} s" for what, taken in figures.items())
        for part, figures in world.figures.items()
    ]
    steps, lost = sum(walker.steps for walker in world.walkers), sum(walker.lost for walker in world.walkers)
    codes = sum((walker.codes for walker in world.walkers), collections.Counter())
    end = f"{world.kills} kills, {steps} changes acknowledged, {lost} lost, refused meanwhile: {dict(codes)}"
    sys.stdout.write("\n" + "\n".join([*lines, end]) + "\n")


async def insist(follower: Person, followee: Person) -> None:
    """Follow until it is acknowledged."""
    async with asyncio.timeout(HEALED_WITHIN_S):
        while True:
            with contextlib.suppress(Refused, *AWAY):
                await follower.follow(followee)
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("turn", range(KILLS))
async def test_a_part_that_is_killed_comes_back_and_nothing_is_lost(world: World, turn: int, part: str) -> None:
    listener, before, after = world.next_pair()
    pid = world.job.children()[part]
    await insist(before, listener.owner)
    os.kill(pid, signal.SIGKILL)
    killed = monotonic()
    await insist(after, listener.owner)
    world.measured(part, "a change acknowledged", monotonic() - killed)
    await until(lambda: world.job.children().get(part, pid) != pid, HEALED_WITHIN_S)
    world.measured(part, "a new process", monotonic() - killed)
    await listener.hear(before, after)
    world.measured(part, "a follow told", monotonic() - killed)
    steps = [walker.steps for walker in world.walkers]
    await until(lambda: all(walker.steps > n for walker, n in zip(world.walkers, steps, strict=True)), HEALED_WITHIN_S)
    assert [walker.lost for walker in world.walkers] == [0] * WALKERS, turn


async def test_after_all_kills_each_follow_was_told_once(world: World) -> None:
    for listener in world.listeners:
        await listener.hear_all()
        again = Listener(listener.owner, listener.start, expected=listener.expected)
        reading = asyncio.create_task(again.run())
        await again.hear_all()
        reading.cancel()
        await asyncio.wait({reading})
    assert sum(len(listener.expected) for listener in world.listeners) == 2 * world.kills


async def test_clients_are_told_nothing_but_that_the_service_is_busy(world: World) -> None:
    assert {code for walker in world.walkers for code in walker.codes} <= {"OVERLOADED"}
