"""Recovery codes: ten, for whoever has lost the other second factors; each opens the door once."""

import base64
import datetime as dt
import hashlib
import secrets
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from identity.database import Connection

COUNT: Final = 10
_BYTES: Final = 10
_GROUP: Final = 4

_REMOVE: Final = "DELETE FROM recovery_codes WHERE account_id = $1"
_WRITE: Final = "INSERT INTO recovery_codes (account_id, digest) SELECT $1, unnest($2::bytea[])"
_USE: Final = """
    UPDATE recovery_codes SET used_at = $3 WHERE account_id = $1 AND digest = $2 AND used_at IS NULL
"""
_LEFT: Final = "SELECT count(*) FROM recovery_codes WHERE account_id = $1 AND used_at IS NULL"


def new_codes() -> list[str]:
    """Make codes of 80 random bits, in groups of four letters and digits."""
    texts = (base64.b32encode(secrets.token_bytes(_BYTES)).decode().lower() for _ in range(COUNT))
    return ["-".join(text[start : start + _GROUP] for start in range(0, len(text), _GROUP)) for text in texts]


def digest_of(code: str) -> bytes:
    """Give the digest under which a code is kept, however it is typed: it is random, so a plain one does."""
    letters = "".join(each for each in code.casefold() if each.isalnum())
    return hashlib.sha256(letters.encode()).digest()


async def replace_codes(connection: Connection, account: UUID, codes: Sequence[str]) -> None:
    """Let these be the codes of an account, and no others."""
    await connection.execute(_REMOVE, account)
    await connection.execute(_WRITE, account, [digest_of(code) for code in codes])


async def remove_codes(connection: Connection, account: UUID) -> None:
    """Forget the codes of an account."""
    await connection.execute(_REMOVE, account)


async def use_code(connection: Connection, account: UUID, code: str, now: dt.datetime) -> bool:
    """Use a code up; False where it is none of the account's, or was used before."""
    return (await connection.execute(_USE, account, digest_of(code), now)).endswith("1")


async def count_left(connection: Connection, account: UUID) -> int:
    """Tell how many codes are left."""
    return int(await connection.fetchval(_LEFT, account))
