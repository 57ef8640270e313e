"""Problem documents (RFC 9457): the form of failures under `/v1`."""

from http import HTTPStatus
from typing import Any, Final

import orjson
from aiohttp import web

from domain.errors import Unauthenticated

PREFIX: Final = "/v1/"
PROBLEM: Final = "application/problem+json"


def problem(status: int, code: str, detail: str, **extensions: Any) -> web.Response:
    """Write a problem document; `code` is the same as in GraphQL."""
    title = HTTPStatus(status).phrase
    document = {"type": "about:blank", "title": title, "status": status, "detail": detail, "code": code}
    headers = {"Content-Type": PROBLEM, **private()}
    if "retryAfter" in extensions:
        headers["Retry-After"] = str(extensions["retryAfter"])
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = f'Bearer error="{"invalid_token" if code == Unauthenticated.code else code}"'
    return web.Response(status=status, body=orjson.dumps({**document, **extensions}), headers=headers)


def private() -> dict[str, str]:
    """Give the headers of an answer that is the caller's alone."""
    return {"Cache-Control": "private, no-store", "Vary": "Authorization"}
