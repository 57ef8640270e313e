"""Thousands of meddled bodies and frames: never an internal error, and never a connection that is dropped.

`PROVE=long` sends 20,000 of them instead of some hundred; `KITH_SEED` names others than the usual ones.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Final

from tests.acceptance.main_job import HOST
from tests.acceptance.people import People, Person
from tests.acceptance.probes import expect_service
from tests.mutants import Json, mutants
from tests.raw_sockets import CLOSE, TEXT, frame, open_raw

LONG: Final = os.environ.get("PROVE") == "long"
BODIES: Final = 12_000 if LONG else 200
FRAMES: Final = 8_000 if LONG else 100
SEED: Final = int(os.environ.get("KITH_SEED", "6"))
PER_SOCKET: Final = 20
WITHIN_S: Final = 60.0
INTERNAL: Final = (b"INTERNAL_SERVER_ERROR", b"Internal")
BUSY: Final = (b"503", b"504")
"""What a machine that is too slow for its time limits answers, in our form."""
QUERY: Final = """query Q($name: String, $first: Int = 3, $v: Boolean = true) {
  user(username: $name) { ...F followers(first: $first) { totalCount nodes { id username @include(if: $v) } } }
  me { id bio } } fragment F on User { id username displayName viewerFollowState }"""
FOLLOW: Final = "mutation M($input: FollowUserInput!) { followUser(input: $input) { user { id } userErrors { code } } }"
EXTENSIONS: Final = {"consistencyToken": None, "other": [1]}


def requests(other: Person) -> list[Json]:
    return [
        {"query": QUERY, "operationName": "Q", "variables": {"name": "star", "first": 2, "v": False}},
        {"query": QUERY, "variables": {"name": "ana"}, "extensions": EXTENSIONS},
        {"query": FOLLOW, "variables": {"input": {"userId": other.id, "clientMutationId": "c"}}},
        {"query": '{ users(usernames: ["ana", "bo"]) { id } node(id: "x") { id } }'},
    ]


def messages(one: Person, other: Person) -> list[Json]:
    asked: list[Json] = [
        {"id": str(at), "type": "subscribe", "payload": request} for at, request in enumerate(requests(other))
    ]
    live = {"query": "subscription L($after: String) { followReceived(after: $after) { id } }", "variables": {}}
    init = {"type": "connection_init", "payload": {"authorization": f"Bearer {one.token}"}}
    return [*asked, {"id": "l", "type": "subscribe", "payload": live}, init, {"type": "ping", "payload": {}}]


class Line:
    """One HTTP connection that is never given up."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, person: Person) -> None:
        self._reader = reader
        self._writer = writer
        self._head = (
            f"POST /graphql HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {person.token}\r\n"
            "Content-Type: application/json\r\nAccept: application/graphql-response+json\r\n"
        )

    async def send(self, body: bytes) -> tuple[bytes, bytes]:
        """Send a body, and give status and body of the answer."""
        self._writer.write(f"{self._head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        async with asyncio.timeout(WITHIN_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
            return head[9:12], await self._reader.readexactly(int(length.partition(b":")[2]))


@contextlib.asynccontextmanager
async def line_of(person: Person) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection(HOST, person.job.port)
    try:
        yield Line(reader, writer, person)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_no_meddled_body_is_an_internal_error_or_ends_its_connection(people_of_one_cell: People) -> None:
    one, other = people_of_one_cell.take(), people_of_one_cell.take()
    counts: dict[bytes, int] = {}
    async with line_of(one) as line:
        for request in requests(other):
            assert (await line.send(json.dumps(request).encode()))[0] == b"200"
        for body in mutants(requests(other), SEED, BODIES):
            status, answer = await line.send(body)
            counts[status] = counts.get(status, 0) + 1
            assert status < b"500" or status in BUSY, (body, answer)
            assert not any(word in answer for word in INTERNAL), (body, answer)
    sys.stdout.write(f"\n{BODIES} bodies: {counts}\n")
    assert len(counts) > 1, "some are requests, and some are not"
    await expect_service(people_of_one_cell.job)


async def test_no_meddled_frame_is_an_internal_error_or_drops_its_socket(people_of_one_cell: People) -> None:
    one, other = people_of_one_cell.take(), people_of_one_cell.take()
    frames = list(mutants(messages(one, other), SEED, FRAMES))
    codes: dict[int, int] = {}
    while frames:
        code, sent = await talk(one, frames[:PER_SOCKET])
        codes[code] = codes.get(code, 0) + 1
        del frames[:sent]
    sys.stdout.write(f"\n{FRAMES} frames, ends of sockets: {codes}\n")
    assert codes.keys() <= {0, 1007, 4400, 4401, 4403, 4409, 4429}
    assert 4400 in codes
    await expect_service(people_of_one_cell.job)


async def talk(one: Person, frames: list[bytes]) -> tuple[int, int]:
    """Say hello and send frames one after the other; gives the close code (0 for none), and how many were sent."""
    async with open_raw(HOST, one.job.port) as opened, asyncio.timeout(WITHIN_S):
        await opened.write(frame(TEXT, b'{"type":"connection_init"}'))
        for sent, data in enumerate(frames, start=1):
            await opened.write(frame(TEXT, data))
            await opened.write(frame(TEXT, b'{"type":"ping","payload":{"n":1}}'))
            while True:
                opcode, payload = await opened.read_frame()
                assert not any(word in payload for word in INTERNAL), (data, payload)
                if opcode == CLOSE:
                    return int.from_bytes(payload[:2]), sent
                if payload == b'{"type":"pong"}':
                    break
        return 0, len(frames)
