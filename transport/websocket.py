"""graphql-transport-ws: queries, mutations and subscriptions over one socket, with the protocol's close codes."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from aiohttp import WSMsgType, web
from graphql import OperationType

from domain.errors import TokenRejected
from execution.engine import Engine, GraphQLRequest, Operation, Response
from execution.errors import masked
from resolvers.context import Backend, new_context
from resolvers.delivery import Delivered
from schema.fields import OperationContext
from transport.access import Access, Caller
from transport.bodies import BadRequest, decode_object, request_of
from transport.metrics import DELIVERED, SOCKETS, SUBSCRIPTIONS

SUBPROTOCOL: Final = "graphql-transport-ws"
INIT_TIMEOUT_S: Final = 5.0
HEARTBEAT_S: Final = 20.0
SEND_TIMEOUT_S: Final = 30.0
MAX_MESSAGE_BYTES: Final = 128 * 1024
MAX_OPERATIONS: Final = 20


class Closing(Exception):
    """The socket is closed with a code and a reason of the protocol."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class GraphQLWebSockets:
    """Opens sockets, and closes them all when the process drains."""

    def __init__(self, engine: Engine, backend: Backend, access: Access, *, allowed_origins: tuple[str, ...]) -> None:
        self._engine = engine
        self._backend = backend
        self._access = access
        self._allowed_origins = frozenset(allowed_origins)
        self._open: set[web.WebSocketResponse] = set()

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """Answer a WebSocket handshake at `/graphql`, and serve the socket until it closes."""
        if not self._is_allowed_origin(request):
            raise web.HTTPForbidden
        socket = web.WebSocketResponse(
            protocols=(SUBPROTOCOL,), heartbeat=HEARTBEAT_S, max_msg_size=MAX_MESSAGE_BYTES, timeout=5.0
        )
        await socket.prepare(request)
        self._open.add(socket)
        SOCKETS.inc()
        try:
            await _Connection(socket, self._engine, self._backend, self._access).serve()
        finally:
            SOCKETS.dec()
            self._open.discard(socket)
        return socket

    async def drain(self) -> None:
        """Close every socket with 1001: clients connect again, elsewhere."""
        await asyncio.gather(*(_close(socket, 1001, "Going away") for socket in list(self._open)))

    def _is_allowed_origin(self, request: web.Request) -> bool:
        """Let in programs, which send no Origin, the server's own pages, and what the settings list."""
        origins = request.headers.getall("Origin", [])
        if not origins:
            return True
        own = urlsplit(origins[0]).netloc == request.host and origins[0].startswith(("http://", "https://"))
        return len(origins) == 1 and (own or origins[0] in self._allowed_origins)


async def _close(socket: web.WebSocketResponse, code: int, reason: str) -> None:
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await socket.close(code=code, message=reason.encode())


