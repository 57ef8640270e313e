"""GraphQL over server-sent events, one connection per operation (the graphql-sse protocol's distinct mode)."""

import asyncio
import contextlib
from typing import Any, Final

import orjson
from aiohttp import web
from graphql import GraphQLError, OperationType

from domain.errors import TokenRejected
from execution.engine import GraphQLRequest, Operation, Response, failed
from transport.access import Caller
from transport.bodies import BadRequest
from transport.lines import FORBIDDEN, PEER_GONE, TOO_MANY, TOO_SLOW, Ending, Line, Lines, bound_buffers
from transport.operations import Operations
from transport.origins import Origins
from transport.patience import HEADER, wished
from transport.repeats import of_request, read_key

HEARTBEAT_S: Final = 12.0
LOOK_EVERY_S: Final = 1.0
SEND_TIMEOUT_S: Final = 15.0
_HEARTBEAT: Final = b":\n\n"
_COMPLETE: Final = b"event: complete\ndata: \n\n"
_COMPLETED: Final = Ending(1000, "Complete")
_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "private, no-store",
    "X-Accel-Buffering": "no",  # a proxy that collects answers would keep events back
}


class TooManyStreams(BadRequest):
    """There are too many connections; close some, or come back later."""

    code = "RATE_LIMITED"
    status = 429


class EventStreams:
    """Answers operations with event streams."""

    def __init__(self, operations: Operations, lines: Lines, origins: Origins) -> None:
        self._operations = operations
        self._lines = lines
        self._origins = origins

    async def answer(
        self, request: web.Request, caller: Caller, prepared: Operation | Response, asked: GraphQLRequest
    ) -> web.StreamResponse:
        """Stream the results of an operation, or the one that says why it cannot run.

        Raises:
            ForeignOrigin: another site's page asks.
            TooManyStreams: there is no room for one more.
        """
        self._origins.check(request)
        if not isinstance(prepared, dict) and prepared.type is OperationType.SUBSCRIPTION:
            with self._lines.open("sse", caller.sender.address) as line:
                async with self._lines.spoken_for(line, caller):
                    _expect_room(line)
                    return await self._subscribe(request, prepared, line)
        response = prepared if isinstance(prepared, dict) else await self._run(request, prepared, asked)
        return web.Response(body=_next(response) + _COMPLETE, headers=_HEADERS)

    async def _run(self, request: web.Request, operation: Operation, asked: GraphQLRequest) -> Response:
        seconds, named = wished(request.headers.getall(HEADER, ())), read_key(operation, asked, of_request(request))
        return await self._operations.run(operation, seconds, named)

    async def _subscribe(self, request: web.Request, operation: Operation, line: Line) -> web.StreamResponse:
        stream = _Stream(request, line)
        await stream.open()
        tasks = [
            asyncio.create_task(self._forward(operation, stream, line)),
            asyncio.create_task(stream.watch()),
        ]
        try:
            ending = await line.ending
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await stream.close(ending)
        return stream.response

    async def _forward(self, operation: Operation, stream: "_Stream", line: Line) -> None:
        responses: Any = self._operations.stream(operation)
        async with contextlib.aclosing(responses) as results:
            async for response in results:
                await stream.send(_next(response))
        line.end(_COMPLETED)


class _Stream:
    """One event stream as bytes."""

    def __init__(self, request: web.Request, line: Line) -> None:
        self._request = request
        self._line = line
        self._sending = asyncio.Lock()
        self.response = web.StreamResponse(headers=_HEADERS)

    async def open(self) -> None:
        """Send the headers, and a first comment that makes proxies pass them on."""
        bound_buffers(self._request.transport)
        await self.response.prepare(self._request)
        await self.send(_HEARTBEAT)

    async def watch(self) -> None:
        """End the line when the client is gone, and send comments meanwhile, so that no proxy finds it idle."""
        looks = 0
        while self._request.transport is not None:
            await asyncio.sleep(LOOK_EVERY_S)
            looks += 1
            if looks * LOOK_EVERY_S >= HEARTBEAT_S:
                looks = 0
                await self.send(_HEARTBEAT)
        self._line.end(PEER_GONE)

    async def send(self, data: bytes) -> None:
        """Send, one after the other; a client that does not take it in time loses the stream."""
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S), self._sending:
                await self.response.write(data)
                await self._drain()
        except TimeoutError:
            self._line.end(TOO_SLOW)
        except ConnectionError:
            self._line.end(PEER_GONE)

    async def _drain(self) -> None:
        writer = self.response._payload_writer  # noqa: SLF001 - `write` waits only above 64 KiB
        if writer is not None:
            await writer.drain()

    async def close(self, ending: Ending) -> None:
        """Say why it ends, if anybody listens.

        A stream that is drained ends without `complete`: that would mean that there is nothing more to come, and
        clients connect again only when the connection ends without it.
        """
        if ending is TOO_SLOW and self._request.transport is not None:
            self._request.transport.abort()
        elif ending.code == 1001:  # noqa: PLR2004 - the code of RFC 6455 for going away
            await self.send(b"retry: %d\n\n" % orjson.loads(ending.reason)["retryAfterMs"])
        elif ending is FORBIDDEN:
            await self.send(_next(failed([GraphQLError("", original_error=TokenRejected())])) + _COMPLETE)
        elif ending is _COMPLETED:
            await self.send(_COMPLETE)


def _expect_room(line: Line) -> None:
    if line.ending.done() and line.ending.result() is TOO_MANY:
        raise TooManyStreams(retryAfter=5)


def _next(response: Response) -> bytes:
    return b"event: next\ndata: " + orjson.dumps(response) + b"\n\n"
