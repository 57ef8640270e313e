"""Coming back: on day 29 exactly the edges are there that no block, privacy change or deletion has forbidden since."""

import dataclasses
import datetime as dt
import itertools
import os
from collections.abc import Sequence
from typing import Final

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from domain.departures import GRACE
from domain.errors import StepUpRequired, Unauthenticated
from domain.events import EventType
from domain.policies import PrivacyPolicy
from domain.relationships import FollowState
from domain.transitions import block, follow, unblock, unfollow
from domain.users import User
from resolvers import accounts, follows, people
from resolvers.context import Context
from storage.archives import fetch_archived
from storage.counters import sample
from storage.database import Database
from storage.deletions import delete_account, restore_account
from storage.pairs import change_pair
from storage.relationships import fetch_relationships
from storage.users import change_user
from tests.conftest import MakePerson, Person

LONG = os.environ.get("PROVE") == "long"
DAY_29: Final = dt.timedelta(days=29)
CROWD: Final = 3

Step = tuple[str, int, int]
_PEOPLE: Final = st.integers(0, CROWD - 1)
_AT_FIRST: Final = st.lists(
    st.tuples(st.sampled_from(("follow", "follow", "follow", "private")), _PEOPLE, _PEOPLE), min_size=4, max_size=8
)
_GOING: Final = st.lists(st.tuples(st.just("delete"), _PEOPLE, st.just(0)), min_size=1, max_size=2)
_MEANWHILE: Final = st.lists(
    st.tuples(
        st.sampled_from(("block", "unblock", "private", "public", "follow", "unfollow", "delete", "restore")),
        _PEOPLE,
        _PEOPLE,
    ),
    max_size=8,
)
STEPS: Final = st.builds(lambda *parts: [*itertools.chain(*parts)], _AT_FIRST, _GOING, _MEANWHILE)
Cut = tuple[dict[tuple[int, int], FollowState], dict[int, bool]]


@dataclasses.dataclass
class Model:
    """What is to be: edges, what deletions have cut, and who is there."""

    edges: dict[tuple[int, int], FollowState] = dataclasses.field(default_factory=dict)
    blocks: set[tuple[int, int]] = dataclasses.field(default_factory=set)
    cut: dict[frozenset[int], Cut] = dataclasses.field(default_factory=dict)
    private: dict[int, bool] = dataclasses.field(default_factory=lambda: dict.fromkeys(range(CROWD), False))
    here: set[int] = dataclasses.field(default_factory=lambda: set(range(CROWD)))

    def take(self, step: Step) -> None:
        """Do what a step does."""
        kind, one, other = step
        pair = frozenset((one, other))
        if kind == "follow" and not self.is_blocked(pair):
            state = FollowState.PENDING if self.private[other] else FollowState.ACTIVE
            self.edges.setdefault((one, other), state)
        elif kind == "unfollow":
            self.edges.pop((one, other), None)
        elif kind == "block" and ((one, other) in self.blocks or (other, one) not in self.blocks):
            self.blocks.add((one, other))
            self.edges = {edge: state for edge, state in self.edges.items() if frozenset(edge) != pair}
            self.cut.pop(pair, None)
        elif kind == "unblock":
            self.blocks.discard((one, other))
        elif kind in ("private", "public"):
            self.private[one] = kind == "private"
        elif kind == "delete":
            self.delete(one)
        elif kind == "restore":
            self.restore(one)

    def is_blocked(self, pair: frozenset[int]) -> bool:
        return any(frozenset(found) == pair for found in self.blocks)

    def delete(self, one: int) -> None:
        self.here.discard(one)
        for other in set(range(CROWD)) - {one}:
            pair = frozenset((one, other))
            found = {edge: state for edge, state in self.edges.items() if frozenset(edge) == pair}
            if found:
                self.cut[pair] = (found, dict(self.private))
        self.edges = {edge: state for edge, state in self.edges.items() if one not in edge}

    def restore(self, one: int) -> None:
        self.here.add(one)
        for pair in [pair for pair in self.cut if one in pair and pair <= self.here]:
            found, was_private = self.cut.pop(pair)
            for edge, state in found.items():
                is_private = self.private[edge[1]]
                if is_private if state is FollowState.PENDING else was_private[edge[1]] or not is_private:
                    self.edges[edge] = state


def is_possible(model: Model, step: Step) -> bool:
    """Tell whether it can come to this; a block may have been on its way when its target went, and it may lapse."""
    kind, one, other = step
    if kind == "restore":
        return one not in model.here
    if kind in ("block", "unblock"):
        return one != other
    both = one in model.here and (other in model.here or kind in ("private", "public", "delete"))
    return both and (one != other or kind in ("private", "public", "delete"))


