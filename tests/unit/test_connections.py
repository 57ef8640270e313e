"""Connections: caps, deadlines, failures before there is a request, certificates, and the drain."""

import asyncio
import contextlib
import datetime as dt
import os
import resource
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from socket import create_connection
from typing import Final

import aiohttp
import pytest
import uvloop
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from listeners import Certificate, PortTaken, bind, listening, port_of
from settings import load
from tests.acceptance.main_job import free_port
from tests.raw_sockets import connected
from transport import accepting as accepting_module
from transport import connection as connection_module
from transport import serving as serving_module
from transport.addresses import network_of
from transport.admission import ADMISSION, Admission
from transport.answers import Answer
from transport.connection import TURNED_AWAY, Answering, Connection
from transport.connections import CONNECTIONS, ConnectionCaps
from transport.failures import FORM, errors_middleware, mark
from transport.health import DRAINING
from transport.serving import Serving

HOST: Final = "127.0.0.1"
WITHIN_S: Final = 60.0
NO_CAPS: Final = ConnectionCaps()
TRACE: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SHORT: Final = b"POST /short "
REQUEST: Final = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Served:
    """A small application behind our connections."""

    serving: Serving

    def __init__(self, port: int, admission: Admission) -> None:
        self.port = port
        self.admission = admission
        self.parsed = 0
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()

    async def said(self, request: web.Request) -> web.Response:
        """Answer with what was sent."""
        self.parsed += 1
        return web.Response(body=await request.read())

    def short(self, data: bytes, _connection: Connection) -> Answering | None:
        """Take what asks for it."""
        return self.shortly if data.startswith(SHORT) else None

    async def shortly(self) -> Answer:
        """Answer when the test says so, without a request."""
        self.asked.set()
        await self.answer.wait()
        return Answer(200, "", b"shortly")

    async def slow(self, _request: web.Request) -> web.Response:
        """Answer when the test says so."""
        self.asked.set()
        await self.answer.wait()
        return web.Response(text="slow")


async def hello(_request: web.Request) -> web.Response:
    return web.Response(text="hello")


async def socket(request: web.Request) -> web.WebSocketResponse:
    opened = web.WebSocketResponse()
    await opened.prepare(request)
    await opened.send_str("hello")
    await opened.close()
    return opened


async def large(_request: web.Request) -> web.Response:
    return web.Response(body=b"x" * 30_000_000)


Serve = Callable[..., contextlib.AbstractAsyncContextManager[Served]]


@contextlib.asynccontextmanager
async def serving(caps: ConnectionCaps = NO_CAPS, tls: ssl.SSLContext | None = None) -> AsyncIterator[Served]:
    app = web.Application(middlewares=[errors_middleware])
    app[DRAINING] = asyncio.Event()
    app[ADMISSION] = admission = Admission("/said", most=1, room=0)
    app.on_response_prepare.append(mark)
    with listening(bind(load({"KITH_PORT": str(free_port())}))) as listeners:
        served = Served(port_of(listeners), admission)
        server = Serving(app, caps=caps, form=FORM, early=admission.early, short=served.short, tls=tls)
        served.serving = server
        app.router.add_get("/", hello)
        app.router.add_post("/said", served.said)
        app.router.add_get("/socket", socket)
        app.router.add_get("/large", large)
        app.router.add_get("/slow", served.slow)
        await server.start(listeners)
        try:
            yield served
        finally:
            await server.stop()


async def exchange(port: int, data: bytes) -> bytes:
    """Send bytes and give all that is answered, also where the connection is reset behind it."""
    loop, answer = asyncio.get_running_loop(), b""
    with create_connection((HOST, port)) as client, contextlib.suppress(ConnectionError):
        client.settimeout(0)
        await loop.sock_sendall(client, data)
        async with asyncio.timeout(WITHIN_S):
            while received := await loop.sock_recv(client, 1 << 16):
                answer += received
    return answer


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    return int(head[9:12]), head + await reader.readexactly(int(length.partition(b":")[2]))


