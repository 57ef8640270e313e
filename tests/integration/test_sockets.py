"""The doors for WebSockets and event streams in this process, where what they hold can be counted."""

import asyncio
import contextlib
import dataclasses
import gc
import json
import logging
import os
import random
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final
from unittest import mock

import aiohttp
import pytest
from aiohttp import web

from auth.jwks import development_key
from auth.token import issue_token
from domain.events import EventType
from domain.users import UserState
from embedded import Addresses
from keys import Keys
from server import open_parts
from settings import Settings, load
from storage.departures import depart
from tests.conftest import KEY, MakePerson, Person, eventually
from tests.raw_sockets import BINARY, CLOSE, PING, PONG, TEXT, RawSocket, frame, open_raw
from transport import bodies, conversation, lines, sse, wire
from transport.app import Parts, make_app
from transport.health import DRAINING
from transport.lines import Caps
from transport.metrics import SOCKETS
from transport.operations import Operations

LONG: Final = os.environ.get("PROVE") == "long"
RESETS: Final = 1000 if LONG else 100
STALLED: Final = 200 if LONG else 25
FUZZED: Final = 5000 if LONG else 80
MEMORY_BYTES: Final = 50_000_000 * STALLED // 200
LIVE: Final = "subscription { followReceived { cursor actor { username } } }"
LARGE: Final = "{ " + " ".join("a" * 1_900 + f"{n}: __typename" for n in range(15)) + " }"
"""It costs little, and is answered with 29 kB."""
CLOSED: Final = (asyncio.IncompleteReadError, ConnectionError)
CODES: Final = {1000, 1002, 1005, 1007, 1009, 4400, 4401, 4403, 4408, 4409, 4429}
"""What the protocols know: those of RFC 6455 for frames, those of graphql-transport-ws for messages."""


@pytest.fixture(autouse=True)
def one_cell(dsns: tuple[str, ...]) -> None:
    if len(dsns) > 1:
        pytest.skip("one cell shows it")


