"""In which session the work at hand is done: set where an operation is run, read where its audit rows are written.

It travels in a context variable, as the deadline does, so that it needs no argument in every function.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_SESSION: ContextVar[str | None] = ContextVar("session", default=None)


def current_session() -> str | None:
    """Give the id of the session; None where there is none, as in the work of a process of ours."""
    return _SESSION.get()


@contextlib.contextmanager
def in_session(session: str | None) -> Iterator[None]:
    """Do some work in a session."""
    token = _SESSION.set(session)
    try:
        yield
    finally:
        _SESSION.reset(token)
