"""Operations that do not come to their end: queries are cut off, and mutations tell what they have done."""

import asyncio
import contextvars
import re
from types import SimpleNamespace
from typing import Any, Final

import pytest
import strawberry
from graphql import OperationDefinitionNode, Undefined, is_input_type, parse
from graphql.execution.values import get_variable_values

from domain import deadlines
from execution import engine
from execution.coercing import coerced_plainly, plain_variables
from execution.engine import Engine, GraphQLRequest, Operation
from execution.errors import without_values
from schema.fields import OperationContext
from schema.schema import GRAPHQL_SCHEMA

WITHIN_S: Final = 60.0
CANARY: Final = "a: canary's\ncanary"
ENDS: Final = contextvars.ContextVar[asyncio.Event]("ENDS")


async def heed_no_deadline() -> int:
    await ENDS.get().wait()
    return 1


@strawberry.type
class Query:
    wait: int = strawberry.field(resolver=heed_no_deadline)


@strawberry.type
class Mutation:
    wait: int = strawberry.mutation(resolver=heed_no_deadline)


ENGINE: Final = Engine(strawberry.Schema(Query, Mutation)._schema, introspection=False)


async def run(kind: str) -> Any:
    """Run an operation whose time is over as soon as it has begun."""
    context = OperationContext(SimpleNamespace(degraded=()))  # type: ignore[arg-type] # no field looks at it
    prepared = ENGINE.prepare(GraphQLRequest(f"{kind} {{ wait }}"), context)
    assert isinstance(prepared, Operation)
    with deadlines.within(0.01):
        return await prepared.run()


VALUES: Final[tuple[Any, ...]] = (
    "",
    "a",
    "1",
    0,
    1,
    -(2**31),
    2**31 - 1,
    2**31,
    1.0,
    1.5,
    True,
    None,
    [],
    ["a"],
    ["a", None],
    ["a", 1],
    [1, -(2**31)],
    [2**31],
    [["a"]],
    {},
    Undefined,
)
_ADDRESS: Final = re.compile(r" at 0x\w+")
PLAIN: Final = {
    "String": 5,
    "String!": 3,
    "ID!": 3,
    "Int": 6,
    "Int!": 4,
    "Boolean!": 1,
    "Boolean": 3,
    'String = "a"': 5,
    'String! = "a"': 4,
    "Int! = 20": 5,
    "Int = null": 6,
    "[String!]": 3,
    "[ID]!": 3,
    "[Int!]!": 2,
}
"""How many of the values are taken as they come for variables of a type."""


@pytest.mark.parametrize("type_", PLAIN)
def test_a_variable_that_is_taken_as_it_comes_is_what_graphql_core_makes_of_it(type_: str) -> None:
    [operation] = parse(f"query Q($v: {type_}) {{ __typename }}").definitions
    assert isinstance(operation, OperationDefinitionNode)
    plain = plain_variables(GRAPHQL_SCHEMA, operation)
    assert plain is not None
    taken = []
    for value in VALUES:
        given = {"v": value} if value is not Undefined else {}
        values = coerced_plainly(plain, given)
        if values is not None:
            taken.append(value)
            reference = get_variable_values(GRAPHQL_SCHEMA, operation.variable_definitions or (), given)
            assert _ADDRESS.sub("", repr(values)) == _ADDRESS.sub("", repr(reference))
            assert not isinstance(value, list) or values.coerced["v"] is not value, "it is the request's own"
    assert len(taken) == PLAIN[type_], taken


@pytest.mark.parametrize(
    "type_", ["[[String!]]", "Float", "DateTime", "FollowOrder", "String! = null", "Int = 1.5", '[String!] = ["a"]']
)
def test_a_variable_of_another_kind_is_left_to_graphql_core(type_: str) -> None:
    [operation] = parse(f"query Q($v: String, $w: {type_}) {{ __typename }}").definitions
    assert isinstance(operation, OperationDefinitionNode)
    assert plain_variables(GRAPHQL_SCHEMA, operation) is None


async def test_a_query_that_heeds_no_deadline_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_GRACE_S", 0.01)
    ENDS.set(asyncio.Event())
    async with asyncio.timeout(WITHIN_S):
        [error] = (await run("query"))["errors"]
    assert error["extensions"]["code"] == "DEADLINE_EXCEEDED"


async def test_a_mutation_is_not_cut_off_and_tells_what_it_has_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_GRACE_S", 0.01)
    ENDS.set(ends := asyncio.Event())
    asyncio.get_running_loop().call_later(0.3, ends.set)
    async with asyncio.timeout(WITHIN_S):
        assert (await run("mutation"))["data"] == {"wait": 1}


@pytest.mark.parametrize("name", sorted(name for name, kind in GRAPHQL_SCHEMA.type_map.items() if is_input_type(kind)))
def test_what_is_said_of_a_bad_value_does_not_repeat_the_value(name: str) -> None:
    """Some of these values fit some types; what a message says of the others is what counts."""
    operation = parse(f"query($v: {name}!) {{ me {{ id }} }}").definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    assert operation.variable_definitions is not None
    for value in (CANARY, 31337_31337_31337, [CANARY], {CANARY: 1}, {"userId": [CANARY]}, 31337.5, True, None):
        found = get_variable_values(GRAPHQL_SCHEMA, operation.variable_definitions, {"v": value}, hide_suggestions=True)
        said = [without_values(error.message) for error in found] if isinstance(found, list) else []
        assert [message for message in said if "canary" in message or "31337" in message] == []
        assert all("has invalid value" in message for message in said)
