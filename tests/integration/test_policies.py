"""Privacy settings by preset, through the whole of the service but the transport. One cell and two."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from domain.policies import (
    DEFAULT_AUDIENCES,
    PRESETS,
    Audience,
    FieldGroup,
    PrivacyPolicy,
    PrivacyPreset,
    read_policy,
)
from domain.relationships import FollowState, WaitingRequests
from resolvers import blocks, follows
from resolvers.context import Context, new_context
from resolvers.outcomes import Outcome
from resolvers.policies import PrivacyEdit, update_privacy
from storage.database import Database
from tests.conftest import MakePerson, Person
from tests.integration.test_own_side import ask, read
from tests.integration.test_requests import states

SETTINGS = """
privacySettings {
  version isPrivate preset audiences { group audience } allow deny
  presets { preset isPrivate audiences { group audience } }
}
"""
CHOOSE = """
mutation($input: UpdatePrivacySettingsInput!) {
  updatePrivacySettings(input: $input) { user { profileVersion isPrivate } userErrors { code path } }
}
"""
SEEN = "user(id: $id) { bio location pronouns followersCount followers(first: 1) { totalCount } createdAt }"


@pytest.fixture(autouse=True)
async def _no_decisions_left(database: Database) -> AsyncIterator[None]:
    """Leave nothing to upkeep, which keeps a decision for a minute: other tests count what it comes to in one go."""
    yield
    for cell in database.shards.cells:
        await cell.fetch("DELETE FROM request_resolutions")


async def choose(person: Person, **fields: object) -> Any:
    payload = (await ask(person.context, CHOOSE, input=fields))["data"]["updatePrivacySettings"]
    assert payload["userErrors"] == []
    return payload["user"]


async def settings_of(person: Person) -> Any:
    return (await read(person.context, SETTINGS))["privacySettings"]


async def policy_of(database: Database, person: Person) -> PrivacyPolicy:
    [row] = await database.shards.home(person.id).fetch("SELECT policy FROM users WHERE id = $1", person.id)
    return read_policy(row["policy"])


async def written(database: Database, person: Person) -> tuple[int, int, int]:
    """Give the version of a person's row, and how many audit and outbox rows are the person's."""
    [row] = await database.shards.home(person.id).fetch(
        """SELECT (SELECT version FROM users WHERE id = $1) AS version,
                  (SELECT count(*) FROM audit_logs WHERE actor_id = $1) AS audit,
                  (SELECT count(*) FROM outbox WHERE aggregateid = $2) AS events""",
        person.id,
        person.opaque_id,
    )
    return row["version"], row["audit"], row["events"]


def as_rows(policy: PrivacyPolicy) -> list[dict[str, str]]:
    return [{"group": group.value, "audience": policy.audience_of(group).value} for group in FieldGroup]


@pytest.mark.parametrize("preset", list(PrivacyPreset), ids=lambda preset: preset.value)
async def test_a_preset_sets_what_it_was_shown_to_set_and_once_more_writes_nothing(
    database: Database, make_person: MakePerson, preset: PrivacyPreset
) -> None:
    start = PrivacyPolicy(is_private=True, audiences={**DEFAULT_AUDIENCES, FieldGroup.BIO: Audience.MUTUALS})
    ana = await make_person(policy=start)
    before = await settings_of(ana)
    assert before["preset"] is None
    [promised] = [terms for terms in before["presets"] if terms["preset"] == preset.value]
    assert promised["audiences"] == as_rows(PRESETS[preset])
    was = await written(database, ana)
    assert (await choose(ana, preset=preset.value))["isPrivate"] == promised["isPrivate"]
    after = await settings_of(ana)
    assert {name: after[name] for name in promised} == promised
    assert await policy_of(database, ana) == PRESETS[preset]
    now = await written(database, ana)
    assert now == tuple(number + 1 for number in was)
    await choose(ana, preset=preset.value)
    await choose(ana, preset=preset.value, isPrivate=promised["isPrivate"], audiences=promised["audiences"])
    assert await written(database, ana) == now


async def test_choosing_the_preset_that_a_new_account_has_writes_nothing(
    database: Database, make_person: MakePerson
) -> None:
    ana = await make_person()
    was = await written(database, ana)
    assert (await settings_of(ana))["preset"] == "STANDARD"
    assert (await choose(ana, preset="STANDARD"))["profileVersion"] == 1
    assert await written(database, ana) == was


async def test_what_is_named_beside_a_preset_wins_over_it(database: Database, make_person: MakePerson) -> None:
    ana = await make_person()
    named = [{"group": "EMAIL", "audience": "MUTUALS"}, {"group": "COUNTS", "audience": "PUBLIC"}]
    assert (await choose(ana, preset="CLOSED", isPrivate=False, audiences=named))["isPrivate"] is False
    policy = await policy_of(database, ana)
    expected = {
        **PRESETS[PrivacyPreset.CLOSED].audiences,
        FieldGroup.EMAIL: Audience.MUTUALS,
        FieldGroup.COUNTS: Audience.PUBLIC,
    }
    assert policy == PrivacyPolicy(is_private=False, audiences=expected)
    assert (await settings_of(ana))["preset"] is None


async def test_a_preset_leaves_the_lists_even_those_on_them_whom_the_owner_cannot_see(
    database: Database, make_person: MakePerson
) -> None:
    friend, foe = await make_person(), await make_person()
    lists = PrivacyPolicy(allow=frozenset({friend.id}), deny=frozenset({foe.id}))
    ana = await make_person(policy=lists)
    await blocks.block(foe.context, ana.opaque_id, expires_at=None)
    await choose(ana, preset="FOLLOWERS")
    policy = await policy_of(database, ana)
    assert (policy.allow, policy.deny) == (lists.allow, lists.deny)
    found = await settings_of(ana)
    assert (found["preset"], found["allow"], found["deny"]) == ("FOLLOWERS", [friend.opaque_id], [])
    other = await make_person()
    await choose(ana, preset="OPEN", deny=[other.opaque_id], allow=[])
    policy = await policy_of(database, ana)
    assert (policy.allow, policy.deny) == (frozenset(), frozenset({foe.id, other.id}))


@pytest.mark.parametrize("choice", list(WaitingRequests), ids=lambda choice: choice.value)
@pytest.mark.parametrize("preset", ["OPEN", "STANDARD", "SIGNED_IN"])
async def test_a_preset_that_makes_the_account_public_settles_who_waits_by_the_owners_choice(
    database: Database, make_person: MakePerson, preset: str, choice: WaitingRequests
) -> None:
    ana, bo = await make_person(policy=PRESETS[PrivacyPreset.FOLLOWERS]), await make_person()
    await follows.follow(bo.context, ana.opaque_id)
    assert await states(database, bo, ana) == (FollowState.PENDING, FollowState.NONE)
    await choose(ana, preset=preset, waitingRequests=choice.name)
    settled = FollowState.ACTIVE if choice is WaitingRequests.ACCEPT else FollowState.NONE
    assert await states(database, bo, ana) == (settled, FollowState.NONE)


@pytest.mark.parametrize(("preset", "is_private"), [("CLOSED", None), ("FOLLOWERS", None), ("OPEN", True)])
async def test_who_waits_goes_on_waiting_where_the_account_stays_private(
    database: Database, make_person: MakePerson, preset: str, is_private: bool | None
) -> None:
    ana, bo = await make_person(policy=PrivacyPolicy(is_private=True)), await make_person()
    await follows.follow(bo.context, ana.opaque_id)
    await choose(ana, preset=preset, isPrivate=is_private)
    assert await states(database, bo, ana) == (FollowState.PENDING, FollowState.NONE)


async def sees(context: Context, owner: Person) -> bool:
    """Tell whether somebody sees all of a person's profile; fails where it is a part."""
    seen = (await ask(context, f"query($id: ID!) {{ {SEEN} }}", id=owner.opaque_id))["data"]["user"]
    [answer] = {value is not None for value in seen.values()}
    return answer


