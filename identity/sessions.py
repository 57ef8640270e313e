"""Sessions of browsers: a cookie that says who is signed in here, and since when that was proved.

The cookie is a random secret, of which the database has a digest. It is another one after every sign-in, so that
nobody can plant one.
"""

import dataclasses
import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from aiohttp import web

from identity.database import Connection, Record
from identity.events import write_event
from identity.families import end_families
from identity.secret_values import digest, new_secret

IDLE: Final = dt.timedelta(days=14)
LONGEST: Final = dt.timedelta(days=90)
_SEEN_EVERY: Final = dt.timedelta(minutes=5)
_MAX_AGENT: Final = 200
_MAX_COOKIE: Final = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Session:
    """A browser in which somebody is signed in: how that was proved (RFC 8176), and what the browser calls itself."""

    id: UUID
    account_id: UUID
    methods: tuple[str, ...]
    agent: str
    created_at: dt.datetime
    authenticated_at: dt.datetime
    seen_at: dt.datetime


_COLUMNS: Final = "id, account_id, methods, agent, created_at, authenticated_at, seen_at"
_BEGIN: Final = """
INSERT INTO sessions (id, digest, account_id, methods, agent, created_at, authenticated_at, seen_at)
VALUES ($1, $2, $3, $4, $5, $6, $6, $6)
"""
_AGAIN: Final = """
UPDATE sessions SET digest = $2, methods = $3, authenticated_at = $4, seen_at = $4
WHERE id = $1 AND ended_at IS NULL
"""
_CURRENT: Final = f"""
SELECT {_COLUMNS} FROM sessions
WHERE digest = $1 AND ended_at IS NULL AND seen_at > $2 AND created_at > $3
  AND EXISTS (SELECT FROM accounts WHERE accounts.id = sessions.account_id AND accounts.state = 'ACTIVE')
"""  # noqa: S608 - columns of ours
_SEEN: Final = "UPDATE sessions SET seen_at = $2 WHERE id = $1 AND seen_at < $2"
_LIST: Final = f"""
SELECT {_COLUMNS} FROM sessions
WHERE account_id = $1 AND ended_at IS NULL AND seen_at > $2 AND created_at > $3 ORDER BY seen_at DESC, id
"""  # noqa: S608 - columns of ours
_END: Final = """
UPDATE sessions SET ended_at = $3
WHERE account_id = $1 AND ended_at IS NULL AND ($2::uuid IS NULL OR id = $2) AND ($4::uuid IS NULL OR id <> $4)
RETURNING id
"""


async def begin_session(
    connection: Connection, account_id: UUID, *, methods: Sequence[str], agent: str, now: dt.datetime
) -> tuple[Session, str]:
    """Sign somebody in; gives the session and the secret for its cookie. To be called in a transaction."""
    session_id, secret = uuid.uuid4(), new_secret()
    agent = agent[:_MAX_AGENT]
    await connection.execute(_BEGIN, session_id, digest(secret), account_id, list(methods), agent, now)
    await write_event(connection, "session.began", account=account_id, session=session_id)
    return Session(session_id, account_id, tuple(methods), agent, now, now, now), secret


async def renew_session(
    connection: Connection, session: Session, *, methods: Sequence[str], now: dt.datetime
) -> tuple[Session, str]:
    """Note that somebody proved again who it is; gives the session and the secret for its new cookie."""
    secret = new_secret()
    await connection.execute(_AGAIN, session.id, digest(secret), list(methods), now)
    await write_event(connection, "session.renewed", account=session.account_id, session=session.id)
    return dataclasses.replace(session, methods=tuple(methods), authenticated_at=now, seen_at=now), secret


async def fetch_session(connection: Connection, secret: str | None, now: dt.datetime) -> Session | None:
    """Read the session of a cookie, if it holds and its account may sign in; notes that it was seen."""
    if not secret or len(secret) > _MAX_COOKIE:
        return None
    row = await connection.fetchrow(_CURRENT, digest(secret), now - IDLE, now - LONGEST)
    if row is not None and now - row["seen_at"] > _SEEN_EVERY:
        await connection.execute(_SEEN, row["id"], now)
    return _read(row) if row is not None else None


async def fetch_sessions(connection: Connection, account_id: UUID, now: dt.datetime) -> list[Session]:
    """Read all sessions of an account, the one seen last first."""
    return [_read(row) for row in await connection.fetch(_LIST, account_id, now - IDLE, now - LONGEST)]


async def end_sessions(
    connection: Connection,
    account_id: UUID,
    *,
    now: dt.datetime,
    only: UUID | None = None,
    but: UUID | None = None,
) -> int:
    """Sign an account out, everywhere or in one session or in all but one, and end the tokens that came of it.

    To be called in a transaction; gives how many sessions ended.
    """
    ended = [row["id"] for row in await connection.fetch(_END, account_id, only, now, but)]
    for session_id in ended:
        await write_event(connection, "session.ended", account=account_id, session=session_id)
    await end_families(connection, sessions=ended, now=now)
    return len(ended)


@dataclasses.dataclass(frozen=True, slots=True)
class Cookie:
    """The cookie that holds the secret of a session; without HTTPS, in development, it cannot have the strict name."""

    secure: bool

    @property
    def name(self) -> str:
        """Give its name; browsers take one that begins with `__Host-` from this very host by HTTPS alone."""
        return "__Host-kith" if self.secure else "kith-session"

    def secret_of(self, request: web.Request) -> str | None:
        """Give the secret that a browser sent."""
        return request.cookies.get(self.name)

    def put(self, response: web.StreamResponse, secret: str) -> None:
        """Give the browser a secret to send."""
        response.set_cookie(
            self.name,
            secret,
            path="/",
            max_age=int(LONGEST.total_seconds()),
            httponly=True,
            secure=self.secure,
            samesite="Lax",
        )

    def remove(self, response: web.StreamResponse) -> None:
        """Have the browser forget it."""
        response.del_cookie(self.name, path="/", secure=self.secure, httponly=True, samesite="Lax")


def _read(row: Record) -> Session:
    return Session(
        row["id"],
        row["account_id"],
        tuple(row["methods"]),
        row["agent"],
        row["created_at"],
        row["authenticated_at"],
        row["seen_at"],
    )
