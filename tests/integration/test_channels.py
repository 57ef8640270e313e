"""Calls to whoever listens, and leases of connections, on a cluster of which slots move and a node dies."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest
from redis.crc import key_slot

from storage.channels import Listeners, Notice, give_notice, wake
from storage.line_leases import LineLeases
from storage.redis_client import Redis, open_redis
from tests.conftest import eventually
from tests.valkey import SLOTS, WITHIN_S, Server, cluster_of_three, join, member

MINE: Final = "notifications:*"
MISSED_AFTER_MS: Final = 60_000
"""Longer than a busy machine lets a node wait: what is moved here is moved by hand."""


@pytest.fixture(scope="module")
async def nodes(short_folder: Path) -> AsyncIterator[list[Server]]:
    async with cluster_of_three(short_folder, missed_after_ms=MISSED_AFTER_MS) as started:

        async def know_each_other() -> bool:
            return all([await is_whole(node) for node in started])

        await eventually(know_each_other, within=WITHIN_S)
        yield started


async def is_whole(node: Server) -> bool:
    info = await node.command("CLUSTER INFO")
    return bool(info["cluster_state"] == "ok" and info["cluster_known_nodes"] == "3")


@pytest.fixture
async def redis(nodes: list[Server]) -> AsyncIterator[Redis]:
    async with open_redis(address_of(nodes)) as opened:
        yield opened


@pytest.fixture
async def listeners(nodes: list[Server]) -> AsyncIterator[Listeners]:
    async with Listeners(address_of(nodes)) as opened:
        yield opened


def address_of(nodes: list[Server]) -> str:
    return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)


def user_at(number: int) -> int:
    """Give a user whose channel is at a node."""
    first, last = SLOTS[number]
    return next(user for user in range(1, 100_000) if first <= slot_of(user) <= last)


def slot_of(user: int) -> int:
    return key_slot(f"{{{user}}}".encode())


async def is_woken(redis: Redis, user: int, bell: asyncio.Event) -> None:
    """Call until the bell rings, and once more: the first ring may be that of having joined."""
    for _ in range(2):
        bell.clear()
        await eventually(lambda: rings(lambda: wake(redis, user), bell), within=WITHIN_S)


async def rings(call: Callable[[], Awaitable[None]], bell: asyncio.Event) -> bool:
    await call()
    await asyncio.sleep(0.02)
    return bell.is_set()


async def test_a_call_goes_through_the_node_of_its_user_and_no_other(
    nodes: list[Server], redis: Redis, listeners: Listeners
) -> None:
    users = [user_at(number) for number in range(3)]
    async with contextlib.AsyncExitStack() as stack:
        for user in users:
            await is_woken(redis, user, await stack.enter_async_context(listeners.listen(user)))
        for node, user in zip(nodes, users, strict=True):
            await expect_only(user, node)
            assert await node.command("PUBSUB CHANNELS", MINE) == []
    await eventually(lambda: are_silent(nodes), within=WITHIN_S)


async def expect_only(user: int, node: Server) -> None:
    """Wait until nobody but this user is listened for at a node."""

    async def is_alone() -> bool:
        return bool(await node.command("PUBSUB SHARDCHANNELS", MINE) == [b"notifications:{%d}" % user])

    await eventually(is_alone, within=WITHIN_S)


async def are_silent(nodes: list[Server]) -> bool:
    return not any([await node.command("PUBSUB SHARDCHANNELS", MINE) for node in nodes])


async def test_a_notice_reaches_every_process_whatever_node_it_listens_at(
    nodes: list[Server], redis: Redis, listeners: Listeners
) -> None:
    async with Listeners(address_of(nodes[1:])) as others:
        heard, heard_by_others = set[Notice](), set[Notice]()
        listeners.on_notice.add(heard.add)
        others.on_notice.add(heard_by_others.add)

        async def all_have_heard() -> bool:
            await give_notice(redis, Notice(user_id=7))
            return Notice(user_id=7) in heard & heard_by_others

        await eventually(all_have_heard, within=WITHIN_S)


async def test_a_channel_follows_its_slot_to_another_node(
    nodes: list[Server], redis: Redis, listeners: Listeners
) -> None:
    user = user_at(0)
    async with listeners.listen(user) as bell:
        await is_woken(redis, user, bell)
        await move(slot_of(user), nodes, source=nodes[0], target=nodes[1])
        try:
            await is_woken(redis, user, bell)
            await expect_only(user, nodes[1])
        finally:
            await move(slot_of(user), nodes, source=nodes[1], target=nodes[0])
        await is_woken(redis, user, bell)


async def move(slot: int, nodes: list[Server], *, source: Server, target: Server) -> None:
    await target.command("CLUSTER SETSLOT", slot, "IMPORTING", await identity_of(source))
    await source.command("CLUSTER SETSLOT", slot, "MIGRATING", await identity_of(target))
    for node in (target, *(node for node in nodes if node is not target)):
        await node.command("CLUSTER SETSLOT", slot, "NODE", await identity_of(target))


async def identity_of(node: Server) -> Any:
    return await node.command("CLUSTER MYID")


async def test_leases_of_people_at_all_nodes_are_renewed_together(redis: Redis) -> None:
    users, short_s = [user_at(number) for number in range(3)], 0.5
    async with LineLeases(redis, short_s).renewing() as one, contextlib.AsyncExitStack() as stack:
        for user in users:
            await stack.enter_async_context(one.held(user, 1))
        await asyncio.sleep(3 * short_s)
        other = LineLeases(redis)

        async def are_full() -> bool:
            async with contextlib.AsyncExitStack() as asked:
                return not any([await asked.enter_async_context(other.held(user, 1)) for user in users])

        await eventually(are_full, within=WITHIN_S)


async def test_while_a_node_is_dead_the_others_call_on_and_its_successor_takes_over(
    short_folder: Path, nodes: list[Server], redis: Redis, listeners: Listeners
) -> None:
    unhurt, hurt = user_at(0), user_at(2)
    successor = member(short_folder, missed_after_ms=MISSED_AFTER_MS)
    try:
        await eventually(lambda: follows(successor, nodes[2]), within=WITHIN_S)
        async with listeners.listen(unhurt) as bell, listeners.listen(hurt) as other:
            await is_woken(redis, unhurt, bell)
            await is_woken(redis, hurt, other)
            nodes[2].send(signal.SIGKILL)
            await is_woken(redis, unhurt, bell)
            await successor.command("CLUSTER FAILOVER", "TAKEOVER")
            await is_woken(redis, hurt, other)
            await expect_only(hurt, successor)
    finally:
        successor.stop()


async def follows(node: Server, master: Server) -> bool:
    """Make a node the replica of another, and tell whether it has all of it."""
    if not await node.answers():
        return False
    info = await node.command("INFO", "replication")
    if info["role"] != "slave":
        await join(node, master)
        with contextlib.suppress(Exception):
            await node.command("CLUSTER REPLICATE", await identity_of(master))
    return bool(info.get("master_link_status") == "up")
