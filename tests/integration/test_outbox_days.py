"""The outbox by days: rows that waited before survive, no insert ever fails, and nothing unpublished is dropped."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator

import asyncpg
import pytest

from embedded import Addresses
from storage.cells import Cell, Connection
from storage.migrate import migrate, read_migrations
from storage.outbox_days import DAYS_AHEAD, count_strays, drop_days, make_days
from tests.integration.outboxes import PARTITIONS, append, open_cell, open_database

DAY = dt.timedelta(days=1)
OLD = """
INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, created_at)
VALUES (gen_random_uuid(), 'users', $1, 'user.updated', '{}', now() + $2::interval)
RETURNING sequence, tableoid::regclass::text AS part
"""
PASS = """
UPDATE relay_positions SET low = pg_snapshot_xmin(pg_current_snapshot()), high = pg_snapshot_xmin(pg_current_snapshot())
WHERE partition = ANY($1::smallint[])
"""


@pytest.fixture
async def cell(addresses: Addresses) -> AsyncIterator[Cell]:
    async with open_cell(addresses) as (opened, _dsn):
        yield opened


async def parts(cell: Cell) -> set[str]:
    return {row["name"] for row in await cell.fetch("SELECT name FROM outbox_days")}


async def write_old(cell: Cell, key: str, *, days_ago: int) -> str:
    """Write a row of an older day, into a part of that day."""
    await cell.fetch("SELECT make_old($1)", days_ago)
    [row] = await cell.fetch(OLD, key, -days_ago * DAY)
    return str(row["part"])


MAKE_OLD = """
CREATE FUNCTION make_old(days integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    day  timestamptz := date_trunc('day', now(), 'UTC') - days * interval '24 hours';
    name text := 'outbox_' || to_char(day AT TIME ZONE 'UTC', 'YYYYMMDD');
BEGIN
    DROP TABLE IF EXISTS outbox_first;
    EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF outbox FOR VALUES FROM (%L) TO (%L)', name, day,
                   day + interval '24 hours');
END
$$
"""


async def test_rows_that_waited_before_survive_and_numbers_go_on(addresses: Addresses) -> None:
    async with open_database(addresses) as dsn:
        connection = await asyncpg.connect(dsn)
        for migration in read_migrations()[:5]:
            await connection.execute(migration.sql)
        await connection.execute(
            "INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload)"
            " SELECT gen_random_uuid(), 'users', 'k' || n % 5, 'user.updated', '{}' FROM generate_series(1, 20) n"
        )
        await connection.execute("UPDATE relay_positions SET low = '3', high = '4', sequence = 7")
        await connection.execute(read_migrations()[5].sql)
        new = await connection.fetchval(
            "INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload)"
            " VALUES (gen_random_uuid(), 'users', 'k1', 'user.updated', '{}') RETURNING sequence"
        )
        rows = await connection.fetch("SELECT sequence FROM outbox ORDER BY sequence")
        positions = await connection.fetch("SELECT partition, low::text, high::text, sequence FROM relay_positions")
        await connection.close()
    assert new == 21
    assert [row["sequence"] for row in rows] == list(range(1, 22))
    assert {tuple(row) for row in positions} == {(number, "3", "4", 7) for number in PARTITIONS}


async def test_days_are_made_ahead_once_by_many_makers(cell: Cell) -> None:
    await cell.fetch("DROP TABLE outbox_first")
    made = await asyncio.gather(*(make_days(cell) for _ in range(4)))
    assert sum(made) == 1
    assert len(await parts(cell)) == 1 + DAYS_AHEAD
    await append(cell, "ana", 1)
    assert await count_strays(cell) == 0


async def test_an_insert_for_which_no_day_was_made_is_kept_as_a_stray_and_its_day_left_to_it(cell: Cell) -> None:
    await cell.fetch("DROP TABLE outbox_first")
    await append(cell, "ana", 1)
    assert await count_strays(cell) == 1
    assert await make_days(cell) == 0
    await append(cell, "ana", 1)
    assert await count_strays(cell) == 2


async def test_an_old_day_goes_when_every_row_is_published_and_not_before(cell: Cell) -> None:
    await cell.fetch(MAKE_OLD)
    part = await write_old(cell, "ana", days_ago=3)
    assert await drop_days(cell, DAY) == 0
    await cell.fetch(PASS, PARTITIONS)
    assert await drop_days(cell, 5 * DAY) == 0
    assert part in await parts(cell)
    assert await drop_days(cell, DAY) == 1
    assert part not in await parts(cell)


async def test_one_partition_that_lags_keeps_the_day(cell: Cell) -> None:
    await cell.fetch(MAKE_OLD)
    part = await write_old(cell, "ana", days_ago=3)
    [row] = await cell.fetch("SELECT partition FROM outbox")
    await cell.fetch(PASS, [number for number in PARTITIONS if number != row["partition"]])
    assert await drop_days(cell, DAY) == 0
    assert part in await parts(cell)


async def test_a_row_held_in_quarantine_keeps_the_day(cell: Cell) -> None:
    await cell.fetch(MAKE_OLD)
    await write_old(cell, "ana", days_ago=3)
    await cell.fetch(PASS, PARTITIONS)
    await cell.fetch(
        "INSERT INTO outbox_quarantine (aggregateid, partition, sequence, event_id, type, reason)"
        " SELECT aggregateid, partition, sequence, id, type, 'test' FROM outbox"
    )
    assert await drop_days(cell, DAY) == 0
    await cell.fetch("DELETE FROM outbox_quarantine")
    assert await drop_days(cell, DAY) == 1


async def test_a_writer_whose_transaction_is_open_keeps_the_day_and_is_not_kept_waiting(cell: Cell) -> None:
    await cell.fetch(MAKE_OLD)
    await write_old(cell, "ana", days_ago=3)
    await cell.fetch(PASS, PARTITIONS)

    async def work(connection: Connection) -> None:
        await connection.fetch(OLD, "bo", -3 * DAY)
        assert await drop_days(cell, DAY) == 0

    await cell.transact(work)
    assert await drop_days(cell, DAY) == 0  # what was written meanwhile is not published


async def test_old_strays_go_when_they_are_published(cell: Cell) -> None:
    await cell.fetch("DROP TABLE outbox_first")
    await cell.fetch(OLD, "ana", -3 * DAY)
    assert await count_strays(cell) == 1
    assert await drop_days(cell, DAY) == 0
    await cell.fetch(PASS, PARTITIONS)
    assert await drop_days(cell, DAY) == 1
    assert await count_strays(cell) == 0


async def test_a_cell_that_was_off_for_days_has_today_before_anything_is_written(addresses: Addresses) -> None:
    async with open_database(addresses) as dsn:
        await migrate([dsn], lambda _line: None)
        connection = await asyncpg.connect(dsn)
        await connection.execute("DROP TABLE outbox_first")
        await migrate([dsn], lambda _line: None)
        names = await connection.fetch("SELECT name FROM outbox_days WHERE since <= now() AND until > now()")
        await connection.close()
    assert len(names) == 1
