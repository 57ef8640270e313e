"""What the driver raises when a database cannot serve, sorted by what may be done about it."""

from typing import Final

from asyncpg.exceptions import (
    AdminShutdownError,
    CannotConnectNowError,
    CrashShutdownError,
    DeadlockDetectedError,
    IdleInTransactionSessionTimeoutError,
    InsufficientResourcesError,
    InterfaceError,
    InternalClientError,
    InvalidCachedStatementError,
    LockNotAvailableError,
    PostgresConnectionError,
    QueryCanceledError,
    ReadOnlySQLTransactionError,
    SerializationError,
)

from domain.errors import Overloaded
from storage.breakers import BreakerOpen

RETRY_AFTER_S: Final = 1

LOST: Final = (
    PostgresConnectionError,
    AdminShutdownError,
    CrashShutdownError,
    CannotConnectNowError,
    IdleInTransactionSessionTimeoutError,
    ReadOnlySQLTransactionError,
    InterfaceError,
    InternalClientError,
    ConnectionError,
    FileNotFoundError,
)
"""The connection is gone, or leads to a server that is going: another may do."""

REPEATABLE: Final = (InvalidCachedStatementError, DeadlockDetectedError, SerializationError)
"""The statement or transaction has had no effect and may succeed when it is repeated whole."""

LATE: Final = (TimeoutError, InsufficientResourcesError, QueryCanceledError)
"""The server does not answer in time, or has no more to give."""

LOCKED: Final = (LockNotAvailableError,)
"""Another transaction holds on to a row: that row is busy, the server is not."""


class OutcomeUnknown(Overloaded):
    """The service cannot answer right now; the change may have been made or not, and can simply be repeated."""


AWAY: Final = (*LOST, *LATE, OutcomeUnknown)
"""What says that the server cannot serve."""


UNSERVED: Final = (*LOST, *REPEATABLE, *LATE, *LOCKED, BreakerOpen)
"""What callers know as Overloaded alone."""
