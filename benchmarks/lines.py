"""Connections of whoever makes load: as cheap as can be, for they share the machine with what is measured."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final, cast

import orjson

from tests.acceptance.main_job import HOST

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
Answer = tuple[bytes, bytes]
"""The status, in digits, and the body."""


def post(document: str, token: str, variables: Mapping[str, Any] | None = None) -> bytes:
    """Write the request for an operation, as one of the named people."""
    body = orjson.dumps({"query": document, "variables": variables or {}})
    head = (
        f"POST /graphql HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Lines:
    """Connections to one server: an exchange takes one that is free, or opens another."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: list[_Line] = []

    async def open(self, number: int) -> None:
        """Open connections beforehand."""
        self._free += [await self._new() for _ in range(number)]

    async def exchange(self, request: bytes) -> Answer:
        """Send a request and give what is answered.

        Raises:
            OSError: the connection could not be made, or ended before the answer did.
        """
        line = self._take() or await self._new()
        is_whole = False
        try:
            answer = await line.ask(request)
            is_whole = True
        finally:
            if is_whole:
                self._free.append(line)
            else:
                line.close()
        return answer

    def _take(self) -> "_Line | None":
        """Take one that is free, but none that the server has closed, which it does where one was idle for long."""
        while self._free:
            line = self._free.pop()
            if not line.is_closing():
                return line
        return None

    def close(self) -> None:
        """Hang up."""
        for line in self._free:
            line.close()

    async def _new(self) -> "_Line":
        _, line = await asyncio.get_running_loop().create_connection(_Line, HOST, self._port)
        return line


class _Line(asyncio.Protocol):
    """One connection, one request at a time; the server says how long each answer is."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport
        self._asked: asyncio.Future[Answer] | None = None
        self._come = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._asked is not None and not self._asked.done():
            self._asked.set_exception(exc or ConnectionResetError())

    def ask(self, request: bytes) -> "asyncio.Future[Answer]":
        self._come, self._asked = b"", asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._asked

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def data_received(self, data: bytes) -> None:
        self._come += data
        head, _, body = self._come.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        is_whole = length is not None and len(body) >= int(length[1])
        if is_whole and self._asked is not None and not self._asked.done():
            self._asked.set_result((head[9:12], body))

    def close(self) -> None:
        self._transport.abort()
