"""How long it takes from the answer of a follow to the notification on another socket."""

import time
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.client import Client, open_client
from tests.acceptance.main_job import MainJob, running

ROUNDS = 200
_FOLLOW = "mutation($u: ID!) { followUser(input: {userId: $u}) { userErrors { code } } }"
_UNFOLLOW = "mutation($u: ID!) { unfollowUser(input: {userId: $u}) { userErrors { code } } }"
_LISTEN = "subscription { followReceived { cursor actor { username } } }"


async def measure_notifications(folder: Path) -> list[tuple[str, str]]:
    """Give the median and the highest of 200 follows, one after the other."""
    async with running(folder) as job, open_client(job) as client:
        ana = (await client.ask("ana", "{ me { id } }"))["me"]["id"]
        socket = await _listening_socket(job, client)
        seconds = sorted([await _round(client, socket, ana) for _ in range(ROUNDS)])
        await socket.close()
    figures = {"median": seconds[ROUNDS // 2], "P99": seconds[ROUNDS * 99 // 100], "highest": seconds[-1]}
    return [(f"follow answered → notification delivered, {name}", f"{1000 * s:.1f} ms") for name, s in figures.items()]


async def _listening_socket(job: MainJob, client: Client) -> aiohttp.ClientWebSocketResponse:
    """Open a socket as ana, and wait until what she is told arrives: the pipeline has to have started."""
    socket = await client.session.ws_connect(job.socket_url, protocols=["graphql-transport-ws"])
    await socket.send_json({"type": "connection_init", "payload": {"authorization": f"Bearer {job.tokens['ana']}"}})
    await socket.receive_json(timeout=10)
    await socket.send_json({"id": "1", "type": "subscribe", "payload": {"query": _LISTEN}})
    ana = (await client.ask("ana", "{ me { id } }"))["me"]["id"]
    await _round(client, socket, ana)
    return socket


async def _round(client: Client, socket: aiohttp.ClientWebSocketResponse, ana: str) -> float:
    await client.ask("eve", _FOLLOW, {"u": ana})
    answered = time.perf_counter()
    message: dict[str, Any] = await socket.receive_json(timeout=20)
    seconds = time.perf_counter() - answered
    if message["type"] != "next":
        raise RuntimeError(message["type"])
    await client.ask("eve", _UNFOLLOW, {"u": ana})
    return seconds
