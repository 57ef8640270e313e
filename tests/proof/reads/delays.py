"""A way to a server that takes longer: a proxy that holds each piece of an answer for a while."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

from tests.proxies import lead_to, proxied


@contextlib.asynccontextmanager
async def delayed(port: int, most: float, rng: random.Random) -> AsyncIterator[int]:
    """Give a port that leads to another of this machine; each piece of an answer is held up to `most` seconds."""

    async def hold(answers: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await answers.read(65_536):
            await asyncio.sleep(rng.uniform(0, most))
            writer.write(piece)
            await writer.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await lead_to(f"127.0.0.1:{port}", reader, writer, answer=hold)

    async with proxied(serve) as opened:
        yield opened