def expect_our_form(answer: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert all(header in head for header in (b"Content-Type: application/json", b"X-Request-Id: ", b"traceparent: "))
    assert body.startswith(b'{"errors":[{"message":"')


@pytest.mark.parametrize("caps", [ConnectionCaps(total=2), ConnectionCaps(per_address=2)], ids=["in all", "an address"])
async def test_one_connection_too_many_is_told_so_and_the_others_go_on(caps: ConnectionCaps) -> None:
    async with (
        serving(caps) as served,
        connected(served.port) as (reader, writer),
        contextlib.AsyncExitStack() as stack,
    ):
        writer.write(REQUEST)
        assert (await read_answer(reader))[0] == 200
        await (second := contextlib.AsyncExitStack()).__aenter__()
        _, other = await second.enter_async_context(connected(served.port))
        other.write(REQUEST)
        third, _ = await stack.enter_async_context(connected(served.port))
        status, answer = await read_answer(third)
        assert status == 503
        expect_our_form(answer)
        assert await third.read() == b""
        writer.write(REQUEST)
        assert (await read_answer(reader))[0] == 200
        await second.aclose()
        await answered_again(served.port)


async def answered_again(port: int) -> None:
    async with asyncio.timeout(WITHIN_S):
        while True:
            async with connected(port) as (reader, writer):
                writer.write(REQUEST)
                with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                    if (await read_answer(reader))[0] == 200:
                        return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("begun", [b"", b"GET / HT", REQUEST + b"GET / HTTP/1.1\r\nHost: "])
async def test_a_head_that_does_not_come_to_its_end_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(connection_module, "HEAD_TIMEOUT_S", 0.1)
    async with serving() as served, connected(served.port) as (reader, writer):
        writer.write(begun[: len(REQUEST)])
        if len(begun) > len(REQUEST):
            await read_answer(reader)
            writer.write(begun[len(REQUEST) :])
        status, answer = await read_answer(reader)
        assert status == 408
        expect_our_form(answer)
        assert await reader.read() == b""


async def test_a_head_that_comes_a_byte_at_a_time_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "HEAD_TIMEOUT_S", 0.3)
    loop = asyncio.get_running_loop()
    async with serving() as served:
        with create_connection((HOST, served.port)) as client:
            client.settimeout(0)
            await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nX: ")
            reading = asyncio.create_task(loop.sock_recv(client, 4096))
            while not reading.done():
                with contextlib.suppress(ConnectionError):
                    await loop.sock_sendall(client, b"x")
                await asyncio.sleep(0.01)
            assert (await reading).startswith(b"HTTP/1.1 408 ")


async def test_an_idle_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "KEEPALIVE_S", 0.1)
    async with serving() as served, connected(served.port) as (reader, writer):
        writer.write(REQUEST)
        assert (await read_answer(reader))[0] == 200
        assert await reader.read() == b""


async def test_a_client_that_does_not_take_its_answer_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "TAKE_TIMEOUT_S", 0.1)
    before = TURNED_AWAY.labels("answer")._value.get()
    async with serving() as served, connected(served.port) as (reader, writer):
        writer.write(REQUEST.replace(b"/ ", b"/large ", 1))
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Content-Length: 30000000" in head
        while TURNED_AWAY.labels("answer")._value.get() == before:
            await asyncio.sleep(0.02)
        with contextlib.suppress(ConnectionError):
            assert len(await reader.read()) < 30_000_000


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"hunter2\r\n\r\n", 400),
        (b"GET /hunter2\0 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /" + b"hunter2" * 2000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"hunter2" * 2000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: hunter2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nhunter2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nExpect: hunter2\r\n\r\n", 417),
        (b"GET http://[hunter2 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nHost: hunter2/\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: \r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ],
    ids=lambda value: repr(value)[:60],
)
async def test_what_is_no_request_is_refused_in_our_form_and_not_quoted(request_bytes: bytes, status: int) -> None:
    async with serving() as served:
        answer = await exchange(served.port, request_bytes)
    assert int(answer[9:12]) == status
    expect_our_form(answer)
    assert b"hunter2" not in answer


@pytest.mark.parametrize("address", ["192.0.2.7", "::ffff:192.0.2.7"])
def test_an_ipv4_address_is_one_client_however_it_is_written(address: str) -> None:
    assert network_of(address) == "192.0.2.7"


def test_an_ipv6_client_is_its_network() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1%eth0") == "2001:db8::/64"
    assert network_of("2001:db8::1") != network_of("2001:db8:0:1::1")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "chain.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return Certificate(folder / "chain.pem", folder / "key.pem")


def trusting(certificate: Certificate) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate.chain)


