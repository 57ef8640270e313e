"""Many events to many subscribers while servers die and people block or leave: none missing, twice or forbidden.

`PROVE=long` tells of 10,000 follows instead of 200.
"""

import asyncio
import contextlib
import dataclasses
import itertools
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic
from typing import Any, Final

import aiohttp
import pytest
from gql.transport.exceptions import TransportError

from tests.acceptance.main_job import running, until
from tests.acceptance.people import People, Person, claims_of, first_event, meet_everybody, sign
from tests.acceptance.streams import open_stream
from tests.acceptance.test_resilience import AWAY

LONG: Final = os.environ.get("PROVE") == "long"
OWNERS, FOLLOWERS, KILLS, DELETED = (101, 101, 20, 10) if LONG else (10, 20, 2, 1)
BLOCKED_PER_OWNER: Final = FOLLOWERS // 5
AT_ONCE: Final = 8
ACKNOWLEDGED_WITHIN_S: Final = 600.0 if LONG else 120.0
ATTEMPT_S: Final = 20.0
TOLD_WITHIN_S: Final = 600.0 if LONG else 120.0
LIVE: Final = "subscription($after: String) { followReceived(after: $after) { cursor actor { username } } }"


@dataclasses.dataclass(slots=True)
class Subscriber:
    """Somebody who listens over one of the two ways, and resumes after the last event for ever."""

    owner: Person
    cursor: str
    streams: bool
    heard: list[tuple[str, float]] = dataclasses.field(default_factory=list)
    blocked: dict[str, float] = dataclasses.field(default_factory=dict)
    followed: set[str] = dataclasses.field(default_factory=set)
    connections: int = 0

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            with contextlib.suppress(*AWAY, TransportError, StopAsyncIteration, AssertionError):
                await (self._stream() if self.streams else self._socket())
            await asyncio.sleep(random.uniform(0.1, 1.0))  # as good clients do, not all at once

    async def _socket(self) -> None:
        async with self.owner.live(after=self.cursor) as live:
            self.connections += 1
            while True:
                self._hear((await anext(live.events))["followReceived"])

    async def _stream(self) -> None:
        async with open_stream(self.owner.job, LIVE, self.owner.token, after=self.cursor) as stream:
            self.connections += 1
            while True:
                result = await stream.next()
                assert "errors" not in result  # the service was busy: it is asked again
                self._hear(result["data"]["followReceived"])

    def _hear(self, event: dict[str, Any]) -> None:
        self.cursor = event["cursor"]
        self.heard.append((event["actor"]["username"], monotonic()))

    @property
    def expected(self) -> set[str]:
        """Name whom it has to be told of, whatever happens."""
        return self.followed - self.blocked.keys()

    @property
    def missing(self) -> set[str]:
        """Name whom it has not been told of."""
        return self.expected - {name for name, _ in self.heard}

    @property
    def repeated(self) -> int:
        """Count what was told twice."""
        names = [name for name, _ in self.heard]
        return len(names) - len(set(names))

    @property
    def forbidden(self) -> int:
        """Count what was told of somebody after the block was answered."""
        return sum(at > self.blocked.get(name, at) for name, at in self.heard)


@pytest.fixture
async def people_of_its_own(short_folder: Path) -> AsyncIterator[People]:
    """Give everybody of a run on two cells, whose server is killed."""
    async with running(short_folder / "s", cells=2) as job:
        yield await meet_everybody(job)


async def test_no_event_is_missing_repeated_or_forbidden(people_of_its_own: People) -> None:
    people, chance = people_of_its_own, random.Random(1)
    opener, followers = people.take(), [people.take() for _ in range(FOLLOWERS)]
    subscribers = [
        Subscriber(owner, await cursor_of_now(owner, opener), streams=bool(number % 2))
        for number, owner in enumerate(followers[:OWNERS])
    ]
    pairs = [(one, other) for one, other in itertools.product(followers, subscribers) if one is not other.owner]
    chance.shuffle(pairs)
    listening = [asyncio.create_task(subscriber.run()) for subscriber in subscribers]
    began, crowd = monotonic(), Crowd(people, subscribers, followers, chance)
    try:
        await crowd.play(pairs)
        await until(lambda: not any(subscriber.missing for subscriber in subscribers), TOLD_WITHIN_S)
    finally:
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
    seconds, told = monotonic() - began, sum(len(subscriber.heard) for subscriber in subscribers)
    connections = sum(subscriber.connections for subscriber in subscribers)
    sys.stdout.write(f"\n{len(pairs)} follows, {told} told over {connections} connections in {seconds:.0f} s\n")
    assert connections > OWNERS
    assert [(s.repeated, s.forbidden, s.missing) for s in subscribers] == [(0, 0, set())] * OWNERS


