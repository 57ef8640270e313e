"""One WebSocket as bytes: written one frame at a time, given up on where nobody reads, closed so that it is heard."""

import asyncio
import contextlib
from typing import Any, Final

import orjson
from aiohttp import WSMessage, WSMsgType, web

from transport.lines import DEAF, TOO_SLOW, Ending, Line, bound_buffers

MAX_MESSAGE_BYTES: Final = 128 * 1024
SEND_TIMEOUT_S: Final = 15.0
CLOSE_TIMEOUT_S: Final = 4.0
ANSWER_TIMEOUT_S: Final = 2.0
LINGER_S: Final = 5.0
_FIRST_LOOK_S: Final = 0.01
_LAST_LOOK_S: Final = 0.32


class _Response(web.WebSocketResponse):
    """A WebSocket whose connection is closed by `Wire.close` alone.

    A connection that is closed while input is unread makes the kernel drop what was sent last: the close frame.
    """

    @property
    def understands(self) -> bool:
        """Tell whether frames can still be told apart: behind one that broke the rules, not even an answer can be."""
        return self._reader is not None and self._reader.exception() is None

    def end_output(self) -> None:
        """Say that nothing more is to come."""
        transport = self._req.transport if self._req is not None else None
        if transport is not None and not transport.is_closing() and transport.can_write_eof():
            with contextlib.suppress(OSError):  # the other side may have gone meanwhile
                transport.write_eof()

    def _close_transport(self) -> None:
        if self.understands:
            self.end_output()


class Wire:
    """Sends and receives on one WebSocket."""

    def __init__(self, request: web.Request, subprotocol: str, line: Line) -> None:
        self._request = request
        self._line = line
        self._sending = asyncio.Lock()
        # Without compression: its buffers are 300 KiB a socket, and a short message can unpack to any size.
        # Pings are answered by us, so that they count as messages; with no limit of its own each frame waits for room.
        self.response = _Response(
            protocols=(subprotocol,),
            autoping=False,
            compress=False,
            max_msg_size=MAX_MESSAGE_BYTES,
            timeout=ANSWER_TIMEOUT_S,
            writer_limit=0,
        )

    async def open(self) -> str | None:
        """Answer the handshake and give the subprotocol that was agreed on."""
        await self.response.prepare(self._request)
        bound_buffers(self._request.transport)
        return self.response.ws_protocol

    async def receive(self) -> WSMessage:
        """Receive the next frame, whatever it is."""
        message: WSMessage = await self.response.receive()
        return message

    async def room(self) -> None:
        """Wait until nothing waits to be sent: whoever does not read answers may not go on asking."""
        async with self._sending:
            pass

    async def send(self, message: dict[str, Any]) -> None:
        """Send a message; a client that does not take it in time loses the socket."""
        frame = orjson.dumps(message)
        del message  # one form of it is enough while it waits
        await self.send_frame(frame, WSMsgType.TEXT)

    async def send_frame(self, frame: bytes, opcode: WSMsgType) -> None:
        """Send a frame, one after the other, and wait until there is room for the next."""
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S), self._sending:
                await self.response.send_frame(frame, opcode)
        except TimeoutError:
            self._line.end(TOO_SLOW)
        except ConnectionError:
            pass  # the reading side sees the end of the socket, and stops everything

    async def close(self, ending: Ending) -> None:
        """Close with a code, wait until the other side has closed too, and let go of the connection in any case."""
        try:
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self.response.close(code=ending.code, message=ending.reason_bytes())
            if ending not in DEAF:
                await self._linger()
        finally:
            transport = self._request.transport
            if transport is not None:
                transport.abort()

    async def _linger(self) -> None:
        """Read and forget what is still on its way, until the client closes its side.

        Whoever is told that nothing more is to come, and has not answered the close frame yet, may be unable to: some
        clients then report an abnormal end, and not the code. An answer that cannot be read is given its time.
        """
        if not self.response.understands:
            await self._gone()
        self.response.end_output()
        await self._gone()

    async def _gone(self) -> None:
        """Wait until the client has closed its side; ever less often looking, since in a drain all sockets do so."""
        wait = _FIRST_LOOK_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while self._request.transport is not None:
                    await asyncio.sleep(wait)
                    wait = min(2 * wait, _LAST_LOOK_S)
