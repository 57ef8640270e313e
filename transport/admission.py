"""How many operations this process runs at once: as many as it can while it still reacts to the others in time.

One process computes one thing at a time. Asked for more than it can do, it would do a little of everything and finish
nothing within its time; so it refuses what it cannot begin, before it has spent anything on it.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from time import monotonic, process_time
from types import TracebackType
from typing import Any, Final

import orjson
from aiohttp import web
from aiohttp.helpers import rfc822_formatted_time
from graphql import GraphQLError

from domain import traces
from domain.errors import Overloaded
from execution.engine import failed
from execution.tallies import CounterTally
from transport.answers import Answer
from transport.failures import SERVER
from transport.metrics import ADMITTED, LAG, REFUSALS

LOOK_EVERY_S: Final = 0.01
WINDOW_S: Final = 0.1
LATE_S: Final = 0.01
LEAST: Final = 8
MOST: Final = 500
RETRY_AFTER_S: Final = 1
_SHRINK: Final = 0.8
_RECOVER: Final = 2
BUSY: Final = 0.4
"""The share of a window that the process computes, from which on its lateness is of its own making."""
_HEADERS: Final = {
    "Content-Type": "application/json; charset=utf-8",
    "Cache-Control": "private, no-store",
    "Retry-After": str(RETRY_AFTER_S),
}
_STATUS: Final = HTTPStatus.SERVICE_UNAVAILABLE
_TOLD: Final = re.compile(
    rb"\r\n(content-length|traceparent|origin|transfer-encoding|connection|expect|upgrade):[ \t]*([^\r\n]*)",
    re.IGNORECASE,
)
_PLAIN: Final = frozenset({b"content-length", b"traceparent"})
_REFUSED: Final = CounterTally(REFUSALS.labels(Overloaded.code))
_REFUSAL: Final = orjson.dumps(failed([GraphQLError("", original_error=Overloaded(retryAfter=RETRY_AFTER_S))]))


class Admission:
    """A limit for what is posted to a path, which follows how late the event loop is.

    Additive increase, multiplicative decrease: a window of 100 ms in which the loop was later than 10 ms half of the
    time takes a fifth off what then ran at once, one in which it was not and the limit was reached adds one. While
    nobody is refused, one late window takes nothing: what piled up while the machine stood still is soon done. A loop
    that is late while the process hardly computes waits for others on the machine, which refusing would not help. And
    a process that hardly computes is no longer what the limit was found for: each such window doubles it.
    """

    def __init__(self, path: str, *, most: int = MOST) -> None:
        self._path = path
        self._begins = f"POST {path} HTTP/1.1\r\n".encode()
        self._limit = float(most)
        self._most = float(most)
        self._in_flight = 0
        self._expected = 0
        self._highest = 0
        self._was_full = False
        self._was_late = False
        self._lags: list[float] = []
        self._decided = monotonic()
        self._computed = process_time()

    @property
    def limit(self) -> int:
        """Give how many operations may run at once now."""
        return int(self._limit)

    def is_full(self) -> bool:
        """Tell whether another operation is to be refused."""
        return self._is_full(self._in_flight)

    def expect(self) -> None:
        """Count a request that is taken, until `meet`: many are in one turn of the loop, before the first begins."""
        self._expected += 1

    def meet(self) -> None:
        """Count it no longer: it begins, or is refused."""
        self._expected -= 1

    def _is_full(self, number: int) -> bool:
        if number + 1 <= self._limit:
            return False
        self._was_full = True
        return True

    def __enter__(self) -> None:
        """Count an operation while it runs, in the body of `with`."""
        self._in_flight += 1
        self._highest = max(self._highest, self._in_flight)

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._in_flight -= 1

    def note(self, lag: float, now: float, computed: float) -> None:
        """Take in that the loop was that late, and adapt the limit at the end of each window.

        `computed` is the CPU time that the process has had, in seconds.
        """
        self._lags.append(lag)
        window = now - self._decided
        if window < WINDOW_S:
            return
        typical = sorted(self._lags)[len(self._lags) // 2]
        is_busy = computed - self._computed >= BUSY * window
        self._computed = computed
        is_late = typical > LATE_S and is_busy
        if is_late and (self._was_late or self._limit < self._most):
            self._limit = max(float(LEAST), min(self._limit, self._highest) * _SHRINK)
        elif self._was_full:
            self._limit = min(self._most, self._limit + 1)
        elif not is_busy:
            self._limit = min(self._most, self._limit * _RECOVER)
        self._lags, self._was_full, self._was_late = [], False, is_late
        self._decided, self._highest = now, self._in_flight
        LAG.set(typical)
        ADMITTED.set(self.limit)

    def early(self, data: bytes) -> bytes | None:
        """Give what is answered to a request that is refused before it is parsed; None where it is to be parsed.

        At three times the load two of three requests end here: what one costs decides what is left for the others.
        """
        if not data.startswith(self._begins) or not self._is_full(self._in_flight + self._expected):
            return None
        told = _plain_request(data)
        if told is None:
            return None
        _REFUSED.count += 1
        parents = [told[b"traceparent"].decode("latin-1")] if b"traceparent" in told else []
        return _refusal(traces.continued(parents))

    @property
    def refusing(self) -> Any:
        """Give the middleware that refuses what was parsed, before anything of its body is read."""

        @web.middleware
        async def refuse(request: web.Request, handler: Any) -> web.StreamResponse:
            if request.method == "POST" and request.path == self._path and self.is_full():
                _REFUSED.count += 1
                return web.Response(body=_REFUSAL, status=_STATUS, headers=_HEADERS)
            response: web.StreamResponse = await handler(request)
            return response

        return refuse

    async def watched(self, _app: web.Application) -> AsyncIterator[None]:
        """Watch the loop while the application runs."""
        watching = asyncio.create_task(self._watch())
        yield
        watching.cancel()
        await asyncio.wait({watching})

    async def _watch(self) -> None:
        while True:
            due = monotonic() + LOOK_EVERY_S
            await asyncio.sleep(LOOK_EVERY_S)
            now = monotonic()
            self.note(now - due, now, process_time())


_HEAD: Final = Answer(_STATUS, {**_HEADERS, "Server": SERVER}, _REFUSAL).written().partition(b"Date: ")[0]
ADMISSION: Final = web.AppKey("admission", Admission)


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


def _refusal(trace: traces.Trace) -> bytes:
    """Write the refusal of one request, as `Answer` would."""
    marks = f"Date: {rfc822_formatted_time()}\r\nX-Request-Id: {trace.span_id}\r\ntraceparent: {trace.parent}\r\n\r\n"
    return b"%b%b%b" % (_HEAD, marks.encode(), _REFUSAL)
