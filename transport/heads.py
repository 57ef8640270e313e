"""What the head of a request must be, beyond what the parser asks for, and what that of one for GraphQL says.

Nothing is let in that two servers could read differently. Where a rule is that of a standard, it is RFC 9112's
(HTTP/1.1) or RFC 9110's (HTTP).
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import Final

from aiohttp import HttpVersion10, HttpVersion11, web

from transport.bodies import BadRequest
from transport.negotiation import accepted, negotiate, takes_events
from transport.patience import HEADER as REQUEST_TIMEOUT
from transport.repeats import KEY

_HOST: Final = re.compile(r"([A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_CHUNKED: Final = "chunked"


class BadHead(BadRequest):
    """The header Host is not that of a server."""

    closes = True


class WrongVersion(BadHead):
    """Speak HTTP/1.1."""

    status = 505


class UnknownCoding(BadHead):
    """Of transfer codings only `chunked` is understood."""

    status = 501


@dataclasses.dataclass(frozen=True, slots=True)
class Head:
    """What a request for GraphQL says beside its body of how it wants to be answered."""

    media_type: str | None
    """The type of its answer; None where none of ours fits."""
    takes_events: bool
    tokens: Sequence[str]
    timeouts: Sequence[str]
    keys: Sequence[str]
    origins: Sequence[str]


def read_head(request: web.Request) -> Head:
    """Read the head of a request for GraphQL."""
    headers = request.headers
    accept = accepted(headers.getall("Accept", ()))
    return Head(
        negotiate(accept),
        takes_events(accept),
        headers.getall("X-Consistency-Token", ()),
        headers.getall(REQUEST_TIMEOUT, ()),
        headers.getall(KEY, ()),
        headers.getall("Origin", ()),
    )


def check_head(request: web.Request) -> None:
    """Refuse a request whose head is none of ours to read.

    Raises:
        BadRequest: with the status that fits.
    """
    headers = request.headers
    if request.version not in (HttpVersion11, HttpVersion10):
        raise WrongVersion
    host = headers.get("Host")
    if not (_HOST.fullmatch(host) if host is not None else request.version == HttpVersion10):
        raise BadHead
    coding = headers.get("Transfer-Encoding")
    if coding is not None:
        _check_coding(request, coding)


def _check_coding(request: web.Request, coding: str) -> None:
    if request.version == HttpVersion10:
        raise BadHead("HTTP/1.0 knows no transfer codings.")
    if coding.strip().lower() != _CHUNKED:
        raise UnknownCoding
