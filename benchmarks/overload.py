"""What is left of a server's throughput when it is asked for three times as much, and how soon the rest is refused.

The peak is measured first, by clients that wait for each answer; then requests are sent at three times that rate,
whatever becomes of them. Run by itself: `python -m benchmarks.overload`.
"""

import asyncio
import dataclasses
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import orjson
import psutil

from benchmarks.requests import used
from tests.acceptance.main_job import HOST, MainJob, running

SECONDS: Final = 8.0
WARM_S: Final = 2.0
AT_ONCE: Final = 8
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
    failed: int = 0


class Line:
    """One connection, one request at a time."""

    def __init__(self, job: MainJob, size: int) -> None:
        body = orjson.dumps({"query": _QUERY.format(size=size)})
        head = (
            f"POST /graphql HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {job.tokens['ana']}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._request = head.encode() + body
        self._port = job.port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, answers: Answers) -> None:
        """Send one request and note how it ended."""
        began = time.perf_counter()
        try:
            status = await self._exchange()
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            answers.failed += 1
            return
        times = answers.done if status == b"200" else answers.refused
        times.append(time.perf_counter() - began)

    async def _exchange(self) -> bytes:
        if self._streams is None:
            self._streams = await asyncio.open_connection(HOST, self._port)
        reader, writer = self._streams
        writer.write(self._request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        return head[9:12]

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def measure_overload(folder: Path) -> list[tuple[str, str]]:
    """Give the peak, what is left of it at three times the load, and how long refusals take."""
    async with running(folder) as job:
        return [row for size in SIZES for row in await _measure(job, size)]


async def _measure(job: MainJob, size: int) -> list[tuple[str, str]]:
    web = psutil.Process(job.children()["web"])
    await _closed(job, size, WARM_S)
    before = used(web)
    peak = len((await _closed(job, size, SECONDS)).done) / SECONDS
    between = used(web)
    answers = await _open(job, size, peak * TIMES)
    after = used(web)
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
        ("neither", str(answers.failed)),
    ]


async def _closed(job: MainJob, size: int, seconds: float) -> Answers:
    answers, until = Answers(), time.perf_counter() + seconds

    async def client() -> None:
        line = Line(job, size)
        while time.perf_counter() < until:
            refused = len(answers.refused)
            await line.ask(answers)
            if len(answers.refused) > refused:
                await asyncio.sleep(PAUSE_S)
        line.close()

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    return answers


async def _open(job: MainJob, size: int, rate: float) -> Answers:
    """Send at a rate; each request has a connection that is free, or a new one."""
    answers, free, tasks = Answers(), list[Line](), set[asyncio.Task[None]]()

    async def send(line: Line) -> None:
        await line.ask(answers)
        free.append(line)

    began, sent = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < SECONDS:
        while sent < elapsed * rate:
            task = asyncio.create_task(send(free.pop() if free else Line(job, size)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            sent += 1
        await asyncio.sleep(0.002)
    answers.failed += len(tasks)
    for task in list(tasks):
        task.cancel()  # whatever has no answer when the time is over is not counted
    await asyncio.gather(*tasks, return_exceptions=True)
    for line in free:
        line.close()
    return answers


def _times(seconds: list[float]) -> str:
    if not seconds:
        return "-"
    cuts = statistics.quantiles([*seconds, seconds[-1]], n=100)
    return f"{cuts[49] * 1000:.1f} ms, {cuts[98] * 1000:.1f} ms"


async def _main() -> None:
    with tempfile.TemporaryDirectory(prefix="kb-", ignore_cleanup_errors=True) as folder:
        for name, figure in await measure_overload(Path(folder) / "overload"):
            sys.stdout.write(f"{name:58} {figure:>24}\n")


if __name__ == "__main__":
    asyncio.run(_main())
