"""Malformed privacy settings over HTTP: each is refused with the path of what is wrong, and nothing is written."""

import contextlib
import dataclasses
import re
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

import pytest

from domain.ids import NodeType, OpaqueIds, new_id
from tests.acceptance.people import Answer, Data, People, Person
from tests.acceptance.tables import Tables, open_tables

CHANGE: Final = """
mutation Change($input: UpdatePrivacySettingsInput!) {
  updatePrivacySettings(input: $input) { user { id } userErrors { code message path } consistencyToken }
}
"""
LITERAL: Final = "mutation { updatePrivacySettings(input: %s) { user { id } userErrors { code } } }"
READ: Final = """
{ viewer { privacySettings { version isPrivate preset audiences { group audience } allow deny } } }
"""
_REFUSED_AT: Final = re.compile(r"has invalid value(?: at (?P<place>[^:]+))?: ")
GRAPHQL: Final = "application/graphql-response+json"


@dataclasses.dataclass(frozen=True, slots=True)
class Cast:
    """Whose settings are meant to be spoiled, and the ids that play a part in it."""

    owner: Person
    tables: Tables
    version: int
    ids: Mapping[str, str]

    async def written(self) -> list[tuple[object, ...]]:
        """Sum up what is written of the owner."""
        return await self.tables.written(self.owner)


@pytest.fixture(scope="module")
async def cast(people: People) -> AsyncIterator[Cast]:
    async with assembled(people) as cast:
        yield cast


@contextlib.asynccontextmanager
async def assembled(people: People) -> AsyncIterator[Cast]:
    """Give somebody with settings of the own, a friend who is allowed and a foe who is denied."""
    owner, friend, foe, other, hidden = (people.take() for _ in range(5))
    change = {
        "preset": "FOLLOWERS",
        "audiences": [{"group": "BIO", "audience": "MUTUALS"}],
        "allow": [friend.id],
        "deny": [foe.id],
    }
    assert changed(await owner.post(CHANGE, input=change))["userErrors"] == []
    await hidden.act("blockUser", userId=owner.id)
    version = (await owner.ask("{ me { profileVersion } }"))["me"]["profileVersion"]
    async with open_tables(people.job) as tables:
        yield Cast(
            owner,
            tables,
            version,
            {
                "self": owner.id,
                "friend": friend.id,
                "foe": foe.id,
                "other": other.id,
                "hidden": hidden.id,
                "deleted": people.gone.id,
                "never existed": people.nobody,
                "forged": "A" * 22,
                "of another key": OpaqueIds(secrets.token_bytes(32)).encode(NodeType.USER, new_id(0)),
                "of another cell": tables.ids.encode(NodeType.USER, new_id(999)),
                "shortened": other.id[:-1],
                "spelled otherwise": other.id + "==",
                "a username": other.name,
                "a number": "7",
                "empty": "",
                "a control character": "\x00",
            },
        )


def changed(answer: Answer) -> Data:
    payload: Data = answer.json["data"]["updatePrivacySettings"]
    return payload


def entry(group: object = "BIO", audience: object = "PUBLIC", **more: object) -> Data:
    return {"group": group, "audience": audience, **more}


