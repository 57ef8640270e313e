"""Turns of the event loop, in which requests compute: a few milliseconds of each, so that sockets are read in between.

The loop runs all that is ready before it looks at its sockets again. A crowd that is ready at once would keep everybody
else waiting until the last of it is done, also those who are to be refused at once.
"""

import asyncio
import collections
from time import monotonic
from typing import Final

TURN_S: Final = 0.002
"""For how long requests begin to compute in one turn of the loop."""
AT_ONCE: Final = 16
"""How many are woken in a turn; those for whom it is too late by then have the next one."""


class Turns:
    """Lets requests compute in their order, for a part of each turn of the loop."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._again: collections.deque[asyncio.Future[None]] = collections.deque()
        self._waiting: collections.deque[asyncio.Future[None]] = collections.deque()

    def has_room(self) -> bool:
        """Tell whether a request may compute in this turn; where not, `room` is to be awaited."""
        if self._waiting or self._again:
            return False
        if self._began is None:
            self._began = monotonic()
            asyncio.get_running_loop().call_soon(self._end)
            return True
        return monotonic() < self._began + TURN_S

    async def room(self) -> None:
        """Wait for a later turn."""
        queue = self._waiting
        while True:
            place = asyncio.get_running_loop().create_future()
            queue.append(place)
            await place
            if self._is_early():
                return
            queue = self._again  # which all that was woken fits into, and which is woken first

    def _begin(self) -> None:
        self._began = monotonic()

    def _is_early(self) -> bool:
        return self._began is not None and monotonic() < self._began + TURN_S

    def _end(self) -> None:
        """Let those who wait have the next turn: it begins just before the first of them runs, and ends behind them."""
        places = [self._again.popleft() for _ in range(len(self._again))]
        places += [self._waiting.popleft() for _ in range(min(len(self._waiting), AT_ONCE - len(places)))]
        if not places:
            self._began = None
            return
        loop = asyncio.get_running_loop()
        self._begin()  # for whoever comes before they run
        loop.call_soon(self._begin)
        for place in places:
            if not place.done():  # whose request has not been given up
                place.set_result(None)
        loop.call_soon(self._end)
