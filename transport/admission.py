"""How many operations this process runs at once: as many as it can while it still reacts to the others in time.

One process computes one thing at a time. Asked for more than it can do, it would do a little of everything and finish
nothing within its time. So what comes beside waits for its turn, as much as is done within 50 ms; and what finds no
room there is refused, before anything has been spent on it.
"""

import asyncio
import collections
from collections.abc import AsyncIterator, Callable
from time import monotonic, process_time
from types import TracebackType
from typing import Any, Final

from aiohttp import web

from domain.errors import Overloaded
from execution.tallies import CounterTally
from transport import early
from transport.eager import until
from transport.metrics import ADMITTED, LAG, REFUSALS, WAITING

LOOK_EVERY_S: Final = 0.01
WINDOW_S: Final = 0.1
LATE_S: Final = 0.004
LEAST: Final = 8
FIRST: Final = 64
MOST: Final = 500
WAIT_S: Final = 0.05
"""How long the last of those who wait is to wait, by the pace of the last window."""
ROOM: Final = 64
"""How many may wait however slow that is: the connections that a client in front of many people keeps."""
LONGEST_S: Final = 0.5
"""How long anybody waits for a turn."""
_LEAST_KEPT: Final = 0.25
_MOST_KEPT: Final = 0.8
_GROW: Final = 1.1
_RECOVER: Final = 2
BUSY: Final = 0.4
"""The share of a window that the process computes, from which on its lateness is of its own making."""
_REFUSED: Final = CounterTally(REFUSALS.labels(Overloaded.code))