class _Connection:
    """One socket: who it speaks for, and its running operations by id."""

    def __init__(self, socket: web.WebSocketResponse, engine: Engine, backend: Backend, access: Access) -> None:
        self._socket = socket
        self._engine = engine
        self._backend = backend
        self._access = access
        self._caller: Caller | None = None
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._handlers = {
            "connection_init": self._on_init,
            "ping": self._on_ping,
            "pong": self._on_pong,
            "subscribe": self._on_subscribe,
            "complete": self._on_complete,
        }

    async def serve(self) -> None:
        if self._socket.ws_protocol != SUBPROTOCOL:
            await _close(self._socket, 4406, "Subprotocol not acceptable")
            return
        _ = self._start(self._expect_init())
        try:
            await self._read()
        except Closing as closing:
            await _close(self._socket, closing.code, closing.reason)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _expect_init(self) -> None:
        """Close a socket that does not introduce itself."""
        await asyncio.sleep(INIT_TIMEOUT_S)
        if self._caller is None:
            await _close(self._socket, 4408, "Connection initialisation timeout")

    async def _expire(self, expires_at: float) -> None:
        await asyncio.sleep(max(0.0, expires_at - time.time()))
        await _close(self._socket, 4403, "Forbidden")

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type is not WSMsgType.TEXT:
                raise Closing(4400, "Text messages only")
            fields = _decoded(message.data)
            kind = fields.get("type")
            handler = self._handlers.get(kind) if isinstance(kind, str) else None
            if handler is None:
                raise Closing(4400, "Unknown message type")
            await handler(fields)

    async def _on_init(self, fields: dict[str, Any]) -> None:
        payload = _payload_of(fields)
        if self._caller is not None:
            raise Closing(4429, "Too many initialisation requests")
        try:
            self._caller = self._access.of_connection(payload)
        except TokenRejected as error:
            raise Closing(4403, "Forbidden") from error
        if self._caller.expires_at is not None:
            _ = self._start(self._expire(self._caller.expires_at))
        await self._send({"type": "connection_ack"})

    async def _on_ping(self, fields: dict[str, Any]) -> None:
        _payload_of(fields)
        await self._send({"type": "pong"})

    async def _on_pong(self, fields: dict[str, Any]) -> None:
        """Take a sign of life; the heartbeat below this protocol watches for their absence."""
        _payload_of(fields)

    async def _on_subscribe(self, fields: dict[str, Any]) -> None:
        if self._caller is None:
            raise Closing(4401, "Unauthorized")
        identity, asked = _subscription_of(fields)
        if identity in self._operations:
            raise Closing(4409, f"Subscriber for {identity} already exists")
        if len(self._operations) >= MAX_OPERATIONS:
            raise Closing(4429, "Too many operations on one socket")
        task = self._operations[identity] = self._start(self._run(identity, asked, self._caller))
        task.add_done_callback(lambda done: self._release(identity, done))

    async def _on_complete(self, fields: dict[str, Any]) -> None:
        """Stop an operation; its id is free at once, while the task may still be letting go of what it holds."""
        task = self._operations.pop(_identity_of(fields), None)
        if task is not None:
            task.cancel()

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _release(self, identity: str, task: asyncio.Task[None]) -> None:
        if self._operations.get(identity) is task:
            del self._operations[identity]

    async def _run(self, identity: str, asked: GraphQLRequest, caller: Caller) -> None:
        """Run one operation; whatever goes wrong, its client is told that it has ended."""
        try:
            await self._answer(identity, asked, caller)
        except Exception as error:  # noqa: BLE001 - the last line: masked and logged
            payload = [{"message": "Internal error.", "extensions": masked(error)}]
            await self._send({"id": identity, "type": "error", "payload": payload})

    async def _answer(self, identity: str, asked: GraphQLRequest, caller: Caller) -> None:
        context = OperationContext(new_context(self._backend, caller.user_id))
        prepared = self._engine.prepare(asked, context)
        if isinstance(prepared, dict):
            await self._send({"id": identity, "type": "error", "payload": prepared["errors"]})
            return
        if prepared.type is OperationType.SUBSCRIPTION:
            await self._forward(identity, prepared)
        else:
            await self._send({"id": identity, "type": "next", "payload": await prepared.run()})
        await self._send({"id": identity, "type": "complete"})

    async def _forward(self, identity: str, operation: Operation) -> None:
        SUBSCRIPTIONS.inc()
        responses: AsyncIterator[Response] = operation.stream(_context_of_event)
        try:
            async with contextlib.aclosing(responses) as stream:  # type: ignore[type-var] # it is a generator
                async for response in stream:
                    await self._send({"id": identity, "type": "next", "payload": response})
                    DELIVERED.inc()
        finally:
            SUBSCRIPTIONS.dec()

    async def _send(self, message: dict[str, Any]) -> None:
        """Send, and give up on a client that does not read."""
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._socket.send_str(orjson.dumps(message).decode())
        except TimeoutError:
            await _close(self._socket, 1013, "Reading too slowly")
        except ConnectionError:
            pass  # the reading side sees the end of the socket, and stops everything


def _context_of_event(event: Delivered) -> OperationContext:
    """Every event is executed with what was read for it alone."""
    return OperationContext(event.context)


def _decoded(text: str) -> dict[str, Any]:
    try:
        return decode_object(text.encode("utf-8", "surrogatepass"))
    except BadRequest as error:
        raise Closing(4400, "Not a JSON object") from error


def _payload_of(fields: dict[str, Any]) -> dict[str, Any]:
    """Give the payload of a message that may do without one; null is none of the forms it can have."""
    payload = fields.get("payload", {})
    if not isinstance(payload, dict):
        raise Closing(4400, "The payload must be an object")
    return payload


def _identity_of(fields: dict[str, Any]) -> str:
    identity = fields.get("id")
    if not isinstance(identity, str) or not identity:
        raise Closing(4400, "The id must be a string")
    return identity


def _subscription_of(fields: dict[str, Any]) -> tuple[str, GraphQLRequest]:
    try:
        return _identity_of(fields), request_of(_payload_of(fields))
    except BadRequest as error:
        raise Closing(4400, str(error)) from error