NOT_OF_THE_SCHEMA: Final[Mapping[str, tuple[Any, Sequence[str]]]] = {
    "an unknown group": ({"audiences": [entry(group="SECRETS")]}, "audiences 0 group".split()),
    "a group in lower case": ({"audiences": [entry(group="bio")]}, "audiences 0 group".split()),
    "a group that is null": ({"audiences": [entry(group=None)]}, "audiences 0 group".split()),
    "a group that is a number": ({"audiences": [entry(group=1)]}, "audiences 0 group".split()),
    "several groups in one": ({"audiences": [entry(group=["BIO", "EMAIL"])]}, "audiences 0 group".split()),
    "no group": ({"audiences": [{"audience": "PUBLIC"}]}, "audiences 0".split()),
    "an unknown audience": ({"audiences": [entry(audience="EVERYBODY")]}, "audiences 0 audience".split()),
    "an audience in lower case": ({"audiences": [entry(audience="public")]}, "audiences 0 audience".split()),
    "an audience with a blank": ({"audiences": [entry(audience="PUBLIC ")]}, "audiences 0 audience".split()),
    "an audience that is null": ({"audiences": [entry(audience=None)]}, "audiences 0 audience".split()),
    "an audience in a list": ({"audiences": [entry(audience=["PUBLIC"])]}, "audiences 0 audience".split()),
    "an audience that is a preset": ({"audiences": [entry(audience="CLOSED")]}, "audiences 0 audience".split()),
    "no audience": ({"audiences": [{"group": "BIO"}]}, "audiences 0".split()),
    "more than group and audience": ({"audiences": [entry(until="2099-01-01")]}, "audiences 0".split()),
    "an entry that is null": ({"audiences": [entry(), None]}, "audiences 1".split()),
    "an entry that is a text": ({"audiences": [entry(), "BIO"]}, "audiences 1".split()),
    "audiences as a mapping": ({"audiences": {"BIO": "PUBLIC"}}, ["audiences"]),
    "audiences as a text": ({"audiences": "PUBLIC"}, ["audiences"]),
    "a good entry before a bad one": ({"audiences": [entry(), entry("EMAIL", "ALL")]}, "audiences 1 audience".split()),
    "a text for a truth": ({"isPrivate": "yes"}, ["isPrivate"]),
    "a number for a truth": ({"isPrivate": 1}, ["isPrivate"]),
    "a list for a truth": ({"isPrivate": [True]}, ["isPrivate"]),
    "an unknown preset": ({"preset": "FRIENDS"}, ["preset"]),
    "a preset in lower case": ({"preset": "open"}, ["preset"]),
    "two presets": ({"preset": ["OPEN", "CLOSED"]}, ["preset"]),
    "a preset that is no text": ({"preset": {"name": "OPEN"}}, ["preset"]),
    "a bad preset with good audiences": ({"preset": "NONE", "audiences": [entry()]}, ["preset"]),
    "an unknown choice for who waits": ({"isPrivate": False, "waitingRequests": "LATER"}, ["waitingRequests"]),
    "no choice for who waits": ({"isPrivate": False, "waitingRequests": None}, ["waitingRequests"]),
    "null in a list of people": ({"allow": [None]}, "allow 0".split()),
    "a list in a list of people": ({"deny": [["a"]]}, "deny 0".split()),
    "a truth in a list of people": ({"deny": [True]}, "deny 0".split()),
    "a fraction in a list of people": ({"allow": [1.5]}, "allow 0".split()),
    "a mapping for a list of people": ({"allow": {"id": "a"}}, ["allow"]),
    "a version that is a text": ({"isPrivate": False, "expectedVersion": "2"}, ["expectedVersion"]),
    "a version that is a fraction": ({"isPrivate": False, "expectedVersion": 2.5}, ["expectedVersion"]),
    "a version beyond 32 bits": ({"isPrivate": False, "expectedVersion": 2**31}, ["expectedVersion"]),
    "a field of the stored document": ({"isPrivate": False, "version": 1}, []),
    "a field of somebody else's row": ({"isPrivate": False, "userId": "a"}, []),
    "no input at all": (None, []),
    "a list of inputs": ([{"isPrivate": False}], []),
    "a text for an input": ("OPEN", []),
}
"""An input that GraphQL itself refuses, and where in it the fault lies."""


@pytest.mark.parametrize("name", NOT_OF_THE_SCHEMA)
async def test_what_is_not_of_the_schema_is_refused_with_its_place_and_changes_nothing(cast: Cast, name: str) -> None:
    given, place = NOT_OF_THE_SCHEMA[name]
    before = await cast.written()
    answer = await cast.owner.post(CHANGE, GRAPHQL, input=given)
    assert (answer.status, set(answer.codes), "data" in answer.json) == (400, {"BAD_USER_INPUT"}, False)
    assert {_place(error["message"]) for error in answer.json["errors"]} == {tuple(place)}
    assert await cast.written() == before


