"""Redis killed, frozen and busy: every call answers or says in milliseconds that it cannot, and nothing leaks."""

import asyncio
import contextlib
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as aioredis

from domain import deadlines
from domain.rate_limits import Rate
from storage import redis_client
from storage.entries import Stamped, read_stamped, write_under_epoch
from storage.rate_windows import RateWindows
from storage.redis_client import _MAX_CALLS, CALL_TIMEOUT_S, CacheUnavailable, Redis, node_urls, open_redis
from tests.acceptance.main_job import free_port
from tests.conftest import eventually
from tests.valkey import Server, cluster_of_three


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Redis]:
    async with open_redis(server.url) as opened:
        await eventually(lambda: answers(opened))
        yield opened


async def answers(client: Redis) -> bool:
    try:
        await client.ping()
    except CacheUnavailable:
        return False
    return True


async def taken(client: Redis, call: Callable[[Any], Any] = lambda found: found.get("k")) -> float:
    """Give the seconds until a call said that it cannot."""
    began = time.monotonic()
    with pytest.raises(CacheUnavailable):
        await client.run(call)
    return time.monotonic() - began


async def test_a_frozen_server_costs_a_few_short_waits_and_then_nothing(server: Server, client: Redis) -> None:
    server.send(signal.SIGSTOP)
    waits = [await taken(client) for _ in range(5)]
    assert all(wait >= 0.04 for wait in waits)
    assert client.is_open
    refusals = sorted([await taken(client) for _ in range(100)])
    assert refusals[50] < 0.01 < min(waits)  # a hundred that do not wait, next to five that did
    server.send(signal.SIGCONT)
    await eventually(lambda: answers(client))
    assert not client.is_open


async def test_a_killed_server_is_found_again_when_it_is_back(server: Server, client: Redis) -> None:
    server.send(signal.SIGKILL)
    for _ in range(5):
        await taken(client)
    assert client.is_open
    server.start()
    await eventually(lambda: answers(client))


async def test_a_client_that_closes_leaves_no_connection_to_calls_under_way_or_later(client: Redis) -> None:
    calls = [asyncio.ensure_future(client.run(lambda found: found.get("k"))) for _ in range(40)]
    await asyncio.sleep(0)
    await client.aclose()
    await asyncio.gather(*calls, return_exceptions=True)
    await taken(client)
    assert isinstance(client.client, aioredis.Redis)
    pool = client.client.connection_pool
    assert [kept for kept in (*pool._available_connections, *pool._in_use_connections) if kept.is_connected] == []


async def test_a_process_that_is_busy_itself_is_no_failure_of_the_server(client: Redis) -> None:
    for _ in range(10):
        asyncio.get_running_loop().call_soon(time.sleep, 0.08)
        await client.run(lambda found: found.get("k"))
    assert not client.is_open


async def test_a_client_in_a_hurry_does_not_open_the_breaker_for_everybody(server: Server, client: Redis) -> None:
    server.send(signal.SIGSTOP)
    for _ in range(10):
        with deadlines.within(0.001):
            await taken(client)
    assert not client.is_open


async def test_an_error_that_the_server_answers_with_is_told_and_opens_nothing(client: Redis) -> None:
    await client.run(lambda found: found.set("text", "x"))
    for _ in range(10):
        await taken(client, lambda found: found.lpush("text", "y"))
    assert not client.is_open


async def test_no_caller_gets_the_answer_of_another_that_was_cancelled(client: Redis) -> None:
    for number in range(50):
        await command(client, "SET", f"n{number}", number)

    async def ask(number: int) -> tuple[int, bytes | None]:
        return number, await command(client, "GET", f"n{number % 50}")

    tasks = [asyncio.create_task(ask(number)) for number in range(600)]
    for turn in range(3):
        await asyncio.sleep(0)
        for task in tasks[turn::4]:
            task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    found = [pair for pair in ended if isinstance(pair, tuple)]
    assert all(value == str(number % 50).encode() for number, value in found)
    await eventually(lambda: answers(client))
    assert client.client.connection_pool._in_use_connections == set()  # type: ignore[union-attr]


async def test_no_exchange_gets_an_answer_that_came_too_late_for_another(server: Server, client: Redis) -> None:
    await eventually(lambda: exchanges(client))
    server.send(signal.SIGSTOP)
    with pytest.raises(CacheUnavailable):
        await client.exchange([("ECHO", "late")])
    server.send(signal.SIGCONT)
    for number in range(20):
        with contextlib.suppress(CacheUnavailable):
            assert await client.exchange([("ECHO", number)]) == [str(number).encode()]


