"""Connections on loan: what is at hand is whole, is lent again, and soon goes back to the pool."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from domain import deadlines
from domain.errors import DeadlineExceeded
from embedded import Addresses
from storage.cells import Cell, open_cells
from storage.loans import Loans
from tests.conftest import eventually

WHO = "SELECT pg_backend_pid() AS pid"
CONNECTIONS = 3
"""As many attempts as a read makes."""


@pytest.fixture
async def cell(addresses: Addresses) -> AsyncIterator[Cell]:
    """Open a cell with few connections of its own."""
    async with open_cells(addresses.postgres_dsns[:1], connections=CONNECTIONS) as shards:
        yield shards.directory


@pytest.fixture
def _kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep connections at hand for as long as a test takes, however slow the machine is."""
    monkeypatch.setattr("storage.loans.AT_HAND_S", 600.0)


async def pid_of(cell: Cell) -> int:
    [row] = await cell.fetch(WHO)
    pid: int = row["pid"]
    return pid


async def is_whole(loans: Loans) -> bool:
    """Tell whether the pool has all its connections back."""
    return loans.pool.get_idle_size() == loans.pool.get_size()


@pytest.mark.usefixtures("_kept")
async def test_a_connection_that_came_back_whole_is_lent_again_and_the_pool_not_asked(cell: Cell) -> None:
    first = await pid_of(cell)
    assert not await is_whole(cell.loans)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(CONNECTIONS - 1):
            await stack.enter_async_context(cell.loans.pool.acquire())
        assert [await pid_of(cell) for _ in range(3)] == [first] * 3


@pytest.mark.usefixtures("_kept")
async def test_connections_that_were_lost_at_hand_are_lent_to_nobody(cell: Cell) -> None:
    async with contextlib.AsyncExitStack() as stack:
        lent = [await stack.enter_async_context(await cell.loans.take(30.0)) for _ in range(CONNECTIONS)]
    for connection in lent:
        connection.terminate()
    assert await pid_of(cell)


@pytest.mark.usefixtures("_kept")
async def test_a_connection_on_which_something_was_ended_goes_back_to_the_pool(cell: Cell) -> None:
    with deadlines.within(0.05), contextlib.suppress(DeadlineExceeded):
        await cell.fetch("SELECT pg_sleep(60)")
    assert await is_whole(cell.loans)
    reading = asyncio.create_task(cell.fetch("SELECT pg_sleep(60)"))
    while await is_whole(cell.loans):
        await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait({reading})
    await eventually(lambda: is_whole(cell.loans))


async def test_what_is_at_hand_goes_back_to_the_pool_in_a_moment(cell: Cell) -> None:
    await asyncio.gather(*(pid_of(cell) for _ in range(CONNECTIONS)))
    await eventually(lambda: is_whole(cell.loans))
    assert await pid_of(cell)
