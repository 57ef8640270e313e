"""Forward-only migrations of the auth service's database: `python -m identity.migrate`."""

import asyncio
import sys
from pathlib import Path
from typing import Final

import asyncpg

from identity.addresses import find_dsn
from settings import Service, load_or_exit
from storage.migrate import Report, read_migrations, run_pending

MIGRATIONS: Final = Path(__file__).with_name("migrations")


async def migrate(dsn: str, report: Report) -> int:
    """Bring the database to the newest version; gives how many files ran.

    Raises:
        MigrationError: a file that has run was edited, or the database is newer than these files.
    """
    connection = await asyncpg.connect(dsn, timeout=10, server_settings={"application_name": "kith identity migrate"})
    try:
        return await run_pending(connection, read_migrations(MIGRATIONS), lambda line: report(f"identity: {line}"))
    finally:
        await connection.close(timeout=5)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


async def _main() -> None:
    count = await migrate(find_dsn(load_or_exit(service=Service.IDENTITY)), _say)
    _say(f"{count} migrations ran; the database of the auth service is up to date")


if __name__ == "__main__":
    asyncio.run(_main())
