"""What shows of a count to a viewer: exact whoever comes and goes, without I/O once the counts are remembered."""

import datetime as dt
from collections.abc import Sequence

import pytest

from domain.tallies import Tally, unpack_ids
from domain.transitions import Transition, block, follow, unfollow
from domain.users import Counts
from loaders import Caches, Loaders
from loaders.shown_counts import ShownCounts
from privacy.policy import Visible
from resolvers import blocks, follows
from resolvers.context import Context
from resolvers.people import fetch_counts, recall_counts
from resolvers.visibility import meet
from storage import tallies
from storage.database import Database
from storage.pairs import change_pair
from tests.asking import ask
from tests.cold import make_cold
from tests.conftest import MakePerson, Person, eventually
from tests.integration.test_caches import spending
from tests.integration.test_lists import counted, crowd_of

HOUR = dt.timedelta(hours=1)
PROFILE = "query($id: ID!) { user(id: $id) { followersCount followingCount } }"

# All ways to the same figures: who is counted is listed; as few as none are too many for that, but whom the hidden know
# is listed; and neither is.
NONE = -1
FEW, TOO_MANY, BOTH_TOO_MANY = (256, 2048), (NONE, 2048), (NONE, NONE)
NAMES = {FEW: "few", TOO_MANY: "too many", BOTH_TOO_MANY: "too many, and the hidden know too many"}
every_size = pytest.mark.parametrize("listed", NAMES, ids=NAMES.values(), indirect=True)
every_size_of_owners = pytest.mark.parametrize("listed", [FEW, TOO_MANY], ids=NAMES.get, indirect=True)


@pytest.fixture
def listed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    most, neighbours = request.param
    monkeypatch.setattr(tallies, "LISTED", most)
    monkeypatch.setattr(tallies, "NEIGHBOURS", neighbours)
    return int(most)


def loaders_of(viewer: Person, after: dt.timedelta = dt.timedelta()) -> Loaders:
    return Loaders(viewer.backend.caches, viewer.id, dt.datetime.now(dt.UTC) + after)


async def followers(viewer: Person, owner: Person, after: dt.timedelta = dt.timedelta()) -> int:
    loaders = loaders_of(viewer, after)
    await loaders.fetch_people([owner.id])
    [counts] = loaders.recall_counts([owner.id]) or await loaders.counts.load_many([owner.id])
    return counts.followers


