"""What is left of a server's throughput when it is asked for three times as much, and how soon the rest is refused.

The peak is measured first, by clients that wait for each answer; then requests are due at three times that rate,
whatever becomes of those before. A latency counts from the moment a request was due until its whole answer was there:
with the connection that it may have had to open, and with what the client was late by itself, which is given too.
Run by itself: `python -m benchmarks.overload`.
"""

import asyncio
import dataclasses
import gc
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import psutil
import uvloop

from benchmarks.lines import Lines, post
from benchmarks.requests import used
from tests.acceptance.main_job import MainJob, running

SECONDS: Final = 8.0
WARM_S: Final = 2.0
AT_ONCE: Final = 8
CONNECTIONS: Final = 64
"""That are open before more is asked than can be done: clients keep theirs."""
RUSH_S: Final = 1.0
"""How long a rush lasts, in which clients open all the connections that they have too few of."""
PAUSE_S: Final = 0.1
TIMES: Final = 3
_QUERY: Final = (
    '{{ user(username: "star") {{ id username displayName bio followersCount viewerIsFollowing '
    "followers(first: {size}) {{ nodes {{ id username displayName bio followersCount viewerIsFollowing }} }} }} }}"
)
SIZES: Final = (10, 50)


@dataclasses.dataclass(slots=True)
class Answers:
    """How requests ended, and after how long."""

    done: list[float] = dataclasses.field(default_factory=list)
    refused: list[float] = dataclasses.field(default_factory=list)
    refused_later: list[float] = dataclasses.field(default_factory=list)
    """Those of them that were due after the rush: by then as many connections are open as it takes."""
    late: list[float] = dataclasses.field(default_factory=list)
    """How much later than due they were sent."""
    failed: int = 0


async def measure_overload(folder: Path) -> list[tuple[str, str]]:
    """Give the peak, what is left of it at three times the load, and how long refusals take."""
    async with running(folder) as job:
        return [row for size in SIZES for row in await _measure(job, size)]


async def _measure(job: MainJob, size: int) -> list[tuple[str, str]]:
    web = psutil.Process(job.children()["web"])
    lines, request = Lines(job.port), post(_QUERY.format(size=size), job.tokens["ana"])
    await _closed(lines, request, WARM_S)
    before = used(web)
    peak = len((await _closed(lines, request, SECONDS)).done) / SECONDS
    between = used(web)
    await lines.open(CONNECTIONS)
    answers = await _open(lines, request, peak * TIMES)
    after = used(web)
    lines.close()
    goodput = len(answers.done) / SECONDS
    # The client and whatever else runs here take from the server what it has of the machine: so the share is also given
    # per CPU second that the server had.
    of_cpu = goodput / peak * (between - before) / (after - between)
    return [
        (f"a page of {size}: peak, answers per second", f"{peak:.0f}"),
        (f"answers per second at {TIMES} times that, and share", f"{goodput:.0f}, {goodput / peak:.0%}"),
        ("the same share, per CPU second of the server", f"{of_cpu:.0%}"),
        ("answered: median, P99", _times(answers.done)),
        ("refused: number, median, P99", f"{len(answers.refused)}, {_times(answers.refused)}"),
        (
            f"the same of those sent after {RUSH_S:.0f} s",
            f"{len(answers.refused_later)}, {_times(answers.refused_later)}",
        ),
        ("of that sent later than due by: median, P99", _times(answers.late)),
        ("neither", str(answers.failed)),
    ]


async def _closed(lines: Lines, request: bytes, seconds: float) -> Answers:
    answers, until = Answers(), time.perf_counter() + seconds

    async def client() -> None:
        while time.perf_counter() < until:
            refused = len(answers.refused)
            await _ask(lines, request, answers, time.perf_counter())
            if len(answers.refused) > refused:
                await asyncio.sleep(PAUSE_S)

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    return answers


async def _open(lines: Lines, request: bytes, rate: float) -> Answers:
    """Send at a rate; each request has a connection that is free, or a new one."""
    answers, tasks = Answers(), set[asyncio.Task[None]]()
    began, sent = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < SECONDS:
        while sent < elapsed * rate:
            due = sent / rate
            task = asyncio.create_task(_ask(lines, request, answers, began + due, in_rush=due < RUSH_S))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            sent += 1
        await asyncio.sleep(0.002)
    answers.failed += len(tasks)
    for task in list(tasks):
        task.cancel()  # whatever has no answer when the time is over is not counted
    await asyncio.gather(*tasks, return_exceptions=True)
    return answers


async def _ask(lines: Lines, request: bytes, answers: Answers, due: float, *, in_rush: bool = False) -> None:
    """Send one request and note how it ended."""
    answers.late.append(time.perf_counter() - due)
    try:
        status, _ = await lines.exchange(request)
    except OSError:
        answers.failed += 1
        return
    seconds = time.perf_counter() - due
    if status == b"200":
        answers.done.append(seconds)
    else:
        answers.refused.append(seconds)
        if not in_rush:
            answers.refused_later.append(seconds)


def _times(seconds: list[float]) -> str:
    if not seconds:
        return "-"
    cuts = statistics.quantiles([*seconds, seconds[-1]], n=100)
    return f"{cuts[49] * 1000:.1f} ms, {cuts[98] * 1000:.1f} ms"


async def _main() -> None:
    gc.disable()  # a pause of the client's would show as one of the server's
    with tempfile.TemporaryDirectory(prefix="kb-", ignore_cleanup_errors=True) as folder:
        for name, figure in await measure_overload(Path(folder) / "overload"):
            sys.stdout.write(f"{name:58} {figure:>24}\n")


if __name__ == "__main__":
    uvloop.run(_main())
