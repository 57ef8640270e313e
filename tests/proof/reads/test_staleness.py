"""After many writes, with Redis failing all the while, nothing that is remembered is staler than the database.

`PROVE=long` writes 50,000 times, and takes guards away as well.
"""

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from embedded import Addresses
from storage import freshness, generations
from tests.proof.reads.worlds import open_world

LONG = os.environ.get("PROVE") == "long"
WRITES, ROUNDS = (5_000, 10) if LONG else (200, 1)
SEED = 20_261_122
WRITES_WITHOUT_GUARD = 2_000


async def test_nothing_remembered_is_staler_than_the_database(addresses: Addresses, short_folder: Path) -> None:
    compared = stale = 0
    async with open_world(addresses.postgres_dsns[1:], short_folder, SEED) as world:
        for _ in range(ROUNDS):
            await world.write(WRITES)
            await world.quiesce()
            report = await world.check()
            compared, stale = compared + sum(report.compared.values()), stale + len(report.stale)
            assert report.compared["redis"] > 0, "there is something to be compared"
    sys.stdout.write(
        f"{world.written} writes, {world.refused} refused, {world.faults} faults: {compared} entries, {stale} stale\n"
    )
    assert stale == 0


async def _nothing(*_arguments: object, **_details: object) -> None:
    pass


GUARDS: dict[str, tuple[Any, str, Callable[..., Awaitable[None]]]] = {
    "epochs are not renewed": (freshness, "renew_epochs", _nothing),
    "no generation begins where Redis did not confirm": (generations.Generations, "begin", _nothing),
}


@pytest.mark.skipif(not LONG, reason="a guard taken away is missed in the long proof")
@pytest.mark.parametrize("guard", GUARDS)
async def test_without_a_guard_stale_entries_are_found(
    addresses: Addresses, short_folder: Path, monkeypatch: pytest.MonkeyPatch, guard: str
) -> None:
    monkeypatch.setattr(*GUARDS[guard])
    async with open_world(addresses.postgres_dsns[1:], short_folder, SEED) as world:
        await world.write(WRITES_WITHOUT_GUARD)
        await world.quiesce()
        report = await world.check()
    sys.stdout.write(f"{guard}: {sum(report.compared.values())} entries, {len(report.stale)} stale\n")
    assert report.stale
