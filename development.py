"""The main job: embedded parts where no address is set, migrations, the named world, tokens, and all processes.

In production nothing is embedded, migrated or seeded: only the web servers run, as many as `KITH_WORKERS` says.
`python -m development seed` migrates, makes the named world, accounts and tokens, and leaves the rest to others.
"""

import asyncio
import contextlib
import dataclasses
import functools
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Final

from auth.jwks import development_key
from auth.token import issue_token, write_tokens
from domain.errors import Overloaded
from domain.ids import NodeType, OpaqueIds
from embedded import Addresses, Child, EmbeddedError, Part, Services, Supervisor
from embedded.configured import configured_addresses, merged, missing_parts, open_addresses
from embedded.errors import ChildFailed
from identity.database import make_beside
from identity.departures import NAME as IDENTITY
from identity.migrate import migrate as migrate_identity
from identity.named_accounts import DOMAIN, PASSWORD, seed_accounts
from keys import load_keys
from listeners import CannotListen, Door, bind, bind_free, bind_internal, listening, numbers_of, port_of
from settings import Settings, leaving_on_bad_settings, load_or_exit
from storage.cells import open_cells
from storage.database import Database
from storage.generations import begin_everywhere
from storage.migrate import MigrationError, migrate
from storage.named_world import ABOUT, seed_named_world

TOKENS_FILE: Final = "tokens.json"
_STANDARD_OUTPUT: Final = 1
_STANDARD_ERROR: Final = Path("/dev/stderr")
_ROOT: Final = Path(__file__).parent
_WEB_STAGE: Final = 12
_EVENTS_STAGE: Final = 11
_WEB_STOPS_WITHIN_S: Final = 15.0
_IDENTITY_STOPS_WITHIN_S: Final = 12.0


@dataclasses.dataclass(frozen=True, slots=True)
class Sockets:
    """What a service listens on: for everybody, and for what the other service asks."""

    public: Sequence[socket.socket]
    internal: Sequence[socket.socket] = ()


def say(line: str) -> None:
    """Show a line of progress."""
    sys.stdout.write(f"  {line}\n")
    sys.stdout.flush()


def run(settings: Settings) -> int:
    """Run the main job until SIGINT or SIGTERM; gives the exit status."""
    return _reported(_production(settings) if settings.is_production else _development(settings))


def _reported(work: Coroutine[None, None, None]) -> int:
    """Run a command until it ends or is told to; an expected failure is one sentence and exit status 1."""
    try:
        asyncio.run(_until_stopped(work))
    except (EmbeddedError, MigrationError, CannotListen, Overloaded) as error:
        sys.stderr.write(f"kith: {error}\n")
        return 1
    return 0


async def _production(settings: Settings) -> None:
    """Run the web servers; they write their logs where this process does, and share a folder for their metrics."""
    with tempfile.TemporaryDirectory(prefix="kith-metrics-") as metrics:
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": metrics}
        renewal = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, renewal.set)
        async with Supervisor(report=say) as supervisor:
            inner = bind_internal(settings) if settings.internal_port is not None else []
            with listening(inner), listening(bind(settings)) as listeners:
                sockets = Sockets(listeners, inner)
                webs = [_web(settings, number, environment, sockets) for number in range(settings.workers)]
                for web in webs:
                    await supervisor.spawn(dataclasses.replace(web, log=_STANDARD_ERROR))
                while await renewal.wait():
                    renewal.clear()
                    await _renew(supervisor, webs)


async def _renew(supervisor: Supervisor, webs: Sequence[Child]) -> None:
    """Replace the web servers one after the other; the first that does not start again keeps the rest as they are."""
    try:
        for web in webs:
            await supervisor.restart(web.name)
    except ChildFailed as error:
        say(f"{error}; the others stay as they are")


