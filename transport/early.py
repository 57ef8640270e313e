"""Refusals of what is not even parsed: one whole request, as one look tells, answered with bytes made before."""

import re
from http import HTTPStatus
from typing import Final

import orjson
from aiohttp.helpers import rfc822_formatted_time
from graphql import GraphQLError

from domain import traces
from domain.errors import Overloaded
from execution.engine import failed
from transport.answers import Answer, lines_of
from transport.failures import SERVER, identity

RETRY_AFTER_S: Final = 1
REFUSAL: Final = orjson.dumps(failed([GraphQLError("", original_error=Overloaded(retryAfter=RETRY_AFTER_S))]))
STATUS: Final = HTTPStatus.SERVICE_UNAVAILABLE
HEADERS: Final = {
    "Content-Type": "application/json; charset=utf-8",
    "Cache-Control": "private, no-store",
    "Retry-After": str(RETRY_AFTER_S),
}
_TOLD: Final = re.compile(
    rb"\r\n(content-length|traceparent|origin|transfer-encoding|connection|expect|upgrade):[ \t]*([^\r\n]*)",
    re.IGNORECASE,
)
_PLAIN: Final = frozenset({b"content-length", b"traceparent"})
_HEAD: Final = Answer(STATUS, lines_of({**HEADERS, "Server": SERVER}), REFUSAL).written().partition(b"Date: ")[0]


def refusal_of(data: bytes) -> bytes | None:
    """Give the refusal of the one whole request that these bytes are; None where that is not all there is, or plain."""
    told = _plain_request(data)
    if told is None:
        return None
    parents = [told[b"traceparent"].decode("latin-1")] if b"traceparent" in told else []
    trace = traces.continued(parents)
    marks = f"Date: {rfc822_formatted_time()}\r\n{identity(trace)}\r\n"
    return b"%b%b%b" % (_HEAD, marks.encode(), REFUSAL)


def _plain_request(data: bytes) -> dict[bytes, bytes] | None:
    """Give what matters of the head of one whole request; None where that is not all there is, or is not plain.

    Nothing is refused here in which one server could see two requests and another one: their answers would be mixed up.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0 or data.count(b"\n", 0, end) != data.count(b"\r\n", 0, end):
        return None
    found = [(name.lower(), value) for name, value in _TOLD.findall(data, 0, end)]
    told = dict(found)
    length = told.get(b"content-length", b"")
    if len(told) != len(found) or not _PLAIN.issuperset(told) or not length.isdigit():
        return None
    return told if len(data) == end + 4 + int(length) else None
