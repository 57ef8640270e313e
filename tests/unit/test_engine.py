"""Operations that do not come to their end: queries are cut off, and mutations tell what they have done."""

import asyncio
import contextvars
from types import SimpleNamespace
from typing import Any, Final

import pytest
import strawberry

from domain import deadlines
from execution import engine
from execution.engine import Engine, GraphQLRequest, Operation
from schema.fields import OperationContext

WITHIN_S: Final = 60.0
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