@dataclasses.dataclass(frozen=True, slots=True)
class Served:
    """The service on a port, with what it is made of."""

    parts: Parts
    settings: Settings
    runner: web.AppRunner
    host: str
    port: int

    @property
    def url(self) -> str:
        """Give the address of the API."""
        return f"http://{self.host}:{self.port}/graphql"

    def token(self, person: Person) -> str:
        """Give a person's access token."""
        return issue_token(development_key(self.settings), self.settings, person.opaque_id)

    @contextlib.asynccontextmanager
    async def socket(self, person: Person | None = None, **options: Any) -> AsyncIterator[RawSocket]:
        """Open a socket and send its introduction."""
        async with open_raw(self.host, self.port, **options) as opened:
            payload = {"authorization": f"Bearer {self.token(person)}"} if person is not None else {}
            await opened.write(text({"type": "connection_init", "payload": payload}))
            yield opened

    @contextlib.asynccontextmanager
    async def stream(self, person: Person) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open an event stream of followers."""
        headers = {"Authorization": f"Bearer {self.token(person)}", "Accept": "text/event-stream"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.url, json={"query": LIVE}, headers=headers) as response,
        ):
            yield response


Serve = Callable[..., Awaitable[Served]]


def text(message: object) -> bytes:
    return frame(TEXT, json.dumps(message).encode())


def subscribe(identity: str, query: str) -> bytes:
    return text({"type": "subscribe", "id": identity, "payload": {"query": query}})


@pytest.fixture
async def serve(addresses: Addresses, dsns: tuple[str, ...], tmp_path: Path) -> AsyncIterator[Serve]:
    """Serve with some caps, until the test ends."""
    settings = load(
        {
            "KITH_DATA_DIR": str(tmp_path),
            "KITH_POSTGRES_DSNS": ",".join(dsns),
            "KITH_REDIS_URL": addresses.redis_url,
            "KITH_KAFKA_BOOTSTRAP": addresses.kafka_bootstrap,
        }
    )
    async with contextlib.AsyncExitStack() as stack:
        with mock.patch("server.load_keys", return_value=Keys(*[KEY] * len(dataclasses.fields(Keys)))):
            parts = await stack.enter_async_context(open_parts(settings))

        async def start(caps: Caps, *, proxies: int = 0, origins: tuple[str, ...] = ()) -> Served:
            access = dataclasses.replace(parts.access, proxies=proxies)
            app = make_app(dataclasses.replace(parts, caps=caps, access=access, allowed_origins=origins))
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, lingering_time=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            return Served(parts, settings, runner, *runner.addresses[0][:2])

        yield start


@pytest.fixture
async def served(serve: Serve) -> Served:
    return await serve(Caps(per_user=5000))


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """What connections could leave behind."""

    tasks: int
    descriptors: int
    channels: int

    @classmethod
    def now(cls, served: Served) -> "Held":
        """Count it."""
        gc.collect()
        descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counted, not read
        return cls(len(asyncio.all_tasks()), descriptors, served.parts.backend.listeners.channels)


async def test_resets_leave_nothing_behind(served: Served, make_person: MakePerson) -> None:
    person = await make_person()
    async with served.socket(person) as socket:  # pools have filled and all is loaded
        await socket.write(subscribe("1", LIVE))
        await socket.read_frame()
    await eventually(lambda: nothing_open(served))
    before = Held.now(served)
    for _ in range(RESETS // 20):
        async with contextlib.AsyncExitStack() as stack:
            sockets = [await stack.enter_async_context(served.socket(person)) for _ in range(20)]
            for number, socket in enumerate(sockets):
                for identity in range(number % 4):
                    await socket.write(subscribe(str(identity), LIVE))
                if number % 2:
                    await socket.read_frame()
                socket.reset()

    async def is_all_gone() -> bool:
        now = Held.now(served)
        # A pooled connection to the database may be there now that was not before.
        return now.tasks <= before.tasks and now.channels == 0 and now.descriptors <= before.descriptors + 20

    began = asyncio.get_running_loop().time()
    await eventually(is_all_gone, within=30)
    seconds = asyncio.get_running_loop().time() - began
    sys.stdout.write(f"\n{RESETS} resets: {before} before, {Held.now(served)} {seconds:.1f} s after the last\n")


async def nothing_open(served: Served) -> bool:
    return served.parts.backend.listeners.channels == 0


async def test_a_stream_that_is_reset_leaves_nothing_behind(served: Served, make_person: MakePerson) -> None:
    person = await make_person()
    for _ in range(5):
        async with served.stream(person) as response:
            assert await response.content.readline() == b":\n"
            transport = response.connection.transport  # type: ignore[union-attr] # it is open
            transport.abort()  # type: ignore[union-attr]

    await eventually(lambda: nothing_open(served))


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def unsent_bytes(served: Served) -> int:
    """Give how much was written for clients that have not taken it."""
    connections = served.runner.server.connections if served.runner.server is not None else []
    return sum(each.transport.get_write_buffer_size() for each in connections if each.transport is not None)


def answers_under_way() -> int:
    """Give how many operations of sockets have not been answered in full."""
    return sum(task.get_coro().__qualname__ == "Conversation._run" for task in asyncio.all_tasks())  # type: ignore[union-attr]


async def test_sockets_that_stop_reading_cost_little_and_are_closed(
    served: Served, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "HEARTBEAT_S", 600.0)
    monkeypatch.setattr(lines, "TAKEN_WITHIN_S", 600.0)
    if not LONG:
        monkeypatch.setattr(wire, "SEND_TIMEOUT_S", 5.0)
    person = await make_person()
    asked = subscribe("live", LIVE) + b"".join(subscribe(str(n), LARGE) for n in range(18))

    async def read_all() -> None:
        async with served.socket(person) as socket:
            await socket.write(asked)
            left = 1 + 2 * 18
            while left:
                opcode, payload = await socket.read_frame()
                if opcode == PING:
                    await socket.write(frame(PONG, payload))
                else:
                    left -= 1

    # Pools have filled: what grows now is for the sockets. Readers that a busy machine delays are closed too.
    filled = await asyncio.gather(*(read_all() for _ in range(STALLED)), return_exceptions=True)
    assert not [end for end in filled if isinstance(end, Exception) and not isinstance(end, CLOSED)]
    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(served.socket(person, receive_buffer=4096)) for _ in range(STALLED)]
        gc.collect()
        before = peak = resident_bytes()
        unsent = answers = 0
        began = asyncio.get_running_loop().time()
        for socket in sockets:
            socket.push(asked)

        async def are_closed() -> bool:
            nonlocal peak, unsent, answers
            peak = max(peak, resident_bytes())
            unsent, answers = max(unsent, unsent_bytes(served)), max(answers, answers_under_way())
            return not SOCKETS.labels("websocket")._value.get()

        await eventually(are_closed, within=120)
        seconds = asyncio.get_running_loop().time() - began
    grown = peak - before
    sys.stdout.write(f"\n{STALLED} sockets that read nothing: +{grown / 1e6:.1f} MB, gone after {seconds:.1f} s\n")
    assert grown < MEMORY_BYTES or not LONG  # a few megabytes are no more than what a process takes now and then
    assert 0 < unsent < STALLED * 2 * lines.WRITE_BUFFER_BYTES
    assert STALLED < answers <= STALLED * (1 + conversation.MAX_ANSWERS)


async def test_silence_ends_a_socket_that_reads_nothing_whatever_is_still_to_be_sent(
    served: Served, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "HEARTBEAT_S", 1.0)
    monkeypatch.setattr(wire, "SEND_TIMEOUT_S", 600.0)
    async with served.socket(await make_person(), receive_buffer=4096) as socket:
        socket.push(b"".join(subscribe(str(n), LARGE) for n in range(18)))

        async def is_closed() -> bool:
            return not SOCKETS.labels("websocket")._value.get()

        await eventually(is_closed, within=60)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux can be asked for it")
async def test_a_stream_whose_client_takes_nothing_ends_though_there_is_room_for_more(
    served: Served, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "TAKEN_WITHIN_S", 0.5)
    monkeypatch.setattr(sse, "SEND_TIMEOUT_S", 600.0)
    monkeypatch.setattr(sse, "HEARTBEAT_S", 1.0)
    monkeypatch.setattr(sse, "_HEARTBEAT", b":" + b"x" * 8000 + b"\n\n")
    person = await make_person()
    body = json.dumps({"query": LIVE}).encode()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, (served.host, served.port))
        client.send(
            f"POST /graphql HTTP/1.1\r\nHost: {served.host}\r\nContent-Type: application/json\r\n"
            f"Accept: text/event-stream\r\nAuthorization: Bearer {served.token(person)}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )

        async def is_open() -> bool:
            return bool(SOCKETS.labels("sse")._value.get())

        async def is_closed() -> bool:
            return not SOCKETS.labels("sse")._value.get()

        await eventually(is_open, within=60)
        await eventually(is_closed, within=60)


async def test_more_sockets_than_a_person_may_have_are_refused(serve: Serve, make_person: MakePerson) -> None:
    served, ana, bo = await serve(Caps(per_user=2)), await make_person(), await make_person()
    async with served.socket(ana) as one, served.stream(ana) as other:
        assert (await one.read_frame())[0] == TEXT
        assert await other.content.readline() == b":\n"
        async with served.socket(ana) as third:
            assert await third.close_code() == 4429
        async with served.stream(ana) as third:
            assert (third.status, third.headers["Retry-After"]) == (429, "5")
        async with served.socket(bo) as another:
            assert (await another.read_frame())[0] == TEXT


async def test_behind_a_proxy_clients_are_told_apart_by_the_addresses_that_it_adds(serve: Serve) -> None:
    served = await serve(Caps(per_address=1), proxies=1)
    one, other = [f"X-Forwarded-For: 192.0.2.9, 198.51.100.{last}\r\n" for last in (7, 8)]
    async with served.socket(extra=one) as first, served.socket(extra=other) as second:
        assert [(await socket.read_frame())[0] for socket in (first, second)] == [TEXT, TEXT]
        async with served.socket(extra=one) as third:
            assert await third.close_code() == 4429


async def test_a_person_may_have_no_more_sockets_in_two_servers_than_in_one(
    serve: Serve, make_person: MakePerson
) -> None:
    one, other, person = await serve(Caps(per_user=2)), await serve(Caps(per_user=2)), await make_person()
    async with one.socket(person) as first, other.stream(person) as second:
        assert (await first.read_frame())[0] == TEXT
        assert await second.content.readline() == b":\n"

        async def both_refuse() -> bool:  # in the end: where Redis is late, each server counts by itself
            codes = []
            for server in (one, other):
                async with server.socket(person) as third, server.stream(person) as refused:
                    codes += [(await third.read_frame())[1][:2], refused.status]
            return codes == [(4429).to_bytes(2, "big"), 429] * 2

        await eventually(both_refuse, within=240)
        first.reset()

        async def there_is_room() -> bool:
            async with other.socket(person) as fourth:
                return (await fourth.read_frame())[0] == TEXT

        await eventually(there_is_room, within=60)


@pytest.mark.parametrize("caps", [Caps(total=2), Caps(per_address=2)], ids=["in all", "from one address"])
async def test_more_sockets_than_there_may_be_are_refused(serve: Serve, caps: Caps) -> None:
    served = await serve(caps)
    async with served.socket(), served.socket() as other:
        assert (await other.read_frame())[0] == TEXT
        async with served.socket() as third:
            assert await third.close_code() == 4429
        other.reset()

        async def there_is_room() -> bool:
            async with served.socket() as fourth:
                return (await fourth.read_frame())[0] == TEXT

        await eventually(there_is_room)


APP: Final = "https://app.example"
PREFLIGHT: Final = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}


async def test_pages_of_listed_sites_may_ask_read_and_listen(serve: Serve, make_person: MakePerson) -> None:
    served, person = await serve(Caps(), origins=(APP,)), await make_person()
    async with aiohttp.ClientSession(headers={"Origin": APP}) as session:
        async with session.options(served.url, headers=PREFLIGHT) as answer:
            assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (204, APP)
            assert "Authorization" in answer.headers["Access-Control-Allow-Headers"].split(", ")
        for body, status in (({"query": "{ __typename }"}, 200), ({"query": 1}, 400)):
            async with session.post(served.url, json=body) as answer:
                assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (status, APP)
                assert "X-Request-Id" in answer.headers["Access-Control-Expose-Headers"].split(", ")
                assert "Access-Control-Allow-Credentials" not in answer.headers
                assert answer.headers["Vary"] == "Origin"
    async with served.socket(person, extra=f"Origin: {APP}\r\n") as socket:
        assert (await socket.read_frame())[0] == TEXT


@pytest.mark.parametrize(
    "origin", ["https://evil.example", f"{APP}.evil.example", APP.upper(), f"{APP}:8443", "null", ""]
)
async def test_pages_of_other_sites_are_told_nothing_beside_listed_ones(serve: Serve, origin: str) -> None:
    served = await serve(Caps(), origins=(APP,))
    async with aiohttp.ClientSession(headers={"Origin": origin} if origin else {}) as session:
        async with session.options(served.url, headers=PREFLIGHT) as answer:
            assert (answer.status, [name for name in answer.headers if name.startswith("Access-")]) == (405, [])
        async with session.post(served.url, json={"query": "{ __typename }"}) as answer:
            assert [name for name in answer.headers if name.startswith("Access-")] == []
            assert answer.headers["Vary"] == "Origin"  # what a cache keeps of this is not for the listed


async def test_a_body_that_does_not_come_to_its_end_is_not_waited_for(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "READ_TIMEOUT_S", 0.1)
    reader, writer = await asyncio.open_connection(served.host, served.port)
    writer.write(b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{")
    async with asyncio.timeout(60):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"Connection: close" in answer
    assert b'"code":"BAD_REQUEST"' in answer


async def test_whoever_is_draining_is_not_ready_and_says_so(served: Served) -> None:
    async def state(session: aiohttp.ClientSession) -> tuple[int, str]:
        async with session.get(served.url.replace("/graphql", "/readyz")) as answer:
            return answer.status, (await answer.json())["status"]

    async with aiohttp.ClientSession() as session:
        assert (await state(session))[1] != "draining"
        served.runner.app[DRAINING].set()
        assert await state(session) == (503, "draining")


@pytest.mark.parametrize("state", [UserState.DELETED, UserState.SUSPENDED])
async def test_whoever_goes_is_cut_off_at_every_door(served: Served, make_person: MakePerson, state: UserState) -> None:
    person = await make_person()
    async with served.socket(person) as socket, served.stream(person) as stream:
        await socket.write(subscribe("1", LIVE))
        await depart(served.parts.backend.database, person.id, state, event=EventType.USER_UPDATED)
        began = asyncio.get_running_loop().time()
        assert await socket.close_code() == 4403
        seconds = asyncio.get_running_loop().time() - began
        said = await stream.content.read()
    sys.stdout.write(f"\ncut off {seconds:.2f} s after the departure\n")
    assert b'"code":"UNAUTHENTICATED"' in said
    assert said.endswith(b"event: complete\ndata: \n\n")


async def test_a_drain_says_when_to_come_back(served: Served, make_person: MakePerson) -> None:
    person = await make_person()
    async with served.socket(person) as socket, served.stream(person) as stream:
        assert (await socket.read_frame())[0] == TEXT
        assert await stream.content.readline() == b":\n"
        draining = asyncio.create_task(served.runner.cleanup())
        opcode, payload = await socket.read_frame()
        assert (opcode, payload[:2]) == (CLOSE, (1001).to_bytes(2, "big"))
        assert 500 <= json.loads(payload[2:])["retryAfterMs"] <= 5000
        await socket.write(frame(CLOSE, payload[:2]))
        socket.writer.close()  # the server waits for it
        said = (await stream.content.read()).decode().split()
        assert said[0] == "retry:"
        assert 500 <= int(said[1]) <= 5000
        assert "complete" not in said
        await draining


class Slow:
    """Runs operations in the place of the service: each waits until the test lets all of them end."""

    def __init__(self) -> None:
        self.ends = asyncio.Event()
        self.at_once = self.most = 0

    async def run(self, *_asked: object, **_named: object) -> dict[str, Any]:
        """Answer in the end."""
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await self.ends.wait()
        self.at_once -= 1
        return {"data": {"slow": True}}

    async def begun(self, number: int) -> None:
        """Wait until so many run at once, and a while for one too many."""

        async def run() -> bool:
            return self.at_once >= number

        await eventually(run, within=60)
        for _ in range(30):
            await asyncio.sleep(0.01)


async def test_a_socket_runs_so_many_queries_at_once_and_the_others_later(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Operations, "run", (slow := Slow()).run)
    async with served.socket() as socket:
        await socket.write(b"".join(subscribe(str(number), "{ __typename }") for number in range(7)))
        await slow.begun(conversation.MAX_ANSWERS)
        slow.ends.set()
        answers = [await socket.read_frame() for _ in range(1 + 2 * 7)]
    assert slow.most == conversation.MAX_ANSWERS
    assert sum(b'"next"' in payload for _, payload in answers) == 7


async def test_in_a_drain_a_query_is_answered_before_its_socket_closes(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "FINISH_S", 60.0)
    monkeypatch.setattr("transport.app.DRAIN_S", 60.0)
    monkeypatch.setattr(Operations, "run", (slow := Slow()).run)
    async with served.socket() as socket:
        await socket.write(subscribe("1", "{ __typename }"))
        await slow.begun(1)
        draining = asyncio.create_task(served.runner.cleanup())
        await slow.begun(1)
        slow.ends.set()
        said = [await socket.read_frame() for _ in range(4)]
        assert [opcode for opcode, _ in said] == [TEXT, TEXT, TEXT, CLOSE]
        assert b'"slow":true' in said[1][1]
        await socket.write(frame(CLOSE, said[3][1][:2]))
        socket.writer.close()  # the server waits for it
        await draining


async def test_frames_of_any_shape_get_a_code_and_the_next_socket_works(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    seed = random.randrange(1 << 32) if LONG else 7
    sys.stdout.write(f"\nframes from seed {seed}\n")
    chance = random.Random(seed)
    caplog.set_level(logging.ERROR)
    codes: dict[int | None, int] = {}
    for _ in range(FUZZED):
        shapes = b"".join(shape(chance) for _ in range(chance.randint(1, 4)))
        async with open_raw(served.host, served.port) as socket:
            with contextlib.suppress(ConnectionError):
                await socket.write(shapes + frame(TEXT, b"end"))
            code = await socket.close_code()
            codes[code] = codes.get(code, 0) + 1
            assert code in CODES, shapes
    # A broker that another test has killed may still be missed.
    assert [record.getMessage() for record in caplog.records if not record.name.startswith("aiokafka")] == []
    async with served.socket() as socket:
        assert await socket.read_frame() == (TEXT, b'{"type":"connection_ack"}')
    sys.stdout.write(f"{codes}\n")


MESSAGES: Final = [
    {"type": "connection_init"},
    {"type": "connection_init", "payload": {"authorization": "Bearer x"}},
    {"type": "ping", "payload": {}},
    {"type": "pong"},
    {"type": "subscribe", "id": "1", "payload": {"query": "{ __typename }", "variables": {"a": [1, None]}}},
    {"type": "subscribe", "id": "1", "payload": {"query": LIVE}},
    {"type": "complete", "id": "1"},
]


def shape(chance: random.Random) -> bytes:
    """Make a whole frame of which something may be wrong; one that is not whole would only be waited for."""
    payload = json.dumps(chance.choice(MESSAGES)).encode()
    for _ in range(chance.randint(0, 3)):
        payload = _changed(payload, chance)
    cut = chance.randint(0, len(payload))
    return chance.choice(
        [
            frame(chance.randint(0, 15), payload[: chance.choice([0, 1, 2, 125, 126, 500])]),
            frame(TEXT, payload, rsv=chance.randint(0, 7)),
            frame(TEXT, payload[:cut], fin=0) + frame(0, payload[cut:], fin=chance.randint(0, 1)),
            frame(chance.choice([BINARY, PING, CLOSE]), os.urandom(chance.randint(0, 125))),
            frame(TEXT, payload, masked=False),
            frame(TEXT, payload * chance.choice([1, 2000])),
            *[frame(TEXT, payload)] * 4,
        ]
    )


def _changed(payload: bytes, chance: random.Random) -> bytes:
    at = chance.randint(0, len(payload))
    junk = chance.choice(
        [
            b"",
            b"\xff",
            b"\x00",
            b"{",
            b"]",
            b'"',
            b"9" * 400,
            b"[" * 3000,
            b"\\ud800",
            b',"id":1',
            b"null",
            b"-",
            b"1e999",
        ]
    )
    return payload[:at] + junk + payload[at + chance.randint(0, 9) :]
