"""Tokens of the auth service at the user service: accepted, and refused soon after the sign-in has ended."""

import dataclasses
import sys
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import aiohttp
import pytest

from identity.sessions import end_sessions
from tests.acceptance.people import People
from tests.acceptance.people import Person as Member
from tests.conftest import eventually
from tests.oidc import Application, Clock

WITHIN_S = 60.0


@pytest.fixture
async def application(people_of_one_cell: People) -> AsyncIterator[Application]:
    """Speak with the auth service of the run, as its explorer page does."""
    job = people_of_one_cell.job
    async with job.identity_parts() as parts, aiohttp.ClientSession() as http:
        yield Application(parts, http, Clock(), redirect_uri=job.url)


async def is_accepted(person: Member, tokens: dict[str, Any]) -> bool:
    """Tell whether the user service takes an access token; anything but that and 401 fails."""
    answer = await dataclasses.replace(person, token=tokens["access_token"]).post("{ me { username } }")
    if answer.status == 200:
        assert answer.json == {"data": {"me": {"username": person.name}}}
    else:
        assert answer.status == 401
    return answer.status == 200


async def test_whoever_signs_out_is_refused_by_the_user_service_soon(
    application: Application, people_of_one_cell: People
) -> None:
    person = people_of_one_cell.take()
    browser = await application.sign_up(person.id)
    here, there = await application.sign_in(browser), await application.sign_in(browser)
    await eventually(lambda: is_accepted(person, here), within=WITHIN_S)
    answer = await application.post("/revoke", {"client_id": "graphiql", "token": here["refresh_token"]})
    assert answer.status == 200
    signed_out = monotonic()

    async def is_refused(tokens: dict[str, Any]) -> bool:
        return not await is_accepted(person, tokens)

    await eventually(lambda: is_refused(here), within=WITHIN_S)
    sys.stdout.write(f"\nrefused {monotonic() - signed_out:.2f} s after signing out\n")
    assert await is_accepted(person, there)
    async with application.parts.database.transaction() as connection:
        await end_sessions(connection, browser.account_id, now=application.parts.clock())
    await eventually(lambda: is_refused(there), within=WITHIN_S)
