"""Rotation of the master key: `python -m identity.rotate_master_keys` wraps the auth service's keys anew.

It is to this service's database what `storage.rotate_keys` is to the cells: it may be interrupted and repeated, and run
while the service does. Keys that were replaced or destroyed meanwhile are left as they are.
"""

import asyncio
import dataclasses
import sys
import uuid
from collections.abc import Callable
from typing import Final

from domain.errors import Overloaded
from identity import accounts, mails, sign_ups
from identity.addresses import find_dsn
from identity.database import Database, Record, Unavailable, open_database
from keys import load_master_keys
from settings import Service, Settings, leaving_on_bad_settings, load_or_exit
from storage.key_service import KeyServiceAddress, open_master_keys
from storage.master_keys import Unreadable
from storage.vault import Vault, WrappedKey

TABLES: Final = (accounts.TABLE, sign_ups.TABLE, mails.TABLE)
BATCH: Final = 200
_FIRST: Final = uuid.UUID(int=0)

_OLD: Final = {
    table: f"""
SELECT id, wrapped_key, master_version FROM {table}
WHERE wrapped_key IS NOT NULL AND master_version < $1 AND id > $2 ORDER BY id LIMIT $3
"""  # noqa: S608 - tables of ours
    for table in TABLES
}
_REWRAP: Final = {
    table: f"""
UPDATE {table} SET wrapped_key = $3, master_version = $4 WHERE id = $1 AND wrapped_key = $2 RETURNING true
"""  # noqa: S608 - tables of ours
    for table in TABLES
}


@dataclasses.dataclass(slots=True)
class Rotated:
    """How many keys were wrapped anew, and how many do not open and stay as they are."""

    done: int = 0
    unreadable: int = 0


async def rotate(database: Database, vault: Vault, say: Callable[[str], None]) -> Rotated:
    """Wrap the keys of every table anew, in batches, and say how far it is.

    It goes through them again until there is nothing left to do: a process that does not know the newest master key yet
    may have wrapped more meanwhile.
    """
    rotated, newest = Rotated(), await vault.newest()
    while await _go_through(database, vault, newest, rotated, say):
        pass
    return rotated


async def _go_through(
    database: Database, vault: Vault, newest: int, rotated: Rotated, say: Callable[[str], None]
) -> bool:
    """Go through all keys once; tells whether one was wrapped anew."""
    before, rotated.unreadable = rotated.done, 0
    for table in TABLES:
        last = _FIRST
        while rows := await _fetch(database, table, newest, last):
            for row in rows:
                await _rotate_one(database, vault, table, row, rotated)
            last = rows[-1]["id"]
            say(f"{table}: {rotated.done} keys so far are wrapped under master key {newest}")
    return rotated.done > before


async def _fetch(database: Database, table: str, newest: int, last: uuid.UUID) -> list[Record]:
    async with database.connection() as connection:
        return await connection.fetch(_OLD[table], newest, last, BATCH)


async def _rotate_one(database: Database, vault: Vault, table: str, row: Record, rotated: Rotated) -> None:
    try:
        fresh = await vault.rewrap(WrappedKey(row["id"].int, row["wrapped_key"], row["master_version"]))
    except Unreadable:
        rotated.unreadable += 1
        return
    values = (row["id"], row["wrapped_key"], fresh.wrapped, fresh.master_version)
    async with database.connection() as connection:
        rotated.done += len(await connection.fetch(_REWRAP[table], *values))


async def _main(settings: Settings) -> int:
    def say(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    address = KeyServiceAddress.of(*settings.key_service)
    async with (
        open_master_keys(load_master_keys(settings), address) as masters,
        open_database(find_dsn(settings)) as database,
    ):
        try:
            rotated = await rotate(database, Vault(masters), say)
        except (Overloaded, Unavailable):
            sys.stderr.write("kith: the database or the key service does not answer; run it again to go on.\n")
            return 1
    say(f"{rotated.done} keys are wrapped anew")
    if rotated.unreadable:
        sys.stderr.write(
            f"kith: {rotated.unreadable} keys do not open: is their master key missing in KITH_MASTER_KEYS?\n"
        )
    return 1 if rotated.unreadable else 0


if __name__ == "__main__":
    with leaving_on_bad_settings():
        raise SystemExit(asyncio.run(_main(load_or_exit(service=Service.IDENTITY))))
