"""What a request costs the server's CPU, next to a bare aiohttp server that answers a constant, in the same run."""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import psutil

from auth.jwks import development_key
from auth.token import issue_token
from benchmarks.client import open_client
from settings import load
from tests.acceptance.main_job import MainJob, free_port, running

ROUNDS, REQUESTS, AT_ONCE = 5, 300, 8

_SCALARS = "three scalars of the viewer"
_QUERIES = {
    _SCALARS: "{ me { id username followersCount } }",
    "a profile by name": '{ user(username: "star") { id username displayName bio avatarUrl createdAt followersCount '
    "followingCount isPrivate viewerIsFollowing } }",
    "a page of 50 followers": '{ user(username: "star") { id followers(first: 50) { edges { cursor node { id username '
    "displayName bio avatarUrl followersCount viewerIsFollowing } } pageInfo { hasNextPage endCursor } } } }",
}

_ECHO = """
from aiohttp import web
import sys
async def answer(request):
    await request.read()
    return web.Response(body=b'{"data":{}}', content_type="application/json")
app = web.Application()
app.router.add_post("/", answer)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
"""

Send = Callable[[], Awaitable[object]]


async def measure_requests(folder: Path) -> list[tuple[str, str]]:
    """Give CPU seconds of the server per 1,000 requests, and the ratio to the bare server; medians of 5 rounds."""
    port = free_port()
    echo = subprocess.Popen([sys.executable, "-c", _ECHO, str(port)])
    try:
        async with running(folder) as job, open_client(job) as client:
            await _answers(client.session, port)
            web = psutil.Process(job.children()["web"])
            bare = psutil.Process(echo.pid)

            async def send_bare() -> None:
                async with client.session.post(f"http://127.0.0.1:{port}/", json={}) as response:
                    await response.read()

            rows = [
                await _row(name, web, _sender(client.ask, query), bare, send_bare) for name, query in _QUERIES.items()
            ]
            subject = (await client.ask("ana", "{ me { id } }"))["me"]["id"]
            first = _first_of_tokens(client.session, job, subject)
            return [*rows, await _row(f"{_SCALARS}, each with a new token", web, first, bare, send_bare)]
    finally:
        echo.terminate()
        echo.wait()


def _sender(ask: Callable[[str, str], Awaitable[object]], query: str) -> Send:
    return lambda: ask("ana", query)


def _first_of_tokens(session: aiohttp.ClientSession, job: MainJob, subject: str) -> Send:
    """Give what sends the first query as one person, each time with a token that the server has not met."""
    settings = load({"KITH_DATA_DIR": str(job.data_dir)})
    key = development_key(settings)
    tokens = iter([issue_token(key, settings, subject) for _ in range(ROUNDS * REQUESTS)])

    async def send() -> None:
        headers = {"Authorization": f"Bearer {next(tokens)}"}
        async with session.post(job.url, json={"query": _QUERIES[_SCALARS]}, headers=headers) as response:
            if "errors" in await response.json():
                raise RuntimeError("a token was not taken")

    return send


async def _row(name: str, web: psutil.Process, send: Send, bare: psutil.Process, send_bare: Send) -> tuple[str, str]:
    ours, ratios = [], []
    for _ in range(ROUNDS):
        cost, bare_cost = await _cpu(web, send), await _cpu(bare, send_bare)
        ours.append(cost)
        ratios.append(cost / bare_cost)
    return f"CPU per 1,000 requests: {name}", f"{statistics.median(ours):.2f} s, {statistics.median(ratios):.1f}x bare"


async def _cpu(process: psutil.Process, send: Send) -> float:
    """Measure the CPU seconds of a process per 1,000 requests, 8 of them at once."""
    before, remaining = used(process), iter(range(REQUESTS))

    async def worker() -> None:
        for _ in remaining:
            await send()

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return (used(process) - before) * 1000 / REQUESTS


def used(process: psutil.Process) -> float:
    """Give the CPU seconds that a process has had."""
    times = process.cpu_times()
    return float(times.user + times.system)


async def _answers(session: aiohttp.ClientSession, port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            async with session.post(f"http://127.0.0.1:{port}/", json={}):
                return
        except aiohttp.ClientError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.02)
