"""Forward-only migrations of every cell: `python -m storage.migrate`.

Files `migrations/NNNN_name.sql` run once each, in order, each in a transaction, under a lock, so that any number of
servers may start at once. A file that has run is never edited: its digest is kept and compared.
"""

import asyncio
import dataclasses
import hashlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import asyncpg

from embedded.configured import find_addresses
from settings import load_or_exit
from storage.outbox_restores import start_over_if_restored

MIGRATIONS: Final = Path(__file__).with_name("migrations")
_CITUS: Final = MIGRATIONS / "citus.sql"
_PLAIN: Final = MIGRATIONS / "plain.sql"
_GRANTS: Final = MIGRATIONS / "grants.sql"
_LOCK: Final = 5_461_010  # any number, as long as every version of Kith takes the same
_LOCK_TIMEOUT_S: Final = 60.0

_SETUP: Final = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer     PRIMARY KEY,
    name       text        NOT NULL,
    digest     text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
_APPLIED: Final = "SELECT version, digest FROM schema_migrations"
_RECORD: Final = "INSERT INTO schema_migrations (version, name, digest) VALUES ($1, $2, $3)"
_HAS_CITUS: Final = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')"
_MAKE_DAYS: Final = "SELECT make_outbox_days(0)"

Report = Callable[[str], None]


class MigrationError(Exception):
    """The files and the database do not belong together."""


@dataclasses.dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    version: int
    name: str
    sql: str

    @property
    def digest(self) -> str:
        """Give the digest under which the file is remembered."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def read_migrations(folder: Path = MIGRATIONS) -> list[Migration]:
    """Read the files, in order."""
    files = sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    return [Migration(int(file.name[:4]), file.stem[5:], file.read_text()) for file in files]


async def migrate(dsns: Sequence[str], report: Report) -> int:
    """Bring every cell to the newest version; gives how many files ran.

    Raises:
        MigrationError: a file that has run was edited, or the database is newer than these files.
    """
    return sum([await _migrate_cell(number, dsn, report) for number, dsn in enumerate(dsns)])


async def _migrate_cell(number: int, dsn: str, report: Report) -> int:
    connection = await asyncpg.connect(dsn, timeout=10, server_settings={"application_name": "kith migrate"})
    try:
        count = await run_pending(connection, read_migrations(), lambda line: report(f"cell {number}: {line}"))
        if count:
            engine = _CITUS if await connection.fetchval(_HAS_CITUS) else _PLAIN
            await connection.execute(engine.read_text())
            await connection.execute(_GRANTS.read_text())
        # A cell that was off for days has none of today: nothing may be written before there is one.
        await connection.execute(_MAKE_DAYS)
        if await start_over_if_restored(connection):
            report(f"cell {number}: restored from a dump: all facts that the outbox retains are published again")
        return count
    finally:
        await connection.close(timeout=5)


async def run_pending(
    connection: "asyncpg.Connection[asyncpg.Record]", files: Sequence[Migration], report: Report
) -> int:
    """Run the files that a database lacks, while nobody else does; gives how many ran.

    Raises:
        MigrationError: a file that has run was edited, or the database is newer than these files.
    """
    # A session lock: DDL on Citus must not share its transaction with a lock taken elsewhere.
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK, timeout=_LOCK_TIMEOUT_S)
    await connection.execute(_SETUP)
    applied = {row["version"]: row["digest"] for row in await connection.fetch(_APPLIED)}
    pending = _pending(files, applied)
    for migration in pending:
        report(f"migration {migration.version:04d} {migration.name}")
        await _apply(connection, migration)
    return len(pending)


def _pending(files: Sequence[Migration], applied: dict[int, str]) -> list[Migration]:
    known = {file.version for file in files}
    if newer := sorted(set(applied) - known):
        raise MigrationError(f"the database has migration {newer[-1]:04d}, which this version of Kith does not know")
    for file in files:
        if applied.get(file.version, file.digest) != file.digest:
            raise MigrationError(f"migration {file.version:04d} has run and was edited since: write a new one instead")
    return [file for file in files if file.version not in applied]


async def _apply(connection: "asyncpg.Connection[asyncpg.Record]", migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute(migration.sql)
        await connection.execute(_RECORD, migration.version, migration.name, migration.digest)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


async def _main() -> None:
    addresses = find_addresses(load_or_exit())
    count = await migrate(addresses.postgres_dsns, _say)
    _say(f"{count} migrations ran; {len(addresses.postgres_dsns)} cells are up to date")


if __name__ == "__main__":
    asyncio.run(_main())
