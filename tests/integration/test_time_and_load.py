"""What an operation answers when its time is over or its cell is busy, and that a change is told of all the same."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from domain import deadlines
from domain.errors import DeadlineExceeded
from domain.tallies import LISTED
from resolvers import blocks, follows
from storage import cells
from storage.cells import Cell, ShardMap
from storage.limits import Priority
from tests.asking import ask
from tests.cold import make_cold
from tests.conftest import MakePerson, Person

SLEEP = "SELECT pg_sleep(60)"
COUNTS = "query($id: ID!) { user(id: $id) { username followersCount followingCount } }"


@contextlib.asynccontextmanager
async def busy(shards: ShardMap, *refused: Priority) -> AsyncIterator[None]:
    """Let the cells have no room for these priorities."""
    enter = {cell: cell.guard.limit._enter for cell in shards.cells}

    def entering(cell: Cell) -> Callable[[Priority], Awaitable[None]]:
        async def decide(priority: Priority) -> None:
            if priority in refused:
                raise cell.guard.limit._shed(priority)
            await enter[cell](priority)

        return decide

    with pytest.MonkeyPatch.context() as patch:
        for cell in shards.cells:
            patch.setattr(cell.guard.limit, "_enter", entering(cell))
        yield


async def cold_answer(asker: Person, whom: str, *refused: Priority) -> dict[str, Any]:
    """Ask with nothing remembered; `refused` finds no room."""
    await make_cold(asker.backend.caches)
    async with busy(asker.backend.database.shards, *refused):
        return await ask(asker.context, COUNTS, id=whom)


async def test_counts_that_cannot_be_had_are_null_and_named_and_the_rest_is_answered(
    make_person: MakePerson,
) -> None:
    ana, bo = await make_person(), await make_person()
    await bo.backend.database.shards.home(bo.id).fetch(
        "UPDATE user_counts SET followers = $2 WHERE user_id = $1", bo.id, LISTED + 1
    )
    answer = await cold_answer(ana, bo.opaque_id, Priority.COUNT)
    assert answer == {
        "data": {"user": {"username": bo.name, "followersCount": None, "followingCount": None}},
        "extensions": {"degraded": ["User.followersCount", "User.followingCount"]},
    }


async def test_a_degraded_answer_about_somebody_hidden_is_that_about_nobody(
    make_person: MakePerson,
) -> None:
    ana, bo = await make_person(), await make_person()
    await blocks.block(bo.context, ana.opaque_id, expires_at=None)
    nobody = ana.opaque_id[:-4] + "AAAA"
    for refused in ([Priority.COUNT], [Priority.LIST, Priority.COUNT], [Priority.FACT], [*Priority]):
        hidden, absent = [await cold_answer(ana, whom, *refused) for whom in (bo.opaque_id, nobody)]
        assert hidden == absent, refused


async def test_without_the_facts_of_privacy_a_person_is_an_error_and_never_a_guess(
    make_person: MakePerson,
) -> None:
    ana, bo = await make_person(), await make_person()
    answer = await cold_answer(ana, bo.opaque_id, Priority.FACT)
    assert answer["data"] == {"user": None}
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"OVERLOADED"}


async def test_what_was_had_before_the_time_was_over_is_answered(
    make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    ana, bo = await make_person(), await make_person()
    original = Cell._fetch

    async def slow(cell: Cell, statement: str, arguments: tuple[object, ...]) -> Any:
        if "hidden" in statement or "ORDER BY" in statement:
            await original(cell, SLEEP, ())
        return await original(cell, statement, arguments)

    await make_cold(ana.backend.caches)
    monkeypatch.setattr(Cell, "_fetch", slow)
    query = "query($id: ID!) { user(id: $id) { username followers(first: 5) { nodes { username } } } }"
    with deadlines.within(1.0):
        answer = await ask(ana.context, query, id=bo.opaque_id)
    for cell in ana.backend.database.shards.cells:  # work for everybody goes on, and would be waited for
        await original(cell, "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query = $1", (SLEEP,))
    assert answer["data"] == {"user": {"username": bo.name, "followers": None}}
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["DEADLINE_EXCEEDED"]


async def test_a_request_without_time_hurts_nobody_who_asks_the_same(make_person: MakePerson) -> None:
    ana, bo, cy = await make_person(), await make_person(), await make_person()

    async def hurried() -> dict[str, Any]:
        with deadlines.within(0.001):
            return await ask(ana.context, COUNTS, id=cy.opaque_id)

    for _ in range(5):
        await make_cold(ana.backend.caches)
        hurrying = asyncio.create_task(hurried())
        patient = await ask(bo.context, COUNTS, id=cy.opaque_id)
        await hurrying
        assert patient["data"]["user"]["username"] == cy.name, patient


async def test_a_block_that_was_committed_in_the_last_moment_holds_at_once(
    make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    ana, bo = await make_person(cell=0), await make_person(cell=0)
    await follows.follow(bo.context, ana.opaque_id)
    assert (await ask(bo.context, COUNTS, id=ana.opaque_id))["data"]["user"] is not None
    lift = cells._lift

    async def at_the_last_moment(scope: asyncio.Timeout) -> None:
        await lift(scope)
        while not deadlines.is_over():
            await asyncio.sleep(0.01)

    monkeypatch.setattr(cells, "_lift", at_the_last_moment)
    with deadlines.within(1.0), contextlib.suppress(DeadlineExceeded):
        await blocks.block(ana.context, bo.opaque_id, expires_at=None)
    assert (await ask(bo.context, COUNTS, id=ana.opaque_id))["data"] == {"user": None}


async def test_an_operation_whose_time_is_over_before_it_begins_is_told_so(make_person: MakePerson) -> None:
    ana = await make_person()
    with deadlines.within(0):
        answer = await ask(ana.context, "{ me { username } }")
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["DEADLINE_EXCEEDED"]
    assert "data" not in answer