async def test_under_a_certificate_http_and_websockets_are_answered(certificate: Certificate) -> None:
    async with (
        serving(tls=certificate.context()) as served,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting(certificate))) as session,
    ):
        async with session.get(f"https://localhost:{served.port}/") as response:
            assert await response.text() == "hello"
        async with session.ws_connect(f"wss://localhost:{served.port}/socket") as opened:
            assert await opened.receive_str(timeout=WITHIN_S) == "hello"


async def test_an_older_version_of_tls_is_refused(certificate: Certificate) -> None:
    older = trusting(certificate)
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(tls=certificate.context()) as served:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("localhost", served.port, ssl=older)
        newer = await asyncio.open_connection("localhost", served.port, ssl=trusting(certificate))
        assert newer[1].get_extra_info("ssl_object").version() == "TLSv1.3"
        newer[1].close()
        await newer[1].wait_closed()


async def test_a_handshake_that_does_not_come_is_not_waited_for(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting_module, "HANDSHAKE_TIMEOUT_S", 0.1)
    async with serving(tls=certificate.context()) as served, connected(served.port) as (reader, _):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""


def test_a_key_that_is_encrypted_is_refused_and_nobody_is_asked_for_a_password(
    certificate: Certificate, tmp_path: Path
) -> None:
    key = serialization.load_pem_private_key(certificate.key.read_bytes(), password=None)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"hunter2"),
        )
    )
    with pytest.raises(OSError, match="the key is encrypted"):
        Certificate(certificate.chain, locked).context()


async def test_under_a_certificate_http_1_1_is_agreed_on(certificate: Certificate) -> None:
    client = trusting(certificate)
    client.set_alpn_protocols(["h2", "http/1.1"])
    async with serving(tls=certificate.context()) as served:
        _, writer = await asyncio.open_connection("localhost", served.port, ssl=client)
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_whoever_speaks_in_the_clear_to_a_certificate_hears_nothing(certificate: Certificate) -> None:
    async with serving(tls=certificate.context()) as served, connected(served.port) as (reader, writer):
        writer.write(REQUEST)
        with contextlib.suppress(ConnectionError):
            assert b"hello" not in await reader.read()


async def test_while_draining_a_request_that_is_on_its_way_is_answered_and_is_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving_module, "IDLE_S", WITHIN_S)
    async with serving() as served, connected(served.port) as (reader, writer), connected(served.port) as (one, other):
        writer.write(REQUEST)
        await read_answer(reader)
        other.write(REQUEST.replace(b"/ ", b"/slow ", 1))
        await asyncio.wait_for(served.asked.wait(), WITHIN_S)
        stopping = asyncio.create_task(served.serving.stop())
        for _ in range(100):  # whatever is closed without waiting is closed by then
            await asyncio.sleep(0)
        writer.write(REQUEST)
        status, answer = await read_answer(reader)
        assert status == 200
        assert b"Connection: close" in answer
        assert await reader.read() == b""
        served.answer.set()
        assert (await read_answer(one))[0] == 200
        await asyncio.wait_for(stopping, WITHIN_S)


