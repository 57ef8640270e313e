"""`GET /v1/exports/{token}`: the archive of a person's own data, for whoever holds the link while it is good."""

import dataclasses

from aiohttp import web

from resolvers.context import Backend
from resolvers.exports import fetch_linked

PATH = "/v1/exports/{token}"


@dataclasses.dataclass(frozen=True, slots=True)
class Exports:
    """Serves archives; a link that leads nowhere is not there."""

    backend: Backend

    async def serve(self, request: web.Request) -> web.Response:
        """Answer with the archive, which nobody in between may keep."""
        archive = await fetch_linked(self.backend, request.match_info["token"])
        if archive is None:
            raise web.HTTPNotFound
        headers = {
            "Content-Type": "application/zip",
            "Content-Disposition": 'attachment; filename="kith-export.zip"',
            "Cache-Control": "private, no-store",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        return web.Response(body=archive, headers=headers)
