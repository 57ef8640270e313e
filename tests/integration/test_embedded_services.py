"""The real PostgreSQL, Valkey and broker, started, killed and started again."""
# ruff: noqa: ASYNC221, ASYNC240 - a test may block its own loop

import asyncio
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic  # type: ignore[import-untyped, unused-ignore]
from redis.asyncio import Redis

from embedded import Addresses, AlreadyRunning, EmbeddedError, Part, Services, running, wheels
from embedded.cleaning import clean
from embedded.cluster import NOBODY
from embedded.folders import sockets_folder

ROOT = Path(__file__).parents[2]
IS_ROOT = os.geteuid() == 0
POSTGRES = frozenset({Part.POSTGRES})
Ready = asyncio.Queue[tuple[str, int]]

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends children of a killed process on Linux")
root_only = pytest.mark.skipif(not IS_ROOT, reason="only root can become somebody else")


@pytest.fixture
def data_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="kith-test-"))
    yield folder / "data"
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
async def seed() -> AsyncIterator[Path]:
    """Make a data folder that the tests use in turn: each leaves it stopped, and none damages it."""
    folder = Path(tempfile.mkdtemp(prefix="kith-test-"))
    async with Services(folder / "data", parts=POSTGRES):
        pass
    yield folder / "data"
    shutil.rmtree(folder)


@pytest.fixture
def seeded(seed: Path, data_dir: Path) -> Path:
    """Make a data folder that a test may damage."""
    subprocess.run(["cp", "-a", str(seed), str(data_dir)], check=True)
    return data_dir


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn, timeout=5)
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


@asynccontextmanager
async def run_apart(data_dir: Path, *, python: str = sys.executable, user: int | None = None) -> AsyncIterator[Process]:
    """Run the parts under a process of their own, and never leave that behind."""
    process = await asyncio.create_subprocess_exec(
        *[python, "-m", "embedded", "run", str(data_dir)],
        cwd=ROOT,
        env=environment(data_dir.parent),
        stdout=subprocess.PIPE,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.communicate(), 15)


def environment(home: Path) -> dict[str, str]:
    packages = str(wheels.postgres_programs().parents[2])
    return {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": packages, "PYTHONDONTWRITEBYTECODE": "1"}


async def wait_up(process: Process) -> Addresses:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 20)
    found = json.loads(line)
    return Addresses(**{**found, "postgres_dsns": tuple(found["postgres_dsns"])})


def children_of(data_dir: Path) -> dict[str, int]:
    return {name: entry["pid"] for name, entry in json.loads((data_dir / "children.json").read_text()).items()}


