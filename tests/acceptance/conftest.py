"""Runs of the main job, one for each number of cells, up until the last of these tests.

A run that nobody asks anything still takes a fifth of a core: the tests of other folders are not to wait for that.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.acceptance.main_job import running
from tests.acceptance.people import People, meet_everybody

StartOnce = Callable[[int], Awaitable[People]]


@pytest.fixture(scope="package")
async def start_once(short_folder: Path) -> AsyncIterator[StartOnce]:
    """Start the main job at the first wish for that many cells; each run is stopped, and looked at, in the end."""
    started: dict[int, People] = {}
    async with contextlib.AsyncExitStack() as stack:

        async def start(cells: int) -> People:
            if cells not in started:
                job = await stack.enter_async_context(running(short_folder / f"a{cells}", cells=cells))
                started[cells] = await meet_everybody(job)
            return started[cells]

        yield start


@pytest.fixture(scope="package", params=[1, 2], ids=["one cell", "two cells"])
async def people(request: pytest.FixtureRequest, start_once: StartOnce) -> People:
    """Give everybody of a run on one cell, and then on two."""
    return await start_once(request.param)


@pytest.fixture(scope="package")
async def people_of_one_cell(start_once: StartOnce) -> People:
    """Give everybody of the run on one cell, for what has nothing to do with cells."""
    return await start_once(1)
