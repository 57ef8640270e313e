"""graphql-transport-ws on one socket: who it speaks for, and its running operations by id."""

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from typing import Any, Final

from aiohttp import WSMsgType
from graphql import OperationType

from domain.errors import TokenRejected
from execution.engine import GraphQLRequest, Operation, Response
from execution.errors import masked
from transport.access import Access, Caller
from transport.addresses import Sender
from transport.bodies import BadRequest
from transport.lines import FORBIDDEN, PEER_GONE, UNANSWERED, Ending, Line, Lines
from transport.messages import Closing, read_identity, read_message, read_payload, read_subscribe
from transport.operations import Operations
from transport.repeats import Named, read_key
from transport.wire import Wire

INIT_TIMEOUT_S: Final = 5.0
HEARTBEAT_S: Final = 12.0
FINISH_S: Final = 3.0
"""How long queries and mutations may go on when the process drains."""
MAX_OPERATIONS: Final = 20
MAX_ANSWERS: Final = 4
"""How many queries and mutations of one socket run at once; the next is not even read before there is room for it."""
MESSAGES_PER_S: Final = 50
BURST: Final = 500
UNINTRODUCED: Final = Ending(4408, "Connection initialisation timeout")


class Conversation:
    """What is said on one socket, from the introduction to the end."""

    def __init__(
        self, wire: Wire, line: Line, lines: Lines, operations: Operations, access: Access, *, sender: Sender
    ) -> None:
        self._sender = sender
        self._wire = wire
        self._line = line
        self._lines = lines
        self._engine = operations
        self._access = access
        self._caller: Caller | None = None
        self._speaking = contextlib.AsyncExitStack()
        self._pace = Pace()
        self._heard = True
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._answers = asyncio.Semaphore(MAX_ANSWERS)
        self._finishing: set[asyncio.Task[None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._handlers = {
            "connection_init": self._on_init,
            "ping": self._on_ping,
            "pong": self._on_pong,
            "subscribe": self._on_subscribe,
            "complete": self._on_complete,
        }

    async def hold(self) -> Ending:
        """Talk until something ends the line, and give what it was; nothing runs afterwards."""
        timer = asyncio.get_running_loop().call_later(INIT_TIMEOUT_S, self._expect_introduction)
        async with self._speaking:
            try:
                _ = self._start(self._read()), self._start(self._beat())
                ending = await self._line.ending
                if ending.code == 1001:  # noqa: PLR2004 - the code of RFC 6455 for going away
                    await self._finish()
                return ending
            finally:
                timer.cancel()
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def _expect_introduction(self) -> None:
        if self._caller is None:
            self._line.end(UNINTRODUCED)

    async def _beat(self) -> None:
        """Ask for a sign of life; a client that gives none between two beats is gone, or reads nothing.

        The beat does not wait for its ping to be sent: where nobody reads, that takes as long as any message may.
        """
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            if not self._heard:
                self._line.end(UNANSWERED)
            self._heard = False
            _ = self._start(self._wire.send_frame(b"", WSMsgType.PING))

    async def _finish(self) -> None:
        """Let queries and mutations come to their ends: whoever asked would not know what became of them."""
        if self._finishing:
            await asyncio.wait(self._finishing, timeout=FINISH_S)

    async def _read(self) -> None:
        """Read until the other side closes or breaks the protocol."""
        try:
            while (message := await self._wire.receive()).type in (
                WSMsgType.TEXT,
                WSMsgType.BINARY,
                WSMsgType.PING,
                WSMsgType.PONG,
            ):
                self._heard = True
                self._pace.step()
                await self._take(message.type, message.data)
            self._line.end(_ending_of(message.data))
        except Closing as closing:
            self._line.end(closing.ending)
        except Exception as error:  # noqa: BLE001 - the last line: logged, and told as the protocol does
            masked(error)
            self._line.end(Ending(4500, "Internal server error"))

    async def _take(self, opcode: WSMsgType, data: Any) -> None:
        if opcode is WSMsgType.PING:
            await self._wire.send_frame(data, WSMsgType.PONG)
        elif opcode is WSMsgType.BINARY:
            raise Closing(4400, "Text messages only")
        elif opcode is WSMsgType.TEXT:
            kind, fields = read_message(data)
            await self._handlers[kind](fields)

    async def _on_init(self, fields: dict[str, Any]) -> None:
        payload = read_payload(fields)
        if self._caller is not None:
            raise Closing(4429, "Too many initialisation requests")
        try:
            self._caller = await self._access.of_connection(payload, self._sender)
        except TokenRejected as error:
            raise Closing(FORBIDDEN.code, FORBIDDEN.reason) from error
        await self._speaking.enter_async_context(self._lines.spoken_for(self._line, self._caller))
        if not self._line.ending.done():
            await self._wire.send({"type": "connection_ack"})

    async def _on_ping(self, fields: dict[str, Any]) -> None:
        read_payload(fields)
        await self._wire.send({"type": "pong"})

    async def _on_pong(self, fields: dict[str, Any]) -> None:
        """Take a sign of life, which every message is."""
        read_payload(fields)

    async def _on_subscribe(self, fields: dict[str, Any]) -> None:
        if self._caller is None:
            raise Closing(4401, "Unauthorized")
        identity, asked = read_subscribe(fields)
        if identity in self._operations:
            raise Closing(4409, f"Subscriber for {identity} already exists")
        if len(self._operations) >= MAX_OPERATIONS:
            raise Closing(4429, "Too many operations on one socket")
        await self._wire.room()
        await self._answers.acquire()
        found = await self._prepare(asked, self._caller)
        if isinstance(found, dict):
            self._answers.release()
            await self._refuse(identity, found["errors"])
            return
        prepared, named = found
        task = self._operations[identity] = self._start(self._run(identity, prepared, named))
        task.add_done_callback(lambda done: self._release(identity, done))
        if prepared.type is OperationType.SUBSCRIPTION:
            self._answers.release()
        else:
            self._finishing.add(task)
            task.add_done_callback(lambda _done: self._answers.release())

    async def _prepare(self, asked: GraphQLRequest, caller: Caller) -> tuple[Operation, Named | None] | Response:
        """Make a request ready at once: what waits for its turn then holds no text of the client."""
        try:
            prepared = await self._engine.prepare(asked, caller)
            return prepared if isinstance(prepared, dict) else (prepared, read_key(prepared, asked))
        except BadRequest as error:
            return {"errors": [_told(error)]}
        except Exception as error:  # noqa: BLE001 - the last line: masked and logged
            return {"errors": [{"message": "Internal error.", "extensions": masked(error)}]}

    async def _on_complete(self, fields: dict[str, Any]) -> None:
        """Stop an operation; its id is free at once, while the task may still be letting go of what it holds."""
        task = self._operations.pop(read_identity(fields), None)
        if task is not None:
            task.cancel()

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _release(self, identity: str, task: asyncio.Task[None]) -> None:
        self._finishing.discard(task)
        if self._operations.get(identity) is task:
            del self._operations[identity]

    async def _run(self, identity: str, operation: Operation, named: Named | None) -> None:
        """Run one operation; whatever goes wrong, its client is told that it has ended."""
        try:
            if operation.type is OperationType.SUBSCRIPTION:
                await self._stream(identity, operation)
            else:
                response = await self._engine.run(operation, named=named)
                await self._wire.send({"id": identity, "type": "next", "payload": response})
            await self._wire.send({"id": identity, "type": "complete"})
        except BadRequest as error:
            await self._refuse(identity, [_told(error)])
        except Exception as error:  # noqa: BLE001 - the last line: masked and logged
            await self._refuse(identity, [{"message": "Internal error.", "extensions": masked(error)}])

    async def _stream(self, identity: str, operation: Operation) -> None:
        responses: Any = self._engine.stream(operation)
        async with contextlib.aclosing(responses) as stream:
            async for response in stream:
                await self._wire.send({"id": identity, "type": "next", "payload": response})

    async def _refuse(self, identity: str, errors: list[dict[str, Any]]) -> None:
        await self._wire.send({"id": identity, "type": "error", "payload": errors})


def _told(error: BadRequest) -> dict[str, Any]:
    return {"message": str(error), "extensions": {"code": error.code, **error.extensions}}


class Pace:
    """Counts what a client sends: so many messages at once, and so many a second in the mean."""

    def __init__(self) -> None:
        self._left = float(BURST)
        self._at = time.monotonic()

    def step(self) -> None:
        """Count one message.

        Raises:
            Closing: it is one too many.
        """
        now = time.monotonic()
        self._left = min(BURST, self._left + (now - self._at) * MESSAGES_PER_S) - 1
        self._at = now
        if self._left < 0:
            raise Closing(4429, "Too many messages")


def _ending_of(data: object) -> Ending:
    """Give what a frame that cannot be read is closed with; a frame that closes is the other side's own end."""
    code = getattr(data, "code", None)
    return Ending(code, "") if isinstance(code, int) else PEER_GONE
