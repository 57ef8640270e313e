"""A gate in front of a server: what passes is counted, and may be held back, cut off or broken."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from typing import Final

from tests.proxies import lead_to, proxied

_RESET: Final = struct.pack("ii", 1, 0)
"""Whoever closes with this says so by a reset, and not by an end."""


class Gate:
    """What goes through; one for all connections."""

    def __init__(self, behind: str) -> None:
        self._behind = behind
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.asked: list[bytes] = []
        """What was asked, on each connection in turn."""
        self.answered = b""
        """What was answered, on all connections."""
        self.left: int | None = None
        """How many bytes of answers pass before all is reset; None where all do."""
        self.port = 0

    @property
    def connections(self) -> int:
        """Give how many were opened."""
        return len(self.asked)

    def hold(self) -> None:
        """Keep answers back."""
        self._open.clear()

    def release(self) -> None:
        """Let answers pass."""
        self._open.set()

    def reset(self) -> None:
        """Break all connections."""
        for writer in self._writers:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass a connection on until either side has ended it."""
        self._writers.add(writer)
        try:
            await lead_to(self._behind, reader, writer, ask=self._ask, answer=self._answer)
        finally:
            self._writers.discard(writer)

    async def _ask(self, reader: asyncio.StreamReader, asking: asyncio.StreamWriter) -> None:
        number = self.connections
        self.asked.append(b"")
        while piece := await reader.read(65_536):
            self.asked[number] += piece
            asking.write(piece)
            await asking.drain()

    async def _answer(self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await answers.read(65_536):
            await self._open.wait()
            self.answered += piece
            writer.write(piece[: self.left])
            await writer.drain()
            if self.left is not None:
                self.left = max(0, self.left - len(piece))
                if self.left == 0:
                    self.reset()


@contextlib.asynccontextmanager
async def gated(behind: str) -> AsyncIterator[Gate]:
    """Open a gate in front of a part, at the address that its clients are given."""
    gate = Gate(behind)
    async with proxied(gate.serve) as gate.port:
        yield gate