async def gone(descriptor: int) -> None:
    """Wait for the process of a pidfd to end."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), 10)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def test_the_three_parts_answer_on_their_addresses_and_stop(seed: Path) -> None:
    lines: list[str] = []
    async with Services(seed, report=lines.append) as services:
        addresses = services.addresses
        async with connected(addresses.postgres_dsns[0]) as connection:
            assert await connection.fetchval("SELECT current_database() || current_user") == "kith_0kith"
        async with Redis.from_url(addresses.redis_url) as redis:
            assert await redis.ping()
        admin = AIOKafkaAdminClient(bootstrap_servers=addresses.kafka_bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic("users", 3, 1)])
        assert "users" in await admin.list_topics()
        await admin.close()
        assert running(seed) == addresses
        pids = [services.pid(part) for part in Part]

    assert running(seed) is None
    assert not sockets_folder(seed).exists()
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert {line.split(" ready in ")[0] for line in lines if "ready" in line} == {part.value for part in Part}


async def test_postgres_listens_on_nothing_but_its_private_socket(seed: Path) -> None:
    async with (
        Services(seed, parts=POSTGRES) as services,
        connected(services.addresses.postgres_dsns[0]) as connection,
    ):
        assert await connection.fetchval("SHOW listen_addresses") == ""
        assert await connection.fetchval("SHOW fsync") == "on"
        assert await connection.fetchval("SELECT 'É' ILIKE 'é'")
        assert sockets_folder(seed).stat().st_mode & 0o066 == 0
        assert (sockets_folder(seed) / "pg").stat().st_mode & 0o077 == 0


async def test_data_is_kept_between_runs_and_more_cells_can_be_added(seed: Path) -> None:
    parts = frozenset({Part.POSTGRES, Part.VALKEY})
    async with Services(seed, parts=parts) as services:
        async with connected(services.addresses.postgres_dsns[0]) as connection:
            await connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
        async with Redis.from_url(services.addresses.redis_url) as redis:
            await redis.set("kept", "7")

    async with Services(seed, parts=parts, cells=2) as services:
        first, second = services.addresses.postgres_dsns
        async with connected(first) as connection:
            assert await connection.fetchval("SELECT n FROM kept") == 7
        async with connected(second) as connection:
            assert await connection.fetchval("SELECT to_regclass('kept')") is None
        async with Redis.from_url(services.addresses.redis_url, decode_responses=True) as redis:
            assert await redis.get("kept") == "7"


async def test_each_cell_can_have_an_instance_of_its_own(data_dir: Path) -> None:
    async with Services(data_dir, parts=POSTGRES, cells=2, instances=True) as services:
        first, second = services.addresses.postgres_dsns
        async with connected(first) as one, connected(second) as two:
            query = "SELECT current_database() || current_setting('port')"
            assert [await one.fetchval(query), await two.fetchval(query)] == ["kith_05432", "kith_15433"]


@pytest.mark.parametrize("part", list(Part), ids=lambda part: part.name.lower())
async def test_a_killed_part_comes_back_on_the_same_address(seed: Path, part: Part) -> None:
    ready: Ready = asyncio.Queue()
    lines: list[str] = []
    async with Services(
        seed, parts=frozenset({part}), report=lines.append, on_ready=lambda *event: ready.put_nowait(event)
    ) as services:
        _, first = await ready.get()
        os.kill(first, signal.SIGKILL)
        _, second = await asyncio.wait_for(ready.get(), 10)

        assert services.pid(part) == second != first
        assert f"{part.value} is down: killed by SIGKILL; starting it again in 0.1 s" in lines
        await answers(part, services.addresses)


async def answers(part: Part, addresses: Addresses) -> None:
    match part:
        case Part.POSTGRES:
            async with connected(addresses.postgres_dsns[0]):
                pass
        case Part.VALKEY:
            async with Redis.from_url(addresses.redis_url) as redis:
                await redis.ping()
        case Part.BROKER:
            admin = AIOKafkaAdminClient(bootstrap_servers=addresses.kafka_bootstrap)
            await admin.start()
            await admin.close()


async def test_no_acknowledged_row_is_lost_when_postgres_is_killed(seed: Path) -> None:
    ready: Ready = asyncio.Queue()
    async with Services(seed, parts=POSTGRES, on_ready=lambda *event: ready.put_nowait(event)) as services:
        dsn = services.addresses.postgres_dsns[0]
        _, pid = await ready.get()
        acknowledged = await insert_until_killed(dsn, pid)
        await asyncio.wait_for(ready.get(), 10)

        async with connected(dsn) as connection:
            present = {row["n"] for row in await connection.fetch("SELECT n FROM t")}
    assert len(acknowledged) >= 200
    assert set(acknowledged) <= present


async def insert_until_killed(dsn: str, pid: int) -> list[int]:
    acknowledged: list[int] = []
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE TABLE t (n int)")
    with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
        while len(acknowledged) < 100_000:
            if len(acknowledged) == 200:
                os.kill(pid, signal.SIGKILL)
            await connection.execute("INSERT INTO t VALUES ($1)", len(acknowledged))
            acknowledged.append(len(acknowledged))
    connection.terminate()
    return acknowledged


@linux_only
async def test_a_busy_backend_does_not_hold_up_the_return_of_postgres(seed: Path) -> None:
    ready: Ready = asyncio.Queue()
    async with Services(seed, parts=POSTGRES, on_ready=lambda *event: ready.put_nowait(event)) as services:
        _, pid = await ready.get()
        connection = await asyncpg.connect(services.addresses.postgres_dsns[0])
        busy = asyncio.create_task(connection.execute("DO 'BEGIN LOOP END LOOP; END'"))
        await wait_busy(services.addresses)
        os.kill(pid, signal.SIGKILL)

        await asyncio.wait_for(ready.get(), 10)
        assert isinstance(*await asyncio.gather(busy, return_exceptions=True), Exception)
        connection.terminate()


@linux_only
async def test_killing_the_run_leaves_no_orphan(seed: Path) -> None:
    async with run_apart(seed) as process:
        addresses = await wait_up(process)
        async with connected(addresses.postgres_dsns[0]) as connection:
            backend = await connection.fetchval("SELECT pg_backend_pid()")
            children = children_of(seed)
            ends = [os.pidfd_open(pid) for pid in (*children.values(), backend)]
            process.kill()

            await asyncio.gather(*map(gone, ends))
            assert set(children) == {part.value for part in Part}


async def test_the_next_run_can_start_at_once_after_a_kill(seeded: Path) -> None:
    async with run_apart(seeded) as process:
        addresses = await wait_up(process)
        async with connected(addresses.postgres_dsns[0]):
            process.kill()

            async with Services(seeded) as services:
                for part in Part:
                    await answers(part, services.addresses)


async def test_a_pid_file_that_names_a_stranger_does_not_hold_up_postgres(seeded: Path) -> None:
    user = NOBODY if IS_ROOT else None
    stranger = await asyncio.create_subprocess_exec("/bin/sleep", "60", user=user)
    (seeded / "postgres" / "postmaster.pid").write_text(f"{stranger.pid}\n/elsewhere\n")

    async with Services(seeded, parts=POSTGRES) as services:
        await answers(Part.POSTGRES, services.addresses)
    assert stranger.returncode is None
    stranger.kill()
    await stranger.wait()


async def test_a_second_run_says_who_runs_already(seed: Path) -> None:
    async with Services(seed, parts=frozenset()) as services:
        services.announce("http://127.0.0.1:8000/graphql")

        with pytest.raises(AlreadyRunning, match=rf"process {os.getpid()}\) at http://127.0.0.1:8000/graphql"):
            async with Services(seed):
                pass


async def test_a_long_path_below_a_closed_folder_works(seed: Path, data_dir: Path) -> None:
    long = data_dir / ("long-" * 40) / "data"
    long.parent.mkdir(parents=True, mode=0o700)
    data_dir.chmod(0o700)
    subprocess.run(["cp", "-a", str(seed), str(long)], check=True)

    async with Services(long) as services:
        await answers(Part.POSTGRES, services.addresses)
        await answers(Part.VALKEY, services.addresses)


@linux_only
async def test_an_interrupted_first_start_is_recovered(data_dir: Path) -> None:
    async with run_apart(data_dir) as process:
        await made(data_dir, "postgres.new-*/global")
        process.kill()
        await process.wait()

    assert not (data_dir / "postgres").exists()
    async with Services(data_dir, parts=POSTGRES) as services:
        await answers(Part.POSTGRES, services.addresses)
    assert list(data_dir.glob("postgres*")) == [data_dir / "postgres"]


async def test_a_cancelled_start_leaves_nothing_running(data_dir: Path) -> None:
    opening = asyncio.create_task(Services(data_dir).__aenter__())
    await made(data_dir, "postgres.new-*/global")
    opening.cancel()

    with pytest.raises(asyncio.CancelledError):
        await opening
    assert children_of(data_dir) == {}
    assert not any(data_dir.glob("postgres*"))
    assert not sockets_folder(data_dir).exists()


@linux_only
async def test_a_start_after_everything_but_a_busy_backend_was_killed(seed: Path) -> None:
    async with run_apart(seed) as process:
        addresses = await wait_up(process)
        connection = await asyncpg.connect(addresses.postgres_dsns[0])
        busy = asyncio.create_task(connection.execute("DO 'BEGIN LOOP END LOOP; END'"))
        await wait_busy(addresses)
        process.kill()
        os.kill(children_of(seed)[Part.POSTGRES.value], signal.SIGKILL)

        async with Services(seed, parts=POSTGRES) as services:
            await answers(Part.POSTGRES, services.addresses)
        assert isinstance(*await asyncio.gather(busy, return_exceptions=True), Exception)
        connection.terminate()


async def wait_busy(addresses: Addresses) -> None:
    async with connected(addresses.postgres_dsns[0]) as connection:
        while not await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO %'"):
            pass


async def made(folder: Path, pattern: str) -> None:
    async with asyncio.timeout(60):
        while not any(folder.glob(pattern)):
            await asyncio.sleep(0)


async def test_a_part_that_cannot_start_is_told_once_and_nothing_is_left(seeded: Path) -> None:
    manifest = seeded / "valkey" / "appendonlydir" / "appendonly.aof.manifest"
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text("nonsense\n")

    with pytest.raises(EmbeddedError, match=r"(?s)^Valkey did not start: exit code 1\..*valkey\.log.*manifest"):
        async with Services(seeded):
            pass
    assert children_of(seeded) == {}
    assert running(seeded) is None
    assert not sockets_folder(seeded).exists()


@root_only
async def test_a_socket_folder_made_by_somebody_else_is_refused(seed: Path) -> None:
    hostile = sockets_folder(seed)
    hostile.mkdir()
    os.chown(hostile, NOBODY, NOBODY)

    with pytest.raises(EmbeddedError, match=f"{hostile} was not made by us"):
        async with Services(seed):
            pass
    hostile.rmdir()


@root_only
async def test_a_plain_user_can_run_the_parts(data_dir: Path) -> None:
    python = await python_for(NOBODY, data_dir.parent)
    os.chown(data_dir.parent, NOBODY, NOBODY)

    async with run_apart(data_dir, python=python, user=NOBODY) as process:
        addresses = await wait_up(process)
        for part in Part:
            await answers(part, addresses)
        owners = {Path(f"/proc/{pid}").stat().st_uid for pid in children_of(data_dir).values()}
    assert owners == {NOBODY}
    assert f"kith-{NOBODY}-" in addresses.redis_url


async def python_for(user: int, home: Path) -> str:
    """Find a Python of our version that another user can execute."""
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        with suppress(OSError):
            probe = await asyncio.create_subprocess_exec(
                *[python, "-c", "import embedded"],
                cwd=ROOT,
                env=environment(home),
                stderr=subprocess.DEVNULL,
                user=user,
                group=user,
                extra_groups=[],
            )
            if await probe.wait() == 0:
                return python
    pytest.skip(f"no Python with our packages can be executed by {pwd.getpwuid(user).pw_name}")


@root_only
async def test_the_copy_of_postgres_can_be_run_by_an_unprivileged_user(data_dir: Path) -> None:
    data_dir.parent.chmod(0o755)
    programs = wheels.copy_once(wheels.postgres_programs(), data_dir, "copy")

    for program in ("postgres", "initdb", "psql"):
        done = await asyncio.create_subprocess_exec(
            *[str(programs / program), "--version"],
            stdout=subprocess.DEVNULL,
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
        )
        assert await done.wait() == 0
    assert [found.name for found in data_dir.iterdir()] == ["copy"]


async def test_the_parts_run_under_uvloop_too(seed: Path) -> None:
    script = "import uvloop, sys; from embedded.__main__ import main; uvloop.install(); main()"
    done = await asyncio.create_subprocess_exec(
        *[sys.executable, "-W", "ignore", "-c", script, "run", str(seed)], cwd=ROOT, stdout=subprocess.PIPE
    )
    addresses = await wait_up(done)
    for part in Part:
        await answers(part, addresses)
    done.terminate()
    await asyncio.wait_for(done.communicate(), 15)
    assert done.returncode == 0


async def test_cleaning_removes_the_data_of_the_parts_only(seeded: Path) -> None:
    (seeded / "precious").touch()
    async with Services(seeded, parts=frozenset()):
        with pytest.raises(AlreadyRunning):
            await clean(seeded, report=print)

    await clean(seeded, report=print)

    assert {found.name for found in seeded.iterdir()} == {"lock", "precious"}
