"""One direct child process: what to run, and how to start it so that it cannot outlive us."""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import threading
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from embedded.errors import ChildFailed, EmbeddedError
from embedded.logs import last_lines, open_log

PR_SET_PDEATHSIG = 1
SERVICE_STAGE = 10
PROBE_EVERY = 0.01


async def always_ready() -> bool:
    """Answer that a child without a probe is ready once it runs."""
    return True


async def nothing_to_prepare() -> None:
    """Do nothing before a start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """Describe a child process; times are in seconds.

    `prepare` runs before every start. `ready` is asked until it answers true, and must itself be bounded in time.
    Children of a higher `stage` are stopped first. `user` is the unprivileged uid (and gid) to run as. An `env` of
    None hands on our own environment. The descriptors `passed` are open in it under the same numbers.
    """

    name: str
    argv: tuple[str, ...]
    log: Path
    env: Mapping[str, str] | None = None
    cwd: Path = field(default_factory=Path.cwd)
    user: int | None = None
    prepare: Callable[[], Awaitable[None]] = nothing_to_prepare
    ready: Callable[[], Awaitable[bool]] = always_ready
    start_timeout: float = 100.0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout: float = 3.0
    stage: int = SERVICE_STAGE
    passed: tuple[int, ...] = ()


async def launch(child: Child) -> Process:
    """Start the child in its own session, so that Ctrl-C in a terminal reaches only us.

    Raises ChildFailed when it cannot be executed. Works on asyncio's own loop and on uvloop.
    """
    _require_main_thread()
    try:
        await child.prepare()
        with open_log(child.log) as log:
            return await asyncio.create_subprocess_exec(
                *child.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=child.env,
                start_new_session=True,
                pass_fds=child.passed,
                preexec_fn=_before_exec(cwd=child.cwd, user=child.user, death_signal=child.stop_signal),
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise ChildFailed(child.name, f"{child.argv[0]} cannot be executed ({error})", child.log) from error


async def run_to_end(child: Child) -> None:
    """Run a program that ends by itself, within its `start_timeout`.

    Raises ChildFailed when it fails or takes longer.
    """
    process = await launch(child)
    try:
        await wait_ended(process, child.start_timeout)
    finally:
        code = process.returncode
        await stop(child, process)
    if code != 0:
        raise ChildFailed(child.name, how_it_ended(code), child.log, last_lines(child.log))


async def wait_ready(child: Child, process: Process) -> bool:
    """Wait until the child answers; false when it ended or ran out of time instead."""
    with suppress(TimeoutError):
        async with asyncio.timeout(child.start_timeout):
            while process.returncode is None:
                if await child.ready():
                    return process.returncode is None
                await wait_ended(process, PROBE_EVERY)
    return False


async def wait_ended(process: Process, seconds: float) -> bool:
    """Wait for a process to end by itself; false when it has not after `seconds`."""
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), seconds)
    return process.returncode is not None


async def stop(child: Child, process: Process) -> bool:
    """Stop the child, if it still runs, and reap it; false when it had to be killed."""
    if process.returncode is not None:
        return True
    with suppress(ProcessLookupError):
        process.send_signal(child.stop_signal)
    obeyed = await wait_ended(process, child.stop_timeout)
    if not obeyed:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    return obeyed


def how_it_ended(returncode: int | None) -> str:
    """Say in words how a process ended; None is one that had to be stopped."""
    if returncode is None:
        return "not ready in time"
    if returncode < 0:
        return f"killed by {signal.Signals(-returncode).name}"
    return f"exit code {returncode}"


def _require_main_thread() -> None:
    # The kernel sends the parent-death signal when the *thread* that forked ends.
    if threading.current_thread() is not threading.main_thread():
        raise EmbeddedError("Children can only be started from the main thread.")


def _before_exec(*, cwd: Path, user: int | None, death_signal: signal.Signals) -> Callable[[], None]:
    parent = os.getpid()
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def prepare() -> None:
        # The folder is entered before the privileges go: its parents may be closed to the unprivileged user.
        os.chdir(cwd)
        if user is not None:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
        # After setuid, which clears the parent-death signal.
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != parent:
            os._exit(1)

    return prepare
