"""The log files of the children: bounded at start, quoted in errors."""

from pathlib import Path
from typing import BinaryIO

LIMIT = 10 * 1024 * 1024
QUOTED_BYTES = 4096
QUOTED_LINES = 12


def open_log(path: Path) -> BinaryIO:
    """Open a log to append to; one above 10 MB first becomes `<name>.1`."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if size(path) > LIMIT:
        path.replace(path.with_name(path.name + ".1"))
    return path.open("ab")


def size(path: Path) -> int:
    """Return the size of a log in bytes; one that is not there has none."""
    return path.stat().st_size if path.exists() else 0


def last_lines(path: Path, *, since: int = 0) -> str:
    """Return the last few lines written after byte `since`."""
    if not path.exists():
        return ""
    with path.open("rb") as log:
        end = log.seek(0, 2)
        # A log that became smaller was begun anew.
        log.seek(max(end - QUOTED_BYTES, since if since <= end else 0, 0))
        text = log.read().decode("utf-8", "replace")
    return "\n".join(text.strip().splitlines()[-QUOTED_LINES:])