class Ticket:
    """The place of somebody who waits since some time, in seconds of the clock; told once of the end of that."""

    __slots__ = ("_callback", "_done", "is_called", "is_held", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.is_held = True
        """Whether somebody still waits."""
        self.is_called = False
        """Whether the turn has come."""
        self._callback: Callable[[], None] | None = None
        self._done: asyncio.Future[None] | None = None

    def call(self, callback: Callable[[], None]) -> None:
        """Have a callback called then, by the loop."""
        self._callback = callback

    def future(self) -> asyncio.Future[None]:
        """Give what is done then."""
        self._done = done = asyncio.get_running_loop().create_future()
        return done

    def tell(self, *, is_called: bool) -> None:
        """Tell whoever waits whether the turn has come, or never will."""
        self.is_called = is_called
        if self._callback is not None:
            asyncio.get_running_loop().call_soon(self._callback)
        if self._done is not None and not self._done.done():
            self._done.set_result(None)


class Admission:
    """A limit for what is posted to a path, which follows how late the event loop is, and a queue in front of it.

    A window of 100 ms in which the loop was later than 4 ms half of the time takes off what then ran at once so much
    that the rest would have been in time, between a fifth and three quarters; one in which it was not and somebody
    waited adds a tenth. A loop that is late while the process hardly computes is kept waiting by others on the machine,
    which running less would not help. And a process that hardly computes is no longer what the limit was found for, as
    when all wait for a database: each such window doubles it.
    """

    def __init__(
        self, path: str, *, most: int = MOST, room: int = ROOM, clock: Callable[[], float] = monotonic
    ) -> None:
        self._path = path
        self._clock = clock
        self._begins = f"POST {path} HTTP/1.1\r\n".encode()
        self._limit = float(min(FIRST, most))
        self._most = float(most)
        self._least_room = self._room = room
        self._in_flight = 0
        self._called = 0
        self._waiting: collections.deque[Ticket] = collections.deque()
        self._finished = 0
        self._highest = 0
        self._lags: list[float] = []
        self._has_waited = False
        self._decided = clock()
        self._computed = process_time()

    @property
    def limit(self) -> int:
        """Give how many operations may run at once now."""
        return int(self._limit)

    @property
    def room(self) -> int:
        """Give how many may wait for their turn now."""
        return self._room

    def is_full(self) -> bool:
        """Tell whether another request is to be refused: all may run or wait who were taken, and nobody beside."""
        return self._in_flight + self._called + len(self._waiting) >= int(self._limit) + self._room

    def has_turn(self) -> bool:
        """Tell whether one more may run at once; where not, `turn` is to be awaited."""
        return not self._waiting and self._is_free()

    async def turn(self) -> bool:
        """Wait until one more may run; False where it may not: it is refused."""
        if self.has_turn():
            return True
        self._has_waited = True
        if len(self._waiting) >= self._room:
            return False
        ticket = Ticket(self._clock())
        self._waiting.append(ticket)
        try:
            await until(ticket)
        finally:
            ticket.is_held = False
            self._called -= ticket.is_called
        return ticket.is_called

    def _is_free(self) -> bool:
        return self._in_flight + self._called < int(self._limit)

    def _call(self) -> None:
        """Give their turn to as many as may run."""
        while self._waiting and self._is_free():
            ticket = self._waiting.popleft()
            if ticket.is_held:
                self._called += 1
                ticket.tell(is_called=True)

    def _dismiss(self, now: float) -> None:
        """Refuse whoever has waited for too long."""
        while self._waiting and now - self._waiting[0].since > LONGEST_S:
            ticket = self._waiting.popleft()
            if ticket.is_held:
                ticket.tell(is_called=False)

    def __enter__(self) -> None:
        """Count an operation while it runs, in the body of `with`."""
        self._in_flight += 1
        self._highest = max(self._highest, self._in_flight)

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._in_flight -= 1
        self._finished += 1
        if self._waiting:
            self._call()

    def note(self, lag: float, now: float, computed: float) -> None:
        """Take in that the loop was that late, and adapt limit and room at the end of each window.

        `computed` is the CPU time that the process has had, in seconds.
        """
        self._lags.append(lag)
        window = now - self._decided
        if window >= WINDOW_S:
            self._adapt(sorted(self._lags)[len(self._lags) // 2], computed - self._computed >= BUSY * window)
            if self._has_waited:
                self._room = max(self._least_room, int(self._finished * WAIT_S / window))
            self._lags, self._has_waited, self._finished = [], bool(self._waiting), 0
            self._decided, self._highest, self._computed = now, self._in_flight, computed
            WAITING.set(len(self._waiting))
        self._dismiss(now)
        self._call()  # those as well whom somebody kept from running who had a turn and did not take it

    def _adapt(self, lag: float, is_busy: bool) -> None:  # noqa: FBT001 - what the one window was like
        if lag > LATE_S and is_busy:
            share = min(max(LATE_S / lag, _LEAST_KEPT), _MOST_KEPT)
            self._limit = max(float(LEAST), min(self._limit, self._highest) * share)
        elif self._has_waited:
            self._limit = min(self._most, self._limit * _GROW)
        elif not is_busy:
            self._limit = min(self._most, self._limit * _RECOVER)
        LAG.set(lag)
        ADMITTED.set(self.limit)

    def early(self, data: bytes) -> bytes | None:
        """Give what is answered to a request that is refused before it is parsed; None where it is to be parsed.

        At three times the load two of three requests end here: what one costs decides what is left for the others.
        """
        if not self.is_full() or not data.startswith(self._begins):
            return None
        refusal = early.refusal_of(data)
        if refusal is not None:
            _REFUSED.count += 1
        return refusal

    @property
    def refusing(self) -> Any:
        """Give the middleware that refuses what was parsed, before anything of its body is read."""

        @web.middleware
        async def refuse(request: web.Request, handler: Any) -> web.StreamResponse:
            if request.method == "POST" and request.path == self._path and self.is_full():
                _REFUSED.count += 1
                return web.Response(body=early.REFUSAL, status=early.STATUS, headers=early.HEADERS)
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
            due = self._clock() + LOOK_EVERY_S
            await asyncio.sleep(LOOK_EVERY_S)
            now = self._clock()
            self.note(now - due, now, process_time())


ADMISSION: Final = web.AppKey("admission", Admission)
