"""Children are kept alive, stopped in order, and never left behind."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from embedded import Child, EmbeddedError, Supervisor
from embedded.child import always_ready
from embedded.errors import ChildFailed
from embedded.roster import Roster

Ready = asyncio.Queue[tuple[str, int]]

SLEEP = "while :; do sleep 0.05; done"


def shell(
    folder: Path,
    script: str,
    *,
    name: str = "child",
    stage: int = 10,
    stop_timeout: float = 3.0,
    start_timeout: float = 60.0,
    ready: Callable[[], Awaitable[bool]] = always_ready,
) -> Child:
    return Child(
        name=name,
        argv=("/bin/sh", "-c", script),
        log=folder / f"{name}.log",
        cwd=folder,
        stage=stage,
        stop_timeout=stop_timeout,
        start_timeout=start_timeout,
        ready=ready,
    )


def exists(path: Path) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        return os.access(path, os.F_OK)

    return ready


async def never() -> bool:
    return False


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_killed_child_is_started_again_and_the_reason_is_told(tmp_path: Path) -> None:
    lines: list[str] = []
    ready: Ready = asyncio.Queue()
    async with Supervisor(report=lines.append, on_ready=lambda *event: ready.put_nowait(event)) as supervisor:
        await supervisor.spawn(shell(tmp_path, SLEEP))
        _, first = await ready.get()
        os.kill(first, signal.SIGKILL)
        _, second = await asyncio.wait_for(ready.get(), 60)

        assert supervisor.pid("child") == second != first
    assert "child is down: killed by SIGKILL; starting it again in 0.1 s" in lines
    assert not is_alive(second)


async def test_a_child_that_keeps_dying_is_started_at_growing_intervals(tmp_path: Path) -> None:
    lines: asyncio.Queue[str] = asyncio.Queue()
    async with Supervisor(report=lines.put_nowait) as supervisor:
        await supervisor.spawn(shell(tmp_path, "exit 3"))
        downs: list[str] = []
        while len(downs) < 3:
            line = await asyncio.wait_for(lines.get(), 60)
            downs += [line] if "is down" in line else []

    assert [line.rsplit(" ", 2)[1] for line in downs] == ["0.1", "0.2", "0.4"]
    assert "exit code 3" in downs[0]


async def test_a_child_that_cannot_start_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    async with Supervisor(report=print) as supervisor:
        with pytest.raises(ChildFailed, match=r"(?s)exit code 4.*child\.log.*no such luck"):
            await supervisor.spawn(shell(tmp_path, "echo no such luck; exit 4", ready=never))


async def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    child = Child(name="ghost", argv=("/no/such/program",), log=tmp_path / "ghost.log")
    async with Supervisor(report=print) as supervisor:
        with pytest.raises(EmbeddedError, match="ghost did not start: /no/such/program cannot be executed"):
            await supervisor.spawn(child)


async def test_a_child_that_is_never_ready_is_given_up_and_ended(tmp_path: Path) -> None:
    roster = Roster(tmp_path / "children.json")
    async with Supervisor(report=print, roster=roster) as supervisor:
        with pytest.raises(ChildFailed, match="not ready in time"):
            await supervisor.spawn(shell(tmp_path, SLEEP, ready=never, start_timeout=0.1))

    assert (tmp_path / "children.json").read_text() == "{}"


async def test_children_stop_from_the_highest_stage_down(tmp_path: Path) -> None:
    async with Supervisor(report=print) as supervisor:
        for stage in (0, 2, 1):
            script = f"trap 'echo {stage} >> order; exit 0' TERM; touch up{stage}; {SLEEP}"
            ready = exists(tmp_path / f"up{stage}")
            await supervisor.spawn(shell(tmp_path, script, name=f"child{stage}", stage=stage, ready=ready))

    assert (tmp_path / "order").read_text().split() == ["2", "1", "0"]


async def test_a_child_that_will_not_stop_is_killed_with_its_own_children(tmp_path: Path) -> None:
    lines: list[str] = []
    script = f"trap '' TERM; (echo $$ > inner; {SLEEP}) & touch up; {SLEEP}"
    async with Supervisor(report=lines.append) as supervisor:
        await supervisor.spawn(shell(tmp_path, script, stop_timeout=0.2, ready=exists(tmp_path / "up")))
        pid = supervisor.pid("child")

    assert pid is not None
    assert lines[-1] == "child did not stop in 0.2 s and was killed"
    assert not is_alive(pid)


async def test_a_stopped_child_stays_down(tmp_path: Path) -> None:
    async with Supervisor(report=print) as supervisor:
        await supervisor.spawn(shell(tmp_path, SLEEP))
        pid = supervisor.pid("child")
        await supervisor.stop("child")

        with pytest.raises(KeyError):
            supervisor.pid("child")
    assert pid is not None
    assert not is_alive(pid)


async def test_the_next_run_ends_what_a_killed_run_left(tmp_path: Path) -> None:
    lines: list[str] = []
    left = await asyncio.create_subprocess_exec("/bin/sleep", "60")
    Roster(tmp_path / "children.json").note("child", left.pid, signal.SIGTERM)

    await Roster(tmp_path / "children.json").settle(lines.append)

    assert lines == [f"Waiting for child of the last run to stop (process {left.pid})"]
    assert await left.wait() == -signal.SIGTERM


async def test_a_later_process_with_the_same_number_is_left_alone(tmp_path: Path) -> None:
    stranger = await asyncio.create_subprocess_exec("/bin/sleep", "60")
    roster = tmp_path / "children.json"
    Roster(roster).note("child", stranger.pid, signal.SIGTERM)
    roster.write_text(roster.read_text().replace('"identity":"', '"identity":"other '))

    await Roster(roster).settle(print)

    assert stranger.returncode is None
    stranger.kill()
    await stranger.wait()
