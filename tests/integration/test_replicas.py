"""Read replicas: what they may answer, how far they must have come, and that nobody notices when they go."""

import contextlib
import itertools
import math
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import pytest
from prometheus_client import REGISTRY

from domain.ids import OpaqueIds
from domain.relationships import ListKind
from embedded import Addresses
from loaders import Caches, open_caches
from resolvers import follows
from resolvers.consistency import PAIR, POSITION, PROFILE, ConsistencyTokens
from resolvers.context import Context, context_of_event, new_context
from storage import lists, replicas
from storage.cells import Record, open_cells
from storage.redis_client import Redis
from storage.replicas import Replica, Why, open_replicas
from tests.conftest import KEY, MakePerson, Person, eventually
from tests.integration.test_lists import OLDEST, crowd_of, names, page
from tests.replica import RunningReplica, running_replica

ROOT: Final = Path(__file__).resolve().parents[2]
_FOLDERS = itertools.count()


@pytest.fixture
async def replica(addresses: Addresses, short_folder: Path) -> AsyncIterator[RunningReplica]:
    if "host=" not in addresses.postgres_dsns[0]:
        pytest.skip("the replica is one of the embedded PostgreSQL")
    folder = short_folder / f"replica{next(_FOLDERS)}"
    folder.mkdir()
    async with running_replica(folder, addresses.postgres_dsns[0]) as running:
        yield running


@pytest.fixture
async def caches(addresses: Addresses, replica: RunningReplica, redis: Redis) -> AsyncIterator[Caches]:
    """Open two cells, each with one replica."""
    dsns = addresses.postgres_dsns[1:]
    async with (
        open_cells(dsns) as shards,
        open_replicas(shards, [[replica.dsn(dsn)] for dsn in dsns]) as opened,
        open_caches(shards, OpaqueIds(KEY), redis, replicas=opened) as caches,
    ):
        yield caches


class World:
    """A star with three followers and a stranger, all of whom the replicas know."""

    def __init__(self, caches: Caches, star: Person, fans: Sequence[Person], eve: Person) -> None:
        self.caches, self.star, self.fans, self.eve = caches, star, fans, eve

    @property
    def copies(self) -> list[Replica]:
        return [copy for copies in self.caches.database.replicas.of_cell.values() for copy in copies]

    async def settle(self) -> None:
        """Wait until the replicas know of all that has been done."""
        database, people = self.caches.database, [self.star.id, *(fan.id for fan in self.fans)]
        positions = await database.replicas.fetch_positions(database.shards, people) or {}
        assert len(positions) == 2

        async def caught_up() -> bool:
            return all(copy.judge(positions[copy.cell.number]) is Why.FRESH for copy in self.copies)

        await eventually(caught_up, within=60)

    async def all_are(self, why: Why) -> None:
        async def are() -> bool:
            return all(copy.judge(0) is why for copy in self.copies)

        await eventually(are, within=60)

    async def seen(self, context: Context) -> list[str]:
        """Read the star's followers, the oldest first: that end is not remembered."""
        return names(await page(context, self.star, 50, order=OLDEST))

    def expected(self, *further: Person) -> list[str]:
        return [person.name for person in (*self.fans, *further)]


@pytest.fixture
async def world(caches: Caches, make_person: MakePerson) -> World:
    star, eve = await make_person(), await make_person()
    made = World(caches, star, await crowd_of(make_person, star, 3), eve)
    await made.settle()
    return made


def answered(by: str, why: Why) -> float:
    return REGISTRY.get_sample_value("kith_replica_reads_total", {"by": by, "why": why.value}) or 0


async def test_a_replica_that_keeps_up_answers_for_lists_and_for_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    original = Replica.fetch

    async def recording(
        self: Replica, statement: str, arguments: Sequence[object], position: int
    ) -> list[Record] | None:
        asked.append(statement)
        return await original(self, statement, arguments, position)

    monkeypatch.setattr(Replica, "fetch", recording)
    before = answered("replica", Why.FRESH)
    assert await world.seen(world.eve.context) == world.expected()
    assert answered("replica", Why.FRESH) == before + 1
    assert asked == [lists._FOLLOWERS_UP]


