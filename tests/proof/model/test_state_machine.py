"""The state machine against the service as it is, where it finds nothing, and with planted bugs, all of which it finds.

`PROVE=long` runs many more and longer examples, and every planted bug on one cell and on two.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from embedded import Addresses
from tests.proof.model.machine import Machine
from tests.proof.model.planted import BUGS
from tests.proof.model.world import Mismatch, World, make_cells, open_world

LONG: Final = os.environ.get("PROVE") == "long"
EXAMPLES, STEPS, CRASHES = (300, 50, 40) if LONG else (12, 20, 1)
EXAMPLES_TO_FIND: Final = 200
STEPS_TO_FIND: Final = 30
SEED: Final = int(os.environ.get("PROVE_SEED", "20"))
QUICK_BUGS: Final = ("unblock_restores_the_follow", "unblocking_is_silent", "the_gate_ignores_blocks_of_the_other")
ONE_CELL: Final = pytest.param(1, id="one cell")
TWO_CELLS: Final = pytest.param(2, id="two cells")


@pytest.fixture(scope="module")
async def dsns_of_machine(request: pytest.FixtureRequest, addresses: Addresses) -> tuple[str, ...]:
    number: int = request.param
    return await make_cells(addresses, number)


@pytest.fixture(scope="module")
def folder(short_folder: Path) -> Path:
    made = short_folder / "model"
    made.mkdir()
    return made


@pytest.fixture
async def world(addresses: Addresses, dsns_of_machine: tuple[str, ...], folder: Path) -> AsyncIterator[World]:
    async with open_world(addresses, dsns_of_machine, folder, crashes=CRASHES) as opened:
        yield opened


async def drive(world: World, *, examples: int, steps: int, phases: tuple[Phase, ...]) -> None:
    """Run the machine in a thread, so that the loop of the test serves what it reads from the tables."""
    profile = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=phases,
        report_multiple_bugs=False,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )

    class Driver(Machine):
        def __init__(self) -> None:
            super().__init__(world)

    await asyncio.to_thread(run_state_machine_as_test, seed(SEED)(Driver), settings=profile)


def say(line: str) -> None:
    """Tell what was run, whether or not the test passes (`pytest -s`, or the report of a failure)."""
    sys.stdout.write(line + "\n")


@pytest.mark.parametrize("dsns_of_machine", [ONE_CELL, TWO_CELLS], indirect=True)
async def test_the_service_does_what_the_reference_does(world: World) -> None:
    try:
        await drive(world, examples=EXAMPLES, steps=STEPS, phases=(Phase.generate, Phase.shrink))
    finally:
        say(
            f"seed {SEED}: {world.examples} examples, {world.steps} actions, {world.crashes} crashes, {world.busy} busy"
        )
        say("\n".join(world.mismatches[:1]))
    assert world.examples >= EXAMPLES


@pytest.mark.parametrize("dsns_of_machine", [ONE_CELL, TWO_CELLS] if LONG else [ONE_CELL], indirect=True)
@pytest.mark.parametrize("bug", BUGS if LONG else QUICK_BUGS)
async def test_a_planted_bug_is_found(
    bug: str, addresses: Addresses, dsns_of_machine: tuple[str, ...], folder: Path
) -> None:
    async with open_world(addresses, dsns_of_machine, folder, bug=bug) as world:
        with pytest.raises(Mismatch) as found:
            await drive(world, examples=EXAMPLES_TO_FIND, steps=STEPS_TO_FIND, phases=(Phase.generate,))
    what = str(found.value).partition(":")[0]
    say(f"seed {SEED}: {bug} found in example {world.examples} after {world.steps} actions: {what}")
