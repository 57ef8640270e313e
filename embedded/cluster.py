"""The data folder of a PostgreSQL instance: made as a whole or not at all, and cleared of what a crash left."""

import asyncio
import os
import secrets
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from time import monotonic

from embedded.child import Child, run_to_end
from embedded.errors import EmbeddedError

ROLE = "kith"
NOBODY = 65534
INITDB_TIMEOUT = 120.0
BACKENDS_TIMEOUT = 5.0
LOOK_EVERY = 0.02
ENVIRONMENT = {"LC_ALL": "C.UTF-8" if sys.platform == "linux" else "en_US.UTF-8"}

INITDB_OPTIONS = (
    f"--username={ROLE}",
    "--auth=trust",
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
)


def server_user() -> int | None:
    """Return the user that PostgreSQL must run as, because it refuses root; None for our own."""
    return NOBODY if os.geteuid() == 0 else None


def private_folder(path: Path) -> None:
    """Make a folder that only PostgreSQL's user (and root) can enter."""
    path.mkdir(mode=0o700, exist_ok=True)
    user = server_user()
    if user is not None:
        os.chown(path, user, user)


def as_seen(cluster: Path) -> str:
    """Return the path by which the server knows its data.

    As root, its user cannot come to it from above: our data folder is private. It can by the folder it is started in.
    """
    return "/proc/self/cwd" if server_user() is not None and sys.platform == "linux" else str(cluster)


async def create(cluster: Path, *, programs: Path, log: Path) -> None:
    """Make the data of an instance, under another name first: an interrupted one is never taken for whole.

    Raises ChildFailed when initdb fails.
    """
    fresh = cluster.with_name(f"{cluster.name}.new-{secrets.token_hex(4)}")
    private_folder(fresh)
    try:
        await run_to_end(_initdb(fresh, programs=programs, log=log))
        fresh.rename(cluster)
    finally:
        forget_unfinished(cluster)


def forget_unfinished(cluster: Path) -> None:
    """Remove what interrupted attempts to make the data left behind."""
    for unfinished in cluster.parent.glob(f"{cluster.name}.new-*"):
        shutil.rmtree(unfinished, ignore_errors=True)


async def clear_after_crash(cluster: Path) -> None:
    """Make way for a new server: kill whatever of the last one still uses the data, which the lock says is ours alone.

    Raises EmbeddedError when it does not end in 5 s.
    """
    # Its number may be somebody else's by now, and PostgreSQL would not start beside that process.
    (cluster / "postmaster.pid").unlink(missing_ok=True)
    deadline = monotonic() + BACKENDS_TIMEOUT
    while backends := _backends(cluster):
        # A busy backend notices that its server died only after its statement, and holds the shared memory till then.
        for pid in backends:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if monotonic() > deadline:
            raise EmbeddedError(f"PostgreSQL's left-over processes do not end: {backends}.")
        await asyncio.sleep(LOOK_EVERY)


def _initdb(folder: Path, *, programs: Path, log: Path) -> Child:
    return Child(
        name="PostgreSQL's initdb",
        argv=(str(programs / "initdb"), f"--pgdata={as_seen(folder)}", *INITDB_OPTIONS),
        log=log,
        env=ENVIRONMENT,
        cwd=folder,
        user=server_user(),
        start_timeout=INITDB_TIMEOUT,
    )


def _backends(cluster: Path) -> list[int]:
    processes = Path("/proc").glob("[0-9]*") if sys.platform == "linux" else ()
    return [int(process.name) for process in processes if _serves(process, cluster)]


def _serves(process: Path, cluster: Path) -> bool:
    try:
        in_cluster = (process / "cwd").readlink() == cluster
        return in_cluster and (process / "exe").readlink().name.startswith("postgres")
    except OSError:
        return False