async def test_a_replica_that_does_not_keep_up_is_left_alone(
    world: World, replica: RunningReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    await replica.pause()
    await follows.follow(world.eve.context, world.star.opaque_id)
    await world.all_are(Why.BEHIND)
    before = answered("primary", Why.BEHIND)
    assert await world.seen(new_context(world.eve.backend, None)) == world.expected(world.eve)
    assert answered("primary", Why.BEHIND) == before + 1
    with monkeypatch.context() as off:
        off.setattr(replicas, "LAG_S", math.inf)
        assert await world.seen(new_context(world.eve.backend, None)) == world.expected()
    await replica.resume()
    await world.all_are(Why.FRESH)


async def test_whoever_holds_a_token_sees_what_it_tells_of_whatever_the_replica_knows(
    world: World, replica: RunningReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "LAG_S", math.inf)
    await replica.pause()
    outcome = await follows.follow(world.eve.context, world.star.opaque_id)
    backend, token = world.eve.backend, outcome.consistency_token
    before = answered("primary", Why.TOKEN)
    assert await world.seen(new_context(backend, None, consistency_token=token)) == world.expected(world.eve)
    assert answered("primary", Why.TOKEN) == before + 1
    assert await world.seen(new_context(backend, None)) == world.expected()
    without_positions = ConsistencyTokens(KEY).issue({PROFILE + world.eve.opaque_id: 1})
    told = new_context(backend, None, consistency_token=without_positions)
    assert await world.seen(told) == world.expected(world.eve)
    await replica.resume()
    await world.settle()
    before = answered("replica", Why.FRESH)
    assert await world.seen(new_context(backend, None, consistency_token=token)) == world.expected(world.eve)
    assert answered("replica", Why.FRESH) == before + 1


async def test_own_lists_payloads_of_mutations_and_events_are_never_behind(
    world: World, replica: RunningReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "LAG_S", math.inf)
    await replica.pause()
    context = world.eve.context
    await follows.follow(context, world.star.opaque_id)
    everybody = world.expected(world.eve)
    assert await world.seen(context) == everybody
    assert await world.seen(world.star.context) == everybody
    assert await world.seen(context_of_event(world.eve.backend, world.eve.id)) == everybody
    assert await world.seen(new_context(world.eve.backend, None)) == world.expected()


async def test_a_replica_that_is_killed_costs_nobody_an_answer(world: World, replica: RunningReplica) -> None:
    await replica.kill()
    for _ in range(5):
        assert await world.seen(world.eve.context) == world.expected()
    assert all(copy.judge(0) is not Why.FRESH for copy in world.copies if copy.cell.number == _home(world))


async def test_a_replica_that_is_frozen_costs_nobody_an_answer(world: World, replica: RunningReplica) -> None:
    replica.freeze()
    for _ in range(5):
        assert await world.seen(world.eve.context) == world.expected()
    assert all(copy.judge(0) is not Why.FRESH for copy in world.copies if copy.cell.number == _home(world))


def _home(world: World) -> int:
    return world.caches.database.shards.home(world.star.id).number


async def test_the_copy_of_another_database_and_a_server_that_copies_nothing_are_never_used(
    addresses: Addresses, replica: RunningReplica
) -> None:
    own, other = addresses.postgres_dsns[1:]
    async with (
        open_cells([own]) as shards,
        open_replicas(shards, [[own, replica.dsn(other), replica.dsn(own)]]) as all_,
    ):
        itself, misplaced, copy = all_.of_cell[0]

        async def is_fresh() -> bool:
            return copy.judge(0) is Why.FRESH

        await eventually(is_fresh, within=60)
        await itself.look()
        await misplaced.look()
        assert (itself.judge(0), misplaced.judge(0)) == (Why.AWAY, Why.AWAY)


async def test_a_replica_that_comes_back_with_less_than_it_had_is_found_out_by_its_first_connection(
    addresses: Addresses, replica: RunningReplica
) -> None:
    own, far = addresses.postgres_dsns[1], 2**62
    async with open_cells([own]) as shards, contextlib.AsyncExitStack() as stack:
        copy = await replicas._open(stack, shards.cells[0], replica.dsn(own))

        async def is_fresh() -> bool:
            await copy.look()
            return copy.judge(0) is Why.FRESH

        await eventually(is_fresh, within=60)
        copy._position, copy._as_of = far, math.inf
        await copy.pool.expire_connections()
        assert await copy.fetch("SELECT 1", (), far) is None
        assert copy.judge(far) is not Why.FRESH


def test_only_follower_and_following_lists_may_come_from_a_replica() -> None:
    public = {(kind, down) for kind in (ListKind.FOLLOWERS, ListKind.FOLLOWING) for down in (True, False)}
    assert {key for key, text in lists._STATEMENTS.items() if text in lists.ON_REPLICAS} == public
    assert len(lists.ON_REPLICAS) == len(public)
    callers = {path.name for path in ROOT.glob("*/*.py") if "replicas.fetch_by_home(" in path.read_text()}
    assert callers == {"lists.py"}
    assert not {path.name for path in ROOT.glob("*/*.py") if "of_cell" in path.read_text()} - {"replicas.py"}


def test_a_token_has_one_length_however_much_it_says() -> None:
    tokens, name = ConsistencyTokens(KEY), "x" * 22
    most = {PAIR + name: 2**63 - 1, f"{POSITION}1022": 2**64 - 1, f"{POSITION}1023": 2**64 - 1}
    assert tokens.read(tokens.issue(most)) == most
    assert len(tokens.issue(most)) == len(tokens.issue({}))
