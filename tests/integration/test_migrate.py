"""Migrations: once each, in order, under a lock, never edited."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from embedded import Addresses
from storage import migrate as module
from storage.migrate import Migration, MigrationError, migrate, read_migrations


@pytest.fixture
async def dsn(addresses: Addresses) -> AsyncIterator[str]:
    base, name = addresses.postgres_dsns[0], f"migrate_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(base)
    await connection.execute(f'CREATE DATABASE "{name}"')
    yield base.replace("/kith_0", f"/{name}")
    await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await connection.close()


async def test_many_at_once_run_each_file_once(dsn: str) -> None:
    lines: list[str] = []
    counts = await asyncio.gather(*(migrate([dsn], lines.append) for _ in range(5)))
    assert sorted(counts) == [0, 0, 0, 0, len(read_migrations())]
    assert len(lines) == len(read_migrations())


async def test_an_edited_file_and_a_newer_database_are_refused(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await migrate([dsn], lambda _line: None)
    files = read_migrations()
    edited = [Migration(files[0].version, files[0].name, files[0].sql + "-- edited"), *files[1:]]
    monkeypatch.setattr(module, "read_migrations", lambda: edited)
    with pytest.raises(MigrationError, match="migration 0001 has run and was edited since"):
        await migrate([dsn], lambda _line: None)
    monkeypatch.setattr(module, "read_migrations", lambda: files[:-1])
    with pytest.raises(MigrationError, match="which this version of Kith does not know"):
        await migrate([dsn], lambda _line: None)


async def test_a_file_that_fails_leaves_nothing_behind(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Migration(1, "broken", "CREATE TABLE half (a int); SELECT 1/0;")
    monkeypatch.setattr(module, "read_migrations", lambda: [broken])
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate([dsn], lambda _line: None)
    connection = await asyncpg.connect(dsn)
    assert await connection.fetchval("SELECT to_regclass('half')") is None
    await connection.close()
