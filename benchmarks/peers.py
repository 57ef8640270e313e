"""Kith beside other GraphQL servers on the same data: `python -m benchmarks.peers [arguments of the harness's run.py]`.

The harness, with its peers, is not a part of this project: KITH_BENCH_PEERS names its folder, else it is looked for in
`../shared/bench`. It starts PostgreSQL, Redis and each server in turn; the broker and the processes behind it are
started here, and everything that a request goes through in production is on.
"""

import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from benchmarks.peer_data import bring_over, identities, own_dsn
from embedded import Child, Part, Services
from embedded.wheels import valkey_server
from settings import load

ROOT: Final = Path(__file__).resolve().parents[1]
HARNESS: Final = "KITH_BENCH_PEERS"
DEFAULT_ARGUMENTS: Final = (
    "--peers", "kith,mercurius,mercurius+cache,apollo,yoga+jit,postgraphile,ariadne-uvicorn,strawberry-aiohttp",
    "--baseline", "mercurius", "--users", "20000", "--edges", "400000", "--blocks", "20000",
    "--rounds", "3", "--seconds", "3", "--no-open",
)  # fmt: skip
_STATES: Final = ("follow", "following again", "unfollow", "unfollowing again")
_OTHER_RULES: Final = {
    "a count leaves out whom a block hides from the viewer": (
        "followers", "two_level", "following", "following of a busy user", "followers, exactly one page",
        "followers, one more than a page", "followers, page by page", "followers, after a cursor inside a page",
        "following, after a cursor inside a page", "blocker left out of followers", "blocker left out of two_level",
        "blocker left out of following", "private followers, the user looks", "private followers, a follower looks",
        "private two_level, a follower looks", "private profile, the user looks", "private profile, a follower looks",
    ),
    "a private account shows strangers its stub and its counts": (
        "private profile, a stranger looks", "private profile, nobody looks", "private following, a stranger looks",
    ),
    "both of these": ("profile", "following, page by page"),
    "what our mutations change is in tables of our own, which the harness does not look into": (
        "follow: tables", "follow again: tables", "unfollow: tables", "unfollow again: tables",
        *(f"after {state}: {what}" for state in _STATES for what in ("profile", "me", "followers")),
    ),
}  # fmt: skip
"""Checks of the harness that tell our rules from its own; a check that passes counts as passed all the same."""


def find_harness() -> Path | None:
    """Give the folder of the harness, if it is there and set up."""
    folder = Path(os.environ.get(HARNESS) or ROOT.parent / "shared" / "bench")
    home = Path(os.environ.get("PEERS_HOME") or Path(tempfile.gettempdir()) / "peers")
    return folder if (folder / "run.py").exists() and (home / "pyenv").exists() else None


async def compare(arguments: list[str]) -> int:
    """Run the harness with Kith among the peers; gives its exit status."""
    harness = find_harness()
    if harness is None:
        sys.stderr.write(
            f"The harness of peers is not there, or its setup.sh has not been run: set {HARNESS} to its folder"
            " (and PEERS_HOME to where it was set up). Nothing was compared.\n"
        )
        return 1
    os.environ.pop(HARNESS, None)  # no setting of the processes that are started from here
    with tempfile.TemporaryDirectory(prefix="kb-", ignore_cleanup_errors=True) as folder:
        base = Path(folder)
        services = Services(base / "data", parts=frozenset({Part.BROKER}), report=lambda _line: None)
        async with services, _background(services, base):
            _write_adapter(base, services.addresses.kafka_bootstrap)
            run = await asyncio.create_subprocess_exec(
                harness / "run.py",
                *(arguments or [*DEFAULT_ARGUMENTS, "--json", str(base / "results.json")]),
                env={**os.environ, "BENCH_PEERS": str(base / "peers"), "REDIS_SERVER": str(valkey_server())},
            )
            return await run.wait()


def _write_adapter(base: Path, broker: str) -> None:
    """Describe ourselves to the harness."""
    own = base / "peers" / "kith"
    own.mkdir(parents=True)
    this = [sys.executable, "-m", "benchmarks.peers"]
    adapter = {
        "label": "Kith, everything on",
        "command": [*this, "web", "${dsn}", "${redis_url}", "${port}"],
        "prepare": [*this, "prepare", "${dsn}", "${redis_url}"],
        "cwd": str(ROOT),
        "env": {"KITH_DATA_DIR": str(base / "data"), "KITH_KAFKA_BOOTSTRAP": broker, "REDIS": "${redis_url}"},
        "headers": {"authorization": "Bearer ${token}"},
        "queries": str(ROOT / "benchmarks" / "peer_queries"),
        "normalize": str(ROOT / "benchmarks" / "peer_normalize.py"),
        "skip": {check: reason for reason, checks in _OTHER_RULES.items() for check in checks},
    }
    (own / "adapter.json").write_text(json.dumps(adapter))


@contextlib.asynccontextmanager
async def _background(services: Services, base: Path) -> AsyncIterator[None]:
    """Run relay, consumer and upkeep, as soon as the harness has said where its databases are."""

    async def start() -> None:
        while not _told(base).exists():
            await asyncio.sleep(0.1)
        environment = {**os.environ, **json.loads(_told(base).read_text())}
        for name in ("relay", "consumer", "upkeep"):
            argv = (sys.executable, "-m", f"events.{name}")
            log = base / "data" / "logs" / f"{name}.log"
            await services.spawn(Child(name=name, argv=argv, log=log, env=environment, cwd=ROOT))

    task = asyncio.create_task(start())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _told(base: Path) -> Path:
    return base / "told.json"


async def _prepare(dsn: str, redis_url: str) -> None:
    """Load the data, tell where it is, and print what the harness needs to know of people."""
    settings = load()
    await bring_over(dsn)
    said = json.dumps(await identities(dsn, settings))
    told = _told(settings.data_dir.parent)
    addresses = {**_addresses(dsn, redis_url), **{name: os.environ[name] for name in _GIVEN}}
    told.with_suffix(".new").write_text(json.dumps(addresses))
    told.with_suffix(".new").replace(told)
    sys.stdout.write(f"{said}\n")


_GIVEN: Final = ("KITH_DATA_DIR", "KITH_KAFKA_BOOTSTRAP")


def _addresses(dsn: str, redis_url: str) -> dict[str, str]:
    return {"KITH_POSTGRES_DSNS": own_dsn(dsn), "KITH_REDIS_URL": redis_url}


def main(arguments: list[str]) -> int:
    """Compare; or, called by the harness, load the data or become the web server."""
    match arguments:
        case ["prepare", dsn, redis_url]:
            asyncio.run(_prepare(dsn, redis_url))
        case ["web", dsn, redis_url, port]:
            environment = {**os.environ, **_addresses(dsn, redis_url), "KITH_PORT": port}
            os.execve(sys.executable, [sys.executable, "server.py", "web"], environment)  # noqa: S606 - our own program
        case _:
            return asyncio.run(compare(arguments))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
