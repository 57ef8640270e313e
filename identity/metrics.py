"""What is counted of the auth service. Labels are closed sets: never a name, an id or a text of a client."""

from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, Counter, generate_latest

ANSWERS: Final = Counter("kith_identity_answers_total", "Answers, by the class of their status.", ["status"])


async def serve_metrics(_request: web.Request) -> web.Response:
    """Answer `GET /metrics`."""
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
