"""Event streams read byte by byte, as no client library would show them."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp

from tests.acceptance.main_job import MainJob

EVENTS: Final = "text/event-stream"
WITHIN_S: Final = 60.0


class EventStream:
    """The answer to one operation, event by event."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.comments = 0
        self.retry_ms: int | None = None

    async def read(self) -> tuple[str, Any] | None:
        """Read the next event and its decoded data; None at the end of the stream."""
        fields: dict[str, str] = {}
        while line := (await self.response.content.readline()).decode():
            name, _, value = line.rstrip("\n").partition(": ")
            if line == "\n" and "event" in fields:
                return fields["event"], json.loads(fields["data"]) if fields.get("data") else None
            self.comments += line.startswith(":")
            self.retry_ms = int(value) if name == "retry" else self.retry_ms
            fields |= {name: value}
        return None

    async def next(self) -> Any:
        """Read the next result; fails where the stream says anything else."""
        event = await self.read()
        assert event is not None
        assert event[0] == "next"
        return event[1]


@asynccontextmanager
async def open_stream(
    job: MainJob, document: str, token: str | None = None, *, headers: Mapping[str, str] | None = None, **variables: Any
) -> AsyncIterator[EventStream]:
    """Post an operation and read its results as events."""
    own = {"Accept": EVENTS, **({"Authorization": f"Bearer {token}"} if token is not None else {}), **(headers or {})}
    body = {"query": document, "variables": variables}
    timeout = aiohttp.ClientTimeout(sock_read=WITHIN_S)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(job.url, json=body, headers=own) as response,
    ):
        yield EventStream(response)
