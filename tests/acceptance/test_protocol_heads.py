"""Heads and bodies of HTTP that could be read differently, or that break off: refused in one form, and not quoted."""

import asyncio
import contextlib
import gzip
import socket
from collections.abc import AsyncIterator
from typing import Final

import pytest

from tests.acceptance.main_job import HOST, MainJob
from tests.acceptance.people import People
from tests.acceptance.probes import GRAPHQL, JSON, expect_refusal, expect_service, send, send_raw

BODY: Final = b'{"query":"{ __typename }"}'
WITHIN_S: Final = 60.0
TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
PARENT: Final = f"00-{TRACE}-b7ad6b7169203331-01"
CHUNKED: Final = (
    b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)


@pytest.fixture
async def job(people_of_one_cell: People) -> AsyncIterator[MainJob]:
    """Give the run, which must answer after whatever a test has sent."""
    yield people_of_one_cell.job
    await expect_service(people_of_one_cell.job)


async def exchange(job: MainJob, head: bytes, rest: bytes) -> bytes:
    """Send a head, wait until it is being worked on, send the rest, and give all that is answered."""
    loop, answer = asyncio.get_running_loop(), b""
    with socket.create_connection((HOST, job.port)) as connection:
        connection.setblocking(False)
        await loop.sock_sendall(connection, head)
        await asyncio.sleep(0.05)
        sending = asyncio.create_task(loop.sock_sendall(connection, rest))
        # A server that has heard enough may reset the connection behind its answer.
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(WITHIN_S):
                while received := await loop.sock_recv(connection, 1 << 16):
                    answer += received
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    return answer


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        (b"hunter2\r\n", 400),
        (b"ffffffffffffffffff\r\n", 400),
        (b"-1\r\n", 400),
        (b"1a\r\n" + BODY + b"hunter2", 400),
        (b"1a\r\n" + BODY + b"\r\n0\r\nhunter2\r\n\r\n", 400),
        (b"1a;" + b"a" * 1_000_000 + b"\r\n" + BODY + b"\r\n0\r\n\r\n", 413),
        (b"1\r\n \r\n" * 150_000, 413),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_a_chunked_body_that_breaks_off_is_refused_once_and_at_once(
    job: MainJob, rest: bytes, status: int
) -> None:
    answer = await exchange(job, CHUNKED, rest)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.") == 1
    assert b"Connection: close" in answer
    assert b'"code":"BAD_REQUEST"' in answer
    assert b"hunter2" not in answer


async def test_trailers_are_nobody(job: MainJob, people_of_one_cell: People) -> None:
    body = b'{"query":"{ me { id } }"}'
    trailer = f"Authorization: Bearer {people_of_one_cell.ana.token}\r\n".encode()
    request = CHUNKED.replace(b"Host", b"Connection: close\r\nHost") + b"%x\r\n" % len(body) + body + b"\r\n0\r\n"
    _, answer = await send_raw(job, request + trailer + b"\r\n")
    assert answer.endswith(b'{"data":{"me":null}}')


@pytest.mark.parametrize("coding", ["br", "zstd", "xyz", "gzip, gzip", ""])
async def test_a_body_in_a_coding_that_nobody_unpacks_is_refused(job: MainJob, coding: str) -> None:
    headers = {"Content-Type": JSON, "Content-Encoding": coding}
    expect_refusal(await send(job, BODY, headers=headers), 415, "BAD_REQUEST")


@pytest.mark.parametrize("more", [b"x", gzip.compress(BODY), b""], ids=["bytes", "another", "nothing"])
async def test_a_packed_body_ends_where_it_says(job: MainJob, more: bytes) -> None:
    packed = gzip.compress(BODY)
    answer = await send(job, packed + more, headers={"Content-Type": JSON, "Content-Encoding": "gzip"})
    assert answer.status == (400 if more else 200)


async def test_large_requests_follow_each_other_on_one_connection(job: MainJob) -> None:
    head = b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 131000\r\n"
    body = BODY + b" " * (131_000 - len(BODY))
    reader, writer = await asyncio.open_connection(HOST, job.port)
    try:
        async with asyncio.timeout(WITHIN_S):
            for _ in range(4):
                writer.write(head + b"\r\n" + body)
                answer = await reader.readuntil(b'{"data":{"__typename":"Query"}}')
                assert answer.startswith(b"HTTP/1.1 200 ")
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_body_that_says_it_is_too_large_is_not_waited_for(job: MainJob) -> None:
    request = CHUNKED.replace(b"Transfer-Encoding: chunked", b"Content-Length: 999999999999999999")
    reader, writer = await asyncio.open_connection(HOST, job.port)
    try:
        async with asyncio.timeout(WITHIN_S):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.close()
        await writer.wait_closed()
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"Connection: close" in head


async def test_several_accept_headers_are_one_list(job: MainJob) -> None:
    headers = [("Content-Type", JSON), ("Accept", "text/plain"), ("Accept", GRAPHQL)]
    assert (await send(job, BODY, headers=headers)).headers["Content-Type"] == f"{GRAPHQL}; charset=utf-8"


async def test_a_header_of_one_value_is_given_once(job: MainJob) -> None:
    headers = [("Content-Type", JSON), ("Request-Timeout", "1"), ("Request-Timeout", "2")]
    expect_refusal(await send(job, BODY, headers=headers), 400, "BAD_REQUEST")


@pytest.mark.parametrize(
    "query",
    [
        "query=%FF",
        "query=%7B__typename%7D&variables=%7B%22a%22:%22%ED%A0%80%22%7D",
        "query=%7B__typename%7D" + "".join(f"&a{number}" for number in range(20)),
    ],
)
async def test_parameters_that_are_no_text_or_too_many_are_refused(job: MainJob, query: str) -> None:
    request = f"GET /graphql?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert (await send_raw(job, request.encode()))[0] == 400


async def test_an_origin_that_is_none_is_another_site(job: MainJob) -> None:
    headers = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nOrigin: http://[\r\n"
    request = f"GET /graphql HTTP/1.1\r\nHost: x\r\n{headers}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    answer = await exchange(job, request.encode(), b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403 ")


async def test_a_trace_goes_on_and_what_is_none_is_not_shown(job: MainJob) -> None:
    headers = {"Content-Type": JSON, "traceparent": PARENT, "tracestate": "vendor=hunter2"}
    answer = await send(job, BODY, headers=headers)
    assert answer.headers["traceparent"] == f"00-{TRACE}-{answer.headers['X-Request-Id']}-01"
    assert "tracestate" not in answer.headers
    other = await send(job, BODY, headers=headers | {"traceparent": PARENT + "-hunter2"})
    assert TRACE not in str(other.headers)
    assert "hunter2" not in str(other.headers)
