"""What a query costs whose facts are all remembered: it waits for nothing, and a further person costs a few calls."""

from collections.abc import Awaitable

from execution.engine import Engine, GraphQLRequest, Operation, Response
from resolvers import follows
from resolvers.context import new_context
from schema.fields import OperationContext
from schema.schema import GRAPHQL_SCHEMA
from tests.conftest import MakePerson, Person, eventually
from tests.work import calls_of

ME = "{ me { id username followersCount } }"
PROFILE = "query ($name: String!) { user(username: $name) { bio createdAt followersCount followingCount } }"
PAGE = """query ($name: String!, $first: Int, $after: String) { user(username: $name) {
    followers(first: $first, after: $after) {
        edges { cursor node { id username displayName avatarUrl bio followersCount viewerIsFollowing } }
        pageInfo { hasNextPage endCursor } } } }"""
FEW, MANY = 2, 7
RUNS = 3

CALLS_OF_ME = 80
CALLS_OF_PROFILE = 108
CALLS_OF_PAGE = 267
CALLS_PER_PERSON = 7
"""How many more a page costs for each further person: objects made, gate, values and row of the answer."""


async def calls_when_warm(viewer: Person, text: str, **variables: object) -> int:
    """Run a query until it waits for nothing: give the calls that running it then takes."""
    engine = Engine(GRAPHQL_SCHEMA, introspection=False)
    request = GraphQLRequest(text, variables=variables)
    calls: list[int] = []

    async def has_not_waited() -> bool:
        context = new_context(viewer.backend, viewer.id)
        waiting = context.loaders.begin()
        if waiting is not None:
            await waiting
        operation = engine.prepare(request, OperationContext(context))
        assert isinstance(operation, Operation)
        answers: list[Response | Awaitable[Response]] = []
        count = calls_of(lambda: answers.append(operation.begin()))
        [answer] = answers
        if not isinstance(answer, dict):
            assert "errors" not in await answer
            return False
        calls.append(count)
        assert "errors" not in answer
        return True

    for _ in range(RUNS):  # the first that waits for nothing still gets to know the classes of its objects
        await eventually(has_not_waited)
    return min(calls)


async def test_a_warm_query_waits_for_nothing_and_costs_a_bounded_number_of_calls(make_person: MakePerson) -> None:
    star, viewer = await make_person(), await make_person()
    for _ in range(MANY):
        await follows.follow((await make_person()).context, star.opaque_id)
    assert await calls_when_warm(viewer, ME) <= CALLS_OF_ME
    assert await calls_when_warm(viewer, PROFILE, name=star.name) <= CALLS_OF_PROFILE
    few = await calls_when_warm(viewer, PAGE, name=star.name, first=FEW, after=None)
    many = await calls_when_warm(viewer, PAGE, name=star.name, first=MANY - 1)
    assert few <= CALLS_OF_PAGE
    assert (many - few) / (MANY - 1 - FEW) <= CALLS_PER_PERSON
