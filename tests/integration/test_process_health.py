"""Background processes say whether they live and can work, next to their metrics."""

import asyncio
import threading
from collections.abc import AsyncIterator

import aiohttp
import pytest

from events.health import Health
from tests.conftest import eventually


async def answer() -> None:
    """Be there."""


async def fail() -> None:
    raise OSError("a secret")


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as opened:
        yield opened


async def test_a_process_is_ready_once_what_it_needs_answers(session: aiohttp.ClientSession) -> None:
    health = Health()

    async def ask(path: str) -> tuple[int, object]:
        async with session.get(f"http://127.0.0.1:{port}{path}") as response:
            return response.status, await response.json()

    with health.served("127.0.0.1", 0) as port:
        assert await ask("/healthz") == (200, {"status": "ok"})
        assert await ask("/readyz") == (503, {"status": "unavailable", "checks": {}})
        health.watch({"cell 0": answer}, {"redis": answer})
        assert await ask("/readyz") == (200, {"status": "ok", "checks": {"cell 0": "ok", "redis": "ok"}})
        health.watch({"cell 0": answer}, {"redis": fail})
        assert await ask("/readyz") == (200, {"status": "degraded", "checks": {"cell 0": "ok", "redis": "away"}})
        health.watch({"cell 0": fail}, {"redis": answer})
        assert await ask("/readyz") == (503, {"status": "unavailable", "checks": {"cell 0": "away", "redis": "ok"}})
        async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
            assert b"# TYPE" in await response.read()


async def test_a_process_whose_loop_stands_still_is_not_alive(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("events.health.TIMEOUT_S", 0.1)
    stuck, go_on = threading.Event(), threading.Event()

    async def stand_still() -> None:
        stuck.set()
        await asyncio.sleep(0)
        go_on.wait(60)

    def work() -> None:
        async def main() -> None:
            health = Health()
            with health.served("127.0.0.1", 0) as port:
                ports.append(port)
                await stand_still()

        asyncio.run(main())

    ports: list[int] = []
    thread = threading.Thread(target=work)
    thread.start()
    try:

        async def is_stuck() -> bool:
            return stuck.is_set()

        await eventually(is_stuck, within=30)
        async with session.get(f"http://127.0.0.1:{ports[0]}/healthz") as response:
            assert response.status == 503
    finally:
        go_on.set()
        thread.join()
