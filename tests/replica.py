"""A real read replica of the embedded PostgreSQL, made with pg_basebackup and run as a direct child."""

import contextlib
import itertools
import os
import signal
import urllib.parse
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg

from embedded import cluster, postgres
from embedded.child import Child, launch, run_to_end, stop, wait_ready
from embedded.postgres import Instance

_PORTS = itertools.count(5600)


class RunningReplica:
    """A replica that can be held up and killed."""

    def __init__(self, instance: Instance, process: Process) -> None:
        self.instance = instance
        self._process = process

    def dsn(self, primary: str) -> str:
        """Give the address of the copy of one of the primary's databases."""
        return self.instance.dsn(urllib.parse.urlsplit(primary).path.removeprefix("/"))

    async def pause(self) -> None:
        """Stop replaying; queries are answered, from what was."""
        await self._tell("SELECT pg_wal_replay_pause()")

    async def resume(self) -> None:
        """Go on replaying."""
        await self._tell("SELECT pg_wal_replay_resume()")

    def freeze(self) -> None:
        """Stop answering, with every connection open."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on where it was frozen."""
        self._send(signal.SIGCONT)

    async def kill(self) -> None:
        """End it without a word."""
        self._send(signal.SIGKILL)
        await self._process.wait()

    def _send(self, number: signal.Signals) -> None:
        """Send a signal to the server, and then to its backends, each of which has a process group of its own."""
        pid = self._process.pid
        backends = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for process in (pid, *map(int, backends)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    async def _tell(self, statement: str) -> None:
        connection = await asyncpg.connect(self.instance.dsn("postgres"))
        await connection.execute(statement)
        await connection.close()


@contextlib.asynccontextmanager
async def running_replica(folder: Path, primary: str) -> AsyncIterator[RunningReplica]:
    """Copy the server behind an address, and follow it."""
    parts = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(primary).query))
    sockets, log = Path(parts["host"]), folder / "replica.log"
    data = folder / "replica"
    cluster.private_folder(data)
    programs = await postgres.find_programs(sockets=sockets.parent, log=log)
    await run_to_end(_copying(data, programs, f"host={sockets} port={parts['port']} user={cluster.ROLE}", log))
    instance = Instance(name="a replica", folder=data, log=log, sockets=sockets, port=next(_PORTS), databases=())
    child = postgres.child(instance, programs)
    process = await launch(child)
    replica = RunningReplica(instance, process)
    try:
        assert await wait_ready(child, process), log.read_text()
        yield replica
    finally:
        if process.returncode is None:
            replica.thaw()
        await stop(child, process)


def _copying(data: Path, programs: Path, primary: str, log: Path) -> Child:
    words = ("-d", primary, "-D", cluster.as_seen(data), "-R", "-X", "stream", "-c", "fast", "--no-sync")
    return Child(
        name="pg_basebackup",
        argv=(str(programs / "pg_basebackup"), *words),
        log=log,
        env=cluster.ENVIRONMENT,
        cwd=data,
        user=cluster.server_user(),
        start_timeout=120.0,
    )
