"""Requests as nobody's client library would send them, and what every refusal has in common."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp

from tests.acceptance.main_job import HOST, MainJob
from tests.acceptance.people import Answer

WITHIN_S: Final = 30.0
"""Far above what any answer takes, and far below what an expensive document would."""
SUBPROTOCOL: Final = "graphql-transport-ws"
JSON: Final = "application/json"
GRAPHQL: Final = "application/graphql-response+json"

_INSIDE: Final = (b"Traceback", b"asyncpg", b"SELECT ", b".py")
"""What shows only where something inside shines through."""


async def send(
    job: MainJob,
    body: bytes | None = None,
    *,
    method: str = "POST",
    headers: Mapping[str, str] | list[tuple[str, str]] | None = None,
    parameters: Mapping[str, str] | None = None,
) -> Answer:
    """Send one request on a connection of its own, with no other headers than those given (and JSON's for a body)."""
    given = headers if headers is not None else {"Content-Type": JSON} if body is not None else {}
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WITHIN_S)) as session,
        session.request(
            method,
            job.url,
            data=io.BytesIO(body) if body is not None else None,
            headers=given,
            params=parameters,
            skip_auto_headers=("Content-Type", "Accept"),
        ) as response,
    ):
        return Answer(response.status, response.headers.copy(), await response.read())


async def send_json(job: MainJob, accept: str = JSON, **fields: object) -> Answer:
    """Post a request's fields."""
    return await send(job, json.dumps(fields).encode(), headers={"Content-Type": JSON, "Accept": accept})


async def send_raw(job: MainJob, request: bytes) -> tuple[int, bytes]:
    """Write bytes to a new connection, and give the status of the answer and everything up to its end."""
    reader, writer = await asyncio.open_connection(HOST, job.port)
    try:
        async with asyncio.timeout(WITHIN_S):
            writer.write(request)
            await writer.drain()
            answer = await reader.read()
    finally:
        writer.close()
    return int(answer.split(b" ", 2)[1]), answer


def expect_refusal(answer: Answer, status: int, code: str | None = None) -> None:
    """Check the one form that refusals have."""
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"].startswith((JSON, GRAPHQL))
    assert answer.headers["X-Request-Id"]
    assert "data" not in answer.json
    assert all(error["message"] for error in answer.json["errors"])
    assert code is None or set(answer.codes) == {code}
    assert not any(word in answer.body for word in _INSIDE)


async def expect_service(job: MainJob) -> None:
    """Check that the next request on a new connection is answered."""
    answer = await send_json(job, query="{ __typename }")
    assert (answer.status, answer.json) == (200, {"data": {"__typename": "Query"}})


class Socket:
    """A WebSocket of which every frame is ours to write."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self.messages: list[dict[str, Any]] = []

    async def write(self, *frames: object) -> None:
        """Send frames: text and bytes as they are, anything else as JSON."""
        for frame in frames:
            if isinstance(frame, bytes):
                await self._socket.send_bytes(frame)
            else:
                await self._socket.send_str(frame if isinstance(frame, str) else json.dumps(frame))

    async def write_frame(self, frame: bytes, opcode: aiohttp.WSMsgType) -> None:
        """Send a frame that the library would not make."""
        await self._socket.send_frame(frame, opcode)

    async def read(self) -> dict[str, Any]:
        """Read the next message."""
        message = await self._socket.receive(timeout=WITHIN_S)
        assert message.type is aiohttp.WSMsgType.TEXT, (message, self._socket.close_code)
        fields: dict[str, Any] = json.loads(message.data)
        self.messages.append(fields)
        return fields

    async def read_until(self, **expected: object) -> dict[str, Any]:
        """Read until a message has these fields."""
        while True:
            fields = await self.read()
            if expected.items() <= fields.items():
                return fields

    async def closing(self, within: float = WITHIN_S) -> int | None:
        """Read until the server closes, and give its code."""
        async with asyncio.timeout(within):
            async for message in self._socket:
                self.messages.append(json.loads(message.data))
        return self._socket.close_code


@asynccontextmanager
async def open_socket(
    job: MainJob, *, subprotocols: tuple[str, ...] = (SUBPROTOCOL,), headers: Mapping[str, str] | None = None
) -> AsyncIterator[Socket]:
    """Open a WebSocket."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(job.socket_url, protocols=subprotocols, headers=headers, max_msg_size=0) as socket,
    ):
        yield Socket(socket)
