"""Dumps of whole databases, as an operator makes and restores them."""

import asyncio
import urllib.parse
from pathlib import Path

import asyncpg

from embedded import wheels


async def run(program: str, *arguments: str) -> bytes:
    """Run one of PostgreSQL's programs, and give what it writes."""
    process = await asyncio.create_subprocess_exec(
        str(wheels.postgres_programs() / program),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output


async def dump_text(dsn: str) -> bytes:
    """Dump a database as text."""
    return await run("pg_dump", "--dbname", dsn)


async def back_up(dsn: str, file: Path) -> None:
    """Back a database up."""
    await run("pg_dump", "--format", "custom", "--file", str(file), "--dbname", dsn)


async def restore(dsn: str, file: Path, name: str) -> str:
    """Restore a backup into a new database beside another; gives its address."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
    finally:
        await connection.close()
    restored = urllib.parse.urlsplit(dsn)._replace(path=f"/{name}").geturl()
    await run("pg_restore", "--exit-on-error", "--dbname", restored, str(file))
    return restored


async def drop(dsn: str, name: str) -> None:
    """Drop a database that was restored."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await connection.close()


def holds(dump: bytes, text: str) -> bool:
    """Tell whether a dump holds a text, be it in a column of bytes."""
    return text.encode() in dump or text.encode().hex().encode() in dump
