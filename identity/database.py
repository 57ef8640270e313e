"""The auth service's own PostgreSQL: one database, beside nobody else's tables."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

Record = asyncpg.Record
if TYPE_CHECKING:
    Connection = asyncpg.pool.PoolConnectionProxy[Record]
else:
    Connection = asyncpg.pool.PoolConnectionProxy

NAME: Final = "identity"
"""What the database is called where it is made beside a cell."""
CONNECTIONS: Final = 20
ACQUIRE_TIMEOUT_S: Final = 2.0
COMMAND_TIMEOUT_S: Final = 5.0
_SERVER_SETTINGS: Final = {
    "application_name": "kith identity",
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "3s",
    "statement_timeout": "5s",
    "timezone": "UTC",
}
_AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.LockNotAvailableError,
)


class Unavailable(Exception):
    """The database does not answer; try again in a moment."""


@dataclasses.dataclass(frozen=True, slots=True)
class Database:
    """Connections to the database."""

    pool: "asyncpg.Pool[Record]"

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection, each of whose statements stands by itself; raises Unavailable."""
        try:
            async with self.pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
                yield connection
        except _AWAY as error:
            raise Unavailable from error

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection for one transaction, committed at the end of the block; raises Unavailable."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def ping(self) -> None:
        """Ask for a sign of life; raises Unavailable."""
        async with self.connection() as connection:
            await connection.execute("SELECT 1")


@contextlib.asynccontextmanager
async def open_database(dsn: str) -> AsyncIterator[Database]:
    """Open the connections; they are made as they are needed."""
    opening = asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=CONNECTIONS,
        command_timeout=COMMAND_TIMEOUT_S,
        timeout=ACQUIRE_TIMEOUT_S,
        max_inactive_connection_lifetime=60.0,
        server_settings=_SERVER_SETTINGS,
    )
    async with opening as pool:
        yield Database(pool)


def beside(dsn: str) -> str:
    """Give the address of our database on the server of another one."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{NAME}"))


async def make_beside(dsn: str) -> str:
    """Make our database on the server of another one, unless it is there, and give its address."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        with contextlib.suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
            await connection.execute(f'CREATE DATABASE "{NAME}"')
    finally:
        await connection.close(timeout=5)
    return beside(dsn)