def _place(message: str) -> tuple[str, ...]:
    found = _REFUSED_AT.search(message)
    assert found is not None, message
    return tuple(re.findall(r"\w+", found["place"] or ""))


@pytest.mark.parametrize(
    "given",
    [
        "{preset: open}",
        '{preset: "OPEN"}',
        "{preset: OPEN, preset: CLOSED}",
        "{isPrivate: false, isPrivate: true}",
        "{audiences: [{group: BIO, group: EMAIL, audience: PUBLIC}]}",
        "{isPrivate: PUBLIC}",
    ],
)
async def test_what_is_not_of_the_schema_is_refused_in_the_document_as_well(cast: Cast, given: str) -> None:
    before = await cast.written()
    answer = await cast.owner.post(LITERAL % given, GRAPHQL)
    assert (answer.status, set(answer.codes)) == (400, {"GRAPHQL_VALIDATION_FAILED"})
    assert all(error["locations"] for error in answer.json["errors"])
    assert await cast.written() == before


Input = Callable[[Mapping[str, str]], Data]
Expected = Sequence[tuple[str, str]]


def listing(code: str, *names: str, at: Sequence[int] = (0,), more: Data | None = None) -> dict[str, Any]:
    """Make the case of a list, once as those allowed and once as those denied."""
    return {
        f"{', '.join(names)} {name}": (
            lambda ids, name=name: {**(more or {}), name: [ids[one] for one in names]},
            [(code, f"{name} {index}") for index in at],
        )
        for name in ("allow", "deny")
    }


GONE_OR_NEVER_THERE: Final = (
    "hidden",
    "deleted",
    "never existed",
    "forged",
    "of another key",
    "of another cell",
    "shortened",
    "spelled otherwise",
    "a username",
    "a number",
    "empty",
    "a control character",
)
WRONG: Final[Mapping[str, tuple[Input, Expected]]] = {
    "nothing": (lambda _: {}, [("INVALID_VALUE", "")]),
    "nothing but null": (
        lambda _: dict.fromkeys(("preset", "isPrivate", "audiences", "allow", "deny")),
        [("INVALID_VALUE", "")],
    ),
    "no audiences": (lambda _: {"audiences": []}, [("INVALID_VALUE", "")]),
    "a choice for who waits and nothing else": (lambda _: {"waitingRequests": "REJECT"}, [("INVALID_VALUE", "")]),
    "a group twice": (lambda _: {"audiences": [entry(), entry()]}, [("INVALID_VALUE", "audiences 1 group")]),
    "a group for two audiences": (
        lambda _: {"audiences": [entry(), entry("EMAIL"), entry(audience="ONLY_ME"), entry(audience="MUTUALS")]},
        [("INVALID_VALUE", "audiences 2 group"), ("INVALID_VALUE", "audiences 3 group")],
    ),
    "a group for two audiences over a preset": (
        lambda _: {"preset": "OPEN", "audiences": [entry(), entry(audience="ONLY_ME")]},
        [("INVALID_VALUE", "audiences 1 group")],
    ),
    "too many allowed": (lambda ids: {"allow": [ids["other"]] * 1001}, [("INVALID_VALUE", "allow")]),
    "too many denied": (lambda ids: {"deny": [ids["hidden"]] * 1001}, [("INVALID_VALUE", "deny")]),
    "somebody allowed and denied": (
        lambda ids: {"allow": [ids["other"]], "deny": [ids["friend"], ids["other"]]},
        [("INVALID_VALUE", "allow 0"), ("INVALID_VALUE", "deny 1")],
    ),
    "somebody allowed who is denied already": (
        lambda ids: {"allow": [ids["other"], ids["foe"]]},
        [("INVALID_VALUE", "allow 1")],
    ),
    "somebody denied who is allowed already": (
        lambda ids: {"preset": "OPEN", "deny": [ids["friend"]]},
        [("INVALID_VALUE", "deny 0")],
    ),
    "everything at once": (
        lambda ids: {"preset": "OPEN", "audiences": [entry()] * 2, "allow": [ids["self"]], "deny": [ids["forged"]]},
        [("INVALID_VALUE", "audiences 1 group"), ("CANNOT_TARGET_SELF", "allow 0"), ("USER_UNAVAILABLE", "deny 0")],
    ),
    **listing("CANNOT_TARGET_SELF", "self"),
    **listing("CANNOT_TARGET_SELF", "other", "self", at=[1]),
    **listing("INVALID_VALUE", "other", "other", at=[1]),
    **{name: case for one in GONE_OR_NEVER_THERE for name, case in listing("USER_UNAVAILABLE", one).items()},
    **listing("USER_UNAVAILABLE", "other", "hidden", at=[1], more={"preset": "CLOSED"}),
    **listing("USER_UNAVAILABLE", "hidden", "hidden", at=[0, 1]),
}
"""An input that GraphQL takes, and the errors that it gets all the same: codes, and paths below the input."""