async def exchanges(client: Redis) -> bool:
    with contextlib.suppress(CacheUnavailable):
        return await client.exchange([("ECHO", "once")]) == [b"once"]
    return False


async def test_more_callers_than_connections_wait_for_each_other(client: Redis) -> None:
    with contextlib.suppress(CacheUnavailable):
        await asyncio.gather(*(client.run(lambda found: found.get("k")) for _ in range(300)))
    await eventually(lambda: answers(client))
    assert await client.run(lambda found: found.info("clients"))


async def answer_at_once(_client: object) -> str:
    return "answered"


@pytest.fixture
async def crowded(client: Redis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator["asyncio.Task[str]"]:
    """Give a call for which there is no room, and whose turn is waited for as long as a test takes."""
    monkeypatch.setattr(redis_client, "TURN_TIMEOUT_S", 600)
    for _ in range(_MAX_CALLS):
        await client._calls.acquire()
    last = asyncio.create_task(client.run(answer_at_once))
    await asyncio.sleep(0)
    yield last
    for _ in range(_MAX_CALLS - 1):
        client._calls.release()


async def test_a_call_that_waited_for_others_of_its_process_has_its_own_time(
    client: Redis, crowded: "asyncio.Task[str]"
) -> None:
    await asyncio.sleep(CALL_TIMEOUT_S * 2)
    assert not crowded.done()
    client._calls.release()
    assert await crowded == "answered"


async def test_a_call_whose_turn_comes_when_redis_was_given_up_is_told_so(
    client: Redis, crowded: "asyncio.Task[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client._breaker, "_rests_until", float("inf"))
    client._calls.release()
    with pytest.raises(CacheUnavailable):
        await crowded


def test_the_address_of_a_cluster_names_any_of_its_nodes() -> None:
    assert node_urls("redis+cluster://u:p@a:1,b:2/0?x=y") == ["redis://u:p@a:1/0?x=y", "redis://u:p@b:2/0?x=y"]
    assert node_urls("rediss+cluster://a:1") == ["rediss://a:1"]
    assert node_urls("unix:///tmp/a,b.sock") == ["unix:///tmp/a,b.sock"]


@pytest.fixture
async def nodes(short_folder: Path) -> AsyncIterator[list[Server]]:
    async with cluster_of_three(short_folder, missed_after_ms=1000) as started:
        yield started


async def test_a_cluster_answers_behind_the_same_door_and_lives_on_while_a_node_is_frozen(nodes: list[Server]) -> None:
    gone = free_port()
    address = ",".join(f"127.0.0.1:{port}" for port in [gone, *(node.port for node in nodes)])
    async with open_redis(f"redis+cluster://{address}") as cluster:
        await eventually(lambda: works(cluster, range(30)))
        await eventually(lambda: stores(cluster, range(30)))
        await eventually(lambda: limits(cluster, range(30)))
        nodes[2].send(signal.SIGSTOP)
        assert not await works(cluster, range(30))
        nodes[2].send(signal.SIGCONT)
        await eventually(lambda: works(cluster, range(30)), within=30)


async def command(client: Redis, *words: object) -> Any:
    return await client.run(lambda found: found.execute_command(*words))


async def works(cluster: Redis, keys: range) -> bool:
    """Write and read keys of all nodes."""
    try:
        for key in keys:
            await command(cluster, "SET", f"{{{key}}}", key)
            assert await command(cluster, "GET", f"{{{key}}}") == str(key).encode()
    except CacheUnavailable:
        return False
    return True


async def limits(cluster: Redis, keys: range) -> bool:
    """Count something as often as it may be, and once more, in windows on all nodes at once."""
    windows, run = RateWindows(cluster), secrets.token_hex(4)
    named = [(Rate(2, 3600), ("test", run, str(key))) for key in keys]
    try:
        found = [await windows._answers(windows.begin(named)) for _ in range(3)]
    except CacheUnavailable:
        return False
    return [{bool(one) for one in each} for each in found] == [{True}, {True}, {False}]


async def stores(cluster: Redis, keys: range) -> bool:
    """Store values of all nodes under their epochs, and read them."""
    names = [(f"epoch:{{{key}}}", f"value:{{{key}}}") for key in keys]
    try:
        epochs = [epoch for epoch, _ in await read_stamped(cluster, names)]
        await write_under_epoch(
            cluster, [Stamped(key, name, epoch, b"v", 60.0) for (name, key), epoch in zip(names, epochs, strict=True)]
        )
        return await read_stamped(cluster, names) == [(epoch, b"v") for epoch in epochs]
    except CacheUnavailable:
        return False