async def test_each_preset_shows_itself_to_those_it_names(make_person: MakePerson) -> None:
    ana = await make_person(bio="bio", location="here", pronouns="she/her")
    follower, stranger, allowed = await make_person(), await make_person(), await make_person()
    await follows.follow(follower.context, ana.opaque_id)
    await choose(ana, allow=[allowed.opaque_id])
    found = {}
    for preset in PrivacyPreset:
        await choose(ana, preset=preset.value)
        viewers = (ana.context, allowed.context, follower.context, stranger.context, new_context(ana.backend, None))
        found[preset.value] = [await sees(context, ana) for context in viewers]
    assert found == {
        "OPEN": [True, True, True, True, True],
        "STANDARD": [True, True, True, True, True],
        "SIGNED_IN": [True, True, True, True, False],
        "FOLLOWERS": [True, True, True, False, False],
        "CLOSED": [True, False, False, False, False],
    }


async def listing(person: Person, **lists: list[str]) -> Outcome:
    return await update_privacy(person.context, PrivacyEdit(**lists))  # type: ignore[arg-type] # only lists are given


async def test_nobody_comes_to_be_on_both_lists_by_edits_at_the_same_time(
    database: Database, make_person: MakePerson
) -> None:
    for _ in range(8):
        ana, bo = await make_person(), await make_person()
        outcomes = await asyncio.gather(listing(ana, allow=[bo.opaque_id]), listing(ana, deny=[bo.opaque_id]))
        assert sorted(len(outcome.user_errors) for outcome in outcomes) == [0, 1]
        policy = await policy_of(database, ana)
        assert not policy.allow & policy.deny


UNREADABLE = '{"version": 99, "private": false, "audiences": {}, "circles": ["a"]}'


async def test_a_policy_that_cannot_be_read_is_kept_while_the_profile_changes_and_nobody_else_sees_it(
    database: Database, make_person: MakePerson
) -> None:
    owner, other = await make_person(), await make_person()
    home = database.shards.home(owner.id)
    await home.fetch("UPDATE users SET policy = $2 WHERE id = $1 RETURNING id", owner.id, UNREADABLE)
    await database.freshness.user_changed(owner.id, stricter=True)
    assert (await settings_of(owner))["preset"] == "CLOSED"
    edit = 'mutation { updateProfile(input: {bio: "new"}) { userErrors { code } user { bio } } }'
    edited = (await ask(owner.context, edit))["data"]["updateProfile"]
    assert edited == {"userErrors": [], "user": {"bio": "new"}}
    payload = (await ask(owner.context, CHOOSE, input={"preset": "OPEN"}))["data"]["updatePrivacySettings"]
    assert [error["code"] for error in payload["userErrors"]] == ["POLICY_UNREADABLE"]
    [row] = await home.fetch("SELECT policy = $2 AS kept FROM users WHERE id = $1", owner.id, UNREADABLE)
    assert row["kept"]
    seen = await ask(other.context, "query($id: ID!) { user(id: $id) { bio } }", id=owner.opaque_id)
    assert seen["data"]["user"]["bio"] is None
