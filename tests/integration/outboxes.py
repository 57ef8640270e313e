"""Cells of their own, for tests of the outbox: the snapshot horizon is read over everything in a database."""

import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Final

import asyncpg

from domain.events import Event, EventType, UserPayload
from embedded import Addresses
from storage import outbox
from storage.cells import Cell, Connection, open_cells
from storage.migrate import migrate

PARTITIONS: Final = tuple(range(8))


@contextlib.asynccontextmanager
async def open_database(addresses: Addresses) -> AsyncIterator[str]:
    """Make an empty database, and remove it in the end."""
    base, name = addresses.postgres_dsns[0], f"outbox_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(base)
    await connection.execute(f'CREATE DATABASE "{name}"')
    try:
        yield base.replace("/kith_0", f"/{name}")
    finally:
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await connection.close()


@contextlib.asynccontextmanager
async def open_cell(addresses: Addresses) -> AsyncIterator[tuple[Cell, str]]:
    """Open an empty cell, migrated, with its address."""
    async with open_database(addresses) as dsn:
        await migrate([dsn], lambda _line: None)
        async with open_cells([dsn]) as shards:
            yield shards.directory, dsn


async def append(cell: Cell, key: str, number: int, *, first: int = 0) -> None:
    """Write events of a key, each in a transaction of its own, numbered by their version."""
    for version in range(first, first + number):

        async def work(connection: Connection, version: int = version) -> None:
            payload = UserPayload(user_id=key, user_version=version)
            await outbox.append(connection, [Event(EventType.USER_UPDATED, key, payload)])

        await cell.transact(work)


async def partition_of(cell: Cell, key: str) -> int:
    """Give the partition of a key, as the table computes it."""
    [row] = await cell.fetch("SELECT hashtextextended($1, 0) & 7 AS partition", key)
    return int(row["partition"])
