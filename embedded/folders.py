"""The two folders of a run: the data, kept, and a short private one for sockets."""

import hashlib
import os
import shutil
import stat
from pathlib import Path

from embedded.errors import EmbeddedError

# Not tempfile.gettempdir(): a socket path holds 107 bytes, and TMPDIR may be long.
SOCKETS_ROOT = Path("/tmp")  # noqa: S108 - the folder below it is made private and refused when it is not ours


def open_data_dir(path: Path) -> Path:
    """Make the data folder, readable by its owner only, and return its real path."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_uid != os.geteuid():
        raise EmbeddedError(f"{path} belongs to another user (uid {path.stat().st_uid}); run as that user, or move it.")
    path.chmod(0o700)
    return path.resolve()


def sockets_folder(data_dir: Path) -> Path:
    """Name the socket folder of a data folder: short, and its own for every user and data folder."""
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    return SOCKETS_ROOT / f"kith-{os.geteuid()}-{digest}"


def open_sockets_folder(data_dir: Path) -> Path:
    """Make the socket folder of a data folder afresh.

    Raises EmbeddedError when somebody else could have put it there.
    """
    folder = sockets_folder(data_dir)
    remove_sockets_folder(data_dir)
    # Root's is passable, so that the unprivileged PostgreSQL reaches its own private folder inside.
    folder.mkdir(mode=0o700)
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    return folder


def remove_sockets_folder(data_dir: Path) -> None:
    """Remove the socket folder of a data folder, if there is one and it is ours."""
    folder = sockets_folder(data_dir)
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise EmbeddedError(f"{folder} was not made by us (owner uid {found.st_uid}); remove it and start again.")
    shutil.rmtree(folder)


def write_private(path: Path, content: bytes) -> None:
    """Replace a file as a whole, readable by its owner only."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123 - mode at creation
        file.write(content)
    fresh.replace(path)
