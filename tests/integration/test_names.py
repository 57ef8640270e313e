"""Names: one holder for all that look alike, taken back only by who had them, whatever dies in between."""

import asyncio
import datetime as dt
import functools
import itertools
import os
import random
import re
import secrets
import uuid
from collections.abc import Awaitable, Callable

import pytest

from domain.errors import Overloaded
from domain.events import EventType
from domain.renaming import RenameQuota
from domain.username_requirements import UsernameRequirementCode
from domain.usernames import UsernameProblem, username_key, username_skeleton
from resolvers import usernames
from resolvers.context import Backend
from resolvers.people import fetch_by_names, recall_one
from storage import renames
from storage.database import Database
from storage.migrate import MIGRATIONS
from storage.names import HELD_FOR, UsernameTaken
from storage.renames import (
    PENDING_FOR,
    RenamedTooOften,
    change_username,
    let_former_go,
    let_lapsed_go,
    settle_claims,
)
from storage.sign_ups import SignUp, sign_up
from storage.users import fetch_ids_by_name, fetch_users
from tests.conftest import MakePerson, Person

FREELY = RenameQuota(most=1000, pause=dt.timedelta(hours=-1))  # changes at once come in no order
DAY = dt.timedelta(days=1)
CLAIMS = 1000 if os.environ.get("PROVE") == "long" else 50


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def fresh(stem: str = "n") -> str:
    return f"{stem}{secrets.token_hex(6)}"


async def rename(database: Database, person: Person, name: str, **options: object) -> None:
    options = {"now": now(), "quota": FREELY, **options}
    assert await change_username(database, person.id, name, **options) is not None  # type: ignore[arg-type]


async def holder(database: Database, name: str) -> int | None:
    key = username_key(name) or ""
    return (await fetch_ids_by_name(database, [key])).get(key)


async def name_of(database: Database, person: Person) -> str:
    return (await fetch_users(database, [person.id]))[person.id].username


def look_alikes(stem: str, count: int) -> list[str]:
    """Give so many ways to write what looks like one name; there are 1,350."""
    ways = itertools.product("lLiI1", "o0O", "._", ("m", "rn", "M"), "1iIlL", "O0o")
    return ["".join((stem, *way, "x")) for way in itertools.islice(ways, count)]


async def patiently(claim: Callable[[], Awaitable[object]]) -> object:
    """Claim until the cell has the time to say who has the name; None where it is somebody else.

    Whatever is claimed here may be claimed again by whoever has it: an answer may get lost.
    """
    while True:
        try:
            return await claim()
        except UsernameTaken:
            return None
        except Overloaded:
            await asyncio.sleep(random.uniform(0.05, 0.5))


async def holders_of(database: Database, names: list[str]) -> list[int]:
    """Give who bears one of these names in a profile, in all cells."""
    wanted = "SELECT id FROM users WHERE lower(username) = ANY($1)"
    lowered = [name.lower() for name in names]
    return [row["id"] for cell in database.shards.cells for row in await cell.fetch(wanted, lowered)]


async def test_of_all_who_claim_look_alikes_at_once_one_has_it(backend: Backend, make_person: MakePerson) -> None:
    database, names = backend.database, look_alikes(fresh(), CLAIMS)
    people = [await make_person() for _ in range(10)]
    renaming = [
        patiently(functools.partial(change_username, database, one.id, name, now=now()))
        for one, name in zip(people, names, strict=False)
    ]
    newcomers = [SignUp(uuid.uuid4(), name, "newcomer@example.org") for name in names[len(people) :]]
    signing_up = [patiently(functools.partial(sign_up, database, backend.vault, one, now=now())) for one in newcomers]
    results = await asyncio.gather(*signing_up, *renaming)
    assert results.count(None) == CLAIMS - 1
    found = await fetch_ids_by_name(database, sorted({username_key(name) or "" for name in names}))
    assert await holders_of(database, names) == list(set(found.values()))
    assert len(set(found.values())) == 1


