"""What clients are told of errors: our own with their codes, anything else as an id that leads to the log."""

import logging
import re
import secrets
import traceback
from typing import Any, Final

from graphql import GraphQLError

from domain.errors import KithError

_LOG: Final = logging.getLogger(__name__)
_FRAMES: Final = 6
_VALUES: Final = (
    (re.compile(r"not to include unknown field '.*", re.DOTALL), "not to include a field that it does not have."),
    (re.compile(r"(, but encountered error .*;|,) found: .*", re.DOTALL), "."),
    (re.compile(r"(cannot represent [^:]*): .*", re.DOTALL), r"\1."),
    (re.compile(r"Value '.*' does not exist in", re.DOTALL), "That value does not exist in"),
)
"""Where graphql-core's and Strawberry's texts about a bad value of a variable repeat it, and what is said instead.

The names of unknown fields are as much the client's as values are: in a map, or a form that slipped, they are values.
"""


def present_error(error: GraphQLError) -> dict[str, Any]:
    """Give the response form of an error; what was not meant for clients is logged and masked."""
    original = _cause(error)
    if isinstance(original, KithError):
        return _formed(error, str(original), {"code": original.code, **original.extensions})
    if original is not None:
        return _formed(error, "Internal error.", masked(original))
    return _formed(error, error.message, {"code": "BAD_USER_INPUT", **(error.extensions or {})})


def without_values(message: str) -> str:
    """Leave the value out of what is said about a variable: clients log errors, and the value may be personal."""
    for pattern, instead in _VALUES:
        message = pattern.sub(instead, message)
    return message


def masked(error: BaseException) -> dict[str, Any]:
    """Log an unexpected error under a new id, and give the extensions that lead to it.

    Only the places are logged, never the message: a driver's message can hold what a person wrote.
    """
    error_id = secrets.token_hex(8)
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    place = " > ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
    _LOG.error("error %s: %s at %s", error_id, type(error).__name__, place)
    return {"code": "INTERNAL_SERVER_ERROR", "errorId": error_id}


def _cause(error: GraphQLError) -> BaseException | None:
    """Look through the layers that graphql-core puts around what a resolver raised."""
    original: BaseException | None = error.original_error
    while isinstance(original, GraphQLError):
        original = original.original_error
    return original


def _formed(error: GraphQLError, message: str, extensions: dict[str, Any]) -> dict[str, Any]:
    formed: dict[str, Any] = {"message": message}
    if error.locations:
        formed["locations"] = [{"line": place.line, "column": place.column} for place in error.locations]
    if error.path:
        formed["path"] = error.path
    return {**formed, "extensions": extensions}
