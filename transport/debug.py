"""What this process remembers, for whoever looks into it; in development only."""

import os
from collections.abc import Awaitable, Callable, Sequence

import orjson
from aiohttp import web

Describe = Callable[[], Awaitable[Sequence[object]]]
"""Gives the entries of memory, as dataclasses of what JSON can hold."""


class DebugMemory:
    """Answers `GET /debug/memory`: each entry's kind, key, version and digest, and whose process it is."""

    def __init__(self, describe: Describe) -> None:
        self._describe = describe

    async def serve(self, _request: web.Request) -> web.Response:
        """Answer with everything."""
        body = orjson.dumps({"pid": os.getpid(), "entries": await self._describe()})
        return web.Response(body=body, content_type="application/json")
