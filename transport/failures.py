"""What a request that fails is answered: one form for all causes, with an id that is also in the log."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from domain import traces
from domain.errors import KithError, Overloaded, Unauthenticated
from execution.engine import Response
from execution.errors import masked
from transport.answers import Answer, Form, fields_of, lines_of
from transport.bodies import BadRequest
from transport.heads import check_head
from transport.metrics import REFUSALS
from transport.problems import PREFIX, problem

TRACE: Final = web.RequestKey("trace", traces.Trace)
SERVER: Final = "kith"
_JSON: Final = "application/json"
_PRIVATE: Final = "private, no-store"
_ALLOWED: Final = "GET, POST"
_WORDS: Final = {
    404: "There is nothing at this address.",
    417: "Of expectations only `100-continue` is understood.",
}
"""What is said instead of the names that statuses have."""
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
    except Exception as error:  # noqa: BLE001 - the last line: what is unexpected is masked and logged
        response = failure_of(error).response(request.path)
    return response


async def mark(request: web.Request, response: web.StreamResponse) -> None:
    """Say in an answer which request and which trace it belongs to."""
    trace = request.get(TRACE)
    if trace is not None:
        response.headers.update(fields_of(identity(trace)))


def identity(trace: traces.Trace) -> str:
    """Give the lines of a head that name a request; nothing of them is private."""
    return f"X-Request-Id: {trace.span_id}\r\ntraceparent: {trace.parent}\r\n"


def answer_of(response: Response, media_type: str, *, status: int = 200) -> Answer:
    """Write a response; nothing that depends on who asks is ever kept by a cache."""
    return Answer(status, _fields(media_type), orjson.dumps(response))


@functools.lru_cache(maxsize=16)
def _fields(media_type: str) -> str:
    return lines_of(_headers(media_type))


def _headers(media_type: str) -> dict[str, str]:
    return {"Content-Type": f"{media_type}; charset=utf-8", "Cache-Control": _PRIVATE, "Server": SERVER}


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Why a request was not answered as it wanted to be."""

    status: int
    message: str
    extensions: Mapping[str, Any]
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    closes: bool = False

    def response(self, path: str) -> web.Response:
        """Tell of it in the form of the door at a path: GraphQL's, or a problem document."""
        if not path.startswith(PREFIX):
            return self.answer().response()
        rest = dict(self.extensions)
        response = problem(self.status, rest.pop("code"), self.message, **rest)
        response.headers.update(self.headers)
        if self.closes:
            response.force_close()
        return response

    def answer(self) -> Answer:
        """Tell of it in GraphQL's form."""
        answer = answer_of(_failed(self.message, self.extensions), _JSON, status=self.status)
        answer.fields += lines_of(self.headers)
        answer.closes = self.closes
        return answer


def failure_of(error: Exception) -> Failure:
    """Say what a request is told that failed with this; counts it, and logs what is unexpected."""
    if isinstance(error, web.HTTPException):
        allowing = _allowing(error)
        message = f"Use {allowing['Allow']}." if allowing else _WORDS.get(error.status, error.reason)
        return Failure(error.status, message, {"code": BadRequest.code}, allowing)
    if isinstance(error, BadRequest):
        return _refused(error, error.status, error.headers, closes=error.closes)
    if isinstance(error, Unauthenticated):
        return _refused(error, 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'})
    return Failure(500, "Internal error.", masked(error))


def _allowing(error: web.HTTPException) -> dict[str, str]:
    if not isinstance(error, web.HTTPMethodNotAllowed):
        return {}
    return {"Allow": ", ".join(sorted(error.allowed_methods)) or _ALLOWED}


def _refused(error: KithError, status: int, headers: Mapping[str, str], *, closes: bool = False) -> Failure:
    REFUSALS.labels(error.code).inc()
    retry = {"Retry-After": str(error.extensions["retryAfter"])} if "retryAfter" in error.extensions else {}
    extensions = {"code": error.code, **error.extensions}
    return Failure(status, str(error), extensions, {**headers, **retry}, closes)


def _broken(error: BaseException) -> web.Response:
    masked(error)
    return FORM.answer(500, "Internal error.").response()


def _refusal(status: int, message: str) -> tuple[dict[str, str], bytes]:
    code = _CODES.get(status, BadRequest.code)
    REFUSALS.labels(code).inc()
    marks = fields_of(identity(traces.continued(())))
    return {**_headers(_JSON), **marks}, orjson.dumps(_failed(message, {"code": code}))


FORM: Final = Form(tell=_refusal, broken=_broken)
"""What is turned away before it is a request, told as all else."""


def _failed(message: str, extensions: Mapping[str, Any]) -> Response:
    return {"errors": [{"message": message, "extensions": dict(extensions)}]}
