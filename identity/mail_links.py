"""Links in mails: each is good once, for a while, for one thing. One that leads nowhere has a row as any other."""

import dataclasses
import datetime as dt
import enum
from typing import Final
from uuid import UUID

from identity.database import Connection
from identity.secret_values import digest, new_secret


class LinkPurpose(enum.StrEnum):
    """What a link is for."""

    RECOVERY = "RECOVERY"
    EMAIL = "EMAIL"


LIVES: Final = {LinkPurpose.RECOVERY: dt.timedelta(minutes=30), LinkPurpose.EMAIL: dt.timedelta(hours=1)}
_MAX_TOKEN: Final = 100


@dataclasses.dataclass(frozen=True, slots=True)
class MailLink:
    """What a link leads to; with EMAIL, the address that it confirms."""

    account: UUID
    email_digest: bytes | None = dataclasses.field(default=None, repr=False)
    email_box: bytes | None = dataclasses.field(default=None, repr=False)


_FORGET: Final = "DELETE FROM mail_links WHERE ends_at < $1 OR (account_id = $2 AND purpose = $3)"
_WRITE: Final = """
    INSERT INTO mail_links (digest, purpose, account_id, email_digest, email_box, ends_at)
    VALUES ($1, $2, $3, $4, $5, $6)
"""
_FETCH: Final = """
    SELECT account_id, email_digest, email_box FROM mail_links
    WHERE digest = $1 AND purpose = $2 AND ends_at > $3 AND account_id IS NOT NULL
"""
_USE: Final = """
    DELETE FROM mail_links WHERE digest = $1 AND purpose = $2 AND ends_at > $3 AND account_id IS NOT NULL
    RETURNING account_id, email_digest, email_box
"""
_END: Final = "DELETE FROM mail_links WHERE account_id = $1"


async def make_link(connection: Connection, purpose: LinkPurpose, link: MailLink | None, now: dt.datetime) -> str:
    """Make the one link of an account for a purpose; gives its token. With None it leads nowhere."""
    token, account = new_secret(), link.account if link is not None else None
    await connection.execute(_FORGET, now, account, purpose)
    email = (link.email_digest, link.email_box) if link is not None else (None, None)
    await connection.execute(_WRITE, digest(token), purpose, account, *email, now + LIVES[purpose])
    return token


async def fetch_link(connection: Connection, purpose: LinkPurpose, token: str, now: dt.datetime) -> MailLink | None:
    """Read what a link leads to, and leave it as it is."""
    return await _ask(connection, _FETCH, purpose, token, now)


async def use_link(connection: Connection, purpose: LinkPurpose, token: str, now: dt.datetime) -> MailLink | None:
    """Use a link up; None where it is none, has ended, or was used before."""
    return await _ask(connection, _USE, purpose, token, now)


async def end_links(connection: Connection, account: UUID) -> None:
    """Let no link of an account lead anywhere."""
    await connection.execute(_END, account)


async def _ask(
    connection: Connection, statement: str, purpose: LinkPurpose, token: str, now: dt.datetime
) -> MailLink | None:
    if len(token) > _MAX_TOKEN:
        return None
    row = await connection.fetchrow(statement, digest(token), purpose, now)
    return MailLink(*row.values()) if row is not None else None
