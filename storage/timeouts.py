"""A timeout for answers that come in milliseconds, in a process whose loop may be busy for longer than that."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

_STALLED_S: Final = 0.005
_GRACE_S: Final = 0.02


@contextlib.asynccontextmanager
async def answer_within(seconds: float) -> AsyncIterator[None]:
    """Wait for an answer that long; raises TimeoutError.

    Where the loop itself was busy when the time was up, the answer may lie in the socket unread: it gets another 20 ms,
    so that a long computation here is not taken for a failure over there.
    """
    loop = asyncio.get_running_loop()
    due = loop.time() + seconds
    async with asyncio.timeout(None) as scope:

        def expire() -> None:
            now = loop.time()
            scope.reschedule(now + _GRACE_S if now - due > _STALLED_S else now)

        timer = loop.call_at(due, expire)
        try:
            yield
        finally:
            timer.cancel()