async def statements_of(viewer: Person, owners: Sequence[Person], monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    with counted(monkeypatch) as statements:
        loaders = loaders_of(viewer)
        await loaders.fetch_people([owner.id for owner in owners])
        await loaders.counts.load_many([owner.id for owner in owners])
    await viewer.backend.caches.settle()
    return dict(statements)


async def asked_by(
    viewer: Person, owners: Sequence[Person], monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[int, int], int]:
    """Count the statements that each cell gets, and the round trips to Redis."""
    with spending(monkeypatch) as spent:
        loaders = loaders_of(viewer)
        await loaders.fetch_people([owner.id for owner in owners])
        await loaders.counts.load_many([owner.id for owner in owners])
    await viewer.backend.caches.settle()
    return spent.statements, spent.trips


async def change(actor: Person, transition: Transition, other: Person) -> None:
    """Change a pair and ring no bell: it would ask for a statement a moment later."""
    await change_pair(actor.backend.database, actor.id, other.id, transition, dt.datetime.now(dt.UTC))


@every_size
async def test_whoever_is_hidden_comes_and_goes_and_the_count_stays(listed: int, make_person: MakePerson) -> None:
    del listed
    star, viewer, other, foe = [await make_person() for _ in range(4)]
    await crowd_of(make_person, star, 2)
    await blocks.block(foe.context, viewer.opaque_id, expires_at=None)
    for _ in range(2):
        for counted_by_others in (2, 3):
            assert [await followers(each, star) for each in (viewer, other)] == [2, counted_by_others]
            if counted_by_others == 2:
                await follows.follow(foe.context, star.opaque_id)
        await follows.unfollow(foe.context, star.opaque_id)


@every_size
async def test_a_block_counts_at_once_and_so_does_its_end(listed: int, make_person: MakePerson) -> None:
    del listed
    star, viewer = await make_person(), await make_person()
    fan, idol = await crowd_of(make_person, star, 2)
    await follows.follow(star.context, idol.opaque_id)
    assert await loaders_of(viewer).counts.load(star.id) == Counts(2, 1)
    await blocks.block(idol.context, viewer.opaque_id, expires_at=None)
    assert await loaders_of(viewer).counts.load(star.id) == Counts(1, 0)
    await blocks.block(viewer.context, fan.opaque_id, expires_at=None)
    assert await loaders_of(viewer).counts.load(star.id) == Counts(0, 0)
    await blocks.unblock(idol.context, viewer.opaque_id)
    assert await loaders_of(viewer).counts.load(star.id) == Counts(1, 1)
    assert await Loaders(viewer.backend.caches, None, dt.datetime.now(dt.UTC)).counts.load(star.id) == Counts(2, 1)


async def test_counts_are_recalled_once_for_two_fields_and_anew_after_a_mutation(make_person: MakePerson) -> None:
    star, fan = await make_person(), await make_person()

    async def met() -> tuple[Context, list[Visible]]:
        context = fan.context
        return context, [person for person in await meet(context, [star.id]) if person is not None]

    async def is_recalled_once() -> bool:
        context, people = await met()
        await fetch_counts(context, people)
        counts = recall_counts(context, people)
        return counts is not None and recall_counts(context, people) is counts

    await eventually(is_recalled_once)
    context, people = await met()
    assert await fetch_counts(context, people) == [Counts(0, 0)]
    await change(fan, follow(target_is_private=False), star)
    assert recall_counts(context, people) == [Counts(0, 0)]
    context.loaders.forget()
    assert await fetch_counts(context, people) == [Counts(1, 0)]


@every_size
async def test_a_block_that_lapses_hides_until_then_whatever_was_remembered(
    listed: int, make_person: MakePerson
) -> None:
    del listed
    star, viewer = await make_person(), await make_person()
    fan, _ = await crowd_of(make_person, star, 2)
    await blocks.block(fan.context, viewer.opaque_id, expires_at=dt.datetime.now(dt.UTC) + HOUR)
    for _ in range(2):
        assert [await followers(viewer, star, after) for after in (HOUR / 2, 2 * HOUR)] == [1, 2]


@every_size
@pytest.mark.parametrize("side", [256, 0], ids=["a side", "pair by pair"])
async def test_what_is_remembered_answers_without_a_statement(
    listed: int, side: int, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    del listed
    monkeypatch.setattr("loaders.caches.SIDE", side)
    star, viewer = await make_person(), await make_person()
    fan, _ = await crowd_of(make_person, star, 2)
    await blocks.block(viewer.context, fan.opaque_id, expires_at=None)

    async def nothing_is_asked() -> bool:
        return not await statements_of(viewer, [star], monkeypatch)

    await eventually(nothing_is_asked)
    viewer.backend.caches.memory.clear()
    await eventually(nothing_is_asked)
    assert await followers(viewer, star) == 1


async def test_a_viewer_who_comes_for_the_first_time_asks_for_nothing_but_the_own_side(
    make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners = [await make_person(cell=0) for _ in range(3)]
    for owner in owners:
        await crowd_of(make_person, owner, 2)

    async def the_side_alone() -> bool:
        newcomer = await make_person(cell=0)
        await statements_of(owners[0], owners, monkeypatch)
        return await statements_of(newcomer, owners, monkeypatch) == {0: 1}

    await eventually(the_side_alone)


@every_size_of_owners
async def test_a_viewer_with_blocks_asks_as_much_as_one_without(
    listed: int, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    del listed
    owners = [await make_person() for _ in range(3)]
    crowds = [await crowd_of(make_person, owner, 2) for owner in owners]
    blocked, free = await make_person(cell=0), await make_person(cell=0)
    for [fan, _] in crowds:
        await blocks.block(fan.context, blocked.opaque_id, expires_at=None)

    async def both_ask_as_much() -> bool:
        costs = []
        for viewer in (blocked, free):
            await make_cold(viewer.backend.caches)
            costs.append(await asked_by(viewer, owners, monkeypatch))
        return costs[0] == costs[1]

    await eventually(both_ask_as_much)  # on a machine that stalls nothing is remembered, and more is asked


async def test_nothing_is_asked_about_popular_people_once_it_is_known_whom_the_hidden_know(
    make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tallies, "LISTED", NONE)
    first, *others = [await make_person(cell=0) for _ in range(50)]
    foe, warmer = await make_person(), await make_person(cell=0)
    await follows.follow(foe.context, others[0].opaque_id)

    async def are_asked_about_at_no_cost() -> bool:
        costs = []
        blocked, free = await make_person(cell=0), await make_person(cell=0)
        await change(foe, block(until=None), blocked)
        for viewer in (blocked, free):
            await asked_by(warmer, [first, *others], monkeypatch)
            await asked_by(viewer, [first], monkeypatch)
            costs.append(await asked_by(viewer, others, monkeypatch))
        assert [await followers(viewer, others[0]) for viewer in (blocked, free)] == [0, 1]
        return costs == [({}, 1), ({}, 1)]

    await eventually(are_asked_about_at_no_cost)


async def test_that_one_of_the_hidden_is_about_costs_nothing(
    make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tallies, "LISTED", NONE)
    star, idol, foe, blocked = [await make_person(cell=0) for _ in range(4)]
    await blocks.block(foe.context, blocked.opaque_id, expires_at=None)

    async def costs_nothing() -> bool:
        await asked_by(blocked, [star], monkeypatch)
        await change(foe, follow(target_is_private=False), idol)
        cost = await asked_by(blocked, [star], monkeypatch)
        await change(foe, unfollow(), idol)
        return cost == ({}, 1)

    await eventually(costs_nothing)


async def test_whom_the_hidden_know_is_read_again_where_it_has_changed_while_it_was_read(
    make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tallies, "LISTED", NONE)
    star, foe, viewer = [await make_person() for _ in range(3)]
    await blocks.block(foe.context, viewer.opaque_id, expires_at=None)
    fetch_neighbours = tallies.fetch_neighbours

    async def fetch_and_follow(database: Database, user_ids: Sequence[int]) -> dict[int, Tally]:
        found = await fetch_neighbours(database, user_ids)
        await follows.follow(foe.context, star.opaque_id)
        return found

    monkeypatch.setattr(tallies, "fetch_neighbours", fetch_and_follow)
    await followers(viewer, star)
    monkeypatch.setattr(tallies, "fetch_neighbours", fetch_neighbours)
    assert await followers(viewer, star) == 0


async def test_blocks_that_are_too_many_to_be_remembered_count_all_the_same(
    make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loaders.caches.SIDE", 0)
    monkeypatch.setattr("loaders.caches.BLOCKS_AT_MOST", 0)
    star, viewer = await make_person(), await make_person()
    fan, _ = await crowd_of(make_person, star, 2)
    await blocks.block(fan.context, viewer.opaque_id, expires_at=dt.datetime.now(dt.UTC) + HOUR)
    assert [await followers(viewer, star, after) for after in (HOUR / 2, 2 * HOUR)] == [1, 2]


@pytest.mark.parametrize(("row", "slot"), [(300, -298), (2, 0), (0, 2), (0, 0), (1000, 0)], ids=str)
async def test_a_list_is_whole_or_not_used_whatever_the_counters_say(
    row: int, slot: int, database: Database, make_person: MakePerson
) -> None:
    star, viewer = await make_person(), await make_person()
    fan, _ = await crowd_of(make_person, star, 2)
    await blocks.block(fan.context, viewer.opaque_id, expires_at=None)
    cell = database.shards.home(star.id)
    await cell.fetch("UPDATE user_counts SET followers = $2 WHERE user_id = $1", star.id, row)
    await cell.fetch("INSERT INTO user_count_slots (user_id, slot, followers) VALUES ($1, 7, $2)", star.id, slot)
    await make_cold(viewer.backend.caches)
    assert await followers(viewer, star) == row + slot - 1


async def test_a_list_that_is_longer_than_its_counter_is_not_used_in_part(
    database: Database, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    star = await make_person()
    await crowd_of(make_person, star, 3)
    await database.shards.home(star.id).fetch("UPDATE user_counts SET followers = 0 WHERE user_id = $1", star.id)
    for most, is_listed in ((3, True), (2, False)):
        monkeypatch.setattr(tallies, "LISTED", most)
        found = (await tallies.fetch_tallies(database, [star.id]))[star.id]
        assert found.is_listed == is_listed


async def test_both_counts_of_a_profile_are_computed_once(
    make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    star, viewer = await make_person(), await make_person()
    looks, look = 0, ShownCounts._look

    def counting(*arguments: object) -> None:
        nonlocal looks
        looks += 1
        look(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ShownCounts, "_look", counting)
    assert (await ask(viewer.context, PROFILE, id=star.opaque_id))["data"]["user"] == {
        "followersCount": 0,
        "followingCount": 0,
    }
    assert looks == 1


async def test_the_people_of_a_cell_come_with_whom_they_know_in_one_statement(
    caches: Caches, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    star = await make_person(cell=0)
    fans = await crowd_of(make_person, star, 2)

    async def one_statement_is_enough() -> bool:
        await make_cold(caches)
        with counted(monkeypatch) as statements:
            loaders = Loaders(caches, None, dt.datetime.now(dt.UTC))
            await loaders.users.load(star.id)
            found = await loaders.tallies.load(star.id)
        assert set(unpack_ids(found.followers or b"")) == {fan.id for fan in fans}
        return statements == {0: 1}

    await eventually(one_statement_is_enough)
