"""Exchanges that share a connection: each caller gets its own answers, or hears soon that there are none."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from domain import deadlines
from embedded import Addresses
from storage import exchanges, redis_client
from storage.exchanges import Exchanges
from storage.lives import Lives
from storage.metrics import REDIS_FAILURES
from storage.redis_client import CacheUnavailable, Redis, open_redis
from storage.wires import Wire
from tests.conftest import eventually
from tests.gates import Gate, gated
from tests.integration.conftest import PATIENCE_S, be_patient
from tests.tls import Authority, terminating
from tests.valkey import Server
from tls import TlsFiles, verified_redis

SHORT_S = 0.05
pytestmark = pytest.mark.usefixtures("patience")


@pytest.fixture
async def gate(addresses: Addresses) -> AsyncIterator[Gate]:
    async with gated(addresses.redis_url) as opened:
        yield opened
        opened.release()


@pytest.fixture
async def redis(gate: Gate) -> AsyncIterator[Redis]:
    async with open_redis(f"redis://127.0.0.1:{gate.port}") as opened:
        yield opened


def asked_of(redis: Redis) -> Exchanges:
    assert redis._exchanges is not None
    return redis._exchanges


def look_again(redis: Redis) -> None:
    """Look who has waited too long when that is by the times of now."""
    asked = asked_of(redis)
    assert asked._timer is not None
    asked._timer.cancel()
    asked._look_again(0.0, redis_client._limits())


async def say(redis: Redis, *words: object) -> list[Any]:
    return await redis.exchange([("ECHO", str(word)) for word in words])


def heard(*words: object) -> list[bytes]:
    return [str(word).encode() for word in words]


async def outcomes(tasks: Sequence["asyncio.Future[Any]"]) -> list[Any]:
    return await asyncio.gather(*tasks, return_exceptions=True)


async def until_asked(gate: Gate, word: str) -> None:
    """Wait until a word has come to the server."""

    async def has_come() -> bool:
        return word.encode() in b"".join(gate.asked)

    await eventually(has_come)


def lost() -> float:
    return float(REDIS_FAILURES.labels("lost")._value.get())


async def test_callers_that_go_away_at_random_leave_no_answer_to_anybody_else(redis: Redis) -> None:
    rng = random.Random(20_261_123)

    async def ask(number: int) -> int:
        words = [f"{number}.{at}" for at in range(rng.randrange(1, 4))]
        assert await say(redis, *words) == heard(*words)
        return number

    answered = 0
    for batch in range(20):
        tasks = [asyncio.create_task(ask(100 * batch + number)) for number in range(100)]
        for leaving in rng.sample(tasks, 60):
            if rng.random() < 0.2:
                await asyncio.sleep(0)
            leaving.cancel()
        ended = await outcomes(tasks)
        assert all(isinstance(one, asyncio.CancelledError) for one in ended if not isinstance(one, int))
        answered += sum(isinstance(one, int) for one in ended)
    assert answered >= 20 * 40
    assert not redis.is_open


async def test_what_a_tick_of_the_loop_asks_for_is_written_once_and_over_one_connection(
    redis: Redis, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    await say(redis, "first")
    written = 0
    flush = Wire._flush

    def counting(self: Wire) -> None:
        nonlocal written
        written += 1
        flush(self)

    monkeypatch.setattr(Wire, "_flush", counting)
    answers = await asyncio.gather(*(say(redis, number, -number) for number in range(50)))
    assert answers == [heard(number, -number) for number in range(50)]
    assert (written, gate.connections) == (1, 1)


async def test_an_error_among_answers_is_told_to_whoever_asked_and_to_nobody_else(redis: Redis, gate: Gate) -> None:
    wrong = redis.exchange([("ECHO", "before"), ("LPUSH",), ("ECHO", "after")])
    ended = await outcomes([asyncio.ensure_future(one) for one in (say(redis, 1), wrong, say(redis, 2))])
    assert (ended[0], ended[2]) == (heard(1), heard(2))
    assert isinstance(ended[1], CacheUnavailable)
    for _ in range(10):
        with pytest.raises(CacheUnavailable):
            await redis.exchange([("LPUSH",)])
    assert (gate.connections, redis.is_open) == (1, False)


async def test_what_a_server_says_unasked_is_nobodys_answer(redis: Redis, gate: Gate) -> None:
    await redis.exchange([("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "told:")])
    for number in range(5):
        await redis.exchange([("SET", f"told:{number}", number, "EX", 60)])
        assert await say(redis, number) == heard(number)
    assert b"told:4" in gate.answered
    assert gate.connections == 1


async def test_where_nobody_asks_nothing_is_sent(redis: Redis, gate: Gate) -> None:
    assert await redis.exchange([]) == []
    assert gate.connections == 0


async def test_an_answer_that_is_late_costs_the_connection_and_comes_to_nobody(
    redis: Redis, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    await say(redis, "first")
    gate.hold()
    late = [asyncio.create_task(say(redis, f"late {number}")) for number in range(3)]
    await until_asked(gate, "late 2")
    be_patient(monkeypatch, SHORT_S)
    look_again(redis)
    assert all(isinstance(one, CacheUnavailable) for one in await outcomes(late))
    be_patient(monkeypatch, PATIENCE_S)
    gate.release()
    for number in range(5):
        await eventually(lambda number=number: answers(redis, number))  # type: ignore[misc]
    assert gate.connections == 2


async def answers(redis: Redis, word: object) -> bool:
    """Tell whether Redis answers; what it answers must be right."""
    with contextlib.suppress(CacheUnavailable):
        assert await say(redis, word) == heard(word)
        return True
    return False


@pytest.mark.parametrize("passing", [0, 3, 9])
async def test_a_connection_that_is_reset_within_an_answer_fails_all_who_wait_and_opens_no_breaker(
    redis: Redis, gate: Gate, passing: int
) -> None:
    await say(redis, "first")
    gate.hold()
    waiting = [asyncio.create_task(say(redis, f"word {number}")) for number in range(20)]
    await until_asked(gate, "word 19")
    before = lost()
    gate.left = passing
    gate.release() if passing else gate.reset()
    ended = await outcomes(waiting)
    assert all(isinstance(one, CacheUnavailable) for one in ended)
    assert (lost() - before, redis.is_open) == (20, False)
    gate.left = None
    gate.release()
    assert await say(redis, "again") == heard("again")
    assert gate.connections == 2


async def test_a_connection_that_ended_while_nobody_waited_is_made_anew_without_a_failure(
    redis: Redis, gate: Gate
) -> None:
    await say(redis, "first")
    before = lost()
    gate.reset()
    await eventually(lambda: asyncio.sleep(0, asked_of(redis)._wire is None))
    assert await say(redis, "again") == heard("again")
    assert lost() == before


async def test_a_server_that_cannot_be_reached_opens_the_breaker(redis: Redis, gate: Gate) -> None:
    gate.hold()
    for _ in range(5):
        waiting = asyncio.create_task(say(redis, "word"))
        connections = gate.connections
        await eventually(lambda: asyncio.sleep(0, gate.connections > connections))  # noqa: B023 - awaited here
        gate.reset()
        assert isinstance((await outcomes([waiting]))[0], CacheUnavailable)
    assert redis.is_open
    with pytest.raises(CacheUnavailable):
        await say(redis, "word")


async def test_whoever_is_in_a_hurry_leaves_the_connection_to_others_and_opens_nothing(
    redis: Redis, gate: Gate
) -> None:
    await say(redis, "first")
    gate.hold()
    patient = asyncio.create_task(say(redis, "patient"))
    for _ in range(10):
        with deadlines.within(0.001), pytest.raises(CacheUnavailable):
            await say(redis, "hurried")
    with deadlines.under(0.0), pytest.raises(CacheUnavailable):
        await say(redis, "too late")
    gate.release()
    assert await patient == heard("patient")
    assert await say(redis, "later") == heard("later")
    assert (gate.connections, redis.is_open) == (1, False)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one exchange pass at a time."""
    monkeypatch.setattr(exchanges, "MOST_BYTES", 1)


