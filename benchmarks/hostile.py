"""What the inputs of attackers cost: CPU of the server, how long others wait meanwhile, and the next request.

Each input is sent three times, never the same bytes twice, and the least figure counts: what else runs on the machine
only adds. Run by itself: `python -m benchmarks.hostile`.
"""

import asyncio
import contextlib
import dataclasses
import functools
import gzip
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.acceptance.main_job import HOST, MainJob, running
from tests.hostile import HOSTILE, HOSTILE_VARIABLES

TIMES: Final = 3
ALLOWED_S: Final = 0.05
ANSWERED_S: Final = 30.0
QUIET_S: Final = 0.05
PROBE: Final = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
SIMPLE: Final = b'{"query":"{ __typename }"}'
_HEAD: Final = b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
_CHUNKED: Final = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def _post(body: bytes, extra: bytes = b"") -> bytes:
    return _HEAD + extra + b"Content-Length: %d\r\n\r\n" % len(body) + body


def _asked(query: str, variables: dict[str, Any]) -> bytes:
    return _post(json.dumps({"query": query, "variables": variables}).encode())


RAW: Final[dict[str, Callable[[], bytes]]] = {
    "a body of 128 KiB of open brackets": lambda: _post(b"[" * 131_072),
    "a body of objects in objects": lambda: _post(
        b'{"query":"{a}","variables":' + b'{"a":' * 20_000 + b"1" + b"}" * 20_001
    ),
    "a body of 20,000 keys": lambda: _post(b"{" + b",".join(b'"%d":1' % n for n in range(13_000)) + b"}"),
    "a number of 130,000 digits": lambda: _post(b'{"query":"{a}","variables":{"a":' + b"9" * 130_000 + b"}}"),
    "escapes": lambda: _post(b'{"query":"' + b"\\u0041" * 21_000 + b'"}'),
    "half characters": lambda: _post(b'{"query":"' + b"\\ud800" * 21_000 + b'"}'),
    "gzip that grows to 50 MB": lambda: _post(gzip.compress(b" " * 50_000_000), b"Content-Encoding: gzip\r\n"),
    "a chunk extension of 1 MB": lambda: _CHUNKED + b"1a;" + b"a" * 1_000_000 + b"\r\n" + SIMPLE + b"\r\n0\r\n\r\n",
    "100,000 chunks of a byte": lambda: _CHUNKED + b"1\r\n \r\n" * 100_000 + b"0\r\n\r\n",
    "20,000 trailers": lambda: _CHUNKED + b"1a\r\n" + SIMPLE + b"\r\n0\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    "100,000 headers": lambda: _HEAD + b"X: y\r\n" * 100_000 + b"\r\n",
    "an address of 1 MB": lambda: b"GET /graphql?query=" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "4,000 parameters": lambda: b"GET /graphql?" + b"a&" * 4_000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "200,000 empty lines": lambda: b"\r\n" * 200_000 + _post(SIMPLE),
    "a token of 200 KB": lambda: _post(SIMPLE, b"Authorization: Bearer " + b"a" * 200_000 + b"\r\n"),
    "a token of 8 KB": lambda: _post(SIMPLE, b"Authorization: Bearer " + b"a.b" * 2_700 + b"\r\n"),
    **{f"in variables: {name}": functools.partial(_asked, *asked) for name, asked in HOSTILE_VARIABLES.items()},
    "2,000 media types": lambda: _post(SIMPLE, b"Accept: " + b"a/b," * 2_000 + b"\r\n"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Input:
    """Something to send, in as many versions as one likes."""

    name: str
    document: str | None = None

    def data(self, turn: int) -> bytes:
        """Give the bytes to send; documents differ from turn to turn, so that nothing about them is remembered."""
        if self.document is None:
            return RAW[self.name]()
        return _post(json.dumps({"query": f"{self.document}\n#{turn}"}).encode())


INPUTS: Final = (*(Input(name, document) for name, document in HOSTILE.items()), *map(Input, RAW))
Costs = tuple[float, float, float]


async def measure_hostile(folder: Path) -> list[tuple[str, str]]:
    """Give the worst of each figure, and whose it is."""
    async with running(folder) as job:
        cpu = _cpu_of(job.children()["web"])
        await _next(job)
        costs = {each.name: await _measure(job, cpu, each) for each in INPUTS}
    over = [name for name, (spent, _, _) in costs.items() if spent > ALLOWED_S]
    kinds = ("CPU", "wait of another", "next request")
    return [
        (f"of {len(costs)} hostile inputs take more than 50 ms of CPU", str(len(over))),
        *((f"  {name}", f"{costs[name][0] * 1000:.1f} ms") for name in over),
        *(_worst(costs, at, what) for at, what in enumerate(kinds)),
    ]


async def _measure(job: MainJob, cpu: Callable[[], float], each: Input) -> Costs:
    rounds = [await _one(job, cpu, each, turn) for turn in range(TIMES)]
    spent, waits, nexts = zip(*rounds, strict=True)
    return min(spent), min(waits), min(nexts)


def _worst(costs: dict[str, Costs], at: int, what: str) -> tuple[str, str]:
    name = max(costs, key=lambda name: costs[name][at])
    return f"the most {what}: {name}", f"{costs[name][at] * 1000:.1f} ms"


async def _one(job: MainJob, cpu: Callable[[], float], each: Input, turn: int) -> Costs:
    await asyncio.sleep(QUIET_S)
    before = cpu()
    await _send(job, each.data(2 * turn))
    spent, answered = cpu() - before, await _next(job)
    watching = asyncio.create_task(_watch(job))
    await asyncio.sleep(QUIET_S)
    await _send(job, each.data(2 * turn + 1))
    watching.cancel()
    return spent, max(await watching, default=0.0), answered


async def _send(job: MainJob, data: bytes) -> None:
    """Send bytes and read until the server closes; it may do so before it has read everything."""
    reader, writer = await asyncio.open_connection(HOST, job.port)
    try:
        writer.write(data)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(ANSWERED_S):
                await reader.read()
    finally:
        writer.transport.abort()


async def _watch(job: MainJob) -> list[float]:
    """Ask something simple all the time, and give how long each answer took."""
    reader, writer = await asyncio.open_connection(HOST, job.port)
    waits: list[float] = []
    try:
        while True:
            began = time.perf_counter()
            await _probe(reader, writer)
            waits.append(time.perf_counter() - began)
            await asyncio.sleep(0.002)
    except asyncio.CancelledError:
        return waits
    finally:
        writer.close()


async def _next(job: MainJob) -> float:
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection(HOST, job.port)
    try:
        await _probe(reader, writer)
        return time.perf_counter() - began
    finally:
        writer.close()


async def _probe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(PROBE)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    await reader.readexactly(int(length.partition(b":")[2]))


def _cpu_of(pid: int) -> Callable[[], float]:
    """Give what reads the CPU seconds of a process's first thread, in nanoseconds where others count in hundredths."""
    file = Path(f"/proc/{pid}/schedstat")
    return lambda: int(file.read_text().split()[0]) / 1e9


async def _main() -> None:
    with tempfile.TemporaryDirectory(prefix="kb-", ignore_cleanup_errors=True) as folder:
        for name, figure in await measure_hostile(Path(folder) / "hostile"):
            sys.stdout.write(f"{name:80} {figure:>16}\n")


if __name__ == "__main__":
    asyncio.run(_main())
