"""Which children are alive, on disk: a run that was killed leaves the next one something to wait for.

On Linux the kernel stops the children of a killed run; elsewhere the next run does. Either way nothing new may start
on their data before they are gone.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic

import msgspec

from embedded.errors import EmbeddedError
from embedded.folders import write_private

PATIENCE = 10.0
LOOK_EVERY = 0.05


class _Entry(msgspec.Struct, frozen=True):
    pid: int
    identity: str
    stop_signal: int


class Roster:
    """The living children of one data folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries = _read(path)

    def note(self, name: str, pid: int | None, stop_signal: signal.Signals) -> None:
        """Record that a child lives, or (without a pid) that it is gone."""
        identity = _identity(pid) if pid is not None else None
        if pid is None or identity is None:
            self._entries.pop(name, None)
        else:
            self._entries[name] = _Entry(pid, identity, int(stop_signal))
        # A full disk must not keep a part down; at worst the next run is not told.
        with suppress(OSError):
            write_private(self._path, msgspec.json.encode(self._entries))

    async def settle(self, report: Callable[[str], None]) -> None:
        """Wait for the children of a killed run to go, in parallel; after 10 s they are killed.

        Raises EmbeddedError when one survives even that.
        """
        await asyncio.gather(*(_see_off(name, entry, report) for name, entry in self._entries.items()))
        self._entries.clear()


async def _see_off(name: str, entry: _Entry, report: Callable[[str], None]) -> None:
    if not _alive(entry):
        return
    report(f"Waiting for {name} of the last run to stop (process {entry.pid})")
    for signum in (entry.stop_signal, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(entry.pid, signum)
        if await _gone(entry):
            return
    raise EmbeddedError(f"{name} of the last run (process {entry.pid}) does not stop; end it and try again.")


async def _gone(entry: _Entry) -> bool:
    deadline = monotonic() + PATIENCE
    while _alive(entry):
        if monotonic() > deadline:
            return False
        await asyncio.sleep(LOOK_EVERY)
    return True


def _alive(entry: _Entry) -> bool:
    return _identity(entry.pid) == entry.identity


def _identity(pid: int) -> str | None:
    """Return what tells this process from a later one with the same number; None when it is gone or a zombie."""
    return _linux_identity(pid) if sys.platform == "linux" else _portable_identity(pid)


def _linux_identity(pid: int) -> str | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, started = fields[0], fields[19]
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None if state in "ZX" else f"{boot}:{started}"


def _portable_identity(pid: int) -> str | None:
    command = ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5).stdout.strip()  # noqa: S603 - ours
    state, _, started = found.partition(" ")
    return None if not found or state.startswith("Z") else started.strip()


def _read(path: Path) -> dict[str, _Entry]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, _Entry])
    except (FileNotFoundError, msgspec.DecodeError):
        return {}
