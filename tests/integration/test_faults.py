"""PostgreSQL killed, frozen, cut off and altered under load: reads go on or are refused soon, the pools stay whole."""

import asyncio
import collections
import contextlib
import dataclasses
import functools
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import monotonic

import psutil
import pytest

from domain import deadlines
from domain.errors import DeadlineExceeded, KithError, Overloaded
from embedded.addresses import Part
from embedded.services import Services
from storage import cells as cells_module
from storage.breakers import BreakerOpen
from storage.cells import Cell, Connection, ShardMap, open_cells
from storage.failures import LATE
from storage.limits import Priority
from tests.conftest import eventually

CONNECTIONS = 6
READ_TIMEOUT_S = 0.5
CANCELLED = 2000


@pytest.fixture(scope="module")
async def services(short_folder: Path) -> AsyncIterator[Services]:
    """Run a PostgreSQL that only these tests hurt."""
    parts = frozenset({Part.POSTGRES})
    async with Services(short_folder / "hurt", cells=2, parts=parts, report=lambda _line: None) as running:
        yield running


@pytest.fixture(params=[1, 2], ids=["one cell", "two cells"])
async def world(request: pytest.FixtureRequest, services: Services) -> AsyncIterator[ShardMap]:
    dsns = services.addresses.postgres_dsns[: request.param]
    async with open_cells(dsns, connections=CONNECTIONS, read_timeout=READ_TIMEOUT_S) as shards:
        for cell in shards.cells:
            await eventually(functools.partial(answers, cell))
            await cell.fetch("DROP TABLE IF EXISTS things")
            await cell.fetch("CREATE TABLE things (id bigint PRIMARY KEY, n bigint NOT NULL)")
            await cell.fetch("INSERT INTO things SELECT g, 0 FROM generate_series(1, 50) g")
        yield shards
        for cell in shards.cells:
            await eventually(functools.partial(answers, cell))
            assert await is_whole(cell)


async def answers(cell: Cell) -> bool:
    try:
        await cell.fetch("SELECT 1")
    except Overloaded:
        return False
    return True


async def is_whole(cell: Cell) -> bool:
    """Use every connection at once, and see that nothing is left of earlier work."""
    barrier = asyncio.Barrier(CONNECTIONS)

    async def hold() -> None:
        async with cell.loans.pool.acquire(timeout=5.0) as connection:
            await barrier.wait()
            assert await connection.fetchval("SELECT 1") == 1
            assert not connection.is_in_transaction()

    await asyncio.gather(*(hold() for _ in range(CONNECTIONS)))
    [idle] = await cell.fetch("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'")
    return idle["count"] == 0 and (cell.guard.limit.in_flight, cell.guard.limit.queued) == (0, 0)


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a server with all its processes, as a machine that hangs would."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in family:
        process.suspend()
    try:
        yield
    finally:
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


@dataclasses.dataclass(slots=True)
class Load:
    """Clients that read and write without pause, and what became of it."""

    shards: ShardMap
    ended: "collections.Counter[str]" = dataclasses.field(default_factory=collections.Counter)
    refusals: list[float] = dataclasses.field(default_factory=list)
    acknowledged: "collections.Counter[tuple[int, int]]" = dataclasses.field(default_factory=collections.Counter)
    unknown: "collections.Counter[tuple[int, int]]" = dataclasses.field(default_factory=collections.Counter)
    turns: "collections.Counter[int]" = dataclasses.field(default_factory=collections.Counter)

    @contextlib.asynccontextmanager
    async def running(self, clients: int = 8) -> AsyncIterator["Load"]:
        tasks = [asyncio.create_task(self._client(number)) for number in range(clients)]
        try:
            await self.goes_on()
            yield self
            await self.goes_on()
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(error, asyncio.CancelledError) for error in ended), ended

    async def goes_on(self) -> None:
        """Wait until more was read and written."""
        reads, writes = self.ended["read"], self.ended["written"]

        async def more() -> bool:
            return self.ended["read"] > reads + 20 and self.ended["written"] > writes + 20

        await eventually(more)

    async def all_go_on(self) -> None:
        """Wait until every client has ended what it was at."""
        turns = self.turns.copy()

        async def further() -> bool:
            return all(self.turns[number] > turns[number] for number in turns)

        await eventually(further)

    async def _client(self, number: int) -> None:
        for turn in range(1_000_000):
            cell = self.shards.cells[turn % len(self.shards.cells)]
            await (self._read(cell) if (turn + number) % 3 else self._write(cell, number * 5 + turn % 5 + 1))
            self.turns[number] += 1
            await asyncio.sleep(0)

    async def _read(self, cell: Cell) -> None:
        began = monotonic()
        try:
            assert len(await cell.fetch("SELECT * FROM things WHERE id = ANY($1::bigint[])", [1, 2])) == 2
            self.ended["read"] += 1
        except Overloaded as error:
            self.ended[_refused("read", error)] += 1
            self.refusals.append(monotonic() - began)
            await asyncio.sleep(0.01)

    async def _write(self, cell: Cell, key: int) -> None:
        async def work(connection: Connection) -> None:
            await connection.fetch("SELECT * FROM things WHERE id = $1 FOR UPDATE", key)
            await connection.execute("UPDATE things SET n = n + 1 WHERE id = $1", key)

        try:
            await cell.transact(work)
            self.ended["written"] += 1
            self.acknowledged[cell.number, key] += 1
        except Overloaded as error:
            self.ended[_refused("write", error)] += 1
            self.unknown[cell.number, key] += 1
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.unknown[cell.number, key] += 1
            raise

    async def check(self) -> None:
        """See that what was acknowledged is there, once, and nothing else that was not attempted."""
        for cell in self.shards.cells:
            await eventually(functools.partial(answers, cell))
            for row in await cell.fetch("SELECT id, n FROM things"):
                place = cell.number, row["id"]
                most = self.acknowledged[place] + self.unknown[place]
                assert self.acknowledged[place] <= row["n"] <= most


