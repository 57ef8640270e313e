"""Taking another name over the API, and where the one before leads."""

import secrets
from typing import Final

from tests.acceptance.people import Data, People, Person
from tests.acceptance.test_rest import call
from tests.conftest import eventually

AVAILABLE: Final = """query($name: String!) { usernameAvailability(username: $name) {
  username isAvailable problem suggestions requirements { code isMet message } } }"""


async def availability(person: Person, name: str) -> Data:
    told: Data = (await person.ask(AVAILABLE, name=name))["usernameAvailability"]
    return told


async def test_a_person_takes_another_name_and_is_found_under_both(people: People) -> None:
    person, other = people.take(), people.take()
    name = f"Name.{secrets.token_hex(5)}"
    assert (await availability(people.anonymous, name))["isAvailable"]
    payload = await person.act("changeUsername", username=name)
    assert (payload["userErrors"], payload["user"]["username"]) == ([], name)
    for asked in (name, name.upper(), person.name):
        found = await other.ask("query($name: String!) { user(username: $name) { id username } }", name=asked)
        assert found["user"] == {"id": person.id, "username": name}
    answer = await call(other, "GET", f"/v1/users/{person.name}")
    assert (answer.status, answer.json["username"]) == (200, name)
    for asked in (name, person.name, name.replace(".", "_")):
        told = await availability(other, asked)
        assert (told["isAvailable"], told["problem"], len(told["suggestions"])) == (False, "UNAVAILABLE", 3)
        refused = await other.act("changeUsername", username=asked)
        assert refused["userErrors"] == [
            {"code": "USERNAME_UNAVAILABLE", "message": "This name is not available.", "path": ["input", "username"]}
        ]
    again = await person.act("changeUsername", username=f"{name}x")
    assert [error["code"] for error in again["userErrors"]] == ["USERNAME_CHANGE_LIMIT"]


async def test_a_former_name_leads_nowhere_once_its_holder_says_so(people_of_one_cell: People) -> None:
    person, other = people_of_one_cell.take(), people_of_one_cell.take()
    await person.act("changeUsername", username=f"name.{secrets.token_hex(5)}")
    assert (await person.act("removeFormerUsernames"))["userErrors"] == []

    async def is_gone() -> bool:
        found = await other.ask("query($name: String!) { user(username: $name) { id } }", name=person.name)
        return found["user"] is None

    await eventually(is_gone, within=60)
    assert not (await availability(other, person.name))["isAvailable"]


async def test_what_is_no_name_or_too_short_is_told_apart(people_of_one_cell: People) -> None:
    person = people_of_one_cell.take()
    assert (await availability(person, "a b"))["problem"] == "INVALID"
    told = await availability(person, f"q{secrets.token_hex(1)}")
    assert told["problem"] == "REQUIREMENTS"
    assert [line["code"] for line in told["requirements"]] == ["ACCOUNT_AGE", "DISPLAY_NAME", "FOLLOWERS"]
    refused = await person.act("changeUsername", username="a b")
    assert [error["code"] for error in refused["userErrors"]] == ["INVALID_VALUE"]
