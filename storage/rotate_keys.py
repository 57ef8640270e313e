"""Rotation of the master key: `python -m storage.rotate_keys` wraps every person's key anew, under the newest.

It may be interrupted and repeated, and run while the service does: what is encrypted under people's keys stays as it
is, and a key that somebody reads meanwhile opens under the version that is written beside it. Once it has ended, and
every process knows the newest master key, the older ones are needed no more.
"""

import asyncio
import dataclasses
import sys
from collections.abc import Callable
from typing import Final

from domain.errors import Overloaded
from embedded.configured import find_addresses
from keys import load_master_keys
from settings import Settings, leaving_on_bad_settings, load_or_exit
from storage.cells import Cell, open_cells
from storage.master_keys import LocalMasterKeys, Unreadable
from storage.vault import Vault, WrappedKey

BATCH: Final = 200

_OLD: Final = """
SELECT user_id, wrapped, master_version FROM data_keys
WHERE master_version < $1 AND user_id > $2
ORDER BY user_id
LIMIT $3
"""

_REWRAP: Final = """
UPDATE data_keys SET wrapped = $3, master_version = $4 WHERE user_id = $1 AND master_version = $2
"""


@dataclasses.dataclass(slots=True)
class Rotated:
    """How many keys were wrapped anew, and how many could not be opened and stay as they are."""

    done: int = 0
    unreadable: int = 0


async def rotate(cell: Cell, vault: Vault, say: Callable[[str], None]) -> Rotated:
    """Wrap the keys of a cell anew, in batches, and say how far it is."""
    rotated, last = Rotated(), 0
    while rows := await cell.fetch(_OLD, vault.newest, last, BATCH):
        for row in rows:
            await _rotate_one(cell, vault, WrappedKey(**row), rotated)
        last = rows[-1]["user_id"]
        say(f"cell {cell.number}: {rotated.done} keys are wrapped under master key {vault.newest}")
    return rotated


async def _rotate_one(cell: Cell, vault: Vault, key: WrappedKey, rotated: Rotated) -> None:
    try:
        fresh = await vault.rewrap(key)
    except Unreadable:
        rotated.unreadable += 1
        return
    await cell.fetch(_REWRAP, key.user_id, key.master_version, fresh.wrapped, fresh.master_version)
    rotated.done += 1


async def _main(settings: Settings) -> int:
    vault = Vault(LocalMasterKeys(load_master_keys(settings)))

    def say(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    async with open_cells(find_addresses(settings).postgres_dsns, connections=1) as shards:
        try:
            all_rotated = [await rotate(cell, vault, say) for cell in shards.cells]
        except Overloaded as error:
            sys.stderr.write(f"kith: {error}\n")
            return 1
    say(f"{sum(rotated.done for rotated in all_rotated)} keys are wrapped anew")
    unreadable = sum(rotated.unreadable for rotated in all_rotated)
    if unreadable:
        sys.stderr.write(f"kith: {unreadable} keys do not open: is their master key missing in KITH_MASTER_KEYS?\n")
    return 1 if unreadable else 0


if __name__ == "__main__":
    with leaving_on_bad_settings():
        raise SystemExit(asyncio.run(_main(load_or_exit())))
