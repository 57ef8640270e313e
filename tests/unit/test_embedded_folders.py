"""The folders, the lock and the logs of embedded parts."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded import Addresses, AlreadyRunning, EmbeddedError, running
from embedded.folders import open_data_dir, open_sockets_folder, sockets_folder
from embedded.lock import DataLock
from embedded.logs import LIMIT, last_lines, open_log

ADDRESSES = Addresses(
    postgres_dsns=("postgresql://kith@/kith_0?host=/tmp/x&port=5432",),
    redis_url="unix:///tmp/x/redis.sock",
    kafka_bootstrap="127.0.0.1:20000",
)


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    folder = open_data_dir(tmp_path / "data")
    yield folder
    sockets = sockets_folder(folder)
    if sockets.is_symlink():
        sockets.unlink()
    shutil.rmtree(sockets, ignore_errors=True)


def test_the_data_folder_is_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)

    assert open_data_dir(tmp_path / "data").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder that belongs to somebody else")
def test_a_data_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)

    with pytest.raises(EmbeddedError, match="belongs to another user"):
        open_data_dir(tmp_path)


def test_socket_folders_are_short_and_differ_between_data_folders(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 200)

    assert len(bytes(sockets_folder(long) / "pg" / ".s.PGSQL.5432.lock")) < 107
    assert sockets_folder(long) != sockets_folder(tmp_path)


def test_a_left_over_socket_folder_is_made_afresh(data_dir: Path) -> None:
    (open_sockets_folder(data_dir) / "redis.sock").touch()

    assert list(open_sockets_folder(data_dir).iterdir()) == []


def test_a_socket_folder_that_is_a_link_is_refused(data_dir: Path, tmp_path: Path) -> None:
    sockets_folder(data_dir).symlink_to(tmp_path)

    with pytest.raises(EmbeddedError, match="not made by us"):
        open_sockets_folder(data_dir)
    assert data_dir.exists()


def test_a_socket_folder_that_others_can_write_to_is_refused(data_dir: Path) -> None:
    open_sockets_folder(data_dir).chmod(0o777)

    with pytest.raises(EmbeddedError, match="not made by us"):
        open_sockets_folder(data_dir)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder that belongs to somebody else")
def test_a_socket_folder_of_somebody_else_is_refused(data_dir: Path) -> None:
    os.chown(open_sockets_folder(data_dir), 12345, 12345)

    with pytest.raises(EmbeddedError, match="owner uid 12345"):
        open_sockets_folder(data_dir)


def test_a_second_run_learns_who_owns_the_folder_and_where_it_answers(data_dir: Path) -> None:
    lock = DataLock(data_dir)
    lock.announce("http://127.0.0.1:8000")

    with pytest.raises(AlreadyRunning, match=rf"process {os.getpid()}\) at http://127.0.0.1:8000"):
        DataLock(data_dir)
    lock.release()


def test_a_released_folder_can_be_taken_again(data_dir: Path) -> None:
    DataLock(data_dir).release()

    DataLock(data_dir).release()


def test_other_tools_find_the_parts_only_while_the_lock_is_held(data_dir: Path) -> None:
    lock = DataLock(data_dir)
    before = running(data_dir)
    lock.publish(ADDRESSES)
    during = running(data_dir)
    lock.release()

    assert (before, during, running(data_dir)) == (None, ADDRESSES, None)
    assert (data_dir / "run.json").stat().st_mode & 0o777 == 0o600


def test_the_record_of_a_killed_run_is_not_taken_for_the_next_one(data_dir: Path) -> None:
    lock = DataLock(data_dir)
    lock.publish(ADDRESSES)
    record = data_dir / "run.json"
    record.write_text(record.read_text().replace(f'"pid":{os.getpid()}', '"pid":1'))

    assert running(data_dir) is None
    lock.release()


def test_nothing_runs_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert running(tmp_path / "nowhere") is None


def test_a_large_log_is_put_aside_at_the_next_start(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "part.log"
    with open_log(log) as file:
        file.truncate(LIMIT + 1)

    with open_log(log) as file:
        file.write(b"new\n")
    assert last_lines(log) == "new"
    assert (tmp_path / "logs" / "part.log.1").exists()


def test_only_the_lines_of_this_start_are_quoted(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    log.write_text("old\nnew\n")

    assert last_lines(log, since=4) == "new"
    assert last_lines(log, since=999) == "old\nnew"
