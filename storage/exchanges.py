"""Exchanges with one server: callers share a connection, and wait no longer than an answer to their commands may take.

It is on the way of every request. A client's own way takes a connection for each caller, with a task, a timeout and a
lock or two; here a caller is one future. All who ask in one tick of the loop are sent together, and one timer looks
after all. Whoever goes away leaves answers behind, which are read and thrown away: those after them are for others.
"""

import asyncio
import collections
import contextvars
import math
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final, NamedTuple, cast

import hiredis
from redis.exceptions import TimeoutError as AnswerLate

from domain import deadlines
from domain.errors import DeadlineExceeded
from storage.breakers import Breaker, BreakerOpen, Undecided
from storage.timeouts import GRACE_S, LONGEST, STALLED_S
from storage.wires import Exchange, Wire

Command = tuple[str | bytes | int, ...]
MOST_BYTES: Final = 1 << 17
"""Of commands under way: a server works them off in a few milliseconds, so that one that does not is slow."""
_PACK: Final[Callable[[Command], bytes]] = cast("Any", hiredis.pack_command)


class Crowded(Undecided):
    """Too many calls of this process were before this one: that says nothing about Redis."""


class Interrupted(Undecided):
    """The connection ended for what counts elsewhere."""


class Limits(NamedTuple):
    """How long an answer may take, and how long a caller waits for the room that those before it take, in seconds."""

    answer: float
    turn: float


class Exchanges:
    """Exchanges over one connection, which is made when it is needed, and made anew when an answer is late.

    `failures` are what counts on the breaker; `failed` is told of all that goes wrong, and gives what a caller is told.
    """

    def __init__(
        self,
        pool: Any,
        breaker: Breaker,
        failures: tuple[type[BaseException], ...],
        failed: Callable[[BaseException], Exception],
        limits: Callable[[], Limits],
    ) -> None:
        self._pool = pool
        self._breaker = breaker
        self._failures = failures
        self._failed = failed
        self._limits = limits
        self._wire: Wire | None = None
        self._closing: set[asyncio.Future[None]] = set()
        self._waiting: collections.deque[Exchange] = collections.deque()
        self._timer: asyncio.TimerHandle | None = None
        self._nobodys = contextvars.Context()
        self._is_closed = False

    def ask(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        """Send commands, one at least, and give what is done when their answers are there, as they come.

        It fails with what `failed` gives; whoever cancels it takes nothing from others.
        """
        loop = asyncio.get_running_loop()
        exchange = Exchange(b"".join(map(_PACK, commands)), len(commands), monotonic(), loop.create_future())
        try:
            self._begin(exchange, loop)
        except (BreakerOpen, DeadlineExceeded) as error:
            exchange.done.set_exception(self._failed(error))
        return exchange.done

    async def aclose(self) -> None:
        """Refuse whoever comes or waits for a turn, let what is under way be answered or late, and close."""
        self._is_closed = True
        while self._waiting:
            self._fail(self._waiting.popleft(), BreakerOpen())
        if self._wire is not None and (flying := [one.done for one in self._wire.flying if not one.done.done()]):
            await asyncio.wait(flying)
        if self._wire is not None:
            self._wire.end(BreakerOpen())
        if self._closing:
            await asyncio.wait(self._closing)
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self, exchange: Exchange, loop: asyncio.AbstractEventLoop) -> None:
        if self._is_closed:
            raise BreakerOpen
        limits, left = self._limits(), deadlines.left(math.inf)
        most = limits.answer
        if self._waiting or not self._has_room:
            if self._breaker.is_open:
                raise BreakerOpen
            self._waiting.append(exchange)
            most += limits.turn
        else:
            self._send(exchange)
        if left < most:
            loop.call_later(left, self._fail, exchange, DeadlineExceeded(), context=self._nobodys)
        if self._timer is None:
            self._look_at(exchange.since + limits.answer)

    @property
    def _has_room(self) -> bool:
        wire = self._wire
        return wire is None or (wire.size < MOST_BYTES and wire.has_room)

    def _send(self, exchange: Exchange) -> None:
        exchange.ticket = self._breaker.admit()
        if self._wire is None:
            self._wire = Wire(self._pool, self._answered, self._ended)
        self._wire.send(exchange)

    def _answered(self, exchange: Exchange) -> None:
        if exchange.error is not None:
            self._fail(exchange, exchange.error)
        elif exchange.done.done():
            self._breaker.settle(exchange.ticket, Undecided())
        else:
            self._breaker.settle(exchange.ticket)
            exchange.done.set_result(exchange.answers)
        if self._waiting:
            self._advance()

    def _fail(self, exchange: Exchange, error: BaseException) -> None:
        """Tell a caller that it went wrong; what becomes of an exchange that nobody waits for counts nothing."""
        if exchange.done.done():
            self._breaker.settle(exchange.ticket, Undecided())
            return
        self._breaker.settle(exchange.ticket, error, self._failures)
        exchange.done.set_exception(self._failed(error))

    def _ended(self, wire: Wire, error: BaseException) -> None:
        """Tell all whose answers will not come: one of them, and those who waited long enough, count."""
        if self._wire is wire:
            self._wire = None
        if not wire.closed.done():
            self._closing.add(wire.closed)
            wire.closed.add_done_callback(self._closing.discard)
        now, answer = monotonic(), self._limits().answer
        counts = True
        for exchange in wire.flying:
            is_late = isinstance(error, AnswerLate) and now - exchange.since >= answer
            is_left = exchange.done.done()
            self._fail(exchange, error if counts or is_late else Interrupted())
            counts = counts and is_left
        wire.flying.clear()
        self._advance()

    def _advance(self) -> None:
        """Send those whose turn it is."""
        while self._waiting and self._has_room:
            exchange = self._waiting.popleft()
            if exchange.done.done():
                continue
            exchange.since = monotonic()
            try:
                self._send(exchange)
            except BreakerOpen as error:
                self._fail(exchange, error)

    def _look_at(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(0.0, due - monotonic()), self._look, due, context=self._nobodys)

    def _look(self, due: float) -> None:
        """Look who has waited too long.

        Where the loop itself was busy when it was time, answers may lie in the socket unread: see `AnswerWithin`.
        """
        self._timer = None
        now, limits = monotonic(), self._limits()
        is_stalled = now - due > STALLED_S
        wire = self._wire
        if wire is not None and wire.flying:
            waited = now - wire.flying[0].since
            if waited >= limits.answer * (LONGEST if is_stalled else 1):
                wire.end(AnswerLate("an answer is late"))
        while self._waiting and now - self._waiting[0].since >= limits.turn and not is_stalled:
            self._fail(self._waiting.popleft(), Crowded())
        self._look_again(now + GRACE_S if is_stalled else now, limits)

    def _look_again(self, earliest: float, limits: Limits) -> None:
        dues = []
        if self._wire is not None and self._wire.flying:
            dues.append(self._wire.flying[0].since + limits.answer)
        if self._waiting:
            dues.append(self._waiting[0].since + limits.turn)
        if dues:
            self._look_at(max(earliest, min(dues)))