async def test_a_port_that_is_listened_on_is_not_bound_again() -> None:
    settings = load({"KITH_PORT": str(free_port())})
    with listening(bind(settings)), pytest.raises(PortTaken, match="is in use"):
        bind(settings)


SAID: Final = b"POST /said HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345"
MORE_TO_SAY: Final = {
    "another request behind it": SAID + SAID,
    "a body that is not all there": SAID[:-1],
    "a line that ends otherwise": SAID.replace(b"Host: x\r\n", b"Host: x\r\nA: b\n"),
    "a header behind a line that ends otherwise": SAID.replace(
        b"Host: x\r\n", b"Host: x\r\nA: b\nTransfer-Encoding: chunked\r\n"
    ),
    "two lengths": SAID.replace(b"Host: x\r\n", b"Host: x\r\nContent-Length: 5\r\n"),
    "chunks": SAID.replace(b"Host: x\r\n", b"Host: x\r\nTransfer-Encoding: chunked\r\n"),
    "a page of a site": SAID.replace(b"Host: x\r\n", b"Host: x\r\nOrigin: https://a.example\r\n"),
    "a last request": SAID.replace(b"Host: x\r\n", b"Host: x\r\nConnection: close\r\n"),
    "another path": SAID.replace(b"/said", b"/else"),
}


async def answered(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read one answer: its head and its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return head, await reader.readexactly(int(length.partition(b":")[2]))


async def test_what_there_is_no_time_for_is_refused_unparsed_and_the_connection_goes_on() -> None:
    async with serving() as served, connected(served.port) as (reader, writer):
        writer.write(SAID)
        assert (await answered(reader))[1] == b"12345"
        with served.admission:
            for _ in range(3):
                writer.write(SAID.replace(b"Host: x\r\n", f"Host: x\r\ntraceparent: {TRACE}\r\n".encode()))
                head, body = await answered(reader)
                assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
                assert b"\r\nRetry-After: 1\r\n" in head
                assert TRACE[:35].encode() in head
                assert b'"OVERLOADED"' in body
        assert served.parsed == 1
        writer.write(SAID)
        assert (await answered(reader))[1] == b"12345"


async def test_what_follows_a_request_that_is_not_parsed_waits_for_its_answer() -> None:
    async with serving() as served, connected(served.port) as (reader, writer):
        writer.write(SHORT)
        await asyncio.wait_for(served.asked.wait(), WITHIN_S)
        writer.write(REQUEST + SAID)
        await asyncio.sleep(0.05)
        served.answer.set()
        assert [(await answered(reader))[1] for _ in range(3)] == [b"shortly", b"hello", b"12345"]
        writer.write(SHORT)
        assert (await answered(reader))[1] == b"shortly"


async def test_a_request_that_is_not_parsed_may_take_longer_than_an_idle_connection_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = 0
    look = Connection._process_keepalive

    def counted(self: Connection) -> None:
        nonlocal looks
        looks += 1
        look(self)

    monkeypatch.setattr(connection_module, "KEEPALIVE_S", 0.01)
    monkeypatch.setattr(Connection, "_process_keepalive", counted)
    async with serving() as served, connected(served.port) as (reader, writer):
        writer.write(SHORT)
        async with asyncio.timeout(WITHIN_S):
            while looks < 3:
                await asyncio.sleep(0.01)
        served.answer.set()
        assert (await answered(reader))[1] == b"shortly"


async def test_while_draining_a_request_that_is_not_parsed_is_answered_and_is_the_last() -> None:
    async with serving() as served, connected(served.port) as (reader, writer):
        writer.write(SHORT)
        await asyncio.wait_for(served.asked.wait(), WITHIN_S)
        stopping = asyncio.create_task(served.serving.stop())
        for _ in range(100):  # whatever is closed without waiting is closed by then
            await asyncio.sleep(0)
        served.answer.set()
        head, body = await answered(reader)
        assert body == b"shortly"
        assert b"\r\nConnection: close\r\n" in head
        assert await reader.read() == b""
        await asyncio.wait_for(stopping, WITHIN_S)


async def test_while_draining_nothing_is_refused_unparsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_module, "IDLE_S", WITHIN_S)
    async with serving() as served, connected(served.port) as (reader, writer):
        writer.write(SAID)
        await answered(reader)
        stopping = asyncio.create_task(served.serving.stop())
        await asyncio.sleep(0)
        with served.admission:
            writer.write(SAID)
            head, body = await answered(reader)
        assert body == b"12345"
        assert b"\r\nConnection: close\r\n" in head
        await asyncio.wait_for(stopping, WITHIN_S)


