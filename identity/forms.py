"""Reading what browsers and applications send: every field once, in UTF-8, and not too long."""

import asyncio
from collections.abc import Mapping
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, PayloadEncodingError
from multidict import MultiMapping

MAX_FIELD: Final = 4096
READ_TIMEOUT_S: Final = 10.0
"""How long a form may take to arrive."""
_FORM: Final = "application/x-www-form-urlencoded"
_UNREADABLE: Final = (
    ValueError,
    LookupError,
    ConnectionError,
    PayloadEncodingError,
    HttpProcessingError,
    web.RequestPayloadError,
)


class BadForm(Exception):
    """What was sent cannot be read, or says something twice."""


def read_query(request: web.Request) -> dict[str, str]:
    """Read the fields of an address; raises BadForm."""
    return _once(request.query)


async def read_form(request: web.Request) -> dict[str, str]:
    """Read the fields of a form; raises BadForm."""
    fields = await read_post(request)
    return _once({name: value for name, value in fields.items() if isinstance(value, str)}, len(fields))


async def read_post(request: web.Request) -> MultiMapping[str | bytes | bytearray | web.FileField]:
    """Give the fields of a form as they come, which may be several of a name.

    Raises:
        BadForm: it is none, or ends before its time.
        HTTPRequestTimeout, HTTPRequestEntityTooLarge: so they tell.
    """
    if request.content_type != _FORM:
        raise BadForm
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            return await request.post()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except _UNREADABLE:
        raise BadForm from None


def _once(fields: "MultiMapping[str] | Mapping[str, str]", count: int | None = None) -> dict[str, str]:
    read = {name: value for name, value in fields.items() if value}
    names = len(set(fields.keys()))
    if names != (len(fields) if count is None else count) or any(len(value) > MAX_FIELD for value in read.values()):
        raise BadForm
    if any("\0" in text or "\ufffd" in text for pair in read.items() for text in pair):
        raise BadForm
    return read
