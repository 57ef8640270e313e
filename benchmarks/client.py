"""A plain client: one session, tokens of the named people, answers without errors or none at all."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp

from tests.acceptance.main_job import MainJob


class Client:
    """Sends operations as one of the named people."""

    def __init__(self, job: MainJob, session: aiohttp.ClientSession) -> None:
        self._url = job.url
        self._tokens = job.tokens
        self.session = session

    async def ask(self, name: str, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send an operation; fails on any error in the answer."""
        headers = {"Authorization": f"Bearer {self._tokens[name]}"}
        body = {"query": query, "variables": variables or {}}
        async with self.session.post(self._url, json=body, headers=headers) as response:
            answer: dict[str, Any] = await response.json()
        if "errors" in answer:
            raise RuntimeError(answer["errors"][0]["message"])
        data: dict[str, Any] = answer["data"]
        return data


@contextlib.asynccontextmanager
async def open_client(job: MainJob) -> AsyncIterator[Client]:
    """Open a client of a running main job."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        yield Client(job, session)
