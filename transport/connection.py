"""One HTTP connection: how long it may keep the server waiting, what need not be parsed, and how it comes to an end.

aiohttp reads requests and calls handlers; it has no deadline for the head of a request nor for a client that does not
take its answer, and failures in a form of its own. All of that is added here.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from aiohttp.http_exceptions import ContentEncodingError, LineTooLong
from aiohttp.http_websocket import WebSocketReader
from prometheus_client import Counter

from domain.errors import Overloaded
from transport.addresses import network_of
from transport.answers import Answer
from transport.eager import Eager
from transport.frames import MaskedFrames
from transport.pieces import Plain

if TYPE_CHECKING:
    from transport.connections import Connections

TURNED_AWAY: Final = Counter(
    "kith_connections_turned_away_total",
    "Connections that the server ended: too many (`total`, `address`), slow (`head`, `answer`), `body`, `unreadable`.",
    ["why"],
)

HEAD_TIMEOUT_S: Final = 10.0
KEEPALIVE_S: Final = 30.0
"""How long a connection may be idle between two requests."""
TAKE_TIMEOUT_S: Final = 30.0
"""How long an answer may wait for its client to take some of it; lines that stay have less, and say why they end."""
MAX_REQUEST_BYTES: Final = 192 * 1024
"""What one request may send in all: its head, its body, and what chunks put around that. The rest is not parsed."""
_PIECE_BYTES: Final = 64 * 1024

Answering = Callable[[], Awaitable[Answer]]


class Connection(web.RequestHandler):
    """One connection."""

    __slots__ = ("_answering", "_connections", "_head", "_held", "_sent", "_taking", "goes_on", "network", "plain")

    def __init__(self, connections: "Connections", server: web.Server) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]
            keepalive_timeout=KEEPALIVE_S,
            auto_decompress=False,
        )
        self._connections = connections
        self._head: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None
        self._answering: Eager | None = None
        self._held = b""
        self._sent = 0
        self.network = ""
        self.plain: Plain | None = None
        """The request at hand, if it came as one piece."""
        self.goes_on = False
        """Whether nothing more is to be read of the request at hand, and its answer is not the last."""

    @property
    def is_idle(self) -> bool:
        """Tell whether it waits for a request."""
        return self._waiter is not None and not self._messages and self._answering is None and not self._held

    @property
    def _is_done(self) -> bool:
        """Tell whether the last answer was sent, even where aiohttp has not come round to waiting for a request."""
        return self.goes_on and not self._request_in_progress and not self._messages

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, if there is room."""
        peer = transport.get_extra_info("peername")
        self.network = network_of(str(peer[0])) if isinstance(peer, tuple) else ""
        why = self._connections.admit(self)
        if why is None:
            super().connection_made(transport)
            self._expect_head()
        else:
            self._force_close = True
            self._turn_away(transport, why, 503, str(Overloaded()))

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        self._connections.dismiss(self)
        self._stop_timers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what the client sends: within the deadline and the bound of a request."""
        if len(data) <= _PIECE_BYTES or self._upgraded:
            self._take(data)
            return
        for at in range(0, len(data), _PIECE_BYTES):
            self._take(data[at : at + _PIECE_BYTES])

    def set_parser(self, parser: WebSocketReader, data_received_cb: Callable[[], None] | None = None) -> None:
        """Read on as a WebSocket."""
        super().set_parser(MaskedFrames(parser), data_received_cb)  # type: ignore[arg-type] # has what is called of one

    def pause_writing(self) -> None:
        """Wait for the client to take its answer, for a while."""
        super().pause_writing()
        self._taking = self._loop.call_later(TAKE_TIMEOUT_S, self._give_up, "answer")

    def resume_writing(self) -> None:
        """Go on: the client has taken some of it."""
        super().resume_writing()
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what could not be read as a request; the parser's words, which quote it, are told to nobody."""
        del message
        if request.writer.output_size > 0:
            raise ConnectionError("An answer is under way already.")
        if status >= 500 and exc is not None:  # noqa: PLR2004 - faults of ours
            return self._connections.form.broken(exc)
        TURNED_AWAY.labels("unreadable").inc()
        return self._connections.form.answer(*_fault(exc)).response()

    def log_exception(self, *args: Any, **details: Any) -> None:
        """Log what went wrong, unless it is a body that could not be read: its client has been told."""
        if not isinstance(details.get("exc_info"), web.RequestPayloadError | web.HTTPRequestEntityTooLarge):
            super().log_exception(*args, **details)

    def _expect_head(self) -> None:
        if self._head is None:
            self._head = self._loop.call_later(HEAD_TIMEOUT_S, self._head_is_late)

    def _head_is_there(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _head_is_late(self) -> None:
        if self.is_idle and self.transport is not None:
            self._turn_away(self.transport, "head", 408, "The request did not arrive in time.")
            self.force_close()

    def _take(self, data: bytes) -> None:
        if self._force_close:
            return
        if self._answering is not None or self._held:
            self._hold(data)
            return
        begins = not self._sent or (self._head is None and (self.is_idle or self._is_done))
        if data:  # without any, the parser is only to go on with what it has
            self.plain, self.goes_on = None, False
            if begins and self._is_done_unparsed(data):
                return
        self._sent = len(data) if begins else self._sent + len(data)
        if self._sent > MAX_REQUEST_BYTES and not self._upgraded and self._refuse_more():
            return
        requests = self._request_count
        super().data_received(data)
        if self._request_count != requests:
            self._sent = len(data)
            self._head_is_there()
            self._break_off()
        elif self.is_idle and not self._upgraded:
            self._expect_head()

    def _is_done_unparsed(self, data: bytes) -> bool:
        """Answer what need not be parsed."""
        connections = self._connections
        if self._upgraded or self._paused or self._close or self.transport is None or connections.is_draining():
            return False
        refusal = connections.early(data)
        if refusal is not None:
            self._head_is_there()
            self._next_keepalive_close_time = self._loop.time() + KEEPALIVE_S
            self.transport.write(refusal)
            return True
        answering = connections.short(data, self)
        if answering is None:
            return False
        self._head_is_there()
        self._sent = len(data)
        self._request_count += 1
        self._request_in_progress = True
        self._answering = eager = Eager(self._answer(answering), self._loop)
        eager()
        return True

    async def _answer(self, answering: Answering) -> None:
        """Answer one request, as aiohttp does with those that it has parsed."""
        try:
            answer = await answering()
            answer.closes = answer.closes or self._close or self._force_close or self._connections.is_draining()
            if self.transport is not None:
                self.transport.write(answer.written())
            if answer.closes:
                self.force_close()
        except Exception as error:  # noqa: BLE001 - nothing can be told any more
            self.log_exception("Unhandled exception", exc_info=error)
            self.force_close()
        finally:
            self._answering = None
            self._request_in_progress = False
            if self._handler_waiter is not None:
                self._handler_waiter.set_result(None)
        self._next_keepalive_close_time = self._loop.time() + KEEPALIVE_S
        if self._held:
            self._loop.call_soon(self._go_on)  # not from within what answers this one

    def _hold(self, data: bytes) -> None:
        """Leave what follows a request until that is answered."""
        if data and not self._held and self.transport is not None:
            self.transport.pause_reading()
        self._held += data

    def _go_on(self) -> None:
        held, self._held = self._held, b""
        if self.transport is not None:
            self.transport.resume_reading()
            self.data_received(held)

    def _process_keepalive(self) -> None:
        """Close the connection if it is idle for too long; one that is being answered is not idle."""
        if self._answering is not None:
            self._next_keepalive_close_time = self._loop.time() + KEEPALIVE_S
        super()._process_keepalive()

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - aiohttp's own
        """Let what is being answered end, for a while."""
        await super().shutdown(timeout)
        if self._answering is not None:
            self._answering.cancel()

    def _break_off(self) -> None:
        """Tell whoever reads a body when something follows before its end: the parser could not read on."""
        request = self._current_request
        if request is not None and not request.content.is_eof() and request.content.exception() is None:
            request.content.set_exception(web.RequestPayloadError())

    def _refuse_more(self) -> bool:
        """End what is being read; whoever reads it is told, and then the connection ends.

        What still comes after an answer is read and forgotten for a while: a client that is cut off hears no answer.
        """
        request = self._current_request
        if self.is_idle:
            self._give_up("head")
            return True
        if request is None or request.content.is_eof():
            return False
        if request.content.exception() is None:
            TURNED_AWAY.labels("body").inc()
            request.content.set_exception(web.HTTPRequestEntityTooLarge(MAX_REQUEST_BYTES, self._sent))
        return True

    def _give_up(self, why: str) -> None:
        TURNED_AWAY.labels(why).inc()
        self._force_close = True
        if self.transport is not None:
            self.transport.abort()

    def _turn_away(self, transport: Any, why: str, status: int, message: str) -> None:
        """Say why, in one write, and close."""
        TURNED_AWAY.labels(why).inc()
        transport.write(self._connections.form.answer(status, message).written())
        transport.close()

    def _stop_timers(self) -> None:
        self._head_is_there()
        if self._taking is not None:
            self._taking.cancel()


def _fault(error: BaseException | None) -> tuple[int, str]:
    """Give status and words for what the parser refuses."""
    if isinstance(error, LineTooLong):
        return 431, "The address or a header is too long."
    if isinstance(error, ContentEncodingError):
        return 415, "Of content codings only `gzip` and `deflate` are understood."
    return 400, "This is no request that can be read."
