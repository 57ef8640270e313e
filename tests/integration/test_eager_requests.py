"""Requests that wait for a look at Redis alone: no tasks, told by calls, and answered as all others are."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import pytest

from domain import acting, deadlines, traces
from execution.engine import Operation
from storage.epochs import Beat, Pulse
from storage.redis_client import CacheUnavailable
from tests.conftest import MakePerson, eventually
from tests.integration.test_short_way import (
    BODIES,
    GRAPHQL,
    JSON,
    Way,
    masked,
    one_cell,
    opened,
    read_answer,
    request,
    serve,
    ways,
)
from tests.integration.test_sockets import Serve, Served
from tests.raw_sockets import connected
from tests.work import calls_of
from transport import eager
from transport.admission import ADMISSION
from transport.connection import Connection
from transport.lines import Caps

__all__ = ["one_cell", "serve", "ways"]

ME: Final = {"query": "{ me { id username followersCount } }"}
CALLS_OF_ME: Final = 286
"""From the bytes of a request to those of its answer, what is executed included."""
CROWD: Final = 40
WARM: Final = 8
WITHIN_S: Final = 20.0


class HeldPulse:
    """Keeps looks at Redis from ending until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.joined = 0
        self._go = asyncio.Event()
        self._look = Pulse._look
        join, go = Pulse.join, self._go

        async def look(pulse: Pulse, beat: Beat) -> bool:
            await go.wait()
            return await self._look(pulse, beat)

        def joining(pulse: Pulse, viewer_id: int | None) -> Beat:
            self.joined += 1
            return join(pulse, viewer_id)

        monkeypatch.setattr(Pulse, "_look", look)
        monkeypatch.setattr(Pulse, "join", joining)

    def let_go(self) -> None:
        """Let all looks end, now and later."""
        self._go.set()

    async def met(self, number: int) -> None:
        """Wait until so many have joined a look."""
        await eventually(lambda: asyncio.sleep(0, self.joined >= number))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Give what notes each request that became a task."""
    tasks: list[object] = []
    end = eager._end

    def noted(begun: Any) -> Any:
        tasks.append(begun)
        return end(begun)

    monkeypatch.setattr(eager, "_end", noted)
    return tasks


@pytest.fixture
async def asked(ways: tuple[Way, Way, Served], make_person: MakePerson) -> bytes:
    """Give a request that the short way has answered out of memory."""
    short, _, served = ways
    warm = request(f"{JSON}Authorization: Bearer {served.token(await make_person())}\r\n", ME)
    await short.ask([warm] * WARM)
    return warm


async def test_a_warm_request_becomes_no_task_and_one_that_has_to_read_does(
    ways: tuple[Way, Way, Served], asked: bytes, made: list[object], make_person: MakePerson
) -> None:
    short, _, served = ways

    async def is_none() -> bool:
        made.clear()
        await short.ask([asked] * WARM)
        return not made

    await eventually(is_none)
    cold = request(f"{JSON}Authorization: Bearer {served.token(await make_person())}\r\n", ME)
    await short.ask([cold])
    assert made


async def test_a_warm_request_costs_a_bounded_number_of_calls_from_its_bytes_to_its_answer(
    ways: tuple[Way, Way, Served], asked: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    short, _, _ = ways
    calls: list[int] = []
    received, called = Connection.data_received, Beat._call

    def receiving(connection: Connection, data: bytes) -> None:
        calls.append(calls_of(lambda: received(connection, data)))

    def calling(beat: Beat) -> None:
        calls[-1] += calls_of(lambda: called(beat))

    monkeypatch.setattr(Connection, "data_received", receiving)
    monkeypatch.setattr(Beat, "_call", calling)

    async def is_warm() -> bool:
        calls.clear()
        await short.ask([asked] * WARM)
        return min(calls) <= CALLS_OF_ME

    await eventually(is_warm)


async def test_all_of_one_beat_are_answered_each_in_its_own_trace_and_time(
    ways: tuple[Way, Way, Served], asked: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    short, _, _ = ways
    found: list[tuple[traces.Trace | None, float | None, str | None]] = []
    begin = Operation.begin

    def noting(operation: Operation) -> Any:
        found.append((traces.current(), deadlines.current(), acting.current_session()))
        return begin(operation)

    monkeypatch.setattr(Operation, "begin", noting)
    held = HeldPulse(monkeypatch)
    answers = await ask_together(short, [asked] * CROWD, held)
    told = {line for answer in answers for line in answer.split(b"\r\n") if line.startswith(b"X-Request-Id: ")}
    ran = {f"X-Request-Id: {trace.span_id}".encode() for trace, _, _ in found if trace is not None}
    assert told == ran
    assert len(told) == CROWD
    assert len({deadline for _, deadline, _ in found}) > 1
    assert None not in [deadline for _, deadline, _ in found]
    assert (traces.current(), deadlines.current()) == (None, None)


async def ask_together(way: Way, requests: Sequence[bytes], held: HeldPulse | None = None) -> list[bytes]:
    """Send requests on as many connections, let them go once all have joined a look, and give the answers."""
    async with contextlib.AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(connected(way.port)) for _ in requests]
        for (_, writer), each in zip(lines, requests, strict=True):
            writer.write(each)
        if held is not None:
            await held.met(len(requests))
            held.let_go()
        return list(await asyncio.gather(*(read_answer(reader) for reader, _ in lines)))


async def test_a_crowd_of_one_beat_is_answered_what_the_long_way_answers_byte_by_byte(
    ways: tuple[Way, Way, Served], make_person: MakePerson
) -> None:
    short, long, served = ways
    heads = [f"{head}Authorization: Bearer {served.token(await make_person())}\r\n" for head in (JSON, GRAPHQL) * 2]
    bodies = (ME, *BODIES, {**ME, "extensions": {"cost": True}})
    requests = [request(head, body) for head in heads for body in bodies]
    for way in (short, long):
        await way.ask([request(head, ME) for head in heads])
    before = short.taken
    for _ in range(3):
        ours, theirs = await ask_together(short, requests), await ask_together(long, requests)
        assert masked(ours) == masked(theirs)
    assert short.taken - before == 3 * len(requests)


async def test_a_client_that_goes_away_while_a_look_is_under_way_leaves_nothing_behind(
    ways: tuple[Way, Way, Served],
    asked: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    short, _, _ = ways
    held = HeldPulse(monkeypatch)
    async with connected(short.port) as (_, writer):
        writer.write(asked)
        await held.met(1)
        assert short.app[ADMISSION]._in_flight == 1
    await asyncio.sleep(0.1)
    held.let_go()
    await eventually(lambda: asyncio.sleep(0, short.app[ADMISSION]._in_flight == 0))
    assert caplog.records == []


async def test_what_follows_a_request_on_its_connection_is_answered_after_it(
    ways: tuple[Way, Way, Served], asked: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    short, _, _ = ways
    held = HeldPulse(monkeypatch)
    other = request(JSON, {"query": "{ __typename }"})
    async with connected(short.port) as (reader, writer):
        writer.write(asked)
        await held.met(1)
        writer.write(other)
        await asyncio.sleep(0.05)
        writer.write(asked)
        held.let_go()
        answers = [await asyncio.wait_for(read_answer(reader), WITHIN_S) for _ in range(3)]
    assert [b"username" in answer for answer in answers] == [True, False, True]


async def test_a_deadline_that_passes_while_a_look_is_under_way_is_told_by_both_ways_alike(
    ways: tuple[Way, Way, Served], make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    short, long, served = ways
    head = f"{GRAPHQL}Request-Timeout: 0.05\r\nAuthorization: Bearer {served.token(await make_person())}\r\n"
    late = request(head, ME)
    for way in (short, long):
        await way.ask([late] * WARM)
    before, answers = short.taken, []
    for way in (short, long):
        with monkeypatch.context() as patched:
            held = HeldPulse(patched)
            asyncio.get_running_loop().call_later(0.2, held.let_go)
            answers += await ask_together(way, [late])
    assert answers[0].startswith(b"HTTP/1.1 504 ")
    assert masked(answers[:1]) == masked(answers[1:])
    assert short.taken == before + 1


async def test_where_redis_is_away_nothing_remembered_is_used_and_the_answer_is_the_same(
    ways: tuple[Way, Way, Served], asked: bytes, made: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    short, _, _ = ways
    [fine] = await short.ask([asked])

    async def is_away(_pulse: Pulse, _beat: Beat) -> bool:
        raise CacheUnavailable

    monkeypatch.setattr(Pulse, "_look", is_away)
    made.clear()
    [away] = await short.ask([asked])
    assert masked([away]) == masked([fine])
    assert made, "it had to read the cell"


@pytest.fixture
async def short_alone(serve: Serve) -> AsyncIterator[tuple[Way, Served]]:
    served = await serve(Caps())
    async with opened(served, is_short=True) as short:
        yield short, served


async def test_a_drain_waits_for_those_who_wait_for_a_look(
    short_alone: tuple[Way, Served], make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    short, served = short_alone
    warm = request(f"{JSON}Authorization: Bearer {served.token(await make_person())}\r\n", ME)
    await short.ask([warm] * WARM)
    held = HeldPulse(monkeypatch)
    async with connected(short.port) as (reader, writer):
        writer.write(warm)
        await held.met(1)
        stopping = asyncio.create_task(short.serving.stop())
        await asyncio.sleep(0.2)
        assert not stopping.done()
        held.let_go()
        answer = await asyncio.wait_for(read_answer(reader), WITHIN_S)
        await asyncio.wait_for(stopping, WITHIN_S)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"Connection: close" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["data"]["me"] is not None
