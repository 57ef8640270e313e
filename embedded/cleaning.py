"""Remove what the parts keep in a data folder."""

import shutil
from collections.abc import Callable
from pathlib import Path

from embedded.folders import open_data_dir, remove_sockets_folder
from embedded.lock import DataLock
from embedded.roster import Roster

OURS = ("postgres", "postgres-*", "postgres.new-*", "valkey", "logs", "children.json", "run.json")


async def clean(data_dir: Path, *, report: Callable[[str], None]) -> None:
    """Remove the data of the parts; what others keep in the folder stays.

    Raises AlreadyRunning while a run owns it.
    """
    folder = open_data_dir(data_dir)
    lock = DataLock(folder)
    try:
        await Roster(folder / "children.json").settle(report)
        _remove(folder)
    finally:
        lock.release()
    report(f"Removed the data of the parts in {folder}")


def _remove(folder: Path) -> None:
    remove_sockets_folder(folder)
    for path in [found for pattern in OURS for found in folder.glob(pattern)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
