"""Counting on the way of every request: in plain numbers, to which Prometheus's own are brought up.

Each of those lies in a file that all processes of a run share, so that a write there costs as much as a field of the
answer does. Whoever shows metrics calls `publish` before; a process does so every second and in the end, for those that
others show.
"""

import bisect
from typing import Final, Protocol

from prometheus_client import Counter, Histogram


class _Tally(Protocol):
    def publish(self) -> None: ...


_ALL: Final[list[_Tally]] = []


class CounterTally:
    """Counts for one counter."""

    __slots__ = ("_counter", "count")

    def __init__(self, counter: Counter) -> None:
        self.count = 0
        """What is not published yet; to be added to."""
        self._counter = counter
        _ALL.append(self)

    def publish(self) -> None:
        """Bring the counter up."""
        if self.count:
            self._counter.inc(self.count)
            self.count = 0


class HistogramTally:
    """Observes for one histogram."""

    __slots__ = ("_bounds", "_counts", "_histogram", "_sum")

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._bounds = tuple(histogram._upper_bounds)  # noqa: SLF001 - what it was made with
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0
        _ALL.append(self)

    def observe(self, amount: float) -> None:
        """Count an amount, not below zero, in the first bucket that holds it."""
        self._counts[bisect.bisect_left(self._bounds, amount)] += 1
        self._sum += amount

    def publish(self) -> None:
        """Bring the histogram up; it takes one observation at a time by itself, and many only by its parts."""
        if not any(self._counts):
            return
        self._histogram._sum.inc(self._sum)  # noqa: SLF001 - see above
        for bucket, count in zip(self._histogram._buckets, self._counts, strict=True):  # noqa: SLF001
            if count:
                bucket.inc(count)
        self._counts, self._sum = [0] * len(self._bounds), 0.0


def publish() -> None:
    """Bring all counters and histograms up to what was counted."""
    for tally in _ALL:
        tally.publish()
