"""The outbox: nothing is overtaken by the relay's cursor, whatever order transactions commit in."""

import asyncio
import contextlib
import itertools
import random
import sys
from collections.abc import AsyncIterator, Mapping

import pytest

from domain import traces
from domain.events import Event, EventType, UserPayload
from embedded import Addresses
from storage import outbox
from storage.cells import Cell, Connection
from storage.migrate import migrate
from storage.outbox import RETENTION, Bell, OutboxRow
from storage.outbox_reading import Batch, Position, fetch_batch, fetch_latest_keys, fetch_of_keys
from tests.conftest import eventually
from tests.integration.outboxes import PARTITIONS, append, open_cell, partition_of

WRITERS, EACH = 8, 24
PAUSE_S = 0.05
STARTS = {number: Position("0", "0", 0) for number in PARTITIONS}


@pytest.fixture
async def cell(addresses: Addresses) -> AsyncIterator[Cell]:
    async with open_cell(addresses) as (opened, _dsn):
        yield opened


async def write(cell: Cell, number: int, rng: random.Random) -> None:
    """Write events in transactions that stay open for a while, so that they commit out of order."""
    for turn in range(EACH):

        async def work(connection: Connection, turn: int = turn) -> None:
            await outbox.append(connection, [event_of(f"writer {number}", turn)])
            await asyncio.sleep(rng.uniform(0, PAUSE_S))

        await cell.transact(work)


def event_of(key: str, version: int) -> Event:
    return Event(EventType.USER_UPDATED, key, UserPayload(user_id="u", user_version=version))


async def test_a_fact_is_written_with_the_trace_it_belongs_to(cell: Cell) -> None:
    trace = traces.continued([])
    with traces.within(trace):
        await cell.transact(lambda connection: outbox.append(connection, [event_of("traced", 1)]))
    await cell.transact(lambda connection: outbox.append(connection, [event_of("untraced", 1)]))
    rows = await cell.fetch("SELECT aggregateid, traceparent FROM outbox WHERE aggregateid LIKE '%traced'")
    assert {row["aggregateid"]: row["traceparent"] for row in rows} == {"traced": trace.parent, "untraced": None}


async def read_by_horizon(cell: Cell, done: asyncio.Event, limit: int) -> list[OutboxRow]:
    positions: Mapping[int, Position] = STARTS
    rows: list[OutboxRow] = []
    while True:
        finished = done.is_set()
        batch = await fetch_batch(cell, positions, limit)
        positions = batch.after
        rows += [row for own in batch.rows.values() for row in own]
        if finished and not batch.more and not batch.waiting:
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
    readers = asyncio.gather(read_by_horizon(cell, done, 2), read_by_cursor(cell, done))
    await asyncio.gather(*(write(cell, number, rng) for number in range(WRITERS)))
    done.set()
    rows, naive = await readers
    lost = WRITERS * EACH - len(naive)
    sys.stdout.write(
        f"\n{WRITERS * EACH} rows of {WRITERS} writers: {len(rows)} by the horizon, a plain cursor lost {lost}\n"
    )
    assert len({row.id for row in rows}) == len(rows) == WRITERS * EACH
    for number in range(WRITERS):
        own = [row.sequence for row in rows if row.key == f"writer {number}"]
        assert own == sorted(own)
    assert lost > 0


async def test_a_row_is_not_read_before_one_of_its_key_that_was_committed_earlier_by_a_younger_transaction(
    cell: Cell,
) -> None:
    """The older transaction waits for the younger one, and one between the two still runs."""
    async with contextlib.AsyncExitStack() as stack:
        older, between, younger = [await stack.enter_async_context(cell.loans.pool.acquire()) for _ in range(3)]
        transactions = [connection.transaction() for connection in (older, between, younger)]
        for transaction, connection in zip(transactions, (older, between, younger), strict=True):
            await transaction.start()
            await connection.fetch("SELECT pg_current_xact_id()")
        await outbox.append(younger, [event_of("ana", 1)])
        await transactions[2].commit()
        await outbox.append(older, [event_of("ana", 2)])
        await transactions[0].commit()
        held_back = await fetch_batch(cell, STARTS, 10)
        await transactions[1].rollback()
    assert sequences(held_back) == []
    assert held_back.waiting
    assert sequences(await fetch_batch(cell, held_back.after, 10)) == [1, 2]


def sequences(batch: Batch) -> list[int]:
    return [row.sequence for own in batch.rows.values() for row in own]


async def test_a_long_interval_is_read_in_batches_whole_and_in_order(cell: Cell) -> None:
    await append(cell, "bo", 25)
    number = await partition_of(cell, "bo")
    positions: Mapping[int, Position] = {number: STARTS[number]}
    read: list[int] = []
    more = True
    while more:
        batch = await fetch_batch(cell, positions, 10)
        positions, more = batch.after, batch.more or bool(batch.rows[number])
        assert len(batch.rows[number]) <= 10
        read += sequences(batch)
    assert read == sorted(read)
    assert len(read) == 25


async def test_a_cell_restored_where_transactions_have_lower_numbers_is_published_again(addresses: Addresses) -> None:
    said: list[str] = []
    async with open_cell(addresses) as (cell, dsn):
        await append(cell, "ana", 3)
        await cell.fetch("UPDATE outbox SET transaction_id = '900000000000'")
        await cell.fetch("UPDATE relay_positions SET low = '900000000001', high = '900000000001'")
        await append(cell, "ana", 1, first=3)
        assert await waiting_for_a_relay(cell) == []
        for _ in range(2):  # a second time there is nothing to do
            await migrate([dsn], said.append)

        async def is_all_new() -> bool:
            return await waiting_for_a_relay(cell) == [1, 2, 3, 4]

        await eventually(is_all_new, within=60)
    assert len(said) == 1


async def waiting_for_a_relay(cell: Cell) -> list[int]:
    """Give the numbers that whoever leads all partitions would publish now."""
    rows = await cell.fetch("SELECT partition, low::text, high::text, sequence FROM relay_positions")
    positions = {row["partition"]: Position(row["low"], row["high"], row["sequence"]) for row in rows}
    return sequences(await fetch_batch(cell, positions, 10))


async def another_key(cell: Cell, number: int) -> str:
    """Find a key of the same partition."""
    for n in itertools.count():
        if await partition_of(cell, name := f"other{n}") == number:
            return name
    raise AssertionError


async def test_the_keys_that_acted_last_come_first_and_each_whole(cell: Cell) -> None:
    number = await partition_of(cell, "ana")
    other = await another_key(cell, number)
    for key in ("ana", other, other, "ana", other):
        await append(cell, key, 1)
    keys, before = await fetch_latest_keys(cell, number, before=6, until=5, retention=RETENTION, limit=1)
    assert (keys, before) == ([other], 5)
    keys, before = await fetch_latest_keys(cell, number, before=before, until=5, retention=RETENTION, limit=10)
    assert (keys, before) == (["ana"], 0)
    rows = await fetch_of_keys(cell, ["ana"], after=0, until=3, retention=RETENTION, limit=10)
    assert [row.sequence for row in rows] == [1]


async def test_a_ring_wakes_whoever_listens(addresses: Addresses) -> None:
    async with open_cell(addresses) as (cell, dsn):
        heard = asyncio.Event()
        listening = asyncio.create_task(outbox.listen(dsn, heard))
        async with asyncio.timeout(60):
            await heard.wait()
        heard.clear()
        bell = Bell()
        for _ in range(10):
            bell.ring(cell)
        async with asyncio.timeout(60):
            await heard.wait()
        await bell.close()
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
