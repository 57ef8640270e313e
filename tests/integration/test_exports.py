"""The export: everything of the own data, nothing of others that may not be seen, behind a link that ends."""

import datetime as dt
import io
import json
import zipfile
from typing import Any, Final

import jsonschema
import msgspec
import pytest

from domain.errors import StepUpRequired
from domain.exports import ANEW_AFTER, FILES, KEPT
from domain.links import SignedLinks
from domain.transitions import block
from events.exporting import make_export
from resolvers import blocks, exports, follows, mutes
from resolvers.context import Context
from storage.auth_service import AuthService
from storage.database import Database
from storage.deletions import delete_account
from storage.exports import expire_exports, fetch_export, fetch_open, request_export
from storage.pairs import change_pair
from tests.conftest import MakePerson, Person
from tests.integration.test_personal import edit

ANOTHER_PROVIDER: Final = AuthService("https://auth.example")


def just_signed_in(person: Person) -> Context:
    context = person.context
    return msgspec.structs.replace(context, authenticated_at=context.now.timestamp())


async def export_of(database: Database, person: Person, accounts: AuthService = ANOTHER_PROVIDER) -> dict[str, Any]:
    """Ask, make, fetch by the link, and read every file against its schema."""
    await exports.request_own(just_signed_in(person))
    assert await make_export(database, person.backend.vault, accounts, person.id, dt.datetime.now(dt.UTC))
    [view] = await exports.fetch_own(person.context, [person.id])
    assert view is not None
    assert view.progress == 1
    assert view.path is not None
    archive = await exports.fetch_linked(person.backend, view.path.removeprefix("/v1/exports/"))
    assert archive is not None
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        found = {name: json.loads(files.read(f"{name}.json")) for name in FILES}
        for name, content in found.items():
            jsonschema.Draft202012Validator(json.loads(files.read(f"{name}.schema.json"))).validate(content)
        assert len(files.namelist()) == 2 * len(FILES)
    return found


async def test_the_archive_holds_what_is_the_persons_own(database: Database, make_person: MakePerson) -> None:
    ana, bo, cy, dee = await make_person(bio="About ana"), await make_person(), await make_person(), await make_person()
    await follows.follow(ana.context, bo.opaque_id)
    await follows.follow(cy.context, ana.opaque_id)
    await blocks.block(ana.context, dee.opaque_id, expires_at=None)
    await mutes.mute(ana.context, cy.opaque_id, expires_at=None)
    await edit(ana, phone="+49 30 123456")
    found = await export_of(database, ana)
    assert (found["profile"]["username"], found["profile"]["bio"]) == (ana.name, "About ana")
    assert (found["profile"]["phone"], found["profile"]["birthDate"]) == ("+4930123456", None)
    [stored] = await database.shards.home(ana.id).fetch("SELECT archive FROM exports WHERE user_id = $1", ana.id)
    assert b"profile.json" not in stored["archive"], "what is personal is stored encrypted"
    assert (found["profile"]["followers"], found["profile"]["following"]) == (1, 1)
    assert [entry["person"] for entry in found["following"]] == [{"id": bo.opaque_id, "username": bo.name}]
    assert [entry["person"] for entry in found["followers"]] == [{"id": cy.opaque_id, "username": cy.name}]
    assert [entry["person"] for entry in found["blocks"]] == [{"id": dee.opaque_id, "username": dee.name}]
    assert [entry["person"] for entry in found["mutes"]] == [{"id": cy.opaque_id, "username": cy.name}]
    assert "follow.created" in {entry["action"] for entry in found["actions"]}


async def test_whoever_may_not_be_met_is_an_id_without_a_name(database: Database, make_person: MakePerson) -> None:
    ana, hides, gone = await make_person(), await make_person(bio="canary"), await make_person()
    for other in (hides, gone):
        await mutes.mute(ana.context, other.opaque_id, expires_at=None)
    now = dt.datetime.now(dt.UTC)
    await change_pair(database, hides.id, ana.id, block(until=None), now)
    await delete_account(database, gone.id, now)
    found = await export_of(database, ana)
    assert {entry["person"]["id"] for entry in found["mutes"]} == {hides.opaque_id, gone.opaque_id}
    assert {entry["person"]["username"] for entry in found["mutes"]} == {None}
    text = json.dumps(found)
    assert [word for word in (hides.name, gone.name, "canary", str(ana.id), str(hides.id)) if word in text] == []


async def test_there_is_one_at_a_time_and_one_a_day(database: Database, make_person: MakePerson) -> None:
    ana = await make_person()
    now = dt.datetime.now(dt.UTC)
    first = await request_export(database, ana.id, now)
    assert first is not None
    assert await request_export(database, ana.id, now + 2 * ANEW_AFTER) == first, "it is under way"
    assert ana.id in await fetch_open(database.shards.home(ana.id), 1000)
    assert await make_export(database, ana.backend.vault, ANOTHER_PROVIDER, ana.id, now)
    ready = await fetch_export(database, ana.id)
    assert await request_export(database, ana.id, now + ANEW_AFTER / 2) == ready
    anew = await request_export(database, ana.id, now + ANEW_AFTER)
    assert anew is not None
    assert anew.id != first.id
    assert anew.progress == 0


async def test_nothing_is_exported_without_a_recent_sign_in(make_person: MakePerson) -> None:
    ana = await make_person()
    with pytest.raises(StepUpRequired):
        await exports.request_own(ana.context)


async def test_a_link_is_good_for_a_while_and_for_its_archive_alone(
    database: Database, make_person: MakePerson
) -> None:
    ana = await make_person()
    links = SignedLinks(bytes(32))
    token = links.issue("a b", 1000)
    assert links.read(token, 999) == "a b"
    assert links.read(token, 1000) is None
    for forged in (token[:-2], "", "é", SignedLinks(bytes([1] * 32)).issue("a b", 1000), f"{token}A"):
        assert links.read(forged, 999) is None
    await export_of(database, ana)
    [view] = await exports.fetch_own(ana.context, [ana.id])
    assert view is not None
    now = dt.datetime.now(dt.UTC)
    await expire_exports(database.shards.home(ana.id), now + KEPT)
    assert await exports.fetch_linked(ana.backend, (view.path or "").removeprefix("/v1/exports/")) is None
    assert await exports.fetch_own(ana.context, [ana.id]) == [None]


async def test_whoever_is_gone_gets_no_archive(database: Database, make_person: MakePerson) -> None:
    ana = await make_person()
    now = dt.datetime.now(dt.UTC)
    await request_export(database, ana.id, now)
    await delete_account(database, ana.id, now)
    assert not await make_export(database, ana.backend.vault, ANOTHER_PROVIDER, ana.id, now)
    assert await fetch_export(database, ana.id) is None
