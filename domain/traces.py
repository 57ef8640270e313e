"""Which trace the work at hand belongs to (W3C Trace Context): begun at the front door, told in logs and with events.

A request's own span is also its request id: one value leads from the answer to the log and to whatever came of it.
Tasks inherit the trace. Ids are random or a caller's; they say nothing of persons, and are decided by nothing.
"""

import random
import re
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Final

import msgspec

from domain.held import Held

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[!-~]*)?")
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16
_SAMPLED: Final = 1
_DIGITS: Final = 48
"""Of a trace's id and a span's."""
_DRAWN_AT_ONCE: Final = 64
_NOT_ZERO: Final = (1 << 64 | 1) * sum(1 << 4 * _DIGITS * place for place in range(_DRAWN_AT_ONCE))
"""A bit of each trace's id and one of each span's."""


class Trace(msgspec.Struct, frozen=True):
    """A span of ours in somebody's trace."""

    trace_id: str
    span_id: str
    sampled: bool = False

    @property
    def parent(self) -> str:
        """Give the `traceparent` of whatever this span leads to."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


_CURRENT: ContextVar[Trace | None] = ContextVar("trace", default=None)


def current() -> Trace | None:
    """Give the trace of the work at hand; None where there is none."""
    return _CURRENT.get()


def within(trace: Trace) -> Held[Trace | None]:
    """Do some work in a trace."""
    return Held(_CURRENT, trace)


def begin(trace: Trace) -> None:
    """Do all that follows in this context in a trace: for whoever has a context alone, as a task has."""
    _CURRENT.set(trace)


def continued(values: Sequence[str]) -> Trace:
    """Begin a span below the one that `traceparent` headers name; what is not exactly one of the form begins a trace.

    A later version of the standard may say more behind what the first one says, as its section on versions has it.
    """
    if not values:
        return Trace(*next(_IDS))
    match = _TRACEPARENT.fullmatch(values[0]) if len(values) == 1 else None
    span_id = f"{random.getrandbits(64) or 1:016x}"
    if match is None:
        return Trace(_new(), span_id)
    version, trace_id, parent_id, flags, more = match.groups()
    known = version != "ff" and (version != "00" or more is None)
    if not known or trace_id == _NO_TRACE or parent_id == _NO_SPAN:
        return Trace(_new(), span_id)
    return Trace(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


def _drawn() -> Iterator[tuple[str, str]]:
    """Draw ids of traces and spans, many at once: most of what drawing costs is beginning to."""
    length = _DIGITS * _DRAWN_AT_ONCE
    while True:
        digits = f"{random.getrandbits(4 * length) | _NOT_ZERO:0{length}x}"
        for at in range(0, length, _DIGITS):
            yield digits[at : at + 32], digits[at + 32 : at + _DIGITS]


_IDS: Final = _drawn()


def is_parent(value: bytes) -> bool:
    """Tell whether a header's value has the form of a `traceparent`."""
    return _TRACEPARENT.fullmatch(value.decode("latin-1")) is not None


def _new() -> str:
    """Make the id of a trace. Neither it nor a span's is a secret: nothing is decided by them; they are never zero."""
    return f"{random.getrandbits(128) or 1:032x}"
