"""How long it takes from typing the command to the first GraphQL answer, first with nothing there and then again."""

import asyncio
import time
from pathlib import Path

import aiohttp

from tests.acceptance.main_job import MainJob, free_port, launch

_QUERY = {"query": '{ user(username: "ana") { username } }'}


async def measure_start(folder: Path) -> list[tuple[str, str]]:
    """Give seconds to the first answer: with an empty data folder, and with the data of that run."""
    port = free_port()
    first = await _start_and_stop(folder, port)
    again = await _start_and_stop(folder, port)
    return [("first answer, empty data folder", f"{first:.2f} s"), ("first answer, data kept", f"{again:.2f} s")]


async def _start_and_stop(folder: Path, port: int) -> float:
    started = time.perf_counter()
    job = launch(folder, port=port)
    try:
        await _first_answer(job)
        seconds = time.perf_counter() - started
        await job.up()
        await job.stop()
    finally:
        if job.process.poll() is None:
            job.process.kill()
        job.process.wait()
    return seconds


async def _first_answer(job: MainJob) -> None:
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.post(job.url, json=_QUERY) as response:
                    if (await response.json())["data"]["user"] is not None:
                        return
            except aiohttp.ClientError:
                await asyncio.sleep(0.01)
