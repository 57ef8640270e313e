"""The public clients `graphql-ws` and `graphql-sse`, and the audits of `graphql-http`, against the running service.

They need Node.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.acceptance.main_job import running
from tests.acceptance.people import People, Person, first_event, meet_everybody
from tests.acceptance.test_resilience import insist

FOLDER: Final = Path(__file__).parent / "clients"
PROTOCOLS: Final = ("ws", "sse")
WITHIN_S: Final = 120.0
AUDITS: Final = 61
"""How many audits the pinned version of graphql-http has."""
LIVE: Final = "subscription($after: String) { followReceived(after: $after) { cursor actor { username } } }"
FOLLOW: Final = "mutation($user: ID!) { followUser(input: {userId: $user}) { user { username } userErrors { code } } }"

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed"),
    pytest.mark.skipif(
        not (FOLDER / "node_modules").exists(), reason="the clients come with npm: `make test` fetches them"
    ),
]


@pytest.fixture(scope="module")
async def people_to_drain(short_folder: Path) -> AsyncIterator[People]:
    """Give everybody of a run of its own, whose server is stopped."""
    async with running(short_folder / "c") as job:
        yield await meet_everybody(job)


class Client:
    """A running client library."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def read(self) -> dict[str, Any]:
        """Read what happens next."""
        assert self._process.stdout is not None
        async with asyncio.timeout(WITHIN_S):
            line = await self._process.stdout.readline()
        assert line, "the client has ended"
        happened: dict[str, Any] = json.loads(line)
        return happened

    async def until(self, name: str) -> Any:
        """Read on until something of that name happens, and give what it says."""
        while name not in (happened := await self.read()):
            assert "error" not in happened, happened
        return happened[name]

    async def told(self) -> str:
        """Read on until somebody is told of, and give the name."""
        return str((await self.until("next"))["data"]["followReceived"]["actor"]["username"])


@contextlib.asynccontextmanager
async def client(protocol: str, person: Person, query: str, **variables: object) -> AsyncIterator[Client]:
    process = await asyncio.create_subprocess_exec(
        "node",
        "client.mjs",
        protocol,
        person.job.url,
        person.token or "x",
        json.dumps({"query": query, "variables": variables}),
        cwd=FOLDER,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Client(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_query_is_answered_once(people_of_one_cell: People, protocol: str) -> None:
    async with client(protocol, people_of_one_cell.ana, "{ me { username } }") as asked:
        assert await asked.until("next") == {"data": {"me": {"username": "ana"}}}
        assert await asked.read() == {"complete": True}


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_mutation_is_done(people_of_one_cell: People, protocol: str) -> None:
    one, other = people_of_one_cell.take(), people_of_one_cell.take()
    async with client(protocol, one, FOLLOW, user=other.id) as asked:
        answer = await asked.until("next")
    assert answer == {"data": {"followUser": {"user": {"username": other.name}, "userErrors": []}}}


@pytest.mark.parametrize(
    ("protocol", "refusal"), [("ws", {"closed": 4403, "reason": "Forbidden"}), ("sse", {"error": 401})], ids=PROTOCOLS
)
async def test_credentials_that_do_not_hold_are_refused(
    people_of_one_cell: People, protocol: str, refusal: dict[str, object]
) -> None:
    async with client(protocol, Person(people_of_one_cell.job, "", "", "x"), LIVE) as asked:
        assert await asked.read() == refusal


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_drained_subscription_connects_again_and_resumes(people_to_drain: People, protocol: str) -> None:
    people, owner = people_to_drain, people_to_drain.take()
    followers = [people.take() for _ in range(4)]
    async with owner.live() as live:
        cursor = (await first_event(followers[0], owner, live))["cursor"]
    async with client(protocol, owner, LIVE, after=cursor) as listening:
        assert await listening.until("connected") is False
        await followers[1].follow(owner)
        assert await listening.told() == followers[1].name
        os.kill(people.job.children()["web"], signal.SIGTERM)
        if protocol == "ws":
            assert await listening.until("closed") == 1001
        await insist(followers[2], owner)
        assert await listening.told() == followers[2].name
        await followers[3].follow(owner)
        assert await listening.told() == followers[3].name


async def test_every_audit_of_graphql_over_http_holds(people_of_one_cell: People) -> None:
    process = await asyncio.create_subprocess_exec(
        "node", "audit.mjs", people_of_one_cell.job.url, cwd=FOLDER, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(2 * WITHIN_S):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    audits = [json.loads(line) for line in out.splitlines()]
    assert [audit for audit in audits if audit["status"] != "ok"] == []
    assert len(audits) == AUDITS
