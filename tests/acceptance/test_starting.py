"""How the main job starts, refuses to start, and stops, whatever happens to it."""

import dataclasses
import json
import signal
import socket
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.conftest import StartOnce
from tests.acceptance.main_job import HOST, descendants, free_port, launch, living, run_to_end, running, until
from tests.acceptance.people import People, meet_everybody
from tests.acceptance.probes import expect_service, open_socket


async def test_a_killed_main_job_leaves_nothing_running_and_no_data_behind_a_restart(short_folder: Path) -> None:
    folder = short_folder / "k"
    async with running(folder) as job:
        people = await meet_everybody(job)
        one, other = people.take(), people.take()
        await one.follow(other)
        family = descendants(job.process.pid)
        assert family.issuperset(job.children().values())
        job.process.kill()
        seconds = await until(lambda: not living(family), 25.0)
        sys.stdout.write(f"\nafter kill -9 of the main job all {len(family)} processes were gone in {seconds:.2f} s\n")
    async with running(folder) as job:
        again = dataclasses.replace(one, job=job)
        data = await again.ask("query($id: ID!) { user(id: $id) { viewerIsFollowing } }", id=other.id)
        assert data == {"user": {"viewerIsFollowing": True}}
        async with open_socket(job) as socket:
            await socket.write({"type": "connection_init"})
            assert await socket.read() == {"type": "connection_ack"}
            job.process.terminate()
            assert await socket.closing() == 1001
        assert await job.ended() == 0


@pytest.mark.parametrize(("moment", "signum"), [("Valkey", signal.SIGINT), ("PostgreSQL", signal.SIGTERM)])
async def test_a_main_job_that_is_stopped_while_it_starts_leaves_nothing_running(
    short_folder: Path, moment: str, signum: signal.Signals
) -> None:
    job = launch(short_folder / f"s{moment}{signum}", port=free_port())
    try:
        await until(lambda: f"{moment} ready" in job.output.read_text() or job.process.poll() is not None, 60.0)
        family = descendants(job.process.pid)
        job.process.send_signal(signum)
        assert await job.ended() == 0, job.said()
        assert living(family) == set()
        assert "Traceback" not in job.said()
    finally:
        job.process.kill()
        job.process.wait()


async def test_two_runs_side_by_side_are_two_worlds(start_once: StartOnce) -> None:
    runs = [await start_once(1), await start_once(2)]
    for here, there in (runs, reversed(runs)):
        await expect_service(here.job)
        assert (await here.ana.ask("{ me { username } }"))["me"] == {"username": "ana"}
        stranger = dataclasses.replace(here.ana, job=there.job)
        assert (await stranger.post("{ me { username } }")).status == 401


async def test_a_second_run_from_the_same_folder_names_the_first(people_of_one_cell: People) -> None:
    job = people_of_one_cell.job
    status, _, said = await run_to_end(job.data_dir, KITH_PORT=str(free_port()))
    assert status == 1
    assert f"http://{HOST}:{job.port}" in said
    assert str(job.process.pid) in said
    assert len(said.splitlines()) == 1
    await expect_service(job)
    assert living(set(job.children().values())) == set(job.children().values())


async def test_a_port_that_is_taken_is_told_and_nothing_is_left_running(short_folder: Path) -> None:
    folder = short_folder / "p"
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        status, _, said = await run_to_end(folder, KITH_PORT=str(port))
    assert status == 1
    assert said == f"kith: port {port} on {HOST} is in use; set KITH_PORT to another one.\n"
    assert json.loads((folder / "children.json").read_text()) == {}


SECRET: Final = "hunter2"
PRODUCTION: Final = {
    "KITH_ENV": "production",
    "KITH_POSTGRES_DSNS": f"postgresql://kith:{SECRET}@localhost/kith",
    "KITH_REDIS_URL": f"redis://:{SECRET}@localhost",
    "KITH_KAFKA_BOOTSTRAP": "localhost:9092",
    "KITH_SECRET_KEY": "aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMjEyMzQ=",
    "KITH_AUTH_JWKS_FILE": "/dev/null",
    "KITH_AUTH_ISSUER": "https://issuer.example",
    "KITH_AUTH_AUDIENCE": "kith",
}


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"KITH_PROT": SECRET}, "KITH_PROT"),
        ({"KITH_PORT": SECRET}, "KITH_PORT"),
        ({"KITH_PORT": "65536"}, "KITH_PORT"),
        ({"KITH_CELLS": "0"}, "KITH_CELLS"),
        ({"KITH_ENV": SECRET}, "KITH_ENV"),
        ({"KITH_SECRET_KEY": SECRET}, "KITH_SECRET_KEY"),
        ({"KITH_POSTGRES_DSNS": f"mysql://kith:{SECRET}@localhost"}, "KITH_POSTGRES_DSNS"),
        ({"KITH_REDIS_URL": f"http://:{SECRET}@localhost"}, "KITH_REDIS_URL"),
        ({"KITH_ENV": "production"}, "KITH_POSTGRES_DSNS"),
        ({**PRODUCTION, "KITH_SECRET_KEY": ""}, "KITH_SECRET_KEY"),
        ({**PRODUCTION, "KITH_AUTH_ISSUER": ""}, "KITH_AUTH_ISSUER"),
        ({**PRODUCTION, "KITH_AUTH_JWKS_FILE": "/nonexistent.json"}, "KITH_AUTH_JWKS_FILE"),
        ({**PRODUCTION, "KITH_AUTH_JWKS_FILE": "/dev/null"}, "KITH_AUTH_JWKS_FILE"),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(value) if len(value) < 3 else "production",
)
async def test_a_setting_that_is_wrong_is_named_in_one_sentence(
    tmp_path: Path, variables: dict[str, str], named: str
) -> None:
    status, out, said = await run_to_end(tmp_path / "data", **variables)
    assert (status, out) == (2, "")
    assert said.startswith("kith: ")
    assert said.count("\n") == 1
    assert named in said
    assert SECRET not in said
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["secret.key", "auth/development.jwk.json"])
async def test_a_key_file_that_cannot_be_read_is_named_without_a_traceback(tmp_path: Path, name: str) -> None:
    file = tmp_path / "data" / name
    file.parent.mkdir(parents=True)
    file.write_text("nonsense")
    status, _, said = await run_to_end(tmp_path / "data", KITH_PORT=str(free_port()))
    assert status in (1, 2)
    assert file.name in said
    assert "Traceback" not in said


async def test_a_data_folder_that_cannot_be_made_is_named_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status, _, said = await run_to_end(tmp_path / "file" / "data")
    assert status in (1, 2)
    assert str(tmp_path / "file") in said
    assert "Traceback" not in said
