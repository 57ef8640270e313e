"""The real parts, once a session; and people, made fresh for each test that asks."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import gc
import itertools
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from domain.ids import NodeType, OpaqueIds
from domain.pages import Cursors
from embedded import Addresses
from identity.database import Database as IdentityDatabase
from identity.database import make_beside, open_database
from identity.migrate import migrate as migrate_identity
from identity.parts import Parts, open_parts
from loaders import Caches, open_caches
from resolvers.consistency import ConsistencyTokens
from resolvers.context import Backend, Context, new_context
from settings import load
from storage.cells import ShardMap, open_cells
from storage.channels import Listeners
from storage.database import Database
from storage.master_keys import LocalMasterKeys
from storage.migrate import migrate
from storage.outbox import Bell
from storage.redis_client import Redis, open_redis
from storage.users import NewUser, create_user
from storage.vault import Vault
from tests.services import open_services

KEY = secrets.token_bytes(32)
TESTS = Path(__file__).parent
OUT_OF_TIME = ["TimeoutError", "DEADLINE_EXCEEDED", "OVERLOADED", "Overloaded", "DeadlineExceeded"]
"""What an error says that comes of a machine without time to spare."""
YOUNG = 20_000
"""How many new objects make the collector look at them, as in the service."""
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """Give a folder whose name is short enough for sockets, whatever the checkout is called."""
    folder = Path(tempfile.mkdtemp(prefix="kt-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Have what failed on real parts run again, twice at most; the summary names it as RERUN.

    The parts share a machine with whoever else is on it, and a machine that stands still for a second breaks what was
    no fault of theirs. A proof is run again only when it ran out of time: what it has seen once, nobody may see.
    """
    match item.path.relative_to(TESTS).parts[0]:
        case "integration" | "acceptance":
            item.add_marker(pytest.mark.flaky(reruns=2))
        case "proof":
            item.add_marker(pytest.mark.flaky(reruns=2, only_rerun=OUT_OF_TIME))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what ran again, and why: a test that is there often wants mending."""
    for report in terminalreporter.getreports("rerun"):
        terminalreporter.section(f"run again: {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)


def pytest_collection_finish() -> None:
    """Keep the collector from looking through thousands of tests again and again: they stay to the end."""
    import hypothesis  # noqa: F401, PLC0415 - it asks who refers to what, which nobody can tell of what is frozen

    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)


@pytest.fixture(scope="session")
async def addresses(short_folder: Path) -> AsyncIterator[Addresses]:
    """Run PostgreSQL with three databases (one cell alone, two cells together), Valkey and the broker."""
    async with open_services(short_folder / "parts", cells=3) as found:
        await migrate(found.postgres_dsns, lambda _line: None)
        yield found


@pytest.fixture(scope="session", params=[1, 2], ids=["one cell", "two cells"])
def dsns(request: pytest.FixtureRequest, addresses: Addresses) -> tuple[str, ...]:
    """Give the addresses of a world of one cell, and then those of one of two."""
    return addresses.postgres_dsns[:1] if request.param == 1 else addresses.postgres_dsns[1:]


@pytest.fixture(scope="session")
async def shards(dsns: tuple[str, ...]) -> AsyncIterator[ShardMap]:
    async with open_cells(dsns) as opened:
        yield opened


@pytest.fixture(scope="session")
async def identity_dsn(addresses: Addresses) -> str:
    """Give the address of a database of the auth service, beside the first cell."""
    dsn = await make_beside(addresses.postgres_dsns[0])
    await migrate_identity(dsn, lambda _line: None)
    return dsn


@pytest.fixture
async def identity(identity_dsn: str) -> AsyncIterator[IdentityDatabase]:
    async with open_database(identity_dsn) as opened:
        yield opened


@pytest.fixture
async def identity_parts(identity_dsn: str, addresses: Addresses, short_folder: Path) -> AsyncIterator[Parts]:
    """Open what the auth service works with."""
    settings = load(
        {
            "KITH_DATA_DIR": str(short_folder / "identity"),  # its key opens what the tests before have written
            "KITH_PORT": "8000",
            "KITH_REDIS_URL": addresses.redis_url,
        }
    )
    async with open_parts(settings, identity_dsn, "http://localhost:8100") as parts:
        yield parts


@pytest.fixture
async def redis(addresses: Addresses) -> AsyncIterator[Redis]:
    async with open_redis(addresses.redis_url) as opened:
        yield opened


@pytest.fixture
async def caches(shards: ShardMap, redis: Redis) -> AsyncIterator[Caches]:
    async with open_caches(shards, OpaqueIds(KEY), redis) as opened:
        yield opened


@pytest.fixture
def database(caches: Caches) -> Database:
    return caches.database


@pytest.fixture
async def backend(caches: Caches, addresses: Addresses) -> AsyncIterator[Backend]:
    async with Listeners(addresses.redis_url) as listeners, contextlib.AsyncExitStack() as stack:
        bell = Bell()
        stack.push_async_callback(bell.close)
        yield Backend(caches, Cursors(KEY), ConsistencyTokens(KEY), listeners, bell, Vault(LocalMasterKeys({1: KEY})))


@dataclasses.dataclass(frozen=True, slots=True)
class Person:
    """Somebody made for a test."""

    id: int
    name: str
    opaque_id: str
    backend: Backend

    @property
    def context(self) -> Context:
        """Give a context in which this person asks, with nothing remembered."""
        return new_context(self.backend, self.id)


MakePerson = Callable[..., Awaitable[Person]]


@pytest.fixture
def make_person(database: Database, backend: Backend) -> MakePerson:
    """Make people, each in the next cell unless one is named."""

    async def make(*, cell: int | None = None, **details: object) -> Person:
        number = next(_NUMBERS)
        name = f"p{number}.{secrets.token_hex(4)}"
        home = number % len(database.shards.cells) if cell is None else cell
        new = NewUser(name, **details)  # type: ignore[arg-type]
        user_id = await create_user(database, new, cell=home, now=dt.datetime.now(dt.UTC))
        return Person(user_id, name, database.ids.encode(NodeType.USER, user_id), backend)

    return make


@pytest.fixture
def anonymous(backend: Backend) -> Context:
    return new_context(backend, None)


@pytest.fixture(autouse=True, scope="session")
def _no_settings_from_outside() -> None:
    """Keep the tests from reading what the shell of whoever runs them has set."""
    for name in [name for name in os.environ if name.startswith("KITH_") and name != "KITH_TEST_SERVICES"]:
        del os.environ[name]


async def eventually(check: Callable[[], Awaitable[bool]], *, within: float = 60.0) -> None:
    """Wait until a check holds; fails after `within` seconds."""
    async with asyncio.timeout(within):
        while not await check():
            await asyncio.sleep(0.02)
