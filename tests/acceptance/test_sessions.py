"""Signing out at every door, and tokens that are for some things only."""

import asyncio
import dataclasses
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

import pytest

from tests.acceptance.main_job import ROOT, environment
from tests.acceptance.people import LIVE, People, Person, Refused, claims_of, sign
from tests.acceptance.probes import open_socket
from tests.acceptance.streams import open_stream
from tests.acceptance.test_rest import call
from tests.conftest import eventually

SIGN_OUT: Final = "mutation($input: SignOutInput!) { signOut(input: $input) { clientMutationId userErrors { code } } }"
WITHIN_S: Final = 30.0


def signed_in(people: People, person: Person, **claims: Any) -> Person:
    """Give the person another token."""
    return dataclasses.replace(person, token=sign(people.key, claims_of(person.id, **claims)))


async def is_refused(person: Person) -> bool:
    answer = await person.post("{ me { username } }")
    assert answer.status == 200 or answer.codes == ["UNAUTHENTICATED"]
    return answer.status == 401


async def sign_out(person: Person, **fields: object) -> None:
    payload = (await person.ask(SIGN_OUT, input={"clientMutationId": "1", **fields}))["signOut"]
    assert payload == {"clientMutationId": "1", "userErrors": []}


async def test_signing_out_ends_the_session_at_every_door(people: People) -> None:
    person = people.take()
    laptop, phone = (signed_in(people, person, sid=name) for name in ("laptop", "phone"))
    async with open_socket(people.job) as socket, open_stream(people.job, LIVE, laptop.token) as stream:
        await socket.write({"type": "connection_init", "payload": {"authorization": f"Bearer {laptop.token}"}})
        assert await socket.read() == {"type": "connection_ack"}
        await sign_out(signed_in(people, person, sid="laptop"))
        await eventually(lambda: is_refused(laptop), within=WITHIN_S)
        assert await socket.closing(within=WITHIN_S) == 4403
        assert (await stream.next())["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert (await call(laptop, "GET", "/v1/users/me")).status == 401
    async with open_socket(people.job) as socket:
        await socket.write({"type": "connection_init", "payload": {"authorization": f"Bearer {laptop.token}"}})
        assert await socket.closing(within=WITHIN_S) == 4403
    assert not await is_refused(phone)


async def test_a_token_without_a_session_ends_alone(people_of_one_cell: People) -> None:
    people = people_of_one_cell
    person = people.take()
    one, other = signed_in(people, person), signed_in(people, person)
    await sign_out(one)
    await eventually(lambda: is_refused(one), within=WITHIN_S)
    assert not await is_refused(other)


async def test_signing_out_everywhere_ends_all_that_was_issued_before(people: People) -> None:
    person = people.take()
    earlier = {"iat": int(time.time()) - 60}
    laptop, phone = signed_in(people, person, sid="laptop", **earlier), signed_in(people, person, **earlier)
    await sign_out(phone, everywhere=True)
    for one in (laptop, phone):
        await eventually(lambda one=one: is_refused(one), within=WITHIN_S)  # type: ignore[misc] # a loop's own name
    assert not await is_refused(signed_in(people, person, iat=time.time() + 1))


async def test_an_operator_ends_all_that_somebody_has(people_of_one_cell: People) -> None:
    person = signed_in(people_of_one_cell, people_of_one_cell.take(), iat=int(time.time()) - 60)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "auth.revoke",
        person.name,
        cwd=ROOT,
        env=environment(KITH_DATA_DIR=str(person.job.data_dir)),
        stdout=subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert (process.returncode, said) == (0, b"Revoked.\n")
    await eventually(lambda: is_refused(person), within=WITHIN_S)


async def test_nobody_signs_out_nobody(people_of_one_cell: People) -> None:
    with pytest.raises(Refused) as refused:
        await people_of_one_cell.anonymous.ask(SIGN_OUT, input={})
    assert refused.value.code == "UNAUTHENTICATED"


READING: Final = "{ me { username } }"
FOLLOWING: Final = 'mutation { followUser(input: {userId: "x"}) { userErrors { code } } }'
EDITING: Final = "mutation { updateProfile(input: {}) { userErrors { code } } }"
PRIVACY: Final = "mutation { updatePrivacySettings(input: {}) { userErrors { code } } }"
MARKING: Final = "mutation { markNotificationsRead(input: {ids: []}) { userErrors { code } } }"
GROUPS: Final[Mapping[str, str]] = {
    "kith:read": READING,
    "kith:social": FOLLOWING,
    "kith:profile": EDITING,
    "kith:privacy": PRIVACY,
    "kith:notifications": MARKING,
}


@pytest.mark.parametrize("scope", ["", "openid email", *GROUPS])
async def test_a_token_is_for_what_its_scopes_say(people_of_one_cell: People, scope: str) -> None:
    person = signed_in(people_of_one_cell, people_of_one_cell.eve, scope=scope)
    for needed, document in GROUPS.items():
        answer = await person.post(document)
        if needed == scope:
            assert "errors" not in answer.json
        else:
            [error] = answer.json["errors"]
            assert error["extensions"] == {"code": "FORBIDDEN", "neededScope": needed}


async def test_a_stream_needs_the_scope_for_reading(people_of_one_cell: People) -> None:
    person = signed_in(people_of_one_cell, people_of_one_cell.eve, scope="kith:social")
    async with open_stream(people_of_one_cell.job, LIVE, person.token) as stream:
        assert [error["extensions"]["code"] for error in (await stream.next())["errors"]] == ["FORBIDDEN"]