async def _development(settings: Settings) -> None:
    sys.stdout.write("Kith starts.\n")
    load_keys(settings)  # a key that cannot be read is told before anything starts
    development_key(settings)
    configured = configured_addresses(settings)
    parts = missing_parts(configured)
    services = Services(settings.data_dir, cells=settings.cells, parts=parts, report=say)
    async with services:
        addresses = merged(configured, services.addresses)
        await migrate(addresses.postgres_dsns, say)
        identity_dsn = await _prepare_identity(settings, addresses)
        subjects = await _prepare_world(settings, addresses)
        await seed_accounts(settings, identity_dsn, subjects)
        tokens = _write_tokens(settings, subjects)
        with (
            listening(bind_free(settings, say)) as listeners,
            listening(bind_free(settings, say, Door.IDENTITY)) as doors,
            listening(bind_internal(settings)) as inner,
            listening(bind_internal(settings, Door.IDENTITY_INTERNAL)) as questions,
        ):
            identity_url = settings.identity_url or f"http://localhost:{port_of(doors)}"
            environment = _environment(settings, addresses, listeners) | {
                "KITH_IDENTITY_DSN": identity_dsn,
                "KITH_IDENTITY_URL": identity_url,
                "KITH_IDENTITY_PORT": str(port_of(doors)),
                "KITH_ERASURE_CONSUMERS": ",".join(dict.fromkeys((*settings.erasure_consumers, IDENTITY))),
                "KITH_INTERNAL_URL": f"http://{settings.internal_host}:{port_of(inner)}",
                "KITH_IDENTITY_INTERNAL_URL": f"http://{settings.internal_host}:{port_of(questions)}",
            }
            doors_of_identity = Sockets(doors, questions)
            await _spawn_processes(services, settings, environment, Sockets(listeners, inner), doors_of_identity)
            address = f"{settings.scheme}://{settings.host}:{port_of(listeners)}"
            services.announce(address)
            _greet(settings, tokens, address, identity_url)
            await asyncio.Event().wait()


async def _until_stopped(work: Coroutine[None, None, None]) -> None:
    """Run `work` until SIGINT or SIGTERM, at whatever point of it; a second signal does not hurry the stopping."""
    task, stopping = asyncio.ensure_future(work), False

    def stop() -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            sys.stdout.write("\nKith stops.\n")
            sys.stdout.flush()
            task.cancel()

    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stop)
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _prepare_identity(settings: Settings, addresses: Addresses) -> str:
    """Make the auth service's database beside the first cell, where no other is set, and migrate it."""
    dsn = settings.identity_address or await make_beside(addresses.postgres_dsns[0])
    await migrate_identity(dsn, say)
    return dsn


async def _prepare_world(settings: Settings, addresses: Addresses) -> dict[str, str]:
    """Seed the named people; gives the id of each by which clients know the person."""
    ids = OpaqueIds(load_keys(settings).opaque_ids)
    async with open_cells(addresses.postgres_dsns) as shards:
        people = await seed_named_world(Database(shards, ids), say)
        await begin_everywhere(shards)
    return {name: ids.encode(NodeType.USER, people[name]) for name in ABOUT if name in people}


def _write_tokens(settings: Settings, subjects: Mapping[str, str]) -> dict[str, str]:
    """Write a token for each of the named people that the person could have."""
    key = development_key(settings)
    tokens = {name: issue_token(key, settings, subject) for name, subject in subjects.items()}
    write_tokens(settings.data_dir / TOKENS_FILE, tokens)
    return tokens


def _environment(settings: Settings, addresses: Addresses, listeners: Sequence[socket.socket]) -> dict[str, str]:
    metrics = settings.data_dir.resolve() / "metrics"
    shutil.rmtree(metrics, ignore_errors=True)
    metrics.mkdir(parents=True)
    return {
        **os.environ,
        "KITH_DATA_DIR": str(settings.data_dir.resolve()),
        "KITH_POSTGRES_DSNS": ",".join(addresses.postgres_dsns),
        "KITH_REDIS_URL": addresses.redis_url,
        "KITH_KAFKA_BOOTSTRAP": addresses.kafka_bootstrap,
        "KITH_PORT": str(port_of(listeners)),
        "PROMETHEUS_MULTIPROC_DIR": str(metrics),
    }


async def _spawn_processes(
    services: Services,
    settings: Settings,
    environment: Mapping[str, str],
    sockets: Sockets,
    doors: Sockets,
) -> None:
    say("Starting the relay, the consumer, upkeep, the auth service and the web server")
    children = [
        _background(settings, "relay", environment),
        _background(settings, "consumer", environment),
        _background(settings, "upkeep", environment),
        _identity(settings, environment, doors),
        *(_web(settings, number, environment, sockets) for number in range(settings.workers)),
    ]
    await asyncio.gather(*map(services.spawn, children))


