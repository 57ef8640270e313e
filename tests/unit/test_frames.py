"""Frames of a WebSocket's client: read as they are however they are cut, until one is not masked."""

import asyncio
import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Final

import pytest
from aiohttp import WebSocketError
from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.http_websocket import WebSocketReader

from tests.raw_sockets import BINARY, CLOSE, PING, TEXT, frame
from transport.frames import MaskedFrames

PAYLOADS: Final = [b"x" * size for size in (0, 1, 125, 126, 127, 3, 65_535, 65_536, 2)]
BEFORE: Final = frame(PING, b"a") + frame(BINARY, b"b" * 200)
CUTS: Final = 200


class Reading:
    """Masked frames before aiohttp's own reader."""

    def __init__(self) -> None:
        protocol = SimpleNamespace(_reading_paused=False)
        self.queue = WebSocketDataQueue(protocol, 1 << 20, loop=asyncio.get_running_loop())  # type: ignore[arg-type]
        self.reader = WebSocketReader(self.queue, 1 << 20, compress=False, decode_text=False)
        self.frames = MaskedFrames(self.reader)

    async def read(self, number: int) -> list[bytes]:
        """Give so many messages that have come."""
        return [bytes((await self.queue.read()).data) for _ in range(number)]


def cut(data: bytes, seed: int) -> Iterator[bytes]:
    """Cut into pieces, most of them short where heads are likely to be."""
    chance, at = random.Random(seed), 0
    while at < len(data):
        size = chance.choice((1, 2, 3, 7, 131, 70_000))
        yield data[at : at + size]
        at += size


async def test_frames_of_every_size_are_read_however_they_are_cut() -> None:
    data = b"".join(frame(BINARY, payload) for payload in PAYLOADS)
    for seed in range(CUTS):
        reading = Reading()
        for piece in cut(data, seed):
            assert reading.frames.feed_data(piece) == (False, b"")
        assert await reading.read(len(PAYLOADS)) == PAYLOADS


@pytest.mark.parametrize("opcode", [TEXT, PING, CLOSE])
@pytest.mark.parametrize("size", [0, 2, 125, 126, 65_536])
async def test_a_frame_that_is_not_masked_is_refused_behind_those_before_it(opcode: int, size: int) -> None:
    bare = frame(opcode, b"\x03" * size, masked=False)
    for seed in range(CUTS):
        reading = Reading()
        for piece in cut(BEFORE + bare + frame(TEXT, b"more"), seed):
            reading.frames.feed_data(piece)
        assert await reading.read(2) == [b"a", b"b" * 200]
        with pytest.raises(WebSocketError) as refused:
            await reading.queue.read()
        assert refused.value.code == 1002
