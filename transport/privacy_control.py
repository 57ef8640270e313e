"""What this service says of the Global Privacy Control signal, at the address that its specification names."""

from typing import Final

import orjson
from aiohttp import web

PATH: Final = "/.well-known/gpc.json"
_SAYS: Final = orjson.dumps({"gpc": True, "lastUpdate": "2026-11-22"})


async def serve_privacy_control(_request: web.Request) -> web.Response:
    """Answer that `Sec-GPC: 1` is honoured, and since when that is said."""
    return web.Response(body=_SAYS, content_type="application/json")
