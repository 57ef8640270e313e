"""Heads that were seen before: found by their bytes, they need neither be parsed nor judged again.

A program sends the same head again and again, but for the length of the body, the trace and the token. What the parser
and every check found of such bytes they would find again; whose token it is, is looked at each time. A head is known by
a digest.
"""

import collections
import hashlib
from typing import Final

import msgspec
from aiohttp import web

from transport.addresses import Sender
from transport.connection import Connection
from transport.heads import Head
from transport.pieces import Plain

MAX_KNOWN: Final = 4096
_OF_ONE_REQUEST: Final = ("Transfer-Encoding", "Content-Encoding", "Expect", "Upgrade")
"""What makes a request another thing than a head with a body behind it."""
_KEPT: Final = "keep-alive"


class Known(msgspec.Struct, frozen=True):
    """A head that was found good, and where it came from."""

    head: Head
    sender: Sender


class Met(msgspec.Struct, frozen=True):
    """A request with a known head: what its parts are, without the token itself."""

    known: Known
    body_at: int
    size: int
    """Of the whole request, in bytes."""
    parents: tuple[str, ...]
    token: bytes
    """The digest of its token, empty if it has none."""
    marks: str
    """The lines of its answer's head that its page asks for."""


class KnownHeads:
    """The heads that were seen last, by their digests: those of one kind of request, and whole ones."""

    def __init__(self) -> None:
        self._known: collections.OrderedDict[bytes, Known] = collections.OrderedDict()
        self._met: collections.OrderedDict[tuple[str, bytes], Met] = collections.OrderedDict()

    def recall(self, data: bytes, network: str) -> Met | None:
        """Give what is known of a request whose head came before with the same length, the same token and no trace."""
        known = network, _digest_of_head(data)
        met = self._met.get(known)
        if met is None or met.size != len(data):
            return None
        self._met.move_to_end(known)
        return met

    def meet(self, data: bytes, network: str, met: Met) -> None:
        """Take note of a request with a known head; one that names a trace does not come again."""
        if not met.parents:
            self._met[network, _digest_of_head(data)] = met
            if len(self._met) > MAX_KNOWN:
                self._met.popitem(last=False)

    def find(self, plain: Plain) -> Known | None:
        """Give what is known of a head."""
        known = self._known.get(plain.digest)
        if known is not None:
            self._known.move_to_end(plain.digest)
        return known

    def learn(self, request: web.Request, head: Head, sender: Sender) -> None:
        """Remember the head of a request that was found good, if it came in one piece and may come again."""
        connection = request.protocol
        plain = connection.plain if isinstance(connection, Connection) else None
        if plain is None or not _is_usual(head) or not _is_all(request, plain):
            return
        self._known[plain.digest] = Known(head, sender)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)


def _digest_of_head(data: bytes) -> bytes:
    return hashlib.sha256(data[: data.find(b"\r\n\r\n")]).digest()


def _is_usual(head: Head) -> bool:
    """Tell whether a head wants one answer, and holds nothing that differs each time."""
    return not head.keys and not head.tokens and head.media_type is not None and not head.takes_events


def _is_all(request: web.Request, plain: Plain) -> bool:
    """Tell whether what was taken out of a head is all that makes one request with it another than the next."""
    headers = request.headers
    return (
        headers.getall("Content-Length", []) == [plain.length.decode()]
        and tuple(headers.getall("traceparent", ())) == plain.parents
        and tuple(headers.getall("Authorization", ())) == plain.authorizations
        and headers.get("Connection", _KEPT).lower() == _KEPT
        and request.keep_alive
        and not any(name in headers for name in _OF_ONE_REQUEST)
    )
