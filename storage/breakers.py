"""A circuit breaker: a dependency that keeps failing is left alone for a while, and then tried by one call at a time.

Ours rather than a library's: docs/adr/0004-our-own-breaker.md.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Iterator
from time import monotonic
from typing import Final

from domain.errors import DeadlineExceeded
from storage.metrics import BREAKER, BREAKER_OPENED

_LOG: Final = logging.getLogger(__name__)
THRESHOLD: Final = 5
REST_S: Final = 0.5


class Undecided(Exception):
    """How a call ended says nothing about the dependency."""


class BreakerOpen(Undecided):
    """The dependency has failed repeatedly and is not asked for a moment."""


class Breaker:
    """Counts failures in a row. At `threshold` it opens: for `rest` seconds nobody passes, then one, as a probe.

    A probe that succeeds closes it, and one that fails makes it rest again; one that is cancelled, or whose request had
    too little time, makes room for the next. How those calls end that had begun before it opened says nothing about the
    dependency of now, and is not counted.
    """

    def __init__(self, dependency: str, *, threshold: int = THRESHOLD, rest: float = REST_S) -> None:
        self._dependency = dependency
        self._threshold = threshold
        self._rest = rest
        self._failures = 0
        self._rests_until: float | None = None
        self._probe: object | None = None
        BREAKER.labels(dependency).set(0)

    @property
    def is_open(self) -> bool:
        """Tell whether a call would be refused now."""
        if self._rests_until is None:
            return False
        return self._probe is not None or monotonic() < self._rests_until

    @contextlib.contextmanager
    def passing(self, *failures: type[BaseException]) -> Iterator[None]:
        """Make one call, for which these exceptions are failures; any other says that the dependency answered.

        Raises:
            BreakerOpen: nobody passes now.
        """
        ticket = self.admit()
        try:
            yield
        except BaseException as error:
            self.settle(ticket, error, failures)
            raise
        else:
            self.settle(ticket)

    def admit(self) -> object | None:
        """Begin a call that is settled later: gives None while closed, and the ticket of the one probe otherwise.

        Raises:
            BreakerOpen: nobody passes now.
        """
        if self._rests_until is None:
            return None
        if self.is_open:
            raise BreakerOpen(self._dependency)
        self._probe = object()
        return self._probe

    def settle(
        self, ticket: object | None, error: BaseException | None = None, failures: tuple[type[BaseException], ...] = ()
    ) -> None:
        """Count how a call ended, by its ticket and what it raised, as `passing` does; a second time counts nothing."""
        if error is None:
            self._succeeded(ticket)
        elif isinstance(error, failures):
            self._failed(ticket)
        elif isinstance(error, (asyncio.CancelledError, DeadlineExceeded, Undecided)):
            self._undecided(ticket)
        else:
            self._succeeded(ticket)

    def _counts(self, ticket: object | None) -> bool:
        return ticket is self._probe and (ticket is not None or self._rests_until is None)

    def _failed(self, ticket: object | None) -> None:
        if not self._counts(ticket):
            return
        self._failures += 1
        if ticket is not None or self._failures >= self._threshold:
            self._open()

    def _open(self) -> None:
        if self._rests_until is None:
            _LOG.warning("%s does not answer: calls are refused until it does", self._dependency)
            BREAKER.labels(self._dependency).set(1)
            BREAKER_OPENED.labels(self._dependency).inc()
        self._probe = None
        # Shortened by chance, so that processes do not come back all at once.
        self._rests_until = monotonic() + self._rest * random.uniform(0.75, 1.0)  # noqa: S311 - no secret

    def _succeeded(self, ticket: object | None) -> None:
        if not self._counts(ticket):
            return
        self._failures = 0
        if ticket is not None:
            _LOG.info("%s answers again", self._dependency)
            BREAKER.labels(self._dependency).set(0)
            self._probe = self._rests_until = None

    def _undecided(self, ticket: object | None) -> None:
        if ticket is not None and ticket is self._probe:
            self._probe = None
