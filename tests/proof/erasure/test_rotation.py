"""The master key is turned while the service works: all keys are wrapped anew, nobody notices, a kill costs nothing."""

import asyncio
import datetime as dt
import os
import random
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Final

import pytest

from domain.ids import new_id
from domain.personal import PersonalDetails
from storage.cells import Cell, Connection
from storage.database import Database
from storage.master_keys import LocalMasterKeys
from storage.personal import change_details, fetch_details
from storage.rotate_keys import rotate
from storage.vault import Vault
from tests.conftest import KEY

LONG = os.environ.get("PROVE") == "long"
PEOPLE: Final = int(os.environ.get("ROTATED", "100000")) if LONG else 300
CLIENTS: Final = 4
OLD, NEW = 40, 41
_KEYS: Final = """
INSERT INTO data_keys (user_id, wrapped, master_version)
SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::integer[])
"""
_DETAILS: Final = "INSERT INTO personal_details (user_id, phone) SELECT * FROM unnest($1::bigint[], $2::bytea[])"
_FORGET: Final = "DELETE FROM {table} WHERE user_id = ANY($1::bigint[])"
_LEFT: Final = "SELECT count(*) AS number FROM data_keys WHERE master_version < $1 AND user_id = ANY($2::bigint[])"


def vault(*versions: int) -> Vault:
    """Give a vault that knows these master keys; each asks the database for what it opens."""
    return Vault(LocalMasterKeys({version: version.to_bytes(32) for version in versions} | {1: KEY}))


def phone_of(user_id: int) -> str:
    return f"+{user_id % 10**14:015}"


@pytest.fixture
async def people(database: Database) -> AsyncIterator[Sequence[int]]:
    """Make people of one cell who have nothing but a phone number."""
    january, old = int(dt.datetime(2024, 1, 1, tzinfo=dt.UTC).timestamp()) * 1000, vault(OLD)
    ids = sorted({new_id(0, at_ms=january + number) for number in range(PEOPLE)})
    cell = database.shards.cells[0]
    for start in range(0, len(ids), 1000):
        batch = ids[start : start + 1000]
        keys = [await old.make(user_id) for user_id in batch]
        opened = [await old.open(key) for key in keys]
        await cell.fetch(_KEYS, batch, [key.wrapped for key in keys], [key.master_version for key in keys])
        phones = [key.encrypt("personal_details", "phone", phone_of(key.user_id)) for key in opened]
        await cell.fetch(_DETAILS, batch, phones)
    yield ids
    for start in range(0, len(ids), 1000):
        for table in ("data_keys", "personal_details"):
            await cell.fetch(_FORGET.format(table=table), ids[start : start + 1000])


class Load:
    """Clients who read and write details of people at random, and count what they did and what was wrong."""

    def __init__(self, database: Database, people: Sequence[int], chance: random.Random) -> None:
        self.database = database
        self.people = people
        self.chance = chance
        self.done = 0
        self.wrong: list[str] = []
        self.is_over = False

    async def run(self, known: Vault) -> None:
        while not self.is_over:
            try:
                await self.ask(known, self.chance.choice(self.people))
            except Exception as error:  # noqa: BLE001 - every failure is counted
                self.wrong.append(type(error).__name__)
            self.done += 1

    async def ask(self, known: Vault, user_id: int) -> None:
        """Read a phone number, and change a date of birth."""
        born = dt.date(1990, 1, self.chance.randint(1, 28))
        found = await fetch_details(self.database, known, [user_id])
        if found.get(user_id, PersonalDetails()).phone != phone_of(user_id):
            self.wrong.append("another phone number, or none")

        async def edit(connection: Connection) -> None:
            await change_details(connection, known, user_id, lambda before: PersonalDetails(before.phone, born))

        await self.database.shards.home(user_id).transact(edit)


async def dies_on_the_way(cell: Cell, known: Vault, keys: int) -> None:
    """Rotate until so many keys were wrapped anew, and be gone."""

    class Gone(Exception):
        pass

    def say(line: str) -> None:
        if int(line.split()[2]) >= keys:
            raise Gone

    with pytest.raises(Gone):
        await rotate(cell, known, say)


@pytest.mark.parametrize("dsns", [1], indirect=True, ids=["one cell"])
async def test_all_keys_are_wrapped_anew_under_load_and_nobody_notices(
    database: Database, people: Sequence[int], dsns: tuple[str, ...]
) -> None:
    del dsns
    seed = random.randrange(1 << 32)
    load, cell, both, lines = (
        Load(database, people, random.Random(seed)),
        database.shards.cells[0],
        vault(OLD, NEW),
        list[str](),
    )
    clients = [asyncio.create_task(load.run(vault(OLD, NEW))) for _ in range(CLIENTS)]
    try:
        await dies_on_the_way(cell, both, min(PEOPLE, 200))
        [left] = await cell.fetch(_LEFT, NEW, people)
        rotated = await rotate(cell, both, lines.append)
    finally:
        load.is_over = True
        await asyncio.gather(*clients)
    sys.stdout.write(f"\n{PEOPLE} keys, {load.done} edits meanwhile, {len(load.wrong)} errors, from seed {seed}\n")
    assert load.wrong == []
    assert load.done > 0
    assert rotated.done >= left["number"], "it went on where the first had died"
    [left] = await cell.fetch(_LEFT, NEW, people)
    assert left["number"] == 0
    alone, sample = vault(NEW), people[:: max(1, len(people) // 500)]
    found = await fetch_details(database, alone, sample)
    assert {user_id: details.phone for user_id, details in found.items()} == {one: phone_of(one) for one in sample}
