"""Proxies: what stands in front of a part, and does to what passes as a test has it."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from urllib.parse import parse_qs, urlsplit

from tests.raw_sockets import first_of

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Pass = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]


async def connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a plain connection to a part, at the address that its clients are given."""
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    query = parse_qs(parts.query)
    if parts.scheme == "postgresql" and "host" in query:
        return await asyncio.open_unix_connection(f"{query['host'][0]}/.s.PGSQL.{query['port'][0]}")
    if parts.scheme == "unix":
        return await asyncio.open_unix_connection(parts.path)
    return await asyncio.open_connection(parts.hostname, parts.port)


async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Pass on what comes, as it comes."""
    while piece := await source.read(65_536):
        target.write(piece)
        await target.drain()


async def lead_to(
    behind: str,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    *,
    ask: Pass = pass_on,
    answer: Pass = pass_on,
) -> None:
    """Lead a connection to a part, until either side has ended it."""
    answers, asking = await connect(behind)
    with contextlib.closing(asking):
        await first_of(ask(reader, asking), answer(answers, writer))


@contextlib.asynccontextmanager
async def proxied(serve: Serve, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve each connection, closed with what serves it, on a port of its own, which is given; at the end all ends."""
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, EOFError):
            await serve(reader, writer)

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(run(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(begin, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        ending = list(tasks)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
