"""A Valkey of a test's own, on a port, or a cluster of them: each may be frozen, killed and started again."""

import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import redis.asyncio as aioredis
from redis.exceptions import RedisError

from embedded import wheels
from tests.acceptance.main_job import free_port
from tests.conftest import eventually

SLOTS: Final = ((0, 5460), (5461, 10921), (10922, 16383))
WITHIN_S: Final = 60.0


class Server:
    """A server process; `options` are those of the command line."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port, self.bus = free_port(), free_port()
        self.folder = folder / str(self.port)
        self.folder.mkdir()
        self.options = options
        self.start()

    @property
    def url(self) -> str:
        """Give its address."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                *(str(wheels.valkey_server()), "--port", str(self.port), "--dir", str(self.folder)),
                *("--bind", "127.0.0.1", "--save", "", "--cluster-port", str(self.bus), *self.options),
            ],
            stdout=subprocess.DEVNULL,
        )

    def send(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)
        if number is signal.SIGKILL:
            self.process.wait()

    async def command(self, *words: object) -> Any:
        """Send one command, with all the time that it takes."""
        async with aioredis.Redis(port=self.port, socket_timeout=WITHIN_S, single_connection_client=True) as client:
            return await client.execute_command(*words)  # type: ignore[no-untyped-call]

    async def answers(self) -> bool:
        """Tell whether it serves."""
        with contextlib.suppress(RedisError, OSError):
            return bool(await self.command("PING"))
        return False

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def member(folder: Path, *, missed_after_ms: int) -> Server:
    """Start a node of a cluster, which the others miss after so many milliseconds."""
    return Server(folder, "--cluster-enabled", "yes", "--cluster-node-timeout", str(missed_after_ms))


@contextlib.asynccontextmanager
async def cluster_of_three(folder: Path, *, missed_after_ms: int) -> AsyncIterator[list[Server]]:
    """Start three masters that know each other, each with a third of the slots."""
    started = [member(folder, missed_after_ms=missed_after_ms) for _ in SLOTS]
    try:
        for number, (node, slots) in enumerate(zip(started, SLOTS, strict=True)):
            await eventually(node.answers, within=WITHIN_S)
            await node.command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            await node.command("CLUSTER ADDSLOTSRANGE", *slots)
            await join(node, started[0])
        yield started
    finally:
        for node in started:
            node.stop()


async def join(node: Server, other: Server) -> None:
    """Have a node meet another, and so all that the other knows."""
    await node.command("CLUSTER MEET", "127.0.0.1", other.port, other.bus)
