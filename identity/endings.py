"""Families that ended: the user service is told of each, and refuses its access tokens from then on."""

import datetime as dt
from typing import Final

from identity.database import Connection

_TELL: Final = "INSERT INTO endings (subject, session, ended_at) VALUES ($1, $2, $3)"


async def tell_ended(connection: Connection, *, subject: str, session: str, at: dt.datetime) -> None:
    """Note in the transaction of the fact that the tokens of a session are to be refused."""
    await connection.execute(_TELL, subject, session, at)
