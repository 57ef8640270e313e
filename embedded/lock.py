"""One run per data folder, and the way for other tools to find it."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from time import sleep

import msgspec

from embedded.addresses import Addresses
from embedded.errors import AlreadyRunning
from embedded.folders import write_private

# `running` holds a shared lock for an instant; a start must not take it for another run.
ATTEMPTS = 3
PAUSE = 0.05


class Owner(msgspec.Struct, frozen=True):
    """Who runs from a data folder."""

    pid: int | None = None
    address: str | None = None


class _Record(msgspec.Struct, frozen=True):
    pid: int
    addresses: Addresses


class DataLock:
    """The right to run from a data folder; the kernel gives it back when we die."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._descriptor = os.open(_lock_path(data_dir), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _locked(self._descriptor, fcntl.LOCK_EX):
            owner = read_owner(data_dir)
            os.close(self._descriptor)
            raise AlreadyRunning(data_dir, owner.pid, owner.address)
        self.announce(None)

    def announce(self, address: str | None) -> None:
        """Record the web address, for the message that a second run gets."""
        self._write(msgspec.json.encode(Owner(os.getpid(), address)))

    def publish(self, addresses: Addresses) -> None:
        """Let other tools find the parts of this run."""
        write_private(_record_path(self._data_dir), msgspec.json.encode(_Record(os.getpid(), addresses)))

    def withdraw(self) -> None:
        """Take the parts back from other tools, before they stop."""
        _record_path(self._data_dir).unlink(missing_ok=True)

    def release(self) -> None:
        """Give up the folder."""
        self._write(b"")
        os.close(self._descriptor)

    def _write(self, content: bytes) -> None:
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, content, 0)


def running(data_dir: Path) -> Addresses | None:
    """Return the addresses of the run that owns the data folder; None when there is none, or it is not up yet."""
    with suppress(FileNotFoundError, msgspec.DecodeError):
        record = msgspec.json.decode(_record_path(data_dir).read_bytes(), type=_Record)
        # A run that was killed leaves its record behind; the next one replaces it only when it is up.
        current = _held(data_dir) and record.pid == read_owner(data_dir).pid
        return record.addresses if current else None
    return None


def read_owner(data_dir: Path) -> Owner:
    """Return what the owner of the lock said about itself."""
    with suppress(FileNotFoundError, msgspec.DecodeError):
        return msgspec.json.decode(_lock_path(data_dir).read_bytes(), type=Owner)
    return Owner()


def _held(data_dir: Path) -> bool:
    descriptor = os.open(_lock_path(data_dir), os.O_RDONLY | os.O_CLOEXEC)
    try:
        return not _locked(descriptor, fcntl.LOCK_SH, attempts=1)
    finally:
        os.close(descriptor)


def _locked(descriptor: int, kind: int, *, attempts: int = ATTEMPTS) -> bool:
    for attempt in range(attempts):
        sleep(PAUSE if attempt else 0)
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
    return False


def _lock_path(data_dir: Path) -> Path:
    return data_dir / "lock"


def _record_path(data_dir: Path) -> Path:
    return data_dir / "run.json"
