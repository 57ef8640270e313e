"""Mutations that a client names with `Idempotency-Key`, so that it may send them again: read, and run once.

Without headers of its own, as on a WebSocket, an operation has the key in `extensions.idempotencyKey`.
"""

import dataclasses
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from aiohttp import web
from graphql import OperationType

from domain.errors import KithError, Overloaded
from execution.engine import GraphQLRequest, Operation, Response
from execution.persisted import document_named_by
from resolvers import repeats
from transport.bodies import BadRequest

KEY: Final = "Idempotency-Key"
_EXTENSION: Final = "idempotencyKey"
_FORM: Final = re.compile(r'"([!#-\[\]-~]{1,255})"|([!#-\[\]-~]{1,255})')


class KeyReused(BadRequest):
    """This key belongs to another request of yours; take a new key for each."""

    code = repeats.KeyReused.code
    status = 422


class StillRunning(BadRequest):
    """The request with this key is still running; send it again after `retryAfter` seconds."""

    code = repeats.StillRunning.code
    status = 409


class OutOfReach(BadRequest):
    """The service cannot answer right now; try again shortly."""

    code = Overloaded.code
    status = 503


_REFUSALS: Final[Mapping[type[KithError], type[BadRequest]]] = {
    repeats.KeyReused: KeyReused,
    repeats.StillRunning: StillRunning,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Named:
    """A mutation's key, and all of the request that makes it another one."""

    key: str
    asked: bytes


def read_key(operation: Operation, asked: GraphQLRequest, headers: Sequence[str] = ()) -> Named | None:
    """Read the key of a request; None where there is none, or it would change nothing.

    Raises:
        BadRequest: there are several, or it is none.
    """
    if operation.type is not OperationType.MUTATION:
        return None
    extension = (asked.extensions or {}).get(_EXTENSION)
    keys = [*headers, *([extension] if extension is not None else [])]
    if not keys:
        return None
    match = _FORM.fullmatch(keys[0]) if len(keys) == 1 and isinstance(keys[0], str) else None
    if match is None:
        raise BadRequest(f"Give one {KEY}, of 1 to 255 visible ASCII characters without quotes and backslashes.")
    scopes = operation.context.app.credentials.scopes if operation.context.app.credentials is not None else None
    return Named(match.group(1) or match.group(2), _content(asked, sorted(scopes) if scopes is not None else None))


def of_request(request: web.Request) -> Sequence[str]:
    """Give the values of a request's headers."""
    return request.headers.getall(KEY, ())


def _content(asked: GraphQLRequest, scopes: Sequence[str] | None) -> bytes:
    """Give what a repeat must have in common: the document, however it is named, and what it is run with."""
    parts = [document_named_by(asked), asked.operation_name, asked.variables or {}, scopes]
    try:
        return json.dumps(parts, sort_keys=True, ensure_ascii=True).encode()
    except RecursionError:
        raise BadRequest("The variables are nested too deeply.") from None


async def run_once(
    runner: repeats.Repeats, operation: Operation, named: Named | None, run: Callable[[], Awaitable[Response]]
) -> Response:
    """Run an operation; one that has a name, and a person whom it belongs to, runs once however often it is sent.

    Raises:
        KeyReused: the key was given to another request.
        StillRunning: the same request is running.
        OutOfReach: it cannot be known whether it has run.
    """
    viewer_id = operation.context.app.viewer_id
    if named is None or viewer_id is None:
        return await run()
    try:
        return await runner.once(viewer_id, named.key, named.asked, run)
    except tuple(_REFUSALS) as error:
        raise _REFUSALS[type(error)](None, **error.extensions) from error
    except Overloaded as error:
        raise OutOfReach(None, **error.extensions) from error
