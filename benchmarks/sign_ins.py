"""What 500 sign-ins at once do to the API, and how soon those are refused that would wait too long.

They are sent by a process of their own: what measures the API must not be busy with them. It stands for other machines,
and so lets everything else on this one go first.
"""

import asyncio
import collections
import http
import json
import os
import re
import secrets
import statistics
import sys
import time
from pathlib import Path
from typing import Final

import aiohttp

from benchmarks.load import Load
from tests.acceptance.main_job import running

AT_ONCE: Final = 500
ROUNDS: Final = 5
_MIX: Final = {"profile": 80, "page of 50": 20}
_RATE: Final = 40.0
_REQUESTS: Final = 400
_NICENESS: Final = 19
_TOKEN: Final = re.compile(r'name="form" value="([0-9a-f]+)"')

Rows = list[tuple[str, str]]


async def measure_sign_ins(folder: Path) -> Rows:
    """Measure a steady load on the API without sign-ins and beside 500 at a time, in turn."""
    async with running(folder) as job:
        load = Load(job, "")
        await load.run(_MIX, _RATE, _REQUESTS)
        ratios, alone, beside = [], [], []
        answers: list[tuple[int, float]] = []
        for _ in range(ROUNDS):
            alone.append(_p99((await load.run(_MIX, _RATE, _REQUESTS)).all))
            command = (sys.executable, "-m", "benchmarks.sign_ins", job.identity_url)
            storm = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            beside.append(_p99((await load.run(_MIX, _RATE, _REQUESTS)).all))
            out, _ = await storm.communicate()
            answers += json.loads(out)
            ratios.append(beside[-1] / alone[-1])
    return _rows(ratios, alone, beside, answers)


async def _storm(url: str) -> list[tuple[int, float]]:
    """Send 500 sign-ins at once; gives the status of each, and its seconds."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
        form = await _fetch_form(client, url)
        return await asyncio.gather(*(_sign_in(client, url, form) for _ in range(AT_ONCE)))


async def _sign_in(client: aiohttp.ClientSession, url: str, form: str) -> tuple[int, float]:
    fields = {"form": form, "email": f"{secrets.token_hex(6)}@example.org", "password": "seven lamps in a cellar"}
    began = time.perf_counter()
    async with client.post(f"{url}/sign-in", data=fields) as answer:
        await answer.read()
        return answer.status, time.perf_counter() - began


async def _fetch_form(client: aiohttp.ClientSession, url: str) -> str:
    async with client.get(f"{url}/sign-in") as answer:
        found = _TOKEN.search(await answer.text())
    if found is None:
        raise RuntimeError("the sign-in page has no form")
    return found[1]


def _p99(latencies: list[float]) -> float:
    return statistics.quantiles(latencies, n=100)[98]


def _rows(ratios: list[float], alone: list[float], beside: list[float], answers: list[tuple[int, float]]) -> Rows:
    counts = collections.Counter(status for status, _ in answers)
    refused = [took for status, took in answers if status == http.HTTPStatus.SERVICE_UNAVAILABLE]
    p99s = f"{statistics.median(alone) * 1000:.0f} ms, {statistics.median(beside) * 1000:.0f} ms"
    return [
        (f"P99 of the API at {_RATE:.0f}/s alone, and beside {AT_ONCE} sign-ins at a time (medians)", p99s),
        ("the same as a ratio within a round: median", f"{statistics.median(ratios):.2f}"),
        ("sign-ins looked at, refused at once", f"{counts[400]}, {counts[503]}"),
        ("refused after, median", f"{statistics.median(refused) * 1000:.0f} ms" if refused else "none refused"),
    ]


if __name__ == "__main__":
    os.nice(_NICENESS)
    sys.stdout.write(json.dumps(asyncio.run(_storm(sys.argv[1]))))
