"""In which session the work at hand is done: set where an operation is run, read where its audit rows are written.

It travels in a context variable, as the deadline does, so that it needs no argument in every function.
"""

from contextvars import ContextVar

from domain.held import Held

_SESSION: ContextVar[str | None] = ContextVar("session", default=None)


def current_session() -> str | None:
    """Give the id of the session; None where there is none, as in the work of a process of ours."""
    return _SESSION.get()


def in_session(session: str | None) -> Held[str | None]:
    """Do some work in a session."""
    return Held(_SESSION, session)
