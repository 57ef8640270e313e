"""Authorization codes: good once, for a minute, for the application and the address that they were issued to."""

import dataclasses
import datetime as dt
from typing import Final
from uuid import UUID

from identity.database import Connection
from identity.grants import Asked
from identity.secret_values import digest, new_secret
from identity.sessions import Session

LIFE: Final = dt.timedelta(minutes=1)

_ISSUE: Final = """
INSERT INTO authorization_codes (digest, account_id, session_id, client_id, redirect_uri, scope, code_challenge, nonce,
                                 authenticated_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
_FETCH: Final = """
SELECT c.account_id, c.session_id, c.client_id, c.redirect_uri, c.scope, c.code_challenge, c.nonce, c.authenticated_at,
       c.created_at, c.family_id, a.subject, a.state = 'ACTIVE' AND s.ended_at IS NULL AS is_good
FROM authorization_codes c JOIN accounts a ON a.id = c.account_id JOIN sessions s ON s.id = c.session_id
WHERE c.digest = $1 FOR UPDATE OF c
"""
_USE: Final = "UPDATE authorization_codes SET family_id = $2 WHERE digest = $1"


@dataclasses.dataclass(frozen=True, slots=True)
class IssuedCode:
    """A code as it was issued; once it was used, `family_id` is what came of it."""

    account_id: UUID
    session_id: UUID
    client_id: str
    redirect_uri: str
    scope: str
    code_challenge: str
    nonce: str | None
    authenticated_at: dt.datetime
    created_at: dt.datetime
    family_id: UUID | None
    subject: str
    is_good: bool

    def holds(self, now: dt.datetime) -> bool:
        """Tell whether it may be exchanged."""
        return self.is_good and self.family_id is None and now - self.created_at <= LIFE


async def issue_code(connection: Connection, asked: Asked, session: Session, now: dt.datetime) -> str:
    """Issue a code to an application for whoever is signed in."""
    code = new_secret()
    await connection.execute(
        _ISSUE,
        digest(code),
        session.account_id,
        session.id,
        asked.client.id,
        asked.redirect_uri,
        asked.scope,
        asked.code_challenge,
        asked.nonce,
        session.authenticated_at,
        now,
    )
    return code


async def fetch_code(connection: Connection, code: str | None) -> IssuedCode | None:
    """Read a code and lock it, so that of those who present it at once one comes first."""
    row = await connection.fetchrow(_FETCH, digest(code)) if code else None
    return IssuedCode(**dict(row)) if row is not None else None


async def use_code(connection: Connection, code: str, family_id: UUID) -> None:
    """Note what came of a code."""
    await connection.execute(_USE, digest(code), family_id)
