"""What 500 sign-ins at once do to the API, and how soon those are refused that would wait too long."""

import asyncio
import collections
import http
import re
import secrets
import statistics
import time
from pathlib import Path
from typing import Final

import aiohttp

from benchmarks.load import Load
from tests.acceptance.main_job import MainJob, running

AT_ONCE: Final = 500
ROUNDS: Final = 5
PAUSE_S: Final = 1.0
_MIX: Final = {"profile": 80, "page of 50": 20}
_RATE: Final = 40.0
_REQUESTS: Final = 400
_TOKEN: Final = re.compile(r'name="form" value="([0-9a-f]+)"')

Rows = list[tuple[str, str]]


async def measure_sign_ins(folder: Path) -> Rows:
    """Measure a steady load on the API without sign-ins and beside 500 at a time, in turn."""
    async with running(folder) as job, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
        load, form = Load(job, ""), await _fetch_form(client, job)
        await load.run(_MIX, _RATE, _REQUESTS)
        ratios, alone, beside = [], [], []
        answers: list[tuple[int, float]] = []
        for _ in range(ROUNDS):
            alone.append(_p99((await load.run(_MIX, _RATE, _REQUESTS)).all))
            storm = asyncio.create_task(_storm(client, job, form))
            beside.append(_p99((await load.run(_MIX, _RATE, _REQUESTS)).all))
            storm.cancel()
            answers += await storm
            ratios.append(beside[-1] / alone[-1])
    return _rows(ratios, alone, beside, answers)


async def _storm(client: aiohttp.ClientSession, job: MainJob, form: str) -> list[tuple[int, float]]:
    """Send 500 sign-ins at once, again and again until cancelled; gives the status of each, and its seconds."""
    found: list[tuple[int, float]] = []
    try:
        while True:
            found += await asyncio.gather(*(_sign_in(client, job, form) for _ in range(AT_ONCE)))
            await asyncio.sleep(PAUSE_S)
    except asyncio.CancelledError:
        return found


async def _sign_in(client: aiohttp.ClientSession, job: MainJob, form: str) -> tuple[int, float]:
    fields = {"form": form, "email": f"{secrets.token_hex(6)}@example.org", "password": "seven lamps in a cellar"}
    began = time.perf_counter()
    async with client.post(f"{job.identity_url}/sign-in", data=fields) as answer:
        await answer.read()
        return answer.status, time.perf_counter() - began


async def _fetch_form(client: aiohttp.ClientSession, job: MainJob) -> str:
    async with client.get(f"{job.identity_url}/sign-in") as answer:
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