@pytest.mark.usefixtures("narrow")
async def test_a_crowd_waits_for_its_turn_and_is_answered(redis: Redis) -> None:
    answers = await asyncio.gather(*(say(redis, number) for number in range(200)))
    assert answers == [heard(number) for number in range(200)]


@pytest.mark.usefixtures("narrow")
async def test_a_crowd_whose_turn_does_not_come_says_nothing_about_redis(
    redis: Redis, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    await say(redis, "first")
    gate.hold()
    under_way = asyncio.create_task(say(redis, "under way"))
    await asyncio.sleep(0)
    monkeypatch.setattr(redis_client, "TURN_TIMEOUT_S", SHORT_S)
    crowded = REDIS_FAILURES.labels("crowded")
    before = crowded._value.get()
    behind = [asyncio.create_task(say(redis, number)) for number in range(10)]
    await asyncio.sleep(0)
    look_again(redis)
    assert all(isinstance(one, CacheUnavailable) for one in await outcomes(behind))
    assert (crowded._value.get() - before, redis.is_open) == (10, False)
    gate.release()
    assert await under_way == heard("under way")


@pytest.mark.usefixtures("narrow")
async def test_whose_turn_comes_when_redis_was_given_up_is_told_so(
    redis: Redis, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    await say(redis, "first")
    gate.hold()
    first, second = [asyncio.create_task(say(redis, word)) for word in ("under way", "waiting")]
    await until_asked(gate, "under way")
    monkeypatch.setattr(redis._breaker, "_rests_until", float("inf"))
    gate.release()
    assert await first == heard("under way")
    with pytest.raises(CacheUnavailable):
        await second
    assert b"waiting" not in b"".join(gate.asked)


async def test_whoever_closes_answers_those_under_way_and_refuses_the_others(redis: Redis, gate: Gate) -> None:
    await say(redis, "first")
    gate.hold()
    waiting = [asyncio.create_task(say(redis, number)) for number in range(100)]
    waiting[0].cancel()
    await until_asked(gate, "99")
    closing = asyncio.create_task(redis.aclose())
    await asyncio.sleep(0)
    with pytest.raises(CacheUnavailable):
        await say(redis, "more")
    gate.release()
    await closing
    assert (await outcomes(waiting))[1:] == [heard(number) for number in range(1, 100)]
    await eventually(lambda: asyncio.sleep(0, not gate._writers))


async def test_whoever_closes_while_a_connection_is_made_leaves_none_open(redis: Redis, gate: Gate) -> None:
    gate.hold()
    waiting = asyncio.create_task(say(redis, "word"))
    await eventually(lambda: asyncio.sleep(0, gate.connections > 0))
    waiting.cancel()
    await outcomes([waiting])
    await redis.aclose()
    await eventually(lambda: asyncio.sleep(0, not gate._writers))


async def test_a_connection_that_is_made_although_that_was_cancelled_is_closed(
    redis: Redis, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    greeting = asyncio.Event()

    async def goes_on(self: Lives, connection: Any) -> None:
        greeting.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await greet(self, connection)

    greet = Lives.greet
    monkeypatch.setattr(Lives, "greet", goes_on)
    redis.client.connection_pool.connection_kwargs["redis_connect_func"] = redis.lives.greet  # type: ignore[union-attr]
    waiting = asyncio.create_task(say(redis, "word"))
    await greeting.wait()
    waiting.cancel()
    await outcomes([waiting])
    async with asyncio.timeout(30):
        await redis.aclose()
    await eventually(lambda: asyncio.sleep(0, not gate._writers))


async def test_nothing_is_asked_on_a_connection_before_it_is_known_who_answers(redis: Redis, gate: Gate) -> None:
    for number in range(2):
        await say(redis, f"word {number}")
        gate.reset()
        await eventually(lambda: asyncio.sleep(0, asked_of(redis)._wire is None))
    assert gate.connections == 2
    for number, asked in enumerate(gate.asked):
        assert 0 < asked.index(b"replication") < asked.index(f"word {number}".encode())


async def test_a_server_that_may_lead_by_the_next_command_is_greeted_before_each(
    redis: Redis, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    greet = Lives.greet

    async def follows(self: Lives, connection: Any) -> None:
        await greet(self, connection)
        connection.mark_for_reconnect()

    monkeypatch.setattr(Lives, "greet", follows)
    redis.client.connection_pool.connection_kwargs["redis_connect_func"] = redis.lives.greet  # type: ignore[union-attr]
    for number in range(3):
        together = await asyncio.gather(say(redis, number), say(redis, -number))
        assert list(together) == [heard(number), heard(-number)]
    assert gate.connections == 3


async def test_a_connection_is_made_as_its_address_says(short_folder: Path) -> None:
    socket = short_folder / "unix.sock"
    server = Server(short_folder, "--requirepass", "secret", "--unixsocket", str(socket))
    try:
        addresses = [f"redis://:secret@127.0.0.1:{server.port}/3", f"unix://:secret@{socket}?db=3"]
        for address in addresses:
            async with open_redis(address) as opened:
                await eventually(lambda opened=opened: answers(opened, "word"))  # type: ignore[misc]
                [[about]] = [await opened.exchange([("CLIENT", "INFO")])]
                assert b" db=3 " in about
        async with open_redis(server.url) as stranger:
            assert not await answers(stranger, "word")
    finally:
        server.stop()


async def test_exchanges_go_over_tls_to_whom_our_authority_knows(addresses: Addresses, tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    async with terminating(ours.server("localhost"), addresses.redis_url) as port:
        async with open_redis(verified_redis(f"rediss://localhost:{port}", TlsFiles(ours.ca))) as redis:
            large = "x" * 300_000
            answers = await asyncio.gather(*(say(redis, number, large) for number in range(5)))
            assert answers == [heard(number, large) for number in range(5)]
        async with open_redis(verified_redis(f"rediss://localhost:{port}", TlsFiles(theirs.ca))) as redis:
            with pytest.raises(CacheUnavailable):
                await say(redis, "word")