@pytest.mark.parametrize("name", WRONG)
async def test_what_is_wrong_is_told_with_its_path_and_changes_nothing(cast: Cast, name: str) -> None:
    given, expected = WRONG[name]
    before, settings = await cast.written(), await cast.owner.ask(READ)
    payload = changed(await cast.owner.post(CHANGE, input=given(cast.ids)))
    assert (payload["user"], payload["consistencyToken"]) == (None, None)
    found = [(error["code"], error["path"]) for error in payload["userErrors"]]
    assert found == [(code, ["input", *path.split()]) for code, path in expected]
    assert await cast.written() == before
    assert await cast.owner.ask(READ) == settings


@pytest.mark.parametrize("ahead", [-1, 1, 2_000_000_000])
async def test_settings_of_another_version_are_a_conflict_and_change_nothing(cast: Cast, ahead: int) -> None:
    before = await cast.written()
    change = {"preset": "OPEN", "expectedVersion": cast.version + ahead}
    answer = await cast.owner.post(CHANGE, input=change)
    [error] = answer.json["errors"]
    assert (answer.codes, error["path"]) == (["CONFLICT"], ["updatePrivacySettings"])
    assert error["extensions"]["currentVersion"] == cast.version
    assert await cast.written() == before


@pytest.mark.parametrize("wanted", ["allow", "deny", "both", "twice"])
async def test_a_hidden_person_in_a_list_is_answered_as_one_who_never_existed_to_the_byte(
    cast: Cast, wanted: str
) -> None:
    bodies = set()
    for name in GONE_OR_NEVER_THERE:
        people = [cast.ids["other"], cast.ids[name], *([cast.ids[name]] if wanted == "twice" else [])]
        lists = {"deny"} if wanted == "twice" else {"allow", "deny"} if wanted == "both" else {wanted}
        answer = await cast.owner.post(CHANGE, input=dict.fromkeys(lists, people))
        bodies.add((answer.status, answer.body))
    assert len(bodies) == 1


async def test_settings_without_a_fault_are_written_by_the_same_people(people: People) -> None:
    async with assembled(people) as cast:
        before = await cast.written()
        change = {"preset": "OPEN", "audiences": [entry(audience="ONLY_ME")], "allow": [], "deny": [cast.ids["friend"]]}
        payload = changed(await cast.owner.post(CHANGE, input={**change, "expectedVersion": cast.version}))
        assert (payload["userErrors"], payload["user"]) == ([], {"id": cast.owner.id})
        assert await cast.written() != before
        settings = (await cast.owner.ask(READ))["viewer"]["privacySettings"]
        assert (settings["isPrivate"], settings["preset"], settings["version"]) == (False, None, cast.version + 1)
        assert (settings["allow"], settings["deny"]) == ([], [cast.ids["friend"]])
