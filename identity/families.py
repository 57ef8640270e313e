"""Families of tokens: all that came of one sign-in to one application. They end together.

Their id is the `sid` of the tokens. Refresh tokens of a family form a lineage: each is good once, and has one
successor. Within some seconds a token that was used gives its successor again, so that two tabs that renew at once both
go on. Used later, it is in hands that should not have it, and the family ends.
"""

import base64
import dataclasses
import datetime as dt
import enum
import hashlib
import hmac
import uuid
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from identity.accounts import AccountState
from identity.database import Connection, Record
from identity.endings import tell_ended
from identity.events import write_event
from identity.secret_values import digest, new_secret

GRACE: Final = dt.timedelta(seconds=10)
IDLE: Final = dt.timedelta(days=30)
"""How long a refresh token is good."""
LONGEST: Final = dt.timedelta(days=90)
"""How long a family lives at most, however often it is renewed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Family:
    """One sign-in of somebody to an application; `subject` is the id by which the user service's clients know them."""

    id: UUID
    account_id: UUID
    subject: str
    client_id: str
    scope: str
    authenticated_at: dt.datetime


class Standing(enum.Enum):
    """What a refresh token that was presented turned out to be."""

    GOOD = enum.auto()
    ENDED = enum.auto()
    STOLEN = enum.auto()


_BEGIN: Final = """
INSERT INTO families (id, account_id, session_id, client_id, scope, authenticated_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_ADD: Final = "INSERT INTO refresh_tokens (digest, family_id, generation, created_at) VALUES ($1, $2, $3, $4)"
_FAMILY_OF: Final = "SELECT family_id FROM refresh_tokens WHERE digest = $1"
_LOCK: Final = """
SELECT f.id, f.account_id, f.client_id, f.scope, f.authenticated_at, f.created_at, f.ended_at, a.subject, a.state
FROM families f JOIN accounts a ON a.id = f.account_id WHERE f.id = $1 FOR UPDATE OF f
"""
_TOKEN: Final = "SELECT generation, created_at, used_at FROM refresh_tokens WHERE digest = $1"  # noqa: S105 - no secret
_USE: Final = "UPDATE refresh_tokens SET used_at = $2 WHERE digest = $1"
_END: Final = """
UPDATE families f SET ended_at = $1 FROM accounts a
WHERE a.id = f.account_id AND f.ended_at IS NULL AND (f.id = ANY ($2) OR f.session_id = ANY ($3))
RETURNING f.id, f.account_id, a.subject
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Presented:
    """A refresh token that somebody presents, its family locked until the transaction ends."""

    family: Family
    token: str = dataclasses.field(repr=False)
    began_at: dt.datetime
    generation: int
    created_at: dt.datetime
    used_at: dt.datetime | None
    is_over: bool

    def standing(self, now: dt.datetime) -> Standing:
        """Tell whether it may be used."""
        if self.is_over or now - self.created_at > IDLE or now - self.began_at > LONGEST:
            return Standing.ENDED
        if self.used_at is not None and now - self.used_at > GRACE:
            return Standing.STOLEN
        return Standing.GOOD


async def begin_family(connection: Connection, family: Family, session_id: UUID, now: dt.datetime) -> str:
    """Begin a family, and give its first refresh token. To be called in a transaction."""
    row = (family.id, family.account_id, session_id, family.client_id, family.scope, family.authenticated_at, now)
    await connection.execute(_BEGIN, *row)
    token = new_secret()
    await connection.execute(_ADD, digest(token), family.id, 1, now)
    await write_event(connection, "family.began", account=family.account_id, session=session_id, what=str(family.id))
    return token


async def fetch_family_id(connection: Connection, token: str) -> UUID | None:
    """Read whose lineage a refresh token is of, locking nothing."""
    found: UUID | None = await connection.fetchval(_FAMILY_OF, digest(token))
    return found


async def fetch_presented(connection: Connection, token: str) -> Presented | None:
    """Read a refresh token and lock its family, so that of those who present it at once one comes first."""
    family_id = await fetch_family_id(connection, token)
    row = await connection.fetchrow(_LOCK, family_id) if family_id is not None else None
    if row is None:
        return None
    # Read after the lock: whoever came first may have used it.
    [state] = await connection.fetch(_TOKEN, digest(token))
    is_over = row["ended_at"] is not None or row["state"] != AccountState.ACTIVE
    return Presented(
        _read(row), token, row["created_at"], state["generation"], state["created_at"], state["used_at"], is_over
    )


async def rotate(connection: Connection, presented: Presented, key: bytes, now: dt.datetime) -> str:
    """Use a refresh token that is good, and give its successor: the same to all who present it in time."""
    successor = _successor(presented.token, key)
    if presented.used_at is None:
        await connection.execute(_USE, digest(presented.token), now)
        await connection.execute(_ADD, digest(successor), presented.family.id, presented.generation + 1, now)
    return successor


async def end_families(
    connection: Connection,
    *,
    now: dt.datetime,
    only: Sequence[UUID] = (),
    sessions: Sequence[UUID] = (),
    why: str = "ended",
) -> None:
    """End families by id, and those of sessions; the user service is told, so that it refuses their access tokens."""
    for row in await connection.fetch(_END, now, list(only), list(sessions)):
        await write_event(connection, f"family.{why}", account=row["account_id"], what=str(row["id"]))
        await tell_ended(connection, subject=row["subject"], session=str(row["id"]), at=now)


def new_family(account_id: UUID, subject: str, client_id: str, scope: str, authenticated_at: dt.datetime) -> Family:
    """Make a family that is not written yet."""
    return Family(uuid.uuid4(), account_id, subject, client_id, scope, authenticated_at)


def _successor(token: str, key: bytes) -> str:
    """Give the token after this one: nobody can know it without our key, and it is stored nowhere."""
    return base64.urlsafe_b64encode(hmac.digest(key, token.encode(), hashlib.sha256)).rstrip(b"=").decode()


def _read(row: Record) -> Family:
    return Family(row["id"], row["account_id"], row["subject"], row["client_id"], row["scope"], row["authenticated_at"])
