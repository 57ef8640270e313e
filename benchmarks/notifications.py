"""How long it takes from the answer of a follow to the notification on another socket."""

import asyncio
import itertools
import time
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.client import Client, open_client
from tests.acceptance.main_job import MainJob, running, until
from tests.acceptance.people import Person, cursor_of_now, meet_everybody

ROUNDS = 200
EVENTS = 500
OWNERS = 10
RATE_PER_S = 50
_FOLLOW = "mutation($u: ID!) { followUser(input: {userId: $u}) { userErrors { code } } }"
_UNFOLLOW = "mutation($u: ID!) { unfollowUser(input: {userId: $u}) { userErrors { code } } }"
_LISTEN = "subscription { followReceived { cursor actor { username } } }"


async def measure_notifications(folder: Path) -> list[tuple[str, str]]:
    """Give the median and the highest of 200 follows one after the other, and of 500 at 50 a second."""
    async with running(folder) as job, open_client(job) as client:
        at_pace = await _at_pace(job, client.session)
        ana = (await client.ask("ana", "{ me { id } }"))["me"]["id"]
        socket = await _listening_socket(job, client)
        seconds = sorted([await _round(client, socket, ana) for _ in range(ROUNDS)])
        await socket.close()
    figures = {"median": seconds[ROUNDS // 2], "P99": seconds[ROUNDS * 99 // 100], "highest": seconds[-1]}
    alone = [(f"follow answered → notification delivered, {name}", s) for name, s in figures.items()]
    return [(name, f"{1000 * s:.1f} ms") for name, s in [*alone, *at_pace]]


async def _at_pace(job: MainJob, session: aiohttp.ClientSession) -> list[tuple[str, float]]:
    """Send follows at a steady rate, whether or not those before are answered, to owners with a socket each."""
    people = await meet_everybody(job)
    owners, followers = ([people.take() for _ in range(number)] for number in (OWNERS, EVENTS // OWNERS))
    answered: dict[tuple[str, str], float] = {}
    heard: dict[tuple[str, str], float] = {}

    async def listen(owner: Person, cursor: str) -> None:
        async with owner.live(after=cursor) as live:
            while True:
                event = await live.next(within=60)
                heard.setdefault((owner.name, event["actor"]["username"]), time.perf_counter())

    async def follow(follower: Person, owner: Person) -> None:
        body = {"query": _FOLLOW, "variables": {"u": owner.id}}
        async with session.post(job.url, json=body, headers=follower.headers) as response:
            answer = await response.json()
        if "errors" not in answer:  # a machine that is too busy for this rate says so
            answered[owner.name, follower.name] = time.perf_counter()

    listening = [asyncio.create_task(listen(owner, await cursor_of_now(people, owner))) for owner in owners]
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number, (follower, owner) in enumerate(itertools.product(followers, owners)):
            await asyncio.sleep(began + number / RATE_PER_S - time.perf_counter())
            group.create_task(follow(follower, owner))
    await until(lambda: heard.keys() >= answered.keys(), 60)
    for task in listening:
        task.cancel()
    await asyncio.gather(*listening, return_exceptions=True)
    seconds = sorted(max(0.0, heard[pair] - at) for pair, at in answered.items())
    name = f"the same at {RATE_PER_S} follows a second"
    name = name if len(seconds) == EVENTS else f"{name} ({EVENTS - len(seconds)} refused)"
    return [(f"{name}, median", seconds[len(seconds) // 2]), (f"{name}, P99", seconds[len(seconds) * 99 // 100])]


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
