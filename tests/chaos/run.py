"""One run: the main job, actors, fans, a listener and a sink; the faults of a schedule; and the accounts."""

import asyncio
import collections
import contextlib
import dataclasses
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Collection, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Final

import aiohttp
from gql.transport.exceptions import TransportError

from embedded.configured import find_addresses
from settings import load
from tests.acceptance.main_job import MainJob, running, until
from tests.acceptance.people import People, Person, Refused, meet_everybody
from tests.chaos.accounts import Account, since_the_start, told_once
from tests.chaos.actors import ANSWER_WITHIN_S, AWAY, Actor, Tally
from tests.chaos.schedule import Fault, schedule
from tests.chaos.sink import Heard, Sink

HEALED_WITHIN_S: Final = 60.0
DRAINED_WITHIN_S: Final = 180.0
OTHERS: Final = 12
_NOTIFICATIONS: Final = """query($after: String) { viewer { notifications(first: 5, after: $after, kinds: [FOLLOW]) {
    edges { group { notifications(first: 100) { nodes { actor { username } } } } }
    pageInfo { hasNextPage endCursor } } } }"""


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much is done and how often parts fail."""

    seed: int
    mutations: int = 10_000
    actors: int = 8
    fans: int = 50
    kills: int = 4
    broker_kills: int = 10
    frozen_s: float = 30.0
    cells: int = 2


@dataclasses.dataclass(slots=True)
class Figures:
    """What came of it; printed as one line of JSON."""

    seed: int
    mutations: int = 0
    faults: int = 0
    attempts_repeated: int = 0
    wrong_answers: int = 0
    acknowledged_lost: int = 0
    doubled_after_deduplication: int = 0
    order_violations: int = 0
    records_repeated: int = 0
    events_heard: int = 0
    """Different ones about the actors, in the sink."""
    notifications_wanted: int = 0
    """Every fan's of the owner, and of the follows among the others those that hold in the end."""
    notifications_missing: int = 0
    notifications_twice: int = 0
    notifications_unfounded: int = 0
    """Of follows that hold no longer."""
    mutations_while_the_broker_was_frozen: int = 0
    errors_while_the_broker_was_frozen: int = 0
    errors_in_as_long_before: int = 0
    errors_by_the_frozen_broker: int = 0
    """Those of kinds that did not come before it was frozen: what a busy machine refuses, it refuses then as well."""
    healed_s: float = 0.0
    drained_s: float = 0.0

    @property
    def is_flawless(self) -> bool:
        """Tell whether nothing was lost, doubled or out of order, and nobody got an error that no fault explains."""
        return not any(
            (
                self.wrong_answers,
                self.acknowledged_lost,
                self.doubled_after_deduplication,
                self.order_violations,
                self.notifications_missing,
                self.notifications_twice,
                self.notifications_unfounded,
                self.errors_by_the_frozen_broker,
            )
        )


async def run(plan: Plan, folder: Path) -> Figures:
    """Run a plan on a main job of its own."""
    figures = Figures(plan.seed)
    async with running(folder, cells=plan.cells) as job:
        people = await meet_everybody(job)
        addresses = find_addresses(load({"KITH_DATA_DIR": str(job.data_dir), "KITH_CELLS": str(plan.cells)}))
        sink = Sink(addresses.kafka_bootstrap)
        async with _background(sink.run()):
            await _Chaos(plan, people, sink, figures).play()
    return figures


