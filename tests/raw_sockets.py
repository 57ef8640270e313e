"""Sockets as bytes: what is passed on, frames that no library would send, ends that no library would make."""

import asyncio
import base64
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Coroutine
from typing import Final

TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10
WITHIN_S: Final = 30.0


@contextlib.asynccontextmanager
async def connected(
    port: int, within: float = 60.0
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection on which anything may be sent; what is done with it ends after so many seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(within):
            yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def first_of(*works: Coroutine[None, None, None]) -> None:
    """Run until one ends; the others are cancelled."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def frame(opcode: int, payload: bytes, *, fin: int = 1, rsv: int = 0, masked: bool = True) -> bytes:
    """Make a client's frame."""
    mask = os.urandom(4)
    size = len(payload)
    first = bytes([fin << 7 | rsv << 4 | opcode])
    bit = 0x80 if masked else 0
    if size < 126:
        head = bytes([bit | size])
    elif size < 1 << 16:
        head = bytes([bit | 126]) + struct.pack("!H", size)
    else:
        head = bytes([bit | 127]) + struct.pack("!Q", size)
    if not masked:
        return first + head + payload
    body = int.from_bytes(payload) ^ int.from_bytes((mask * (size // 4 + 1))[:size])  # at once: some have a megabyte
    return first + head + mask + body.to_bytes(size)


class RawSocket:
    """A WebSocket after its handshake."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def write(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    def push(self, data: bytes) -> None:
        """Send as much as the kernel takes, and keep nothing of the rest."""
        with contextlib.suppress(BlockingIOError):
            os.write(self.writer.get_extra_info("socket").fileno(), data)

    async def read_frame(self) -> tuple[int, bytes]:
        """Read one frame of the server; raises IncompleteReadError where the connection ends."""
        first, second = await self.reader.readexactly(2)
        size = second & 0x7F
        if size == 126:
            [size] = struct.unpack("!H", await self.reader.readexactly(2))
        elif size == 127:
            [size] = struct.unpack("!Q", await self.reader.readexactly(8))
        return first & 0x0F, await self.reader.readexactly(size)

    async def close_code(self, within: float = WITHIN_S) -> int | None:
        """Read until the server closes: its code, 1005 for a close without one, and 1006 where it says nothing."""
        async with asyncio.timeout(within):
            try:
                while (received := await self.read_frame())[0] != CLOSE:
                    pass
            except (asyncio.IncompleteReadError, ConnectionError):
                return 1006
        payload = received[1]
        return int(struct.unpack("!H", payload[:2])[0]) if payload else 1005

    def reset(self) -> None:
        """End the connection with a reset: what is on its way is lost, and the server is told nothing else."""
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@contextlib.asynccontextmanager
async def open_raw(
    host: str, port: int, *, receive_buffer: int | None = None, extra: str = ""
) -> AsyncIterator[RawSocket]:
    """Open a WebSocket at `/graphql`; `extra` is put among the headers."""
    connection = socket.socket()
    connection.setblocking(False)
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    await asyncio.get_running_loop().sock_connect(connection, (host, port))
    reader, writer = await asyncio.open_connection(sock=connection, limit=1 << 12 if receive_buffer else 1 << 16)
    try:
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET /graphql HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            f"Sec-WebSocket-Protocol: graphql-transport-ws\r\n{extra}\r\n".encode()
        )
        async with asyncio.timeout(WITHIN_S):
            answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        yield RawSocket(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
