"""What an import shows while it works: a bar on a terminal, and elsewhere a plain line every few seconds."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

_EVERY_S: Final = 3.0
Show = Callable[[int], None]


def say(line: str) -> None:
    """Show a line."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def showing(stage: str, total: int | None = None) -> Iterator[Show]:
    """Show how far a stage is; the function given is told how many rows are done."""
    if sys.stdout.isatty():
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        with Progress(*columns, console=Console()) as bar:
            task = bar.add_task(stage, total=total)
            yield lambda done: bar.update(task, completed=done)
    else:
        yield _plain(stage, total)


def _plain(stage: str, total: int | None) -> Show:
    said = time.monotonic()

    def show(done: int) -> None:
        nonlocal said
        if time.monotonic() - said >= _EVERY_S:
            said = time.monotonic()
            say(f"{stage}: {done:,}" + (f" of {total:,}" if total else ""))

    return show