def _refused(what: str, error: Overloaded) -> str:
    """Name a refusal; that a machine which has stalled is late is told apart from all that must never be."""
    return f"{what} late" if isinstance(error.__cause__, (*LATE, BreakerOpen, type(None))) else f"{what} refused"


async def test_a_killed_server_loses_nothing_that_was_acknowledged(world: ShardMap, services: Services) -> None:
    load = Load(world)
    async with load.running():
        os.kill(services.pid(Part.POSTGRES) or 0, signal.SIGKILL)
    await load.check()


async def test_a_frozen_server_is_refused_at_once_after_the_first_who_waited(
    world: ShardMap, services: Services
) -> None:
    load = Load(world)
    async with load.running():
        pid = services.pid(Part.POSTGRES) or 0
        with frozen(pid):
            await eventually(lambda: _all_open(world))
            load.refusals.clear()
            await eventually(lambda: _many(load.refusals, 50))
            quick = sorted(load.refusals)[len(load.refusals) // 2]
            assert quick < READ_TIMEOUT_S / 10
    await load.check()


async def _all_open(world: ShardMap) -> bool:
    return all(cell.guard.breaker.is_open for cell in world.cells)


async def _many(what: list[float], number: int) -> bool:
    return len(what) >= number


async def test_reads_do_not_notice_when_all_connections_are_cut_again_and_again(world: ShardMap) -> None:
    load = Load(world)
    async with load.running():
        for _ in range(10):
            for cell in world.cells:
                async with cell.loans.pool.acquire() as connection:
                    await connection.fetch(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                        " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
                    )
            await load.goes_on()
            await load.all_go_on()  # so that nobody meets two cuts with one read
    await load.check()
    assert load.ended["read refused"] == 0, load.ended


async def test_a_column_that_is_added_under_load_disturbs_neither_reads_nor_transactions(world: ShardMap) -> None:
    load = Load(world)
    async with load.running():
        for number in range(10):
            for cell in world.cells:
                async with cell.loans.pool.acquire() as connection:
                    await connection.execute(f"ALTER TABLE things ADD COLUMN c{number} int")
            await load.goes_on()
    await load.check()
    assert load.ended["read refused"] == load.ended["write refused"] == 0, load.ended


async def test_two_thousand_cancelled_requests_leave_the_pools_whole(world: ShardMap) -> None:
    async def request(cell: Cell, number: int) -> None:
        async def work(connection: Connection) -> None:
            await connection.execute("UPDATE things SET n = n + 1 WHERE id = $1", number % 50 + 1)
            await connection.fetch("SELECT pg_sleep($1)", number % 7 / 1000)

        with contextlib.suppress(Overloaded):
            await (cell.transact(work) if number % 2 else cell.fetch("SELECT pg_sleep($1)", number % 7 / 1000))

    for start in range(0, CANCELLED, 100):
        tasks = [
            asyncio.create_task(request(world.cells[number % len(world.cells)], number))
            for number in range(start, start + 100)
        ]
        for number, task in enumerate(tasks):
            if number % 5 == 0:
                await asyncio.sleep(0.001)
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(error) for error in ended} <= {asyncio.CancelledError, type(None)}


async def test_a_request_without_time_left_ends_what_it_runs_and_opens_no_breaker(world: ShardMap) -> None:
    for _ in range(10):
        with deadlines.within(0.02), pytest.raises(DeadlineExceeded):
            await world.directory.fetch("SELECT pg_sleep(10)")
    [left] = await world.directory.fetch(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
    )
    assert left["count"] == 0
    assert not world.directory.guard.breaker.is_open


async def test_a_transaction_that_runs_out_of_time_has_done_nothing(world: ShardMap) -> None:
    async def work(connection: Connection) -> None:
        await connection.execute("UPDATE things SET n = 7")
        await connection.fetch("SELECT pg_sleep(10)")

    with deadlines.within(0.05), pytest.raises(DeadlineExceeded):
        await world.directory.transact(work)
    [row] = await world.directory.fetch("SELECT max(n) AS n FROM things")
    assert row["n"] == 0


async def test_a_busy_cell_is_never_asked_for_more_than_its_limit_at_once(world: ShardMap, services: Services) -> None:
    most = 0

    async def read(number: int) -> type[KithError] | None:
        try:
            await world.directory.fetch("SELECT pg_sleep(0.005)", priority=Priority(number % 5))
        except Overloaded as error:
            return type(error)
        return None

    async def watch() -> None:
        nonlocal most
        while True:
            [row] = await watcher.directory.loans.pool.fetch(
                "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
            )
            most = max(most, row["count"])

    async with open_cells(services.addresses.postgres_dsns[:1], connections=1) as watcher:
        watching = asyncio.create_task(watch())
        ended = collections.Counter(await asyncio.gather(*(read(number) for number in range(200))))
        watching.cancel()
        await asyncio.wait({watching})
    assert ended[Overloaded] > 0
    assert ended[None] >= CONNECTIONS
    assert 0 < most <= CONNECTIONS


async def test_a_server_that_has_no_connection_left_is_busy_and_not_an_internal_error(
    world: ShardMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells_module, "ACQUIRE_TIMEOUT_S", 0.05)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(CONNECTIONS):
            await stack.enter_async_context(world.directory.loans.pool.acquire())
        with pytest.raises(Overloaded):
            await world.directory.fetch("SELECT 1")
