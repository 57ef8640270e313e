"""`python server.py` as a process of its own, the way `make run` starts it; stopped by signals, watched by pids."""

import asyncio
import contextlib
import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Final

import embedded.lock
from identity.database import beside
from identity.parts import Parts, open_parts
from settings import load

ROOT: Final = Path(__file__).resolve().parents[2]
HOST: Final = "127.0.0.1"
UP_WITHIN_S: Final = 240.0
DOWN_WITHIN_S: Final = 25.0
LOOK_EVERY_S: Final = 0.02


@dataclasses.dataclass(slots=True)
class MainJob:
    """One run of the main job, from a data folder and on a port of its own."""

    data_dir: Path
    port: int
    process: subprocess.Popen[bytes]
    output: Path

    @property
    def url(self) -> str:
        """Give the address of the API."""
        return f"http://{HOST}:{self.port}/graphql"

    @property
    def socket_url(self) -> str:
        """Give the address of the API for WebSockets."""
        return f"ws://{HOST}:{self.port}/graphql"

    @property
    def identity_url(self) -> str:
        """Give the address of the auth service."""
        [url] = re.findall(r"Sign-in is at (\S+)", self.output.read_text())
        return str(url)

    @contextlib.asynccontextmanager
    async def identity_parts(self) -> AsyncIterator[Parts]:
        """Open what the auth service works with, beside it."""
        found = embedded.lock.running(self.data_dir)
        assert found is not None
        settings = load({"KITH_DATA_DIR": str(self.data_dir), "KITH_PORT": str(self.port)})
        async with open_parts(settings, beside(found.postgres_dsns[0]), self.identity_url) as parts:
            yield parts

    @property
    def tokens(self) -> dict[str, str]:
        """Give the access tokens of the named people."""
        tokens: dict[str, str] = json.loads((self.data_dir / "tokens.json").read_text())
        return tokens

    def children(self) -> dict[str, int]:
        """Give the pids of the living children by name."""
        return {name: entry["pid"] for name, entry in json.loads((self.data_dir / "children.json").read_text()).items()}

    async def up(self) -> None:
        """Wait until it says that it runs; fails with what it wrote when it ends instead."""
        await until(lambda: b"Kith runs" in self.output.read_bytes() or self.process.poll() is not None, UP_WITHIN_S)
        assert self.process.poll() is None, self.said()

    def said(self) -> str:
        """Give what it wrote to its terminal, without tokens."""
        lines = self.output.read_text().splitlines()
        return "\n".join(line.partition("eyJ")[0] for line in lines)

    async def stop(self) -> None:
        """Stop it with SIGTERM; it must exit with 0 and leave no process behind."""
        family = descendants(self.process.pid)
        assert family.issuperset(self.children().values())
        self.process.send_signal(signal.SIGTERM)
        assert await self.ended() == 0, self.said()
        assert living(family) == set()

    async def ended(self) -> int:
        """Wait until it has ended, and give its exit status."""
        await until(lambda: self.process.poll() is not None, DOWN_WITHIN_S)
        return self.process.wait()


def launch(folder: Path, *, port: int, cells: int = 1, **variables: str) -> MainJob:
    """Start the main job in a folder, which may hold the data of an earlier run."""
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / "terminal.log"
    with output.open("wb") as terminal:
        process = subprocess.Popen(
            [sys.executable, "server.py"],
            cwd=ROOT,
            env=environment(
                KITH_DATA_DIR=str(folder / "data"), KITH_PORT=str(port), KITH_CELLS=str(cells), **variables
            ),
            stdin=subprocess.DEVNULL,
            stdout=terminal,
            stderr=subprocess.STDOUT,
        )
    return MainJob(folder / "data", port, process, output)


@contextlib.asynccontextmanager
async def running(folder: Path, *, cells: int = 1) -> AsyncIterator[MainJob]:
    """Run the main job on a free port until the context closes, however that comes."""
    job = launch(folder, port=free_port(), cells=cells)
    try:
        await job.up()
        yield job
        if job.process.poll() is None:
            await job.stop()
    finally:
        if job.process.poll() is None:
            job.process.kill()
        job.process.wait()


async def run_to_end(folder: Path, **variables: str) -> tuple[int, str, str]:
    """Run the main job where it cannot start; gives its exit status, and what it wrote to each stream."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "server.py",
        cwd=ROOT,
        env=environment(**{"KITH_DATA_DIR": str(folder), **variables}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(UP_WITHIN_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, out.decode(), err.decode()


def environment(**variables: str) -> dict[str, str]:
    """Give this process's environment without any setting, and with those given."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("KITH_", "PROMETHEUS_"))}
    return {**own, **variables}


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


async def until(holds: Callable[[], bool], within: float) -> float:
    """Wait until a condition holds, and give the seconds it took; fails after `within` seconds."""
    began = monotonic()
    async with asyncio.timeout(within):
        while not holds():
            await asyncio.sleep(LOOK_EVERY_S)
    return monotonic() - began


def descendants(pid: int) -> set[int]:
    """Give the pids of all children of a process, and theirs."""
    found: set[int] = set()
    parents = _parents()
    generation = {pid}
    while generation := {child for child, parent in parents.items() if parent in generation} - found:
        found |= generation
    return found


def living(pids: set[int]) -> set[int]:
    """Pick those pids that are running processes."""
    return pids & _parents().keys()


def _parents() -> Mapping[int, int]:
    """Map each running process to its parent; what has ended and waits to be reaped does not run."""
    command = ["ps", "-A", "-o", "pid=,ppid=,stat="]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.splitlines()
    rows = [line.split() for line in lines]
    return {int(pid): int(parent) for pid, parent, state in rows if not state.startswith("Z")}