def _background(settings: Settings, name: str, environment: Mapping[str, str]) -> Child:
    return Child(
        name=name,
        argv=(sys.executable, "-m", f"events.{name}"),
        log=settings.data_dir.resolve() / "logs" / f"{name}.log",
        env=environment,
        cwd=_ROOT,
        stop_timeout=5.0,
        stage=_EVENTS_STAGE,
    )


def _identity(settings: Settings, environment: Mapping[str, str], doors: Sockets) -> Child:
    serves = Path(environment["PROMETHEUS_MULTIPROC_DIR"]) / "identity.serves"
    inner = numbers_of(doors.internal)
    console = os.dup(_STANDARD_OUTPUT)  # mails are shown where this process is watched, not where its log is
    # It is one process, and counts for itself.
    own = {name: value for name, value in environment.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    child = Child(
        name="identity",
        argv=(sys.executable, "-m", "identity", "--console", str(console), *_internal(inner)),
        log=settings.data_dir.resolve() / "logs" / "identity.log",
        env=own,
        cwd=_ROOT,
        stop_timeout=_IDENTITY_STOPS_WITHIN_S,
        stage=_WEB_STAGE,
        passed=(console, *inner),
    )
    return _serving(child, serves, doors.public)


def _web(settings: Settings, number: int, environment: Mapping[str, str], sockets: Sockets) -> Child:
    inner = numbers_of(sockets.internal)
    child = Child(
        name=f"web {number}" if settings.workers > 1 else "web",
        argv=(sys.executable, "server.py", "web", *_internal(inner)),
        log=settings.data_dir.resolve() / "logs" / f"web-{number}.log",
        env=environment,
        cwd=_ROOT,
        stop_timeout=_WEB_STOPS_WITHIN_S + settings.drain_delay,
        stage=_WEB_STAGE,
        passed=inner,
    )
    return _serving(child, Path(environment["PROMETHEUS_MULTIPROC_DIR"]) / f"web-{number}.serves", sockets.public)


def _internal(numbers: Sequence[int]) -> tuple[str, ...]:
    return ("--internal", ",".join(map(str, numbers))) if numbers else ()


def _serving(child: Child, serves: Path, listeners: Sequence[socket.socket]) -> Child:
    """Hand on sockets; the child says by a file that it serves, since on shared sockets any of them may answer."""
    passed = numbers_of(listeners)
    forget, told = functools.partial(serves.unlink, missing_ok=True), serves.exists

    async def prepare() -> None:
        forget()

    async def ready() -> bool:
        return told()

    return dataclasses.replace(
        child,
        argv=(*child.argv, "--listen", ",".join(map(str, passed)), "--serves", str(serves)),
        prepare=prepare,
        ready=ready,
        passed=(*child.passed, *passed),
    )


def _greet(settings: Settings, tokens: Mapping[str, str], address: str, identity_url: str) -> None:
    people = "\n".join(f"  {name:5} {ABOUT[name]:25} {token}" for name, token in tokens.items())
    sys.stdout.write(
        f"\nAccess tokens (also in {settings.data_dir / TOKENS_FILE}):\n{people}\n\n"
        f"Sign-in is at {identity_url}\n"
        f"There each person is name@{DOMAIN} with the password {PASSWORD}; "
        f"mails are shown here and at {identity_url}/mails\n"
        f"Kith runs: open {address}/graphql and choose who you are. Ctrl-C stops it.\n"
    )
    sys.stdout.flush()


async def _seed(settings: Settings) -> None:
    async with open_addresses(settings, parts=frozenset({Part.POSTGRES}), report=say) as addresses:
        await migrate(addresses.postgres_dsns, say)
        identity_dsn = await _prepare_identity(settings, addresses)
        subjects = await _prepare_world(settings, addresses)
        await seed_accounts(settings, identity_dsn, subjects)
        _write_tokens(settings, subjects)
    say(f"The named world is there; its tokens are in {settings.data_dir / TOKENS_FILE}")


if __name__ == "__main__":
    if sys.argv[1:] != ["seed"]:
        sys.exit("usage: python -m development seed")
    with leaving_on_bad_settings():
        sys.exit(_reported(_seed(load_or_exit())))
