"""Personal details: one row a person, every value encrypted under the person's key."""

import asyncio
import datetime as dt
import logging
from collections.abc import Callable, Sequence
from typing import Final

from domain.personal import NO_DETAILS, PersonalDetails
from storage.cells import Connection, Record
from storage.database import Database
from storage.master_keys import Unreadable
from storage.metrics import UNREADABLE
from storage.vault import DataKey, Vault, WrappedKey

_LOG: Final = logging.getLogger(__name__)
_TABLE: Final = "personal_details"

_FETCH: Final = """
SELECT k.user_id, k.wrapped, k.master_version, d.phone, d.birth_date, d.email,
       coalesce(d.email_version, 0) AS email_version
FROM data_keys k
LEFT JOIN personal_details d ON d.user_id = k.user_id
WHERE k.user_id = ANY($1::bigint[])
"""

_MAKE_KEY: Final = """
INSERT INTO data_keys (user_id, wrapped, master_version) VALUES ($1, $2, $3) ON CONFLICT (user_id) DO NOTHING
"""

_WRITE: Final = """
INSERT INTO personal_details (user_id, phone, birth_date, email, email_version) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (user_id) DO UPDATE SET phone = $2, birth_date = $3, email = $4, email_version = $5
"""


async def fetch_details(database: Database, vault: Vault, user_ids: Sequence[int]) -> dict[int, PersonalDetails]:
    """Fetch the details of people, one statement per cell; whoever has given none is left out.

    What cannot be read is left out as well, and counted: it was changed, or its master key is not configured.

    Raises:
        Overloaded: a cell, or whoever keeps the master keys, does not answer.
    """
    rows = await database.shards.fetch_by_home(_FETCH, user_ids)
    read = await asyncio.gather(*(_open_and_read(vault, row) for row in rows))
    return {row["user_id"]: details for row, details in zip(rows, read, strict=True) if details is not None}


async def _open_and_read(vault: Vault, row: Record) -> PersonalDetails | None:
    try:
        return _read(await vault.open(_key(row)), row)
    except Unreadable:
        UNREADABLE.inc()
        _LOG.error("personal details cannot be read")
        return None


async def change_details(
    connection: Connection, vault: Vault, user_id: int, change: Callable[[PersonalDetails], PersonalDetails]
) -> tuple[PersonalDetails, PersonalDetails] | None:
    """Apply a change in the caller's transaction, which holds the person's lock; None where nothing changes.

    Raises:
        Unreadable: what is there cannot be read, and is left as it is.
    """
    rows = await connection.fetch(_FETCH, [user_id])
    before = _read(await vault.open(_key(rows[0])), rows[0]) if rows else NO_DETAILS
    after = change(before)
    if after == before:
        return None
    key = await vault.open(_key(rows[0]) if rows else await _make_key(connection, vault, user_id))
    date = after.birth_date.isoformat() if after.birth_date is not None else None
    sealed = (_seal(key, "phone", after.phone), _seal(key, "birth_date", date), _seal(key, "email", after.email))
    await connection.execute(_WRITE, user_id, *sealed, after.email_version)
    return before, after


async def _make_key(connection: Connection, vault: Vault, user_id: int) -> WrappedKey:
    made = await vault.make(user_id)
    await connection.execute(_MAKE_KEY, user_id, made.wrapped, made.master_version)
    return made


def _seal(key: DataKey, column: str, text: str | None) -> bytes | None:
    return key.encrypt(_TABLE, column, text) if text is not None else None


def _read(key: DataKey, row: Record) -> PersonalDetails:
    phone, date, email = row["phone"], row["birth_date"], row["email"]
    return PersonalDetails(
        phone=key.decrypt(_TABLE, "phone", phone) if phone is not None else None,
        birth_date=dt.date.fromisoformat(key.decrypt(_TABLE, "birth_date", date)) if date is not None else None,
        email=key.decrypt(_TABLE, "email", email) if email is not None else None,
        email_version=row["email_version"],
    )


def _key(row: Record) -> WrappedKey:
    return WrappedKey(row["user_id"], row["wrapped"], row["master_version"])