async def take(database: Database, crowd: Sequence[Person], step: Step, model: Model, now: dt.datetime) -> None:
    kind, one, other = step
    me, them = crowd[one].id, crowd[other].id
    if kind == "delete":
        assert await delete_account(database, me, now)
    elif kind == "restore":
        assert await restore_account(database, me, now + DAY_29)
    elif kind in ("private", "public"):
        policy = PrivacyPolicy(is_private=kind == "private")

        def change(user: User) -> User:
            return msgspec.structs.replace(user, policy=policy)

        await change_user(database, me, change, event=EventType.PRIVACY_UPDATED)
    else:
        transitions = {
            "follow": follow(target_is_private=model.private[other]),
            "unfollow": unfollow(),
            "block": block(until=None),
            "unblock": unblock(),
        }
        await change_pair(database, me, them, transitions[kind], now)


async def edges_of(database: Database, crowd: Sequence[Person]) -> dict[tuple[int, int], FollowState]:
    """Read every edge off both of its rows, which must agree."""
    found = {}
    for one, other in itertools.permutations(range(CROWD), 2):
        mine = await fetch_relationships(database, crowd[one].id, [crowd[other].id])
        theirs = await fetch_relationships(database, crowd[other].id, [crowd[one].id])
        states = {pair.follows for pair in mine.values()} | {pair.followed_by for pair in theirs.values()}
        [found[one, other]] = states or {FollowState.NONE}
    return {edge: state for edge, state in found.items() if state is not FollowState.NONE}


@settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=500 if LONG else 3,
    suppress_health_check=list(HealthCheck),
)
@given(steps=STEPS)
@example([("follow", 0, 1), ("delete", 0, 0), ("block", 1, 0), ("unblock", 1, 0)])
@example([("follow", 0, 1), ("follow", 1, 0), ("delete", 0, 0), ("private", 1, 1)])
@example([("private", 1, 1), ("follow", 0, 1), ("delete", 0, 0), ("public", 1, 1)])
@example([("follow", 0, 1), ("follow", 1, 0), ("delete", 0, 0), ("delete", 1, 1), ("restore", 0, 0)])
async def test_whoever_is_back_on_day_29_has_exactly_the_edges_that_are_allowed(
    database: Database, make_person: MakePerson, steps: list[Step]
) -> None:
    crowd, model, now = [await make_person() for _ in range(CROWD)], Model(), dt.datetime.now(dt.UTC)
    everybody: list[Step] = [("restore", number, number) for number in range(CROWD)]
    for step in [*steps, *everybody]:
        if is_possible(model, step):
            await take(database, crowd, step, model, now)
            model.take(step)
    assert await edges_of(database, crowd) == model.edges
    assert model.cut == {}
    for cell in database.shards.cells:
        assert [await fetch_archived(cell, person.id, 9) for person in crowd] == [[]] * CROWD
    for person in crowd:
        [figures] = await sample(database.shards.home(person.id), [person.id])
        assert figures.is_right


async def delete(person: Person) -> accounts.Deleted:
    return await accounts.delete_own(just_signed_in(person), person.name)


def just_signed_in(person: Person) -> Context:
    context = person.context
    return msgspec.structs.replace(context, authenticated_at=context.now.timestamp())


async def test_whoever_deletes_the_account_is_told_until_when_it_can_be_undone(make_person: MakePerson) -> None:
    ana, bo = await make_person(), await make_person()
    first = await delete(ana)
    assert first.restorable_until is not None
    assert first.restorable_until - GRACE <= dt.datetime.now(dt.UTC)
    assert (await delete(ana)).restorable_until == first.restorable_until
    assert await people.fetch_by_ids(bo.context, [ana.opaque_id]) == [None]
    assert await people.fetch_viewer(ana.context) is None


async def test_nothing_is_deleted_without_the_own_name_and_a_recent_sign_in(make_person: MakePerson) -> None:
    ana, bo = await make_person(), await make_person()
    with pytest.raises(StepUpRequired):
        await accounts.delete_own(ana.context, ana.name)
    long_ago = msgspec.structs.replace(ana.context, authenticated_at=ana.context.now.timestamp() - 601)
    with pytest.raises(StepUpRequired):
        await accounts.delete_own(long_ago, ana.name)
    refused = await accounts.delete_own(just_signed_in(ana), bo.name)
    assert [error.path for error in refused.user_errors] == [("input", "confirmation")]
    assert await people.fetch_viewer(ana.context) is not None


async def test_a_token_of_somebody_gone_is_good_for_coming_back_and_nothing_else(make_person: MakePerson) -> None:
    ana, bo = await make_person(), await make_person()
    await follows.follow(ana.context, bo.opaque_id)
    await delete(ana)
    with pytest.raises(Unauthenticated):
        await follows.follow(ana.context, bo.opaque_id)
    back = await accounts.restore_own(ana.context)
    assert back.user is not None
    assert back.user.user.id == ana.id
    [found] = await people.fetch_by_ids(ana.context, [bo.opaque_id])
    assert found is not None
    assert found.relationship.follows is FollowState.ACTIVE
    assert (await accounts.restore_own(ana.context)).user is not None, "a repeat changes nothing"


async def test_after_thirty_days_nobody_comes_back(database: Database, make_person: MakePerson) -> None:
    ana = await make_person()
    now = dt.datetime.now(dt.UTC)
    assert await delete_account(database, ana.id, now - GRACE)
    with pytest.raises(Unauthenticated):
        await accounts.restore_own(ana.context)