async def test_the_first_request_of_a_connection_is_refused_unparsed_as_well() -> None:
    """Where there is no time, whoever waits opens more connections; they are then no longer waited for as new ones."""
    async with serving() as served, connected(served.port) as (reader, writer):
        accepted = served.serving._connections
        assert accepted is not None
        async with asyncio.timeout(WITHIN_S):
            while not (open_now := list(accepted._open)) or not open_now[0].is_idle:
                await asyncio.sleep(0.01)
        with served.admission:
            writer.write(SAID)
            assert b'"OVERLOADED"' in (await answered(reader))[1]
        assert (served.parsed, open_now[0]._head) == (0, None)
        writer.write(SAID)
        assert (await answered(reader))[1] == b"12345"


@pytest.mark.parametrize("name", MORE_TO_SAY)
def test_only_one_whole_plain_request_is_refused_unparsed(name: str) -> None:
    admission = Admission("/said", most=1, room=0)
    assert admission.early(SAID) is None
    with admission:
        assert admission.early(SAID) is not None
        assert admission.early(MORE_TO_SAY[name]) is None


async def turns_to_accept(number: int) -> int:
    """Count the turns of the loop until so many clients that wait are all taken."""
    before = CONNECTIONS._value.get()
    async with serving() as served, contextlib.AsyncExitStack() as stack:
        for _ in range(number):
            stack.enter_context(create_connection((HOST, served.port)))
        turns = 0
        while CONNECTIONS._value.get() < before + number:
            await asyncio.sleep(0)
            turns += 1
        return turns


async def test_a_loop_whose_turns_are_long_still_takes_those_who_connect() -> None:
    assert await asyncio.to_thread(uvloop.run, turns_to_accept(200)) <= 20


async def test_while_there_is_no_descriptor_for_another_connection_clients_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(accepting_module, "REST_S", 0.05)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serving() as served:
        client, free = create_connection((HOST, served.port)), os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            async with asyncio.timeout(WITHIN_S):
                while not any(accepting._resting for accepting in served.serving._accepting):
                    await asyncio.sleep(0.01)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        reader, writer = await asyncio.open_connection(sock=client)
        writer.write(REQUEST)
        assert (await read_answer(reader))[0] == 200
        writer.close()


async def test_while_draining_a_handshake_that_is_under_way_is_finished_and_its_request_answered(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_module, "IDLE_S", WITHIN_S)
    async with serving(tls=certificate.context()) as served:
        client = create_connection((HOST, served.port))
        [accepting] = served.serving._accepting
        async with asyncio.timeout(WITHIN_S):
            while not accepting._connecting:
                await asyncio.sleep(0.01)
        stopping = asyncio.create_task(served.serving.stop())
        await asyncio.sleep(0.1)
        assert not stopping.done()
        reader, writer = await asyncio.open_connection(
            sock=client, ssl=trusting(certificate), server_hostname="localhost"
        )
        writer.write(REQUEST)
        status, answer = await read_answer(reader)
        assert status == 200
        assert b"Connection: close" in answer
        writer.close()
        await asyncio.wait_for(stopping, WITHIN_S)
