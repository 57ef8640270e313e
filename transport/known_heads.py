"""Heads that were seen before: found by their bytes, they need neither be parsed nor judged again.

Whoever keeps a connection sends the same head again and again, but for the length of the body and the trace. What the
parser and every check found of such bytes they would find again; only what may end meanwhile, the token, is looked at
each time. A head is known by a digest: no token is kept.
"""

import collections
import dataclasses
from collections.abc import Callable
from typing import Final

from aiohttp import web

from transport.access import Caller
from transport.connection import Connection
from transport.heads import Head
from transport.pieces import Plain

MAX_KNOWN: Final = 4096
_OF_ONE_REQUEST: Final = ("Transfer-Encoding", "Content-Encoding", "Expect", "Upgrade")
"""What makes a request another thing than a head with a body behind it."""
_KEPT: Final = "keep-alive"


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """A head that was found good, and who asked with it."""

    head: Head
    caller: Caller


class KnownHeads:
    """The heads that were seen last, by their digests; `holds` tells whether a caller still is who that was."""

    def __init__(self, holds: Callable[[Caller], bool]) -> None:
        self._holds = holds
        self._known: collections.OrderedDict[bytes, Known] = collections.OrderedDict()

    def find(self, plain: Plain) -> Known | None:
        """Give what is known of a head whose token still holds."""
        known = self._known.get(plain.digest)
        if known is None or not self._holds(known.caller):
            return None
        self._known.move_to_end(plain.digest)
        return known

    def learn(self, request: web.Request, head: Head, caller: Caller) -> None:
        """Remember the head of a request that was found good, if it came in one piece and may come again."""
        connection = request.protocol
        plain = connection.plain if isinstance(connection, Connection) else None
        if plain is None or not _is_usual(head) or not _is_all(request, plain):
            return
        self._known[plain.digest] = Known(head, caller)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)


def _is_usual(head: Head) -> bool:
    """Tell whether a head wants one answer, and holds nothing that differs each time."""
    return not head.keys and not head.tokens and head.media_type is not None and not head.takes_events


def _is_all(request: web.Request, plain: Plain) -> bool:
    """Tell whether what was taken out of a head is all that makes one request with it another than the next."""
    headers = request.headers
    return (
        headers.getall("Content-Length", []) == [plain.length.decode()]
        and tuple(headers.getall("traceparent", ())) == plain.parents
        and headers.get("Connection", _KEPT).lower() == _KEPT
        and request.keep_alive
        and not any(name in headers for name in _OF_ONE_REQUEST)
    )
