"""REST `/v1`: people, follows and blocks for clients that want no GraphQL.

Every request runs one of our own GraphQL documents: the same resolvers, gate, limits and metrics, so that nothing can
be seen or done here that cannot there. Failures are problem documents (RFC 9457); whoever may not be seen is not there.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson
from aiohttp import web

from domain.errors import Unauthenticated
from execution.engine import GraphQLRequest, Response
from transport.access import Access, Caller
from transport.bodies import BadRequest, read_object
from transport.operations import Operations
from transport.patience import HEADER, wished
from transport.problems import private, problem
from transport.repeats import of_request, read_key

OPENAPI: Final = "/v1/openapi.json"
PERSON: Final = """fragment Person on User {
  id username displayName bio avatarUrl pronouns location links { label url } createdAt isPrivate
  followersCount followingCount isViewer viewerIsFollowing isFollowingViewer viewerFollowState
  viewerCanFollow viewerHasBlocked viewerHasMuted
}"""
_STATUSES: Final = {
    "UNAUTHENTICATED": 401,
    "FORBIDDEN": 403,
    "STEP_UP_REQUIRED": 403,
    "USER_UNAVAILABLE": 404,
    "CONFLICT": 409,
    "CANNOT_TARGET_SELF": 422,
    "INVALID_VALUE": 422,
    "FOLLOW_LIMIT_REACHED": 422,
    "RATE_LIMITED": 429,
    "OVERLOADED": 503,
    "DEADLINE_EXCEEDED": 504,
    "INTERNAL_SERVER_ERROR": 500,
}
_OPENAPI_FILE: Final = Path(__file__).with_name("openapi.json")
_UNAVAILABLE: Final = "This person is not available."


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """One method of one path, and the document that it runs; `field` is the document's one root field."""

    method: str
    path: str
    operation_id: str
    summary: str
    field: str
    document: str
    body: tuple[str, ...] = ()

    @property
    def is_mutation(self) -> bool:
        """Tell whether it changes something."""
        return self.method != "GET"


def _mutation(name: str, *, arguments: str = "", inputs: str = "") -> str:
    return (
        f"mutation($id: ID!{arguments}) {{ {name}(input: {{userId: $id{inputs}}}) "
        f"{{ user {{ ...Person }} userErrors {{ message code }} consistencyToken }} }} {PERSON}"
    )


ROUTES: Final = (
    Route("GET", "/v1/users/me", "getViewer", "The person who asks.", "me", f"{{ me {{ ...Person }} }} {PERSON}"),
    Route(
        "GET",
        "/v1/users/{username}",
        "getUser",
        "A person by name.",
        "user",
        f"query($username: String!) {{ user(username: $username) {{ ...Person }} }} {PERSON}",
    ),
    Route(
        "POST",
        "/v1/social/follow/{id}",
        "follow",
        "Follow a person, or ask a private one; repeating it changes nothing.",
        "followUser",
        _mutation("followUser"),
    ),
    Route(
        "DELETE",
        "/v1/social/follow/{id}",
        "unfollow",
        "Stop following a person, or withdraw the request; repeating it changes nothing.",
        "unfollowUser",
        _mutation("unfollowUser"),
    ),
    Route(
        "POST",
        "/v1/social/block/{id}",
        "block",
        "Block a person, for good or until a time; repeating it changes nothing.",
        "blockUser",
        _mutation("blockUser", arguments=", $expiresAt: DateTime", inputs=", expiresAt: $expiresAt"),
        body=("expiresAt",),
    ),
    Route(
        "DELETE",
        "/v1/social/block/{id}",
        "unblock",
        "Take a block back; repeating it changes nothing.",
        "unblockUser",
        _mutation("unblockUser"),
    ),
)


class Rest:
    """Answers the routes."""

    def __init__(self, operations: Operations, access: Access) -> None:
        self._operations = operations
        self._access = access

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Put the routes, and their OpenAPI document, into a router."""
        for route in ROUTES:
            methods = ("GET", "HEAD") if route.method == "GET" else (route.method,)
            for method in methods:
                router.add_route(method, route.path, self._handler(route))
        router.add_get(OPENAPI, _serve_openapi, allow_head=False)

    def _handler(self, route: Route) -> Any:
        async def handle(request: web.Request) -> web.Response:
            return await self._answer(route, request)

        return handle

    async def _answer(self, route: Route, request: web.Request) -> web.Response:
        if request.query:
            raise BadRequest("This address takes no parameters.")
        body = await read_object(request, route.body) if route.is_mutation else {}
        caller = await self._access.of_request(request)
        if caller.user_id is None and (route.is_mutation or route.field == "me"):
            raise Unauthenticated
        asked = GraphQLRequest(route.document, variables={**request.match_info, **body}, own=True)
        response = await self._run(asked, caller, request)
        if "errors" in response:
            return _failed(response["errors"][0])
        found = response["data"][route.field]
        return _changed(found) if route.is_mutation else _shown(route, request, found)

    async def _run(self, asked: GraphQLRequest, caller: Caller, request: web.Request) -> Response:
        tokens = request.headers.getall("X-Consistency-Token", [])
        prepared = await self._operations.prepare(asked, caller, tokens=tokens)
        if isinstance(prepared, dict):
            return prepared
        seconds, named = wished(request.headers.getall(HEADER, ())), read_key(prepared, asked, of_request(request))
        return await self._operations.run(prepared, seconds, named)


async def _serve_openapi(_request: web.Request) -> web.Response:
    return web.Response(body=_OPENAPI_FILE.read_bytes(), headers={"Content-Type": "application/json"})


def _shown(route: Route, request: web.Request, person: Mapping[str, Any] | None) -> web.Response:
    if person is None:
        if route.field == "me":
            raise Unauthenticated
        return problem(404, "USER_UNAVAILABLE", _UNAVAILABLE)
    body = orjson.dumps(person)
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, **private()}
    if any(value.strip() == "*" or tag in value for value in request.headers.getall("If-None-Match", [])):
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, headers={"Content-Type": "application/json", **headers})


def _changed(payload: Mapping[str, Any]) -> web.Response:
    """Answer with the person as the caller sees him now: 202 while a request waits."""
    if payload["userErrors"]:
        error = payload["userErrors"][0]
        return problem(_STATUSES.get(error["code"], 422), error["code"], error["message"])
    person = payload["user"]
    status = 202 if person is not None and person["viewerFollowState"] == "PENDING" else 200
    headers = {"Content-Type": "application/json", "X-Consistency-Token": payload["consistencyToken"], **private()}
    return web.Response(status=status, body=orjson.dumps(person), headers=headers)


def _failed(error: Mapping[str, Any]) -> web.Response:
    extensions = dict(error["extensions"])
    code = extensions.pop("code")
    status = _STATUSES.get(code, 400)
    return problem(status, code, error["message"], **extensions)
