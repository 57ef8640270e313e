"""The owner's own side: lists, limits, the policy, how others see one, and what it tells nobody. One cell and two."""

import asyncio
import dataclasses
import datetime as dt
from typing import Any

import orjson
import pytest

from domain.errors import UserErrorCode
from domain.follow_limits import FollowLimits
from domain.policies import DEFAULT_AUDIENCES, Audience, FieldGroup, PrivacyPolicy
from domain.relationships import FollowState
from domain.transitions import follow
from domain.users import Counts
from execution.engine import Engine, GraphQLRequest, Operation
from resolvers import blocks, follows, mutes
from resolvers.context import Context, new_context
from resolvers.outcomes import Outcome
from schema.fields import OperationContext
from schema.schema import SCHEMA
from storage.cells import Cell, Connection, Record
from storage.database import Database
from storage.pair_actions import FollowLimitReached
from storage.pairs import change_pair
from tests.cold import is_watch, make_cold
from tests.conftest import MakePerson, Person
from tests.integration.test_lists import counted
from tests.integration.test_pairs import counts, now, sides
from tests.integration.test_requests import PRIVATE, facts

ENGINE = Engine(SCHEMA._schema, introspection=False)
NOBODY = "A" * 22
PAGE = (
    "edges { cursor followedAt node { id } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } totalCount"
)


async def ask(context: Context, query: str, **variables: object) -> dict[str, Any]:
    """Run an operation as the transport does, and give the whole response."""
    prepared = ENGINE.prepare(GraphQLRequest(query, variables=variables), OperationContext(context))
    return await prepared.run() if isinstance(prepared, Operation) else prepared


async def read(context: Context, selection: str) -> Any:
    response = await ask(context, f"{{ viewer {{ {selection} }} }}")
    assert "errors" not in response, response["errors"]
    return response["data"]["viewer"]


LISTS = ("followRequests", "sentFollowRequests", "blocks", "mutes")


async def fill(name: str, owner: Person, other: Person) -> Outcome:
    match name:
        case "followRequests":
            return await follows.follow(other.context, owner.opaque_id)
        case "sentFollowRequests":
            return await follows.follow(owner.context, other.opaque_id)
        case "blocks":
            return await blocks.block(owner.context, other.opaque_id, expires_at=None)
        case _:
            return await mutes.mute(owner.context, other.opaque_id, expires_at=None)


async def filled(name: str, make_person: MakePerson, size: int) -> tuple[Person, list[str]]:
    """Fill one of the four lists of somebody; gives the ids in the list's order, the newest first."""
    owner = await make_person(policy=PRIVATE)
    people = [await make_person(policy=PRIVATE) for _ in range(size)]
    for person in people:
        assert (await fill(name, owner, person)).user_errors == ()
    return owner, [person.opaque_id for person in reversed(people)]


async def walk(owner: Person, name: str, *, backward: bool) -> list[str]:
    """Page through a list to its end, two at a time."""
    size, at, more = ("last", "before", "hasPreviousPage") if backward else ("first", "after", "hasNextPage")
    cursor_name = "startCursor" if backward else "endCursor"
    found: list[str] = []
    cursor = None
    while True:
        page = (await read(owner.context, f"list: {name}({size}: 2, {at}: {_text(cursor)}) {{ {PAGE} }}"))["list"]
        ids = [edge["node"]["id"] for edge in page["edges"]]
        found = ids + found if backward else found + ids
        cursor = page["pageInfo"][cursor_name]
        if not page["pageInfo"][more]:
            return found


def _text(cursor: str | None) -> str:
    return "null" if cursor is None else f'"{cursor}"'


@pytest.mark.parametrize("name", LISTS)
async def test_each_list_is_paged_whole_in_both_directions(make_person: MakePerson, name: str) -> None:
    owner, expected = await filled(name, make_person, 5)
    assert await walk(owner, name, backward=False) == expected
    assert await walk(owner, name, backward=True) == expected


