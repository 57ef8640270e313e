"""After many writes, with Redis failing all the while, nothing that is remembered is staler than the database.

`PROVE=long` writes 50,000 times, and takes guards away as well.
"""

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from embedded import Addresses
from loaders.comparison import Entry
from storage.freshness import Remembered
from storage.generations import Generations
from tests.proof.reads import worlds
from tests.proof.reads.worlds import ALL_FAULTS, open_world

LONG = os.environ.get("PROVE") == "long"
WRITES, ROUNDS = (5_000, 10) if LONG else (200, 1)
SEED = 20_261_122
WRITES_WITHOUT_GUARD, MOST_WITHOUT_GUARD = 1_000, 20_000


async def test_nothing_remembered_is_staler_than_the_database(addresses: Addresses, short_folder: Path) -> None:
    compared, stale = 0, list[Entry]()
    async with open_world(addresses.postgres_dsns[1:], short_folder, SEED) as world:
        for _ in range(ROUNDS):
            await world.write(WRITES, ALL_FAULTS)
            await world.quiesce()
            report = await world.check()
            compared, stale = compared + sum(report.compared.values()), [*stale, *report.stale]
            assert report.compared["redis"] > 0, "there is something to be compared"
    told = f"{world.written} writes, {world.refused} refused, {world.faults} faults"
    sys.stdout.write(f"{told}: {compared} entries, {len(stale)} stale\n")
    assert stale == []


async def _nothing(*_arguments: object, **_details: object) -> dict[str, object]:
    return {}


@dataclasses.dataclass(frozen=True, slots=True)
class Guard:
    """What is taken away, and the faults from which it protects."""

    owners: tuple[tuple[Any, str], ...]
    faults: frozenset[str] = frozenset()
    dying: float = worlds.DYING
    """How many makers die: what few leave untold is made good by the next who changes the same people."""


NO_GENERATION = (Generations, "begin")
"""Begun as well by a machine that is slow: it would make good what the other guards are for."""

GUARDS = {
    "changes are told to nobody": Guard(((Remembered, "_tell"),)),
    "no generation begins where Redis did not confirm": Guard((NO_GENERATION,), frozenset({"freeze"})),
    "nobody is told what a dead maker changed": Guard(((Remembered, "pair_heard"), NO_GENERATION), dying=0.5),
}


@pytest.mark.skipif(not LONG, reason="a guard taken away is missed in the long proof")
@pytest.mark.parametrize("name", GUARDS)
async def test_without_a_guard_stale_entries_are_found(
    addresses: Addresses, short_folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    guard = GUARDS[name]
    monkeypatch.setattr(worlds, "DYING", guard.dying)
    for owner, attribute in guard.owners:
        monkeypatch.setattr(owner, attribute, _nothing)
    async with open_world(addresses.postgres_dsns[1:], short_folder, SEED) as world:
        report = await world.check()  # everybody is remembered
        while not report.stale and world.written < MOST_WITHOUT_GUARD:
            await world.write(WRITES_WITHOUT_GUARD, guard.faults)
            await world.quiesce()
            report = await world.check()
    told = f"{world.written} writes, {sum(report.compared.values())} entries, {len(report.stale)} stale"
    sys.stdout.write(f"{name}: {told}\n")
    assert report.stale
