"""A timeout for answers that come in milliseconds, in a process whose loop may be busy for longer than that."""

import asyncio
from types import TracebackType
from typing import Final

STALLED_S: Final = 0.005
GRACE_S: Final = 0.02
LONGEST: Final = 5


class AnswerWithin:
    """Wait for an answer so many seconds, in the body of `async with`; raises TimeoutError.

    Where the loop itself was busy when the time was up, the answer may lie in the socket unread: it gets another 20 ms,
    again and again while the loop stays busy, up to five times the time. So a computation here is not taken for a
    failure over there, and a process that is short of time does not lose its cache as well.
    """

    __slots__ = ("_began", "_loop", "_scope", "_seconds", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._scope = asyncio.timeout(None)
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> None:
        await self._scope.__aenter__()
        self._began = self._loop.time()
        self._expire_at(self._began + self._seconds)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._scope.__aexit__(kind, error, traceback)

    def _expire_at(self, due: float) -> None:
        self._timer = self._loop.call_at(due, self._expire, due)

    def _expire(self, due: float) -> None:
        now = self._loop.time()
        if now - due > STALLED_S and now - self._began < self._seconds * LONGEST:
            self._expire_at(now + GRACE_S)
        else:
            self._scope.reschedule(now)
