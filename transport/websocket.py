"""The door for WebSockets: who may open one, and how it is closed."""

from typing import Final

from aiohttp import web

from transport.access import Access
from transport.addresses import Sender, sender_of
from transport.conversation import Conversation
from transport.lines import Ending, Line, Lines
from transport.operations import Operations
from transport.origins import Origins
from transport.wire import Wire

SUBPROTOCOL: Final = "graphql-transport-ws"
_OTHER_SUBPROTOCOL: Final = Ending(4406, "Subprotocol not acceptable")


class GraphQLWebSockets:
    """Answers WebSocket handshakes at `/graphql`."""

    def __init__(self, operations: Operations, access: Access, lines: Lines, origins: Origins) -> None:
        self._operations = operations
        self._access = access
        self._lines = lines
        self._origins = origins

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """Answer a handshake, and serve the socket until it closes."""
        self._origins.check(request)
        sender = sender_of(request, self._access.proxies)
        with self._lines.open("websocket", sender.address) as line:
            wire = Wire(request, SUBPROTOCOL, line)
            if await wire.open() != SUBPROTOCOL:
                line.end(_OTHER_SUBPROTOCOL)
            await wire.close(await self._serve(wire, line, sender))
        return wire.response

    async def _serve(self, wire: Wire, line: Line, sender: Sender) -> Ending:
        if line.ending.done():
            return line.ending.result()
        talk = Conversation(wire, line, self._lines, self._operations, self._access, sender=sender)
        return await talk.hold()
