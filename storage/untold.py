"""Changes that could not be told to Redis: counted one by one, logged where a spell of them begins and ends."""

import logging
import time
from collections.abc import Callable
from typing import Final

from storage.metrics import UNTOLD

QUIET_S: Final = 5.0
"""How long every change must have been told before a spell is over: so a Redis that comes and goes fills no log."""
_LOG: Final = logging.getLogger(__name__)


class Untold:
    """How many changes of the spell at hand could not be told."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._number = 0
        self._last = 0.0

    def another(self) -> None:
        """Count a change that could not be told."""
        UNTOLD.inc()
        if not self._number:
            _LOG.warning("changes cannot be told to Redis: each begins a new generation in the cells of its people")
        self._number += 1
        self._last = self._clock()

    def told(self) -> None:
        """Take note of a change that was told."""
        if self._number and self._clock() >= self._last + QUIET_S:
            _LOG.info("changes are told to Redis again, after %d that could not be", self._number)
            self._number = 0
