"""What following and blocking cost: statements with their transactions, and exchanges with Redis."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any

import asyncpg
import pytest

from domain.digests import Digests
from domain.policies import PrivacyPolicy
from resolvers.quotas import Limited, Terms
from storage.budgets import Budgets
from storage.exchanges import Command
from storage.rate_windows import RateWindows
from storage.redis_client import Redis
from tests.asking import ask
from tests.cold import is_watch
from tests.conftest import KEY, MakePerson, Person

AnyConnection: Any = asyncpg.connection.Connection
PLENTY = Terms(1_000_000, 1_000_000, enforced=True)


@dataclasses.dataclass(slots=True)
class Spent:
    """Statements, those that begin and end transactions among them, and exchanges with Redis."""

    statements: list[str] = dataclasses.field(default_factory=list)
    trips: int = 0

    def note(self, statement: str) -> None:
        """Take in a statement, unless it keeps watch or rings a bell, whoever does what."""
        if not is_watch(statement) and "pg_notify" not in statement:
            self.statements.append(statement)

    @property
    def figures(self) -> tuple[int, int]:
        """Give both numbers."""
        return len(self.statements), self.trips


@contextlib.contextmanager
def spending(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spent]:
    spent = Spent()
    prepared, plain, ask_redis, run = AnyConnection._execute, AnyConnection.execute, Redis.ask, Redis.run
    exchange = Redis.exchange

    async def executing(self: Any, statement: str, *rest: Any, **options: Any) -> Any:
        spent.note(statement)
        return await prepared(self, statement, *rest, **options)

    async def executing_plain(self: Any, statement: str, *rest: Any, **options: Any) -> Any:
        if not rest:
            spent.note(statement)
        return await plain(self, statement, *rest, **options)

    def asking(self: Redis, commands: Sequence[Command]) -> Any:
        spent.trips += 1
        return ask_redis(self, commands)

    async def exchanging(self: Redis, commands: Sequence[Command]) -> Any:
        spent.trips += 1
        return await exchange(self, commands)

    async def running(self: Redis, call: Callable[[Any], Awaitable[Any]]) -> Any:
        spent.trips += 1
        return await run(self, call)

    with monkeypatch.context() as patched:
        patched.setattr(AnyConnection, "_execute", executing)
        patched.setattr(AnyConnection, "execute", executing_plain)
        patched.setattr(Redis, "ask", asking)
        patched.setattr(Redis, "exchange", exchanging)
        patched.setattr(Redis, "run", running)
        yield spent


@pytest.fixture
async def limited(redis: Redis) -> AsyncIterator[Callable[[Person], Person]]:
    """Give what makes somebody pay, with more than enough to pay with."""
    windows = RateWindows(redis)
    quotas = Limited(Budgets(redis), windows, Digests(KEY), PLENTY)
    yield lambda one: dataclasses.replace(one, backend=dataclasses.replace(one.backend, quotas=quotas))
    await windows.close()


async def act(one: Person, action: str, other: Person) -> None:
    """Do something to somebody, as a client that wants to know only whether it was done."""
    text = f"mutation($id: ID!) {{ {action}(input: {{ userId: $id }}) {{ userErrors {{ code }} }} }}"
    response = await ask(one.context, text, id=other.opaque_id)
    assert response["data"][action] == {"userErrors": []}, response


async def cost(monkeypatch: pytest.MonkeyPatch, one: Person, action: str, other: Person) -> tuple[int, int]:
    """Give what an action costs somebody who is just looking at the other, whose own side is known."""
    await ask(one.context, "query($id: ID!) { user(id: $id) { viewerIsFollowing } }", id=other.opaque_id)
    await one.backend.caches.settle()  # what was read on the way is stored a moment later
    with spending(monkeypatch) as spent:
        await act(one, action, other)
    return spent.figures


async def test_in_one_cell_an_action_is_one_statement(
    make_person: MakePerson, limited: Callable[[Person], Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    ana, bo = limited(await make_person(cell=0)), await make_person(cell=0)
    await act(ana, "followUser", await make_person(cell=0))  # now it is known what the cell can do
    costs = {}
    for action in ("followUser", "unfollowUser", "blockUser", "unblockUser"):
        costs[action] = await cost(monkeypatch, ana, action, bo)
        costs[f"{action} again"] = await cost(monkeypatch, ana, action, bo)
    # Redis: what changed and what may be used, what was done lately, and what has changed now.
    assert costs == {
        "followUser": (1, 3),
        "followUser again": (1, 3),
        "unfollowUser": (1, 3),
        "unfollowUser again": (1, 3),
        "blockUser": (1, 3),
        "blockUser again": (1, 3),
        "unblockUser": (1, 3),
        "unblockUser again": (1, 3),
    }


async def test_a_request_to_follow_costs_one_look_at_the_limit_more(
    make_person: MakePerson, limited: Callable[[Person], Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    ana, cy = limited(await make_person(cell=0)), await make_person(cell=0, policy=PrivacyPolicy(is_private=True))
    await act(ana, "followUser", await make_person(cell=0))
    assert await cost(monkeypatch, ana, "followUser", cy) == (2, 3)


async def test_across_cells_an_action_costs_a_look_and_a_statement_more(
    make_person: MakePerson, limited: Callable[[Person], Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    ana = limited(await make_person(cell=0))
    if len(ana.backend.database.shards.cells) == 1:
        pytest.skip("there is no other cell")
    bo = await make_person(cell=1)
    await act(ana, "followUser", await make_person(cell=1))
    assert await cost(monkeypatch, ana, "followUser", bo) == (3, 3)