async def test_a_former_name_leads_to_its_holder_and_to_nobody_else(
    database: Database, make_person: MakePerson
) -> None:
    person, thief, name = await make_person(), await make_person(), fresh("New")
    await rename(database, person, name)
    assert await name_of(database, person) == name
    assert await holder(database, name) == await holder(database, person.name) == person.id
    for wanted in (person.name, person.name.upper(), name):
        with pytest.raises(UsernameTaken):
            await change_username(database, thief.id, wanted, now=now())
    assert await name_of(database, thief) == thief.name


async def test_a_name_that_leads_nowhere_is_kept_from_others_and_may_be_taken_back(
    database: Database, make_person: MakePerson
) -> None:
    person, thief = await make_person(), await make_person()
    await rename(database, person, fresh(), keep_former=False)
    assert await holder(database, person.name) is None
    rows = await database.shards.directory.fetch(
        "SELECT n::text AS whole FROM released_names n WHERE user_id = $1", person.id
    )
    assert len(rows) == 1
    assert person.name not in rows[0]["whole"]
    with pytest.raises(UsernameTaken):
        await change_username(database, thief.id, person.name, now=now())
    await rename(database, person, person.name)
    assert await holder(database, person.name) == person.id


async def test_after_90_days_anybody_may_have_it(database: Database, make_person: MakePerson) -> None:
    person, next_one, other = await make_person(), await make_person(), await make_person()
    await rename(database, person, fresh())
    await let_lapsed_go(database, now() + HELD_FOR - DAY, limit=1000)
    assert await holder(database, person.name) == person.id
    await let_lapsed_go(database, now() + HELD_FOR + DAY, limit=1000)
    assert await holder(database, person.name) is None
    await rename(database, next_one, person.name, now=now() + HELD_FOR + 2 * DAY)
    assert await holder(database, person.name) == next_one.id
    await rename(database, other, fresh(), keep_former=False)
    later = now() + HELD_FOR + 3 * DAY
    await change_username(database, next_one.id, other.name, now=later, quota=FREELY)
    assert await holder(database, other.name) == next_one.id


async def test_a_name_is_changed_so_often_and_no_more(database: Database, make_person: MakePerson) -> None:
    person, began, quota = await make_person(), now(), RenameQuota(most=2, within=30 * DAY, pause=DAY)

    async def at(days: int) -> None:
        await rename(database, person, fresh(), now=began + days * DAY, quota=quota)

    await at(0)
    name = await name_of(database, person)
    with pytest.raises(RenamedTooOften) as often:
        await at(0)
    assert often.value.allowed_at == began + DAY
    await rename(database, person, name.upper(), now=began, quota=quota)
    await at(2)
    with pytest.raises(RenamedTooOften):
        await at(20)
    await at(31)
    rows = await database.shards.directory.fetch("SELECT FROM usernames WHERE user_id = $1", person.id)
    assert len(rows) == 4, "what was refused has left nothing"


async def test_renames_at_once_end_in_one_name_that_leads_to_its_holder(
    database: Database, make_person: MakePerson
) -> None:
    person, names = await make_person(), [fresh() for _ in range(10)]
    await asyncio.gather(*(rename(database, person, name) for name in names))
    last = await name_of(database, person)
    [row] = await database.shards.directory.fetch(
        "SELECT name_key FROM usernames WHERE user_id = $1 AND superseded_at IS NULL", person.id
    )
    assert row["name_key"] == last
    assert {await holder(database, name) for name in [*names, person.name]} == {person.id}