@pytest.mark.parametrize("name", LISTS)
async def test_a_cursor_of_a_list_serves_no_other_list_and_nobody_else(make_person: MakePerson, name: str) -> None:
    owner, _ = await filled(name, make_person, 3)
    cursor = (await read(owner.context, f"list: {name}(first: 1) {{ {PAGE} }}"))["list"]["pageInfo"]["endCursor"]
    stranger = await make_person()
    places = [(stranger, name), *((owner, other) for other in LISTS if other != name)]
    for person, place in places:
        query = f'{{ viewer {{ {place}(first: 1, after: "{cursor}") {{ {PAGE} }} }} }}'
        response = await ask(person.context, query)
        assert response["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


@pytest.mark.parametrize("name", LISTS)
async def test_a_list_is_one_statement_for_rows_whatever_its_length(
    make_person: MakePerson, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, _ = await filled(name, make_person, 6)
    costs = []
    for size in (1, 6):
        context = owner.context
        await make_cold(context.backend.caches)
        with counted(monkeypatch) as statements:
            await read(context, f"list: {name}(first: {size}) {{ {PAGE} }}")
        costs.append(dict(statements))
    assert costs[0][max(costs[0], key=costs[0].__getitem__)] <= 8
    assert max(costs[1].values()) <= max(costs[0].values())


async def test_the_lists_are_empty_for_a_stranger_and_there_is_no_viewer_for_nobody(
    make_person: MakePerson, anonymous: Context
) -> None:
    owner, _ = await filled("blocks", make_person, 1)
    stranger = await make_person()
    selection = " ".join(f"{name}(first: 5) {{ {PAGE} }}" for name in LISTS)
    found = await read(stranger.context, selection)
    assert all(found[name]["edges"] == [] and found[name]["totalCount"] is None for name in LISTS)
    assert await ask(anonymous, "{ viewer { followLimit { limit } } }") == {"data": {"viewer": None}}
    del owner


async def test_whom_the_other_blocks_sees_the_request_vanish(make_person: MakePerson) -> None:
    owner, (asker_id,) = await filled("followRequests", make_person, 1)
    muted, (muted_id,) = await filled("mutes", make_person, 1)
    for person, other_id in ((owner, asker_id), (muted, muted_id)):
        other = dataclasses.replace(person, id=person.context.user_ids([other_id])[0], opaque_id=other_id)
        await blocks.block(other.context, person.opaque_id, expires_at=None)
    assert await walk(owner, "followRequests", backward=False) == []
    assert await walk(muted, "mutes", backward=False) == []


async def test_a_block_with_an_end_leaves_the_list_when_it_ends(database: Database, make_person: MakePerson) -> None:
    owner, (blocked_id, kept_id) = await filled("blocks", make_person, 2)
    other = owner.context.user_ids([blocked_id])[0]
    await database.shards.home(owner.id).fetch(
        "UPDATE relationships SET blocks_until = now() - interval '1 second' WHERE owner_id = $1 AND other_id = $2",
        owner.id,
        other,
    )
    await make_cold(owner.backend.caches)
    assert await walk(owner, "blocks", backward=False) == [kept_id]


# How many one may follow


def limited(person: Person, limits: FollowLimits) -> Context:
    return new_context(dataclasses.replace(person.backend, limits=limits), person.id)


THREE = FollowLimits(absolute=3, free=3, ratio=1.0)


async def followed_by(make_person: MakePerson, star: Person, size: int) -> None:
    for _ in range(size):
        await follows.follow((await make_person()).context, star.opaque_id)


async def test_the_limit_shows_before_it_is_met_and_grows_with_the_followers(make_person: MakePerson) -> None:
    ana = await make_person()
    limits = FollowLimits(absolute=6, free=2, ratio=1.5)
    query = "followLimit { limit used remaining }"
    assert (await read(limited(ana, limits), query))["followLimit"] == {"limit": 2, "used": 0, "remaining": 2}
    await followed_by(make_person, ana, 3)
    for _ in range(3):
        await follows.follow(limited(ana, limits), (await make_person()).opaque_id)
    assert (await read(limited(ana, limits), query))["followLimit"] == {"limit": 4, "used": 3, "remaining": 1}
    await followed_by(make_person, ana, 3)
    assert (await read(limited(ana, limits), query))["followLimit"]["limit"] == 6
    assert (await read(limited(ana, THREE), query))["followLimit"] == {"limit": 3, "used": 3, "remaining": 0}


def test_the_allowance_is_the_free_ones_then_the_ratio_then_the_absolute_limit() -> None:
    limits = FollowLimits(absolute=100, free=10, ratio=1.1)
    assert [limits.allowance(Counts(followers=number)) for number in (0, 9, 10, 20, 90, 91, 1000)] == [
        *(10, 10, 11, 22),
        *(99, 100, 100),
    ]
    assert not limits.is_exceeded_by(Counts(followers=20, following=22))
    assert limits.is_exceeded_by(Counts(followers=20, following=23))


@pytest.mark.parametrize(
    "limits",
    [THREE, FollowLimits(absolute=100, free=0, ratio=1.5)],
    ids=["the absolute limit", "the ratio to two followers"],
)
async def test_at_the_limit_a_new_follow_is_refused_and_everything_else_goes_on(
    database: Database, make_person: MakePerson, limits: FollowLimits
) -> None:
    ana = await make_person(cell=0)
    if limits.free == 0:
        await followed_by(make_person, ana, 2)
    others = [await make_person(cell=0) for _ in range(4)]
    for other in others[:3]:
        assert (await follows.follow(limited(ana, limits), other.opaque_id)).user_errors == ()
    refused = await follows.follow(limited(ana, limits), others[3].opaque_id)
    assert [(error.code, error.path) for error in refused.user_errors] == [
        (UserErrorCode.FOLLOW_LIMIT_REACHED, ("input", "userId"))
    ]
    assert await facts(database, ana, others[3]) == []
    assert (await sides(database, ana, others[3]))[0].version == 0
    assert (await counts(database, ana))[1] == 3
    repeated = await follows.follow(limited(ana, limits), others[0].opaque_id)
    assert repeated.user_errors == ()
    private = await make_person(cell=0, policy=PRIVATE)
    asked = await follows.follow(limited(ana, limits), private.opaque_id)
    assert asked.user_errors == refused.user_errors
    assert (await follows.follow(limited(others[0], limits), ana.opaque_id)).user_errors == () or limits.free == 0
    await follows.unfollow(limited(ana, limits), others[0].opaque_id)
    assert (await follows.follow(limited(ana, limits), others[3].opaque_id)).user_errors == ()


async def test_of_eight_follows_at_once_exactly_as_many_succeed_as_there_are_places(
    database: Database, make_person: MakePerson
) -> None:
    for _ in range(4):
        ana = await make_person(cell=0)
        others = [await make_person(cell=0) for _ in range(8)]
        outcomes = await asyncio.gather(*(follows.follow(limited(ana, THREE), other.opaque_id) for other in others))
        codes = [outcome.user_errors[0].code for outcome in outcomes if outcome.user_errors]
        assert codes == [UserErrorCode.FOLLOW_LIMIT_REACHED] * 5
        assert await counts(database, ana) == (0, 3)
        in_force = [(await sides(database, ana, other))[0].follows is FollowState.ACTIVE for other in others]
        assert in_force.count(True) == 3


async def test_the_limit_holds_for_whoever_follows_older_accounts_of_another_cell(
    database: Database, make_person: MakePerson
) -> None:
    if len(database.shards.cells) == 1:
        pytest.skip("there is no other cell")
    others = [await make_person(cell=0) for _ in range(6)]
    ana = await make_person(cell=1)
    codes = []
    for other in others:
        outcome = await follows.follow(limited(ana, THREE), other.opaque_id)
        codes += [error.code for error in outcome.user_errors]
    assert codes == [UserErrorCode.FOLLOW_LIMIT_REACHED] * 3
    assert await counts(database, ana) == (0, 3)


async def test_requests_that_wait_use_up_the_limit_until_they_are_withdrawn(make_person: MakePerson) -> None:
    ana = await make_person(cell=0)
    asked = [await make_person(cell=0, policy=PRIVATE) for _ in range(4)]
    outcomes = [await follows.follow(limited(ana, THREE), other.opaque_id) for other in asked]
    assert [outcome.user_errors != () for outcome in outcomes] == [False, False, False, True]
    await follows.cancel_request(limited(ana, THREE), asked[0].opaque_id)
    assert (await follows.follow(limited(ana, THREE), asked[3].opaque_id)).user_errors == ()
    for other in asked[1:]:
        assert (await follows.accept_request(other.context, ana.opaque_id)).user_errors == ()
    again = await follows.follow(limited(ana, THREE), asked[0].opaque_id)
    assert [error.code for error in again.user_errors] == [UserErrorCode.FOLLOW_LIMIT_REACHED]


async def test_a_limit_that_is_reached_rolls_everything_back(database: Database, make_person: MakePerson) -> None:
    ana, bo = await make_person(cell=0), await make_person(cell=0)
    none = FollowLimits(absolute=0, free=0, ratio=0)
    with pytest.raises(FollowLimitReached):
        await change_pair(database, ana.id, bo.id, follow(target_is_private=False), now(), limits=none)
    assert await counts(database, ana) == await counts(database, bo) == (0, 0)
    assert await facts(database, ana, bo) == []


# How others see one

SEEN = "username displayName bio location followersCount followingCount"


async def view_as(owner: Person, argument: str) -> Any:
    return (await read(owner.context, f"viewAs({argument}) {{ {SEEN} }}"))["viewAs"]


async def seen_by(context: Context, owner: Person) -> Any:
    response = await ask(context, f'{{ user(id: "{owner.opaque_id}") {{ {SEEN} }} }}')
    return response["data"]["user"]


def graded(*, private: bool) -> PrivacyPolicy:
    audiences = {
        **DEFAULT_AUDIENCES,
        FieldGroup.PROFILE: Audience.SIGNED_IN,
        FieldGroup.BIO: Audience.FOLLOWERS,
        FieldGroup.LOCATION: Audience.MUTUALS,
        FieldGroup.COUNTS: Audience.ONLY_ME,
    }
    return PrivacyPolicy(is_private=private, audiences=audiences)


@pytest.mark.parametrize("private", [False, True], ids=["public", "private"])
async def test_each_audience_is_shown_what_a_real_person_of_it_sees(
    make_person: MakePerson, anonymous: Context, *, private: bool
) -> None:
    details = {"display_name": "Ana", "bio": "bio", "location": "here"}
    ana = await make_person(policy=graded(private=private), **details)
    stranger, follower, mutual = await make_person(), await make_person(), await make_person()
    for fan in (follower, mutual):
        await follows.follow(fan.context, ana.opaque_id)
        await follows.accept_request(ana.context, fan.opaque_id)
    await follows.follow(ana.context, mutual.opaque_id)
    for audience, context in (
        ("PUBLIC", anonymous),
        ("SIGNED_IN", stranger.context),
        ("FOLLOWERS", follower.context),
        ("MUTUALS", mutual.context),
        ("ONLY_ME", ana.context),
    ):
        assert await view_as(ana, f"audience: {audience}") == await seen_by(context, ana), audience
    for person in (stranger, follower, mutual, ana):
        assert await view_as(ana, f'userId: "{person.opaque_id}"') == await seen_by(person.context, ana)


async def test_exactly_one_of_audience_and_person_is_to_be_given(make_person: MakePerson) -> None:
    ana = await make_person()
    for arguments in ("", f'(audience: PUBLIC, userId: "{ana.opaque_id}")'):
        response = await ask(ana.context, f"{{ viewer {{ viewAs{arguments} {{ username }} }} }}")
        assert response["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


EXPLAIN = """
query($id: ID!, $group: FieldGroup!) { viewer { privacyExplain(userId: $id, group: $group) { allowed rule } } }
"""


async def explained(owner: Person, opaque_id: str, group: str = "BIO") -> bytes:
    return orjson.dumps(await ask(owner.context, EXPLAIN, id=opaque_id, group=group))


@pytest.mark.parametrize("group", list(FieldGroup), ids=lambda group: group.value)
async def test_whoever_is_blocked_is_told_of_the_blocker_what_an_unknown_id_gives(
    make_person: MakePerson, group: FieldGroup
) -> None:
    ana, bo = await make_person(), await make_person()
    await follows.follow(bo.context, ana.opaque_id)
    await blocks.block(bo.context, ana.opaque_id, expires_at=None)
    assert await explained(ana, bo.opaque_id, group.value) == await explained(ana, NOBODY, group.value)
    by_id = [
        await ask(ana.context, f'{{ viewer {{ viewAs(userId: "{who}") {{ id }} }} }}') for who in (bo.opaque_id, NOBODY)
    ]
    assert by_id[0] == by_id[1] == {"data": {"viewer": {"viewAs": None}}}


async def test_whom_one_blocks_is_told_as_ones_own_doing_whether_or_not_the_other_blocks_back(
    database: Database, make_person: MakePerson
) -> None:
    ana, one, mutual = await make_person(), await make_person(), await make_person()
    for other in (one, mutual):
        await blocks.block(ana.context, other.opaque_id, expires_at=None)
    await block_back(database, ana, mutual)
    assert await explained(ana, one.opaque_id) == await explained(ana, mutual.opaque_id)
    assert b'"blocked_by_you"' in await explained(ana, one.opaque_id)
    stubs = [
        edge["node"]["id"] for edge in (await read(ana.context, f"blocks(first: 5) {{ {PAGE} }}"))["blocks"]["edges"]
    ]
    assert stubs == [mutual.opaque_id, one.opaque_id]


async def block_back(database: Database, ana: Person, other: Person) -> None:
    """Write a block the other way, which no action makes while the first is in force, but a merge of regions may."""

    def write(owner_id: int, other_id: int, column: str) -> Any:
        async def work(connection: Connection) -> None:
            statement = f"UPDATE relationships SET {column} = true WHERE owner_id = $1 AND other_id = $2"  # noqa: S608
            await connection.execute(statement, owner_id, other_id)

        return work

    await database.shards.home(ana.id).transact(write(ana.id, other.id, "blocked_by"))
    await database.shards.home(other.id).transact(write(other.id, ana.id, "blocks"))


async def test_the_rule_that_explains_is_the_rule_that_decides(make_person: MakePerson) -> None:
    ana = await make_person(bio="bio", policy=graded(private=False))
    follower, stranger = await make_person(), await make_person()
    await follows.follow(follower.context, ana.opaque_id)
    for person, group in ((follower, "BIO"), (stranger, "BIO"), (follower, "LOCATION"), (ana, "COUNTS")):
        decision = orjson.loads(await explained(ana, person.opaque_id, group))["data"]["viewer"]["privacyExplain"]
        field = {"BIO": "bio", "LOCATION": "location", "COUNTS": "followersCount"}[group]
        assert (await seen_by(person.context, ana))[field] is not None if decision["allowed"] else True
        assert decision["allowed"] == ((person, group) in ((follower, "BIO"), (ana, "COUNTS")))
        assert decision["rule"]


async def test_the_policy_reads_as_it_was_written(make_person: MakePerson) -> None:
    friend, foe = await make_person(), await make_person()
    policy = dataclasses.replace(graded(private=True), allow=frozenset({friend.id}), deny=frozenset({foe.id}))
    ana = await make_person(policy=policy)
    found = (await read(ana.context, "privacySettings { version isPrivate audiences { group audience } allow deny }"))[
        "privacySettings"
    ]
    assert (found["version"], found["isPrivate"]) == (1, True)
    assert (found["allow"], found["deny"]) == ([friend.opaque_id], [foe.opaque_id])
    assert {row["group"]: row["audience"] for row in found["audiences"]} == {
        group.value: policy.audience_of(group).value for group in FieldGroup
    }


async def test_a_page_of_a_hundred_people_asks_each_cell_once_what_the_viewer_is_to_them(
    database: Database, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    star, viewer = await make_person(), await make_person()
    start = dt.datetime.now(dt.UTC)
    for number in range(100):
        fan = await make_person(cell=number % len(database.shards.cells))
        await _follow_at(database, fan, star, start + dt.timedelta(milliseconds=number))
    statements: list[tuple[int, str]] = []
    original = Cell._fetch

    async def recording(self: Cell, statement: str, arguments: tuple[object, ...]) -> list[Record]:
        if not is_watch(statement):
            statements.append((self.number, statement))
        return await original(self, statement, arguments)

    query = """
    query($id: ID!) { user(id: $id) { followers(first: 100) { edges { node {
        id username bio viewerFollowState viewerIsFollowing viewerHasBlocked followersCount } } } } }
    """
    await make_cold(viewer.backend.caches)
    monkeypatch.setattr(Cell, "_fetch", recording)
    response = await ask(viewer.context, query, id=star.opaque_id)
    assert len(response["data"]["user"]["followers"]["edges"]) == 100
    # One for the owner of the list and the whole page, on the viewer's own cell and none on any other.
    of_pairs = [cell for cell, text in statements if "FROM relationships\nWHERE owner_id = $1" in text]
    assert of_pairs == [database.shards.home(viewer.id).number]
    assert len(statements) <= 6 * len(database.shards.cells)


async def _follow_at(database: Database, fan: Person, star: Person, when: dt.datetime) -> None:
    await change_pair(database, fan.id, star.id, follow(target_is_private=False), when)
