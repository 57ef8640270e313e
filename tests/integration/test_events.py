"""Relay and consumer on a real broker: every fact has its effect, once, and a broker that lost all is fed again."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from domain.notifications import NotificationKind
from domain.pages import Position
from embedded import Part, Services
from events.consumer import GROUP, READ_TOPICS, Consumer
from events.effects import Subscription
from events.handlers import Handlers
from events.letters import Letters
from events.relay import Relay
from resolvers import blocks, follows
from resolvers.context import Context
from resolvers.delivery import Delivered
from resolvers.notifications import stream
from storage import pairs
from storage.database import Database
from storage.notifications import fetch_after
from storage.redis_client import Redis
from storage.relationships import fetch_relationships
from tests.conftest import MakePerson, Person, eventually


@pytest.fixture
async def broker(short_folder: Path, dsns: tuple[str, ...]) -> AsyncIterator[Services]:
    """Run a broker that a test may kill, and that no other world's facts are in."""
    folder = short_folder / f"broker-{len(dsns)}"
    async with Services(folder, parts=frozenset({Part.BROKER}), report=lambda _line: None) as services:
        yield services


@pytest.fixture
async def pipeline(database: Database, dsns: tuple[str, ...], broker: Services, redis: Redis) -> AsyncIterator[None]:
    """Run a relay per cell and a consumer."""
    bootstrap = broker.addresses.kafka_bootstrap
    relays = [Relay(cell, dsn, bootstrap) for cell, dsn in zip(database.shards.cells, dsns, strict=True)]
    subscription = Subscription(GROUP, READ_TOPICS, Handlers(database, redis).handle)
    consumer = Consumer(bootstrap, subscription, Letters(database, GROUP), session_timeout_ms=2000)
    tasks = [asyncio.create_task(work) for work in (*(relay.run() for relay in relays), consumer.run())]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def told(database: Database, owner: Person) -> list[tuple[NotificationKind, int]]:
    return [(row.kind, row.actor_id) for row in await fetch_after(database, owner.id, 0, 1000)]


@pytest.mark.usefixtures("pipeline")
async def test_a_follow_is_told_once_and_a_repeated_one_not_again(database: Database, make_person: MakePerson) -> None:
    ana, bo, eve = await make_person(), await make_person(), await make_person()
    await follows.follow(bo.context, ana.opaque_id)
    await follows.follow(bo.context, ana.opaque_id)
    await follows.follow(eve.context, ana.opaque_id)

    async def both_told() -> bool:
        return len(await told(database, ana)) >= 2

    await eventually(both_told)
    expected = [(NotificationKind.FOLLOW, bo.id), (NotificationKind.FOLLOW, eve.id)]
    assert sorted(await told(database, ana)) == sorted(expected)


@pytest.mark.usefixtures("pipeline")
async def test_the_stream_tells_what_comes_and_resumes_without_gap_or_repeat(
    database: Database, make_person: MakePerson
) -> None:
    ana = await make_person()
    fans = [await make_person() for _ in range(6)]
    told_live = await collect(ana.context, None, 3, [(fan, ana) for fan in fans[:3]])
    assert [event.actor.user.id for event in told_live] == [fan.id for fan in fans[:3]]
    for fan in fans[3:5]:  # facts of different people are worked on side by side: one is told before the next begins
        await follows.follow(fan.context, ana.opaque_id)
        fact = (NotificationKind.FOLLOW, fan.id)

        async def is_told(fact: tuple[NotificationKind, int] = fact) -> bool:
            return fact in await told(database, ana)

        await eventually(is_told)
    resumed = await collect(ana.context, told_live[-1].cursor, 3, [(fans[5], ana)])
    assert [event.actor.user.id for event in resumed] == [fan.id for fan in fans[3:]]


async def collect(
    context: Context, after: str | None, number: int, actions: list[tuple[Person, Person]]
) -> list[Delivered]:
    """Listen until `number` events have come, each action waiting for what the one before led to."""
    events: list[Delivered] = []
    source = stream(context, frozenset({NotificationKind.FOLLOW}), after)
    first = asyncio.ensure_future(anext(source))
    await asyncio.sleep(0.2)  # the listener has to know its place before the first follow
    async with asyncio.timeout(60):
        for follower, followee in actions:
            await follows.follow(follower.context, followee.opaque_id)
            if len(actions) == number:
                events.append(await (first if not events else anext(source)))
        while len(events) < number:
            events.append(await (first if not events else anext(source)))
    await source.aclose()
    return events


@pytest.mark.usefixtures("pipeline")
async def test_whoever_is_blocked_by_the_time_of_delivery_is_not_told_of(
    database: Database, make_person: MakePerson
) -> None:
    ana, troll, friend = await make_person(), await make_person(), await make_person()
    for fan in (troll, friend):
        await follows.follow(fan.context, ana.opaque_id)

    async def both_told() -> bool:
        return len(await told(database, ana)) == 2

    await eventually(both_told)
    await blocks.block(ana.context, troll.opaque_id, expires_at=None)
    start = ana.backend.cursors.encode(f"notifications of {ana.id}", [Position(0, 0)])[0]
    source = stream(ana.context, frozenset({NotificationKind.FOLLOW}), start)
    async with asyncio.timeout(60):
        event = await anext(source)
    await source.aclose()
    assert event.actor.user.id == friend.id


@pytest.mark.usefixtures("pipeline")
async def test_a_broker_that_comes_back_empty_is_fed_again_and_nobody_is_told_twice(
    database: Database, broker: Services, make_person: MakePerson
) -> None:
    ana = await make_person()
    fans = [await make_person() for _ in range(9)]
    for number, fan in enumerate(fans):
        await follows.follow(fan.context, ana.opaque_id)
        if number % 3 == 1:
            pid = broker.pid(Part.BROKER)
            if pid is not None:
                os.kill(pid, signal.SIGKILL)

    async def all_told() -> bool:
        return len(await told(database, ana)) >= len(fans)

    await eventually(all_told, within=40)
    assert sorted(actor for _, actor in await told(database, ana)) == sorted(fan.id for fan in fans)


@pytest.mark.usefixtures("pipeline")
async def test_a_side_that_was_not_written_is_mended_by_the_event(
    database: Database, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    if len(database.shards.cells) == 1:
        pytest.skip("in one cell both sides are one transaction")
    low, high = sorted([await make_person(cell=0), await make_person(cell=1)], key=lambda person: person.id)

    async def lost(*_arguments: object) -> bool:
        return False

    with monkeypatch.context() as patched:
        patched.setattr(pairs, "apply_side", lost)
        await follows.follow(low.context, high.opaque_id)

    async def mended() -> bool:
        side = (await fetch_relationships(database, high.id, [low.id])).get(low.id)
        return side is not None and side.version == 1

    await eventually(mended)