@contextlib.asynccontextmanager
async def _background(work: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class _Chaos:
    """The people of one run, and what happens to them."""

    def __init__(self, plan: Plan, people: People, sink: Sink, figures: Figures) -> None:
        self.plan = plan
        self.sink = sink
        self.figures = figures
        self.is_over = False
        self.wrongly_told: list[str] = []
        self.job: MainJob = people.job
        self.tally = Tally()
        chance = random.Random(plan.seed)
        self.others = [people.take() for _ in range(OTHERS)]
        self.actors = [
            Actor(people.take(), self.others, random.Random(chance.random()), self.tally) for _ in range(plan.actors)
        ]
        self.owner = people.take()
        self.fans = [people.take() for _ in range(plan.fans)]

    async def play(self) -> None:
        """Let everybody act while the faults come, wait until all is heard, and account for it."""
        faults = schedule(
            self.plan.seed,
            mutations=self.plan.mutations,
            kills=self.plan.kills,
            broker_kills=self.plan.broker_kills,
            frozen_s=self.plan.frozen_s,
        )
        timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
            for actor in self.actors:
                group.create_task(actor.run(session, self._is_enough))
            group.create_task(self._follow_by_and_by())
            group.create_task(self._break(faults))
        began = monotonic()
        with contextlib.suppress(TimeoutError):
            await until(self._is_all_heard, DRAINED_WITHIN_S)
        self.figures.drained_s = round(monotonic() - began, 1)
        say(f"{self.tally.acknowledged:6} acknowledged, all heard {self.figures.drained_s} s later")
        await self._account()

    def _is_enough(self) -> bool:
        return self.is_over and self.tally.acknowledged >= self.plan.mutations

    async def _follow_by_and_by(self) -> None:
        """Have each fan follow the owner once, spread over the whole run."""
        for number, fan in enumerate(self.fans):
            due = number * self.plan.mutations // len(self.fans)
            await until(lambda due=due: self.tally.acknowledged >= due, 3600)  # type: ignore[misc] # bound now
            await self._insist_on_following(fan)

    async def _insist_on_following(self, fan: Person) -> None:
        while True:
            with contextlib.suppress(Refused, *AWAY, TransportError):
                await fan.follow(self.owner)
                return
            await asyncio.sleep(0.1)

    async def _break(self, faults: Sequence[Fault]) -> None:
        for fault in faults:
            await until(lambda fault=fault: self.tally.acknowledged >= fault.at, 3600)  # type: ignore[misc]
            say(f"{self.tally.acknowledged:6} acknowledged: {fault.part} {'frozen' if fault.frozen_s else 'killed'}")
            if fault.frozen_s:
                await self._freeze(fault)
            else:
                await self._kill(fault.part)
            self.figures.faults += 1
        self.is_over = True

    async def _kill(self, part: str) -> None:
        pid = self._pid(part)
        os.kill(pid, signal.SIGKILL)
        took = await until(lambda: self._pid_or_none(part) not in (None, pid), HEALED_WITHIN_S)
        self.figures.healed_s = max(self.figures.healed_s, round(took, 1))

    async def _freeze(self, fault: Fault) -> None:
        """Freeze the broker: whoever acts must not notice, beside as long a time in which it ran."""
        await self._until_quiet()
        before = await self._errors_within(fault.frozen_s)
        acknowledged, pid = self.tally.acknowledged, self._pid(fault.part)
        os.kill(pid, signal.SIGSTOP)
        try:
            meanwhile = await self._errors_within(fault.frozen_s)
        finally:
            os.kill(pid, signal.SIGCONT)
        figures = self.figures
        figures.mutations_while_the_broker_was_frozen += self.tally.acknowledged - acknowledged
        figures.errors_while_the_broker_was_frozen += meanwhile.total()
        figures.errors_in_as_long_before += before.total()
        figures.errors_by_the_frozen_broker += sum(meanwhile[code] for code in meanwhile.keys() - before.keys())
        say(f"{self.tally.acknowledged:6} acknowledged: it goes on; errors before and meanwhile: {before}, {meanwhile}")

    async def _errors_within(self, seconds: float) -> "collections.Counter[str]":
        self.tally.errors_now.clear()
        await asyncio.sleep(seconds)
        return collections.Counter(self.tally.errors_now)

    async def _until_quiet(self) -> None:
        """Wait until earlier faults no longer show, unless the machine is so busy that it refuses all the time."""
        for _ in range(30):
            self.tally.errors_now.clear()
            await asyncio.sleep(2.0)
            if not self.tally.errors_now:
                return

    def _pid(self, part: str) -> int:
        return next(pid for name, pid in self.job.children().items() if name.startswith(part))

    def _pid_or_none(self, part: str) -> int | None:
        try:
            return self._pid(part)
        except (StopIteration, OSError, ValueError):
            return None

    def _is_all_heard(self) -> bool:
        return all(len(self._heard(actor)) >= len(actor.expected) for actor in self.actors)

    def _heard(self, actor: Actor) -> list[Heard]:
        others = {other.id for other in actor.others}
        return since_the_start(self.sink.by_key.get(actor.person.id, ()), others)

    async def _account(self) -> None:
        figures, account = self.figures, Account()
        for actor in self.actors:
            account.add(actor.expected, self._heard(actor))
        for disorder in account.disorders:
            say(f"out of order: {disorder}")
        figures.mutations, figures.attempts_repeated = self.tally.acknowledged, self.tally.repeated
        figures.wrong_answers = len(self.tally.wrong)
        figures.acknowledged_lost, figures.doubled_after_deduplication = account.lost, account.doubled
        figures.order_violations, figures.records_repeated = account.disordered, self.sink.repeats
        figures.events_heard = sum(len(self._heard(actor)) for actor in self.actors)
        began, is_settled = monotonic(), False
        while not is_settled and monotonic() - began < DRAINED_WITHIN_S:
            with contextlib.suppress(Refused, *AWAY, TransportError):  # the last fault may have been the web server's
                is_settled = await self._account_for_notifications()
            await asyncio.sleep(0.2)
        for told in self.wrongly_told:
            say(f"not told of, told of again, wrongly told of: {told}")

    async def _account_for_notifications(self) -> bool:
        """Count what people were told against what they must have been; False where that is not so, or not yet."""
        wanted = {self.owner.name: [fan.name for fan in self.fans]}
        for other in self.others:
            wanted[other.name] = [actor.person.name for actor in self.actors if actor.follows(other)]
        who = {*[fan.name for fan in self.fans], *[actor.person.name for actor in self.actors]}
        found = {one.name: told_once(await _told(one, who), wanted[one.name]) for one in (self.owner, *self.others)}
        missing, twice, unfounded = (sum(map(len, kind)) for kind in zip(*found.values(), strict=True))
        figures = self.figures
        figures.notifications_wanted = sum(map(len, wanted.values()))
        figures.notifications_missing, figures.notifications_twice = missing, twice
        figures.notifications_unfounded = unfounded
        self.wrongly_told = [f"{name}: {kinds}" for name, kinds in found.items() if any(kinds)]
        return missing == unfounded == 0


async def _told(owner: Person, who: Collection[str]) -> "collections.Counter[str]":
    """Count how often somebody's notifications name each of some followers."""
    told: collections.Counter[str] = collections.Counter()
    after = None
    while True:
        page = (await owner.ask(_NOTIFICATIONS, after=after))["viewer"]["notifications"]
        for edge in page["edges"]:
            actors = [one["actor"] for one in edge["group"]["notifications"]["nodes"]]
            told.update(actor["username"] for actor in actors if actor is not None and actor["username"] in who)
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            return told


def say(line: str) -> None:
    """Report progress, apart from the figures."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
