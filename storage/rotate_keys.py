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
from storage.exports import rewrap_archives
from storage.key_service import KeyServiceAddress, open_master_keys
from storage.master_keys import Unreadable
from storage.vault import Vault, WrappedKey

BATCH: Final = 200
AT_ONCE: Final = 4

_OLD: Final = """
SELECT user_id, wrapped, master_version FROM data_keys
WHERE master_version < $1 AND user_id > $2
ORDER BY user_id
LIMIT $3
"""

_COUNT: Final = "SELECT count(*) AS left FROM data_keys WHERE master_version < $1"

_REWRAP: Final = """
UPDATE data_keys SET wrapped = $3, master_version = $4 WHERE user_id = $1 AND master_version = $2 RETURNING true
"""


@dataclasses.dataclass(slots=True)
class Rotated:
    """How many keys were to be wrapped anew at first, how many were, and how many do not open and stay as they are."""

    left: int = 0
    done: int = 0
    unreadable: int = 0


async def rotate(cell: Cell, vault: Vault, say: Callable[[str], None]) -> Rotated:
    """Wrap the keys of a cell anew, people's and those of archives, in batches, and say how far it is.

    It goes through them again until there is nothing left to do: a process that does not know the newest master key yet
    may have wrapped more meanwhile.
    """
    newest = await vault.newest()
    [row] = await cell.fetch(_COUNT, newest)
    rotated = Rotated(left=row["left"])
    while await _go_through(cell, vault, newest, rotated, say):
        pass
    archives, unreadable = await rewrap_archives(cell, vault)
    say(f"cell {cell.number}: {archives} archives of exports are wrapped under master key {newest}")
    rotated.unreadable += unreadable
    return rotated


async def _go_through(cell: Cell, vault: Vault, newest: int, rotated: Rotated, say: Callable[[str], None]) -> bool:
    """Go through all keys once; tells whether one was wrapped anew."""
    before, last, rotated.unreadable = rotated.done, 0, 0
    while rows := await cell.fetch(_OLD, newest, last, BATCH):
        for start in range(0, len(rows), AT_ONCE):
            keys = [WrappedKey(**row) for row in rows[start : start + AT_ONCE]]
            await asyncio.gather(*(_rotate_one(cell, vault, key, rotated) for key in keys))
        last = rows[-1]["user_id"]
        say(f"cell {cell.number}: {rotated.done} of {rotated.left} keys are wrapped under master key {newest}")
    return rotated.done > before


async def _rotate_one(cell: Cell, vault: Vault, key: WrappedKey, rotated: Rotated) -> None:
    try:
        fresh = await vault.rewrap(key)
    except Unreadable:
        rotated.unreadable += 1
        return
    written = await cell.fetch(_REWRAP, key.user_id, key.master_version, fresh.wrapped, fresh.master_version)
    rotated.done += len(written)


async def _main(settings: Settings) -> int:
    def say(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    address = KeyServiceAddress.of(*settings.key_service)
    async with (
        open_master_keys(load_master_keys(settings), address) as masters,
        open_cells(find_addresses(settings).postgres_dsns, connections=AT_ONCE) as shards,
    ):
        vault = Vault(masters)
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