def breaking(attribute: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def die(*_arguments: object, **_options: object) -> None:
        raise Overloaded

    monkeypatch.setattr(renames, attribute, die)


async def test_a_rename_that_dies_before_the_profile_has_the_name_is_taken_back(
    database: Database, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, other, name = await make_person(), await make_person(), fresh()
    with monkeypatch.context() as patch:
        breaking("change_user", patch)
        with pytest.raises(Overloaded):
            await rename(database, person, name)
    await settle_claims(database, now(), limit=1000)
    assert await holder(database, name) == person.id, "it may be under way"
    await settle_claims(database, now() + 2 * PENDING_FOR, limit=1000)
    assert await holder(database, name) is None
    await rename(database, other, name)
    assert await holder(database, name) == other.id


async def test_a_rename_that_dies_after_the_profile_has_the_name_is_finished(
    database: Database, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, name = await make_person(), fresh()
    with monkeypatch.context() as patch:
        breaking("confirm", patch)
        await rename(database, person, name)
    state = "SELECT pending, superseded_at FROM usernames WHERE name_key = $1"
    [row] = await database.shards.directory.fetch(state, name)
    assert row["pending"]
    await settle_claims(database, now() + 2 * PENDING_FOR, limit=1000)
    [row] = await database.shards.directory.fetch(state, name)
    assert (row["pending"], row["superseded_at"]) == (False, None)
    [row] = await database.shards.directory.fetch(state, person.name)
    assert row["superseded_at"] is not None


async def test_a_rename_emits_one_fact(database: Database, make_person: MakePerson) -> None:
    person = await make_person()
    await rename(database, person, fresh())
    rows = await database.shards.home(person.id).fetch(
        "SELECT type FROM outbox WHERE aggregateid = $1", person.opaque_id
    )
    assert [row["type"] for row in rows].count(EventType.USER_USERNAME_CHANGED.value) == 1


async def test_what_is_remembered_of_a_name_follows_it(database: Database, make_person: MakePerson) -> None:
    person, viewer, name = await make_person(), await make_person(), fresh()
    before = await fetch_by_names(viewer.context, [name, person.name])
    assert [one is not None for one in before] == [False, True]
    await rename(database, person, name, keep_former=True)
    context = viewer.context
    found = await fetch_by_names(context, [name, person.name])
    assert [one is not None and one.user.username for one in found] == [name, name]
    assert recall_one(context, username=name, opaque_id=None) == [found[0]]
    assert recall_one(context, username=person.name, opaque_id=None) is None, "whose a former name is, Redis has heard"
    await let_former_go(database, person.id, now=now())
    after = await fetch_by_names(viewer.context, [name, person.name])
    assert [one is not None for one in after] == [True, False]


async def test_a_name_is_unavailable_for_one_reason_alone(database: Database, make_person: MakePerson) -> None:
    viewer, other, gave_up = await make_person(), await make_person(), await make_person()
    await rename(database, gave_up, fresh(), keep_former=False)
    for name in (other.name, other.name.replace(".", "_"), gave_up.name, "admin", "adm1n"):
        told = await usernames.fetch_availability(viewer.context, name)
        assert (told.is_available, told.problem) == (False, UsernameProblem.UNAVAILABLE)
        assert len(told.suggestions) == usernames.SUGGESTIONS
        for suggestion in told.suggestions:
            assert (await usernames.fetch_availability(viewer.context, suggestion)).is_available
    assert (await usernames.fetch_availability(viewer.context, viewer.name)).is_available
    assert (await usernames.fetch_availability(viewer.context, "a..b")).problem is UsernameProblem.INVALID


async def test_a_short_name_comes_with_a_checklist(make_person: MakePerson) -> None:
    viewer, short = await make_person(display_name="Somebody"), secrets.token_hex(2)
    told = await usernames.fetch_availability(viewer.context, short)
    assert not told.is_available
    assert {line.code: line.is_met for line in told.requirements} == {
        UsernameRequirementCode.ACCOUNT_AGE: False,
        UsernameRequirementCode.DISPLAY_NAME: True,
        UsernameRequirementCode.FOLLOWERS: False,
    }
    outcome = await usernames.rename(viewer.context, short, keep_former=True)
    assert [error.code.value for error in outcome.user_errors] == ["USERNAME_REQUIREMENTS"]


async def test_names_from_before_have_the_skeletons_that_are_made_today(database: Database) -> None:
    made = r"\(SELECT (.+) AS skeleton, user_id, claimed_at"
    found = re.search(made, (MIGRATIONS / "0012_names.sql").read_text())
    assert found is not None
    for key in ("ana", "p1.x_0i", "rnoon.vvalk", "a_b.c1l0", "vvvrnn"):
        statement = f"SELECT {found[1].replace('name_key', '$1::text')} AS skeleton"
        [row] = await database.shards.directory.fetch(statement, key)
        assert row["skeleton"] == username_skeleton(key)
