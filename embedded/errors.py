"""What can go wrong when parts are run from wheels."""

from dataclasses import dataclass
from pathlib import Path


class EmbeddedError(Exception):
    """A part cannot be run here; the message says which, why, and what to do."""


@dataclass(slots=True, eq=False)
class AlreadyRunning(EmbeddedError):
    """Another run owns the data folder."""

    data_dir: Path
    pid: int | None = None
    address: str | None = None

    def __str__(self) -> str:
        who = f" (process {self.pid})" if self.pid else ""
        where = f" at {self.address}" if self.address else ""
        return f"Kith is already running from {self.data_dir}{who}{where}; stop it first, or use another folder."


@dataclass(slots=True, eq=False)
class ChildFailed(EmbeddedError):
    """A child did not start, or a program failed."""

    name: str
    reason: str
    log: Path
    quoted: str = ""

    def __str__(self) -> str:
        said = f" The end of {self.log}:\n{self.quoted}" if self.quoted else f" Its log is {self.log}."
        return f"{self.name} did not start: {self.reason}.{said}"
