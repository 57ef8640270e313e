"""Ways to run one document over the same facts and gate: ours, and other executors as their documentation has them."""

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import ariadne
import graphql

from benchmarks.stock_strawberry import STOCK, Facts
from domain.policies import FieldGroup
from domain.relationships import FollowState
from execution.engine import Engine, GraphQLRequest, Operation, PlanMode
from privacy.policy import Visible
from resolvers.context import Backend, new_context
from schema.fields import OperationContext
from schema.schema import GRAPHQL_SCHEMA, SCHEMA, sdl

_ROOT: Final = object()
Run = Callable[[str], Awaitable[Any]]
"""Runs a document as one viewer, in a context of its own, and gives the data."""


@dataclasses.dataclass(frozen=True, slots=True)
class Contestant:
    """A way to run a document."""

    name: str
    run: Run


def contestants(backend: Backend, viewer_id: int) -> list[Contestant]:
    """Give ours first, then what it is compared with; all make a new context for each run."""

    def facts() -> Facts:
        return Facts(new_context(backend, viewer_id))

    def own_context() -> OperationContext:
        return OperationContext(new_context(backend, viewer_id))

    return [
        Contestant("Kith's plans", _engine(PlanMode.ON, own_context)),
        Contestant("Kith's schema in graphql-core, documents cached", _engine(PlanMode.OFF, own_context)),
        Contestant("Kith's schema in stock Strawberry", _strawberry(SCHEMA, own_context)),
        Contestant("stock Strawberry", _strawberry(STOCK, facts)),
        Contestant("Ariadne, documents cached", _ariadne(facts)),
        Contestant("graphql-core, documents cached", _graphql_core(facts)),
    ]


def _engine(mode: PlanMode, new: Callable[[], OperationContext]) -> Run:
    engine = Engine(GRAPHQL_SCHEMA, introspection=False, plans=mode)

    async def run(document: str) -> Any:
        context = new()
        operation = engine.prepare(GraphQLRequest(document), context)
        if not isinstance(operation, Operation):
            return None
        # As every door does (`transport.operations`), but that the look at Redis has ended when it is joined.
        asker = context.app.loaders.asker
        beat = asker.join()
        if beat is not None:
            asker.heed(beat)
        response = operation.begin()
        if not isinstance(response, dict):
            response = await response
        return response["data"]

    return run


def _strawberry(schema: Any, new: Callable[[], Any]) -> Run:
    async def run(document: str) -> Any:
        return (await schema.execute(document, context_value=new(), root_value=_ROOT)).data

    return run


def _ariadne(new: Callable[[], Facts]) -> Run:
    types = {name: ariadne.ObjectType(name) for name in sorted({name for name, _ in _RESOLVERS})}
    for (name, field), resolve in _RESOLVERS.items():
        types[name].set_field(field, resolve)
    instant = ariadne.ScalarType("DateTime", serializer=lambda value: value.isoformat())
    schema = ariadne.make_executable_schema(sdl(), *types.values(), instant)
    documents: dict[str, graphql.DocumentNode] = {}

    def parse(_context: Any, data: dict[str, Any]) -> graphql.DocumentNode:
        text = data["query"]
        if text not in documents:
            documents[text] = graphql.parse(text)
        return documents[text]

    async def run(document: str) -> Any:
        _, answer = await ariadne.graphql(
            schema, {"query": document}, context_value=new(), query_parser=parse, query_validator=_valid
        )
        return answer["data"]

    return run


def _valid(*_arguments: object, **_options: object) -> list[graphql.GraphQLError]:
    return []  # a cached document has been validated


def _graphql_core(new: Callable[[], Facts]) -> Run:
    schema = graphql.build_schema(sdl())
    for (name, field), resolve in _RESOLVERS.items():
        schema.type_map[name].fields[field].resolve = resolve  # type: ignore[attr-defined] # they are object types
    schema.type_map["DateTime"].coerce_output_value = lambda value: value.isoformat()  # type: ignore[attr-defined]
    documents: dict[str, graphql.DocumentNode] = {}

    async def run(document: str) -> Any:
        if document not in documents:
            documents[document] = graphql.parse(document)
        result = graphql.execute(schema, documents[document], context_value=new())
        return (result if isinstance(result, graphql.ExecutionResult) else await result).data

    return run


def _shown(group: FieldGroup, read: Callable[[Visible], Any]) -> Callable[[Visible, Any], Any]:
    return lambda person, _info: read(person) if person.allows(group) else None


async def _followers_count(person: Visible, info: Any) -> int | None:
    counts = await info.context.counts.load(person) if person.allows(FieldGroup.COUNTS) else None
    return counts.followers if counts is not None else None


async def _following_count(person: Visible, info: Any) -> int | None:
    counts = await info.context.counts.load(person) if person.allows(FieldGroup.COUNTS) else None
    return counts.following if counts is not None else None


async def _followers(person: Visible, info: Any, first: int, **_others: Any) -> Any:
    return await info.context.followers(person, first) if person.allows(FieldGroup.FOLLOWERS_LIST) else None


_RESOLVERS: Final[Mapping[tuple[str, str], Callable[..., Any]]] = {
    ("Query", "me"): lambda _root, info: info.context.viewer(),
    ("Query", "user"): lambda _root, info, username, **_others: info.context.by_name(username),
    ("User", "id"): lambda person, _info: person.user.opaque_id,
    ("User", "username"): lambda person, _info: person.user.username,
    ("User", "displayName"): lambda person, _info: person.user.display_name,
    ("User", "avatarUrl"): lambda person, _info: person.user.avatar_url,
    ("User", "viewerIsFollowing"): lambda person, _info: person.relationship.follows is FollowState.ACTIVE,
    ("User", "bio"): _shown(FieldGroup.BIO, lambda person: person.user.bio),
    ("User", "pronouns"): _shown(FieldGroup.PROFILE, lambda person: person.user.pronouns),
    ("User", "location"): _shown(FieldGroup.LOCATION, lambda person: person.user.location),
    ("User", "createdAt"): _shown(FieldGroup.PROFILE, lambda person: person.user.created_at),
    ("User", "followersCount"): _followers_count,
    ("User", "followingCount"): _following_count,
    ("User", "followers"): _followers,
    ("FollowerConnection", "pageInfo"): lambda page, _info: page.page_info,
    ("PageInfo", "hasNextPage"): lambda info_of, _info: info_of.has_next_page,
    ("PageInfo", "endCursor"): lambda info_of, _info: info_of.end_cursor,
}
