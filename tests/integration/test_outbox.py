"""The outbox: nothing is overtaken by the relay's cursor, whatever order transactions commit in."""

import asyncio
import contextlib
import datetime as dt
import random
import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from domain.events import Event, EventType, UserPayload
from embedded import Addresses
from storage import outbox
from storage.cells import Cell, Connection, open_cells
from storage.migrate import migrate
from storage.outbox import Bell, Position

WRITERS, EACH = 8, 12
START = Position("0", "0", 0, None)


@pytest.fixture
async def cell(addresses: Addresses) -> AsyncIterator[Cell]:
    """Give an empty cell of its own: the horizon is read over everything in it."""
    base = addresses.postgres_dsns[0]
    name = f"outbox_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(base)
    await connection.execute(f'CREATE DATABASE "{name}"')
    dsn = base.replace("/kith_0", f"/{name}")
    await migrate([dsn], lambda _line: None)
    async with open_cells([dsn]) as shards:
        yield shards.directory
    await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await connection.close()


async def write(cell: Cell, number: int, rng: random.Random) -> None:
    """Write events in transactions that stay open for a while, so that they commit out of order."""
    for turn in range(EACH):

        async def work(connection: Connection, turn: int = turn) -> None:
            payload = UserPayload(user_id="u", user_version=turn)
            await outbox.append(connection, [Event(EventType.USER_UPDATED, f"writer {number}", payload)])
            await asyncio.sleep(rng.uniform(0, 0.03))

        await cell.transact(work)


async def read_by_horizon(cell: Cell, done: asyncio.Event) -> list[outbox.OutboxRow]:
    position, rows = START, []
    while True:
        finished = done.is_set()
        batch = await outbox.fetch_batch(cell, position, 5)
        rows += batch
        if batch:
            position = Position(position.low, position.high, batch[-1].sequence, None)
        if len(batch) < 5:
            position, _ = await outbox.next_interval(cell, position)
            if finished and not await outbox.fetch_batch(cell, position, 1):
                return rows
        await asyncio.sleep(0.001)


async def read_by_cursor(cell: Cell, done: asyncio.Event) -> list[int]:
    """Read as a naive relay does: whatever is visible behind the highest number seen."""
    last, found = 0, []
    while True:
        finished = done.is_set()
        rows = await cell.fetch("SELECT sequence FROM outbox WHERE sequence > $1 ORDER BY sequence", last)
        found += [row["sequence"] for row in rows]
        last = max([last, *found])
        if finished and not rows:
            return found
        await asyncio.sleep(0.001)


async def test_writers_that_commit_out_of_order_lose_nothing_and_a_naive_cursor_does(cell: Cell) -> None:
    done, rng = asyncio.Event(), random.Random(7)
    readers = asyncio.gather(read_by_horizon(cell, done), read_by_cursor(cell, done))
    await asyncio.gather(*(write(cell, number, rng) for number in range(WRITERS)))
    done.set()
    rows, naive = await readers
    assert len({row.id for row in rows}) == len(rows) == WRITERS * EACH
    for number in range(WRITERS):
        own = [row.payload for row in rows if row.key == f"writer {number}"]
        assert own == sorted(
            own, key=lambda payload: int(payload.split(b'"userVersion": ')[1].split(b",")[0].strip(b"}"))
        )
    assert len(naive) < WRITERS * EACH


async def test_one_holder_at_a_time_and_only_the_holder_saves(cell: Cell) -> None:
    one, two, lease = uuid.uuid4(), uuid.uuid4(), dt.timedelta(seconds=0.3)
    position = await outbox.claim(cell, one, lease)
    assert position is not None
    assert await outbox.claim(cell, two, lease) is None
    assert await outbox.save(cell, one, position, lease)
    assert not await outbox.save(cell, two, position, lease)
    async with asyncio.timeout(5):
        while await outbox.claim(cell, two, lease) is None:
            await asyncio.sleep(0.05)
    assert not await outbox.save(cell, one, position, lease)
    await outbox.release(cell, two)
    assert await outbox.claim(cell, one, lease) is not None


async def test_a_ring_wakes_whoever_listens(cell: Cell, addresses: Addresses) -> None:
    heard = asyncio.Event()
    [row] = await cell.fetch("SELECT current_database() AS name")
    dsn = addresses.postgres_dsns[0].replace("/kith_0", f"/{row['name']}")
    listening = asyncio.create_task(outbox.listen(dsn, heard))
    async with asyncio.timeout(5):
        await heard.wait()
    heard.clear()
    bell = Bell()
    for _ in range(10):
        bell.ring(cell)
    async with asyncio.timeout(5):
        await heard.wait()
    await bell.close()
    listening.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await listening


async def test_a_broker_that_lost_its_disk_is_fed_from_what_is_retained(cell: Cell) -> None:
    await write(cell, 1, random.Random(1))
    position = await outbox.rewind(cell, dt.timedelta(hours=24), uuid.uuid4())
    position, _ = await outbox.next_interval(cell, position)
    assert len(await outbox.fetch_batch(cell, position, 1000)) == EACH
