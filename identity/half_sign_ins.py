"""Half sign-ins: somebody has shown the password in a browser, and owes a second factor. Tries and time are short."""

import datetime as dt
from typing import Final
from uuid import UUID

from identity.database import Connection
from identity.secret_values import digest, new_secret

LIVES: Final = dt.timedelta(minutes=10)
MOST_TRIES: Final = 5
_MAX_SECRET: Final = 100

_FORGET: Final = "DELETE FROM half_sign_ins WHERE ends_at < $1"
_WRITE: Final = "INSERT INTO half_sign_ins (digest, account_id, ends_at) VALUES ($1, $2, $3)"
_FETCH: Final = "SELECT account_id FROM half_sign_ins WHERE digest = $1 AND ends_at > $2 AND tries < $3"
_TRY: Final = """
    UPDATE half_sign_ins SET tries = tries + 1 WHERE digest = $1 AND ends_at > $2 AND tries < $3 RETURNING account_id
"""
_END: Final = "DELETE FROM half_sign_ins WHERE digest = $1"


async def begin_half(connection: Connection, account: UUID, now: dt.datetime) -> str:
    """Note that the password was right; gives the secret for the browser's cookie."""
    secret = new_secret()
    await connection.execute(_FORGET, now)
    await connection.execute(_WRITE, digest(secret), account, now + LIVES)
    return secret


async def fetch_half(connection: Connection, secret: str | None, now: dt.datetime) -> UUID | None:
    """Read who has shown a password in a browser; None where nobody has, or too long ago, or with too many tries."""
    return await _ask(connection, _FETCH, secret, now)


async def try_half(connection: Connection, secret: str | None, now: dt.datetime) -> UUID | None:
    """Count a try of a second factor, in a transaction of its own; None where there is none left."""
    return await _ask(connection, _TRY, secret, now)


async def end_half(connection: Connection, secret: str) -> None:
    """Forget that the password was right: the second factor was, too."""
    await connection.execute(_END, digest(secret))


async def _ask(connection: Connection, statement: str, secret: str | None, now: dt.datetime) -> UUID | None:
    if not secret or len(secret) > _MAX_SECRET:
        return None
    account: UUID | None = await connection.fetchval(statement, digest(secret), now, MOST_TRIES)
    return account