async def cursor_of_now(owner: Person, opener: Person) -> str:
    async with owner.live() as live:
        return str((await first_event(opener, owner, live))["cursor"])


@dataclasses.dataclass(slots=True)
class Crowd:
    """Everybody who acts while the subscribers listen, and the server's deaths."""

    people: People
    subscribers: list[Subscriber]
    followers: list[Person]
    chance: random.Random
    done: int = 0
    """How many follows were tried."""
    _session: aiohttp.ClientSession = dataclasses.field(init=False)

    async def play(self, pairs: list[tuple[Person, Subscriber]]) -> None:
        """Have all of these follow; others block and delete themselves meanwhile."""
        timeout = aiohttp.ClientTimeout(total=ATTEMPT_S)
        async with aiohttp.ClientSession(timeout=timeout) as self._session, asyncio.TaskGroup() as group:
            for lane in range(AT_ONCE):
                group.create_task(self._follow_all(pairs[lane::AT_ONCE]))
            group.create_task(self._block_some())
            group.create_task(self._delete_some([self.people.take() for _ in range(DELETED)]))
            group.create_task(self._kill_servers(len(pairs)))

    async def _follow_all(self, pairs: list[tuple[Person, Subscriber]]) -> None:
        for follower, subscriber in pairs:
            if follower.name not in subscriber.blocked:
                await self._act(follower, "followUser", userId=subscriber.owner.id)  # in vain where a block came first
                subscriber.followed.add(follower.name)
            self.done += 1

    async def _block_some(self) -> None:
        for subscriber in self.subscribers:
            others = [follower for follower in self.followers if follower is not subscriber.owner]
            for follower in self.chance.sample(others, BLOCKED_PER_OWNER):
                both = [
                    (subscriber, follower),
                    *[(s, subscriber.owner) for s in self.subscribers if s.owner is follower],
                ]
                for one, other in both:  # neither is told of the other from the block on
                    one.blocked.setdefault(other.name, float("inf"))
                await self._act(subscriber.owner, "blockUser", userId=follower.id)
                for one, other in both:
                    one.blocked[other.name] = min(one.blocked[other.name], monotonic())

    async def _delete_some(self, leaving: list[Person]) -> None:
        """Have people follow some and delete themselves at once: whoever was not told of them until then never is."""
        for number, follower in enumerate(leaving):
            for subscriber in self.subscribers[number::10]:
                await self._act(follower, "followUser", userId=subscriber.owner.id)
            now = sign(self.people.key, claims_of(follower.id, auth_time=int(time.time())))
            gone = dataclasses.replace(follower, token=now)
            assert await self._act(gone, "deleteAccount", confirmation=follower.name) == []
            for subscriber in self.subscribers:
                subscriber.blocked[follower.name] = monotonic()

    async def _kill_servers(self, follows: int) -> None:
        """Kill the server again and again while people follow, once by force and once by asking."""
        job = self.people.job
        for number in range(KILLS):
            due = (number + 1) * follows // (KILLS + 1)
            await until(lambda due=due: self.done >= due, 3600.0)  # type: ignore[misc] # bound now
            pid = job.children()["web"]
            os.kill(pid, signal.SIGKILL if number % 2 else signal.SIGTERM)
            await until(lambda pid=pid: job.children().get("web", pid) != pid, 60.0)  # type: ignore[misc]

    async def _act(self, person: Person, mutation: str, **fields: object) -> list[Any]:
        """Do something until it is acknowledged, and give what the answer says against it."""
        kind = f"{mutation[0].upper()}{mutation[1:]}Input"
        query = f"mutation($input: {kind}!) {{ {mutation}(input: $input) {{ userErrors {{ code }} }} }}"
        body = {"query": query, "variables": {"input": fields}}
        async with asyncio.timeout(ACKNOWLEDGED_WITHIN_S):
            while True:
                with contextlib.suppress(*AWAY):
                    async with self._session.post(person.job.url, json=body, headers=person.headers) as response:
                        answer = await response.json(content_type=None)
                    if "errors" not in answer:
                        errors: list[Any] = answer["data"][mutation]["userErrors"]
                        return errors
                await asyncio.sleep(0.05)
