"""A timeout for answers that come in milliseconds, in a process whose loop may be busy for longer than that."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

_STALLED_S: Final = 0.005
_GRACE_S: Final = 0.02
_LONGEST: Final = 5


@contextlib.asynccontextmanager
async def answer_within(seconds: float) -> AsyncIterator[None]:
    """Wait for an answer that long; raises TimeoutError.

    Where the loop itself was busy when the time was up, the answer may lie in the socket unread: it gets another 20 ms,
    again and again while the loop stays busy, up to five times the time. So a computation here is not taken for a
    failure over there, and a process that is short of time does not lose its cache as well.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    timer: asyncio.TimerHandle
    async with asyncio.timeout(None) as scope:

        def expire(due: float) -> None:
            nonlocal timer
            now = loop.time()
            if now - due > _STALLED_S and now - began < seconds * _LONGEST:
                timer = loop.call_at(now + _GRACE_S, expire, now + _GRACE_S)
            else:
                scope.reschedule(now)

        timer = loop.call_at(began + seconds, expire, began + seconds)
        try:
            yield
        finally:
            timer.cancel()
