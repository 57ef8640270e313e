"""A way to a server that takes longer: a TCP proxy that holds each piece of what it passes on for a while."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

from tests.raw_sockets import first_of


@contextlib.asynccontextmanager
async def delayed(port: int, most: float, rng: random.Random) -> AsyncIterator[int]:
    """Give a port that leads to another of this machine; each piece of an answer is held up to `most` seconds."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await _connect(reader, writer)
        finally:
            writer.close()
            tasks.discard(task)

    async def _connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, asking = await asyncio.open_connection("127.0.0.1", port)
        try:
            await first_of(_pass_on(reader, asking, 0.0), _pass_on(answers, writer, most))
        finally:
            asking.close()

    async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter, longest: float) -> None:
        while piece := await source.read(65_536):
            if longest:
                await asyncio.sleep(rng.uniform(0, longest))
            target.write(piece)
            await target.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
