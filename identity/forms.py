"""Reading what browsers and applications send: every field once, in UTF-8, and not too long."""

from collections.abc import Mapping
from typing import Final

from aiohttp import web
from multidict import MultiMapping

MAX_FIELD: Final = 4096
_FORM: Final = "application/x-www-form-urlencoded"


class BadForm(Exception):
    """What was sent cannot be read, or says something twice."""


def read_query(request: web.Request) -> dict[str, str]:
    """Read the fields of an address; raises BadForm."""
    return _once(request.query)


async def read_form(request: web.Request) -> dict[str, str]:
    """Read the fields of a form; raises BadForm."""
    if request.content_type != _FORM:
        raise BadForm
    try:
        fields = await request.post()
    except (ValueError, LookupError, UnicodeDecodeError):
        raise BadForm from None
    return _once({name: value for name, value in fields.items() if isinstance(value, str)}, len(fields))


def _once(fields: "MultiMapping[str] | Mapping[str, str]", count: int | None = None) -> dict[str, str]:
    read = {name: value for name, value in fields.items() if value}
    names = len(set(fields.keys()))
    if names != (len(fields) if count is None else count) or any(len(value) > MAX_FIELD for value in read.values()):
        raise BadForm
    if any("\0" in text or "\ufffd" in text for pair in read.items() for text in pair):
        raise BadForm
    return read
