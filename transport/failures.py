"""What a request that fails is answered: one form for all causes, with an id that is also in the log."""

from collections.abc import Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from domain import traces
from domain.errors import KithError, Overloaded, Unauthenticated
from execution.engine import Response
from execution.errors import masked
from transport.bodies import BadRequest
from transport.connections import Form
from transport.heads import check_head
from transport.metrics import REFUSALS
from transport.problems import PREFIX, problem

TRACE: Final = web.RequestKey("trace", traces.Trace)
SERVER: Final = "kith"
_JSON: Final = "application/json"
_PRIVATE: Final = "private, no-store"
_ALLOWED: Final = "GET, POST"
_CODES: Final = {500: "INTERNAL_SERVER_ERROR", 503: Overloaded.code}


@web.middleware
async def errors_middleware(request: web.Request, handler: Any) -> web.StreamResponse:
    """Answer whatever is asked, in the request's trace, and give every failure its form."""
    request[TRACE] = trace = traces.continued(request.headers.getall("traceparent", ()))
    with traces.within(trace):
        response = await _answer(request, handler)
    if not response.prepared:
        response.headers["Server"] = SERVER
    return response


async def _answer(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        check_head(request)
        response: web.StreamResponse = await handler(request)
    except web.HTTPException as error:
        response = _http_error(request, error)
    except BadRequest as error:
        response = _error(request, error.status, error)
    except Unauthenticated as error:
        response = _error(request, 401, error)
        response.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
    except Exception as error:  # noqa: BLE001 - the last line: masked and logged
        response = _document(request, 500, "Internal error.", masked(error))
    return response


async def mark(request: web.Request, response: web.StreamResponse) -> None:
    """Say in an answer which request and which trace it belongs to."""
    trace = request.get(TRACE)
    if trace is not None:
        response.headers.update(identity(trace))


def identity(trace: traces.Trace) -> dict[str, str]:
    """Give the headers that name a request; nothing of them is private."""
    return {"X-Request-Id": trace.span_id, "traceparent": trace.parent}


def respond(response: Response, media_type: str, *, status: int = 200) -> web.Response:
    """Write a response; nothing that depends on who asks is ever kept by a cache."""
    headers = {"Content-Type": f"{media_type}; charset=utf-8", "Cache-Control": _PRIVATE}
    return web.Response(body=orjson.dumps(response), status=status, headers=headers)


def _broken(error: BaseException) -> web.Response:
    masked(error)
    return FORM.answer(500, "Internal error.")


def _refusal(status: int, message: str) -> tuple[dict[str, str], bytes]:
    code = _CODES.get(status, BadRequest.code)
    REFUSALS.labels(code).inc()
    headers = {"Content-Type": f"{_JSON}; charset=utf-8", "Cache-Control": _PRIVATE, "Server": SERVER}
    return {**headers, **identity(traces.continued(()))}, orjson.dumps(_failed(message, {"code": code}))


FORM: Final = Form(tell=_refusal, broken=_broken)
"""What is turned away before it is a request, told as all else."""


def _error(request: web.Request, status: int, error: KithError) -> web.Response:
    REFUSALS.labels(error.code).inc()
    response = _document(request, status, str(error), {"code": error.code, **error.extensions})
    if isinstance(error, BadRequest):
        response.headers.update(error.headers)
        if error.closes:
            response.force_close()
    if "retryAfter" in error.extensions:
        response.headers["Retry-After"] = str(error.extensions["retryAfter"])
    return response


def _http_error(request: web.Request, error: web.HTTPException) -> web.Response:
    response = _document(request, error.status, error.reason, {"code": BadRequest.code})
    if isinstance(error, web.HTTPMethodNotAllowed):
        response.headers["Allow"] = ", ".join(sorted(error.allowed_methods)) or _ALLOWED
    return response


def _document(request: web.Request, status: int, message: str, extensions: Mapping[str, Any]) -> web.Response:
    """Write a failure in the form of the door: GraphQL's, or a problem document."""
    if request.path.startswith(PREFIX):
        rest = dict(extensions)
        return problem(status, rest.pop("code"), message, **rest)
    return respond(_failed(message, extensions), _JSON, status=status)


def _failed(message: str, extensions: Mapping[str, Any]) -> Response:
    return {"errors": [{"message": message, "extensions": dict(extensions)}]}
