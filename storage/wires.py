"""A connection to Redis that many share: commands go out together, and answers come back in the order of the commands.

It is made by the client, which knows addresses, TLS, passwords and what is asked first on each connection; then this
takes its place as what hears of the bytes that arrive.
"""

import asyncio
import collections
import contextvars
from collections.abc import Callable
from typing import Any, Final

import hiredis
from redis.exceptions import ConnectionError as ConnectionLost

_NOTHING_YET: Final = object()
_UNASKED: Final = hiredis.PushNotification
"""What a server says of its own accord."""


class Exchange:
    """Commands as they are written, and what comes of them; who waits for that may have gone."""

    __slots__ = ("answers", "commands", "count", "done", "error", "since", "ticket")

    def __init__(self, commands: bytes, count: int, since: float, done: asyncio.Future[list[Any]]) -> None:
        self.commands = commands
        self.count = count
        self.since = since
        """When it was asked for, or when its turn came."""
        self.done = done
        self.ticket: object | None = None
        self.answers: list[Any] = []
        self.error: Exception | None = None
        """The first of the answers that is an error."""


class Wire(asyncio.Protocol):
    """One connection, from when it is being made until it is closed.

    `answered` is told of each exchange in turn. `ended` is told once that there are no more answers, and why: those
    still `flying` get none.
    """

    def __init__(
        self, pool: Any, answered: Callable[[Exchange], None], ended: Callable[["Wire", BaseException], None]
    ) -> None:
        self.flying: collections.deque[Exchange] = collections.deque()
        self.size = 0
        """Of the commands that are not answered, in bytes."""
        self._answered = answered
        self._ended: Callable[[Wire, BaseException], None] | None = ended
        self._unsent: list[bytes] = []
        self._is_paused = False
        self._serves_once = False
        self._connection: Any = None
        self._transport: Any = None
        self._reader: Any = None
        self._parse_error: Callable[[str], Exception] = Exception
        self._loop = asyncio.get_running_loop()
        self._nobodys = contextvars.Context()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        """Done when nothing of it is left."""
        # What is shared is under nobody's deadline, and in nobody's trace.
        self._opening = self._loop.create_task(self._open(pool), context=self._nobodys)
        self._opening.add_done_callback(self._opened)

    @property
    def has_room(self) -> bool:
        """Tell whether the server reads what it is sent, and more may be sent."""
        return not self._is_paused and not self._serves_once

    def send(self, exchange: Exchange) -> None:
        """Send with everything that is sent in this tick of the loop, or when the connection is made."""
        self.flying.append(exchange)
        self.size += len(exchange.commands)
        if not self._unsent and self._transport is not None:
            self._loop.call_soon(self._flush, context=self._nobodys)
        self._unsent.append(exchange.commands)

    def end(self, error: BaseException) -> None:
        """Read no more answers, and close."""
        ended, self._ended = self._ended, None
        if ended is None:
            return
        self._unsent.clear()
        if self._transport is not None:
            self._transport.abort()
        elif not self._opening.done():
            self._opening.cancel()
        ended(self, error)

    def _flush(self) -> None:
        if self._unsent:
            self._transport.write(b"".join(self._unsent))
            self._unsent.clear()

    async def _open(self, pool: Any) -> None:
        connection = pool.make_connection()
        try:
            await connection.connect()
            if self._ended is not None:
                self._take_over(connection)
            else:  # on the way there a cancellation may get lost, in `asyncio.wait_for`
                await connection.disconnect(nowait=True)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    def _opened(self, opening: asyncio.Task[None]) -> None:
        if self._transport is None:
            self.closed.set_result(None)
        if opening.cancelled():
            self.end(ConnectionLost("nobody waits for the connection any more"))
        elif error := opening.exception():
            self.end(error)

    def _take_over(self, connection: Any) -> None:
        """Hear what arrives in the client's place, and send what has come together.

        No public way leads to what a connection is made of.
        """
        parser, stream, transport = connection._parser, connection._reader, connection._writer.transport  # noqa: SLF001
        if parser._reader.has_data() or stream._buffer or stream.at_eof() or transport.is_closing():  # noqa: SLF001
            raise ConnectionLost("a connection began with what nobody has asked for")
        self._parse_error = parser.parse_error
        self._reader = hiredis.Reader(ConnectionLost, self._note_error, notEnoughData=_NOTHING_YET)
        self._serves_once = connection.should_reconnect()
        self._connection, self._transport = connection, transport
        transport.set_protocol(self)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Give what has arrived to those whose turn it is."""
        try:
            self._reader.feed(data)
            self._read()
        except Exception as error:  # noqa: BLE001 - told to whoever waits
            self.end(error)

    def _read(self) -> None:
        take, flying = self._reader.gets, self.flying
        while (answer := take()) is not _NOTHING_YET:
            if isinstance(answer, _UNASKED):
                continue
            if not flying:
                raise ConnectionLost("an answer came that nobody has asked for")
            exchange = flying[0]
            exchange.answers.append(answer)
            if len(exchange.answers) == exchange.count:
                flying.popleft()
                self.size -= len(exchange.commands)
                self._answered(exchange)
        if self._serves_once and not flying:
            self.end(ConnectionLost("a replica is asked once"))

    def _note_error(self, message: str) -> Exception:
        error = self._parse_error(message)
        if self.flying and self.flying[0].error is None:
            self.flying[0].error = error
        return error

    def pause_writing(self) -> None:
        """Take no more until the server has read what it was sent."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """Take more again."""
        self._is_paused = False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell all who wait, and leave nothing open."""
        self.end(exc or ConnectionLost("the server has closed the connection"))
        self._connection._close()  # noqa: SLF001 - its other ways to close wait for what it hears no more
        self._reader = None
        if not self.closed.done():
            self.closed.set_result(None)
