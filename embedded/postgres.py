"""PostgreSQL from a wheel, on a private socket."""

import asyncio
import signal
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from embedded import cluster, wheels
from embedded.addresses import Part
from embedded.child import Child, run_to_end
from embedded.errors import ChildFailed, EmbeddedError

FIRST_PORT = 5432
STAGE = 0
PROBE_TIMEOUT = 2.0
CREATE_TIMEOUT = 30.0

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "fsync": "on",
    "max_prepared_transactions": "0",
    "idle_in_transaction_session_timeout": "30s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%d ",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One PostgreSQL instance: its folders, its port (which only names the socket) and its databases."""

    name: str
    folder: Path
    log: Path
    sockets: Path
    port: int
    databases: tuple[str, ...]

    def dsn(self, database: str) -> str:
        """Return the address of one of its databases."""
        return f"postgresql://{cluster.ROLE}@/{database}?host={self.sockets}&port={self.port}"


def plan(*, data_dir: Path, sockets: Path, cells: int, instances: bool) -> tuple[Instance, ...]:
    """Lay out the cells: databases of one instance, or one instance each."""
    databases = tuple(f"kith_{cell}" for cell in range(cells))
    groups = [(f"-{cell}", (name,)) for cell, name in enumerate(databases)] if instances else [("", databases)]
    return tuple(
        Instance(
            name=Part.POSTGRES.value + suffix,
            folder=data_dir / f"postgres{suffix}",
            log=data_dir / "logs" / f"postgres{suffix}.log",
            sockets=sockets / "pg",
            port=FIRST_PORT + number,
            databases=names,
        )
        for number, (suffix, names) in enumerate(groups)
    )


async def find_programs(*, sockets: Path, log: Path) -> Path:
    """Return the folder of programs that PostgreSQL's user can run; as root that may take a copy."""
    programs = wheels.postgres_programs()
    if cluster.server_user() is None or await _runs(programs, log=log):
        return programs
    return await asyncio.to_thread(wheels.passable_copy, programs, fallback=sockets)


def child(instance: Instance, programs: Path) -> Child:
    """Describe the server of an instance."""
    settings = SETTINGS | {"unix_socket_directories": str(instance.sockets), "port": str(instance.port)}
    options = (word for name, value in settings.items() for word in ("-c", f"{name}={value}"))
    return Child(
        name=instance.name,
        argv=(str(programs / "postgres"), "-D", cluster.as_seen(instance.folder), *options),
        log=instance.log,
        env=cluster.ENVIRONMENT,
        cwd=instance.folder,
        user=cluster.server_user(),
        prepare=lambda: cluster.clear_after_crash(instance.folder),
        ready=lambda: _answers(instance),
        start_timeout=120.0,
        stop_signal=signal.SIGINT,
        stop_timeout=4.0,
        stage=STAGE,
    )


async def ensure_databases(instance: Instance) -> None:
    """Create the databases that are missing.

    Raises EmbeddedError when PostgreSQL does not let us.
    """
    try:
        async with asyncio.timeout(CREATE_TIMEOUT):
            await _create_missing(instance)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise EmbeddedError(f"The databases of {instance.name} cannot be created: {error!r}") from error


async def _create_missing(instance: Instance) -> None:
    connection = await asyncpg.connect(instance.dsn("postgres"))
    try:
        present = {row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")}
        for name in instance.databases:
            if name not in present:
                await connection.execute(f'CREATE DATABASE "{name}"')
    finally:
        await connection.close(timeout=PROBE_TIMEOUT)


async def _runs(programs: Path, *, log: Path) -> bool:
    argv = (str(programs / "postgres"), "--version")
    try:
        await run_to_end(
            Child(name="postgres --version", argv=argv, log=log, cwd=Path("/"), user=cluster.server_user())
        )
    except ChildFailed:
        return False
    return True


async def _answers(instance: Instance) -> bool:
    try:
        connection = await asyncpg.connect(instance.dsn("postgres"), timeout=PROBE_TIMEOUT)
        await connection.close(timeout=PROBE_TIMEOUT)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True
