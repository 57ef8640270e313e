"""The ledger of consents, and the signal of the browser: stored once, heeded at every door, gone with the person."""

import asyncio
import dataclasses
import datetime as dt
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from domain.certificates import CertificateSigner
from domain.departures import GRACE
from embedded import Addresses
from resolvers import consents
from resolvers.consents import Signals, heed_signal
from storage.audit import fetch_entries
from storage.consents import add_signal, fetch_consents
from storage.database import Database
from storage.deletions import delete_account
from storage.failures import OutcomeUnknown
from storage.purges import OWN, Purges, acknowledge
from storage.redis_client import Redis
from tests.asking import ask
from tests.conftest import KEY, MakePerson, Person
from tests.integration.test_exports import export_of
from tests.proof.leaks.service import Service, open_service

RECORD = """mutation($purpose: ConsentPurpose!, $version: String!, $granted: Boolean!) {
  recordConsent(input: {purpose: $purpose, version: $version, granted: $granted}) {
    consent { purpose granted version source } userErrors { code path } } }"""
SHARE = """mutation($out: Boolean!) { setDataSharing(input: {optedOut: $out}) {
  dataSharing { optedOut source signalled } userErrors { code } } }"""
LEDGER = """query($first: Int, $after: String) { viewer { consents(first: $first, after: $after) {
  nodes { purpose granted version source } pageInfo { hasNextPage endCursor } } } }"""
SHARING = "{ viewer { dataSharing { optedOut source signalled } } }"
SIGNAL = {"Sec-GPC": "1"}
_TOLD = """
SELECT payload ->> 'optedOut' AS out FROM outbox
WHERE aggregateid = $1 AND type = 'data_sharing.updated'
ORDER BY sequence
"""


async def record(person: Person, version: str, *, granted: bool = True, purpose: str = "TERMS_OF_SERVICE") -> Any:
    answer = await ask(person.context, RECORD, purpose=purpose, version=version, granted=granted)
    return answer["data"]["recordConsent"]


async def ledger(person: Person) -> list[tuple[str, bool, str | None, str]]:
    answer = await ask(person.context, LEDGER, first=100)
    nodes = answer["data"]["viewer"]["consents"]["nodes"]
    return [(node["purpose"], node["granted"], node["version"], node["source"]) for node in nodes]


async def sharing(person: Person, *, signalled: bool = False) -> dict[str, Any]:
    answer = await ask(msgspec.structs.replace(person.context, opts_out=signalled), SHARING)
    found: dict[str, Any] = answer["data"]["viewer"]["dataSharing"]
    return found


async def told(database: Database, person: Person) -> list[str]:
    return [row["out"] for row in await database.shards.home(person.id).fetch(_TOLD, person.opaque_id)]


async def test_every_decision_stays_in_the_ledger_and_a_repeat_adds_none(make_person: MakePerson) -> None:
    me = await make_person()
    for version, granted in (("2026-01", True), ("2026-01", True), ("2026-11", True), ("2026-11", False)):
        payload = await record(me, version, granted=granted)
        assert payload["consent"]["granted"] is granted
    newest_first = [("2026-11", False), ("2026-11", True), ("2026-01", True)]
    assert await ledger(me) == [("TERMS_OF_SERVICE", granted, text, "PERSON") for text, granted in newest_first]
    page = await ask(me.context, LEDGER, first=2)
    end = page["data"]["viewer"]["consents"]["pageInfo"]
    assert end["hasNextPage"]
    rest = await ask(me.context, LEDGER, first=2, after=end["endCursor"])
    assert [node["version"] for node in rest["data"]["viewer"]["consents"]["nodes"]] == ["2026-01"]


@pytest.mark.parametrize(
    ("purpose", "version", "path"),
    [("MARKETING", "", "version"), ("MARKETING", "a b", "version"), ("MARKETING", "x" * 33, "version"),
     ("DATA_SHARING", "1", "purpose")],
)  # fmt: skip
async def test_what_cannot_be_a_version_or_is_decided_elsewhere_is_refused(
    make_person: MakePerson, purpose: str, version: str, path: str
) -> None:
    me = await make_person()
    payload = await record(me, version, purpose=purpose)
    assert payload["userErrors"] == [{"code": "INVALID_VALUE", "path": ["input", path]}]
    assert await ledger(me) == []


async def test_a_decision_has_its_audit_row_and_other_services_hear_of_sharing_alone(
    database: Database, make_person: MakePerson
) -> None:
    me = await make_person()
    await record(me, "1")
    assert await told(database, me) == []
    for out in (True, True, False):
        answer = await ask(me.context, SHARE, out=out)
        assert answer["data"]["setDataSharing"]["dataSharing"]["optedOut"] is out
    assert await told(database, me) == ["true", "false"]
    trail = await fetch_entries(database, me.id, None, downward=False, limit=10)
    assert [entry.action for entry in trail if entry.action.startswith("consent.")] == [
        "consent.granted", "consent.withdrawn", "consent.granted",
    ]  # fmt: skip


async def test_nobody_changes_the_ledger_not_even_its_owner(database: Database, make_person: MakePerson) -> None:
    me = await make_person()
    await record(me, "1")
    home = database.shards.home(me.id)
    for statement in ("UPDATE consents SET granted = false WHERE owner_id = $1", "TRUNCATE consents"):
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            await home.loans.pool.execute(statement, *([me.id] if "$1" in statement else []))
    [role] = await home.fetch(
        "SELECT has_table_privilege('kith_service', 'consents', 'INSERT') AS adds, "
        "has_table_privilege('kith_service', 'consents', 'UPDATE, TRUNCATE') AS changes"
    )
    assert (role["adds"], role["changes"]) == (True, False)


async def test_a_signal_is_stored_once_and_its_absence_takes_nothing_back(
    database: Database, make_person: MakePerson
) -> None:
    me = await make_person()
    assert await sharing(me) == {"optedOut": False, "source": None, "signalled": False}
    now = dt.datetime.now(dt.UTC)
    assert sorted(await asyncio.gather(*(add_signal(database, me.id, now) for _ in range(3)))) == [False, False, True]
    assert await sharing(me) == {"optedOut": True, "source": "GLOBAL_PRIVACY_CONTROL", "signalled": False}
    assert await told(database, me) == ["true"]
    await ask(me.context, SHARE, out=False)
    assert not await add_signal(database, me.id, now)
    assert await sharing(me) == {"optedOut": False, "source": "PERSON", "signalled": False}
    assert await sharing(me, signalled=True) == {"optedOut": True, "source": "PERSON", "signalled": True}


async def test_a_signal_that_is_stored_costs_no_statement_and_one_that_cannot_be_fails_nobody(
    make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    me, calls, signals = await make_person(), list[int](), Signals()
    context = msgspec.structs.replace(me.context, opts_out=True)

    async def failing(_database: Database, user_id: int, _now: dt.datetime) -> bool:
        calls.append(user_id)
        if len(calls) == 1:
            raise OutcomeUnknown
        return False

    monkeypatch.setattr(consents, "add_signal", failing)
    for _ in range(5):
        await heed_signal(context, signals)
    assert calls == [me.id, me.id], "failed, then stored, then known"
    await heed_signal(me.context, Signals())
    await heed_signal(msgspec.structs.replace(context, viewer_id=None), Signals())
    assert len(calls) == 2


async def test_whose_signal_is_known_is_forgotten_after_a_while_and_when_there_are_too_many() -> None:
    now = 0.0
    signals = Signals(lambda: now)
    signals.MOST = 2  # type: ignore[misc] # fewer than there may be
    for user_id in (1, 2, 3):
        signals.learn(user_id)
    assert [signals.knows(user_id) for user_id in (1, 2, 3)] == [False, True, True]
    now = Signals.KEPT_S
    assert not signals.knows(3)


async def test_consents_are_exported_and_go_with_the_person(
    database: Database, redis: Redis, make_person: MakePerson
) -> None:
    me = await make_person()
    await record(me, "2026-11")
    await add_signal(database, me.id, dt.datetime.now(dt.UTC))
    exported = (await export_of(database, me))["consents"]
    assert [(entry["purpose"], entry["granted"], entry["source"]) for entry in exported] == [
        ("TERMS_OF_SERVICE", True, "PERSON"), ("DATA_SHARING", False, "GLOBAL_PRIVACY_CONTROL"),
    ]  # fmt: skip
    await delete_account(database, me.id, dt.datetime.now(dt.UTC))
    assert not await add_signal(database, me.id, dt.datetime.now(dt.UTC)), "whoever is gone leaves nothing more"
    later = dt.datetime.now(dt.UTC) + GRACE + dt.timedelta(days=1)
    purges = Purges(database, redis, CertificateSigner(secrets.token_bytes(32)))
    assert await purges.begin(me.id, later)
    await purges.erase(me.id, later)
    await acknowledge(database, me.id, OWN)
    assert await purges.certify(me.id, later) is not None
    await purges.forget(me.id)
    assert await fetch_consents(database, me.id, None, downward=False, limit=10) == []


@pytest.fixture(scope="module")
async def service(addresses: Addresses, short_folder: Path) -> AsyncIterator[Service]:
    parts = dataclasses.replace(addresses, postgres_dsns=addresses.postgres_dsns[:1])
    async with open_service(parts, short_folder / "consents", KEY) as opened:
        yield opened


async def _over_http(service: Service, person: Person, headers: dict[str, str]) -> None:
    await service.asker(person.opaque_id).send("POST", "/graphql", json={"query": SHARING}, headers=headers)


async def _over_get(service: Service, person: Person, headers: dict[str, str]) -> None:
    await service.asker(person.opaque_id).send("GET", "/graphql", params={"query": SHARING}, headers=headers)


async def _over_rest(service: Service, person: Person, headers: dict[str, str]) -> None:
    await service.asker(person.opaque_id).send("GET", "/v1/users/me", headers=headers)


async def _over_events(service: Service, person: Person, headers: dict[str, str]) -> None:
    accept = {"Accept": "text/event-stream", **headers}
    await service.asker(person.opaque_id).send("POST", "/graphql", json={"query": SHARING}, headers=accept)


async def _over_websocket(service: Service, person: Person, headers: dict[str, str]) -> None:
    token = service.asker(person.opaque_id).token
    connecting = service.session.ws_connect(
        f"{service.origin}/graphql", protocols=("graphql-transport-ws",), headers=headers
    )
    async with connecting as socket:
        await socket.send_json({"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}})
        await socket.receive_json(timeout=60)
        await socket.send_json({"type": "subscribe", "id": "1", "payload": {"query": SHARING}})
        assert (await socket.receive_json(timeout=60))["type"] == "next"


DOORS = [_over_http, _over_get, _over_rest, _over_events, _over_websocket]


@pytest.mark.parametrize("dsns", [1], indirect=True, ids=["one cell"])
@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__.removeprefix("_over_"))
async def test_the_signal_is_heeded_at_every_door(
    service: Service, make_person: MakePerson, door: Any, dsns: tuple[str, ...]
) -> None:
    del dsns
    me = await make_person()
    for headers in ({}, {"Sec-GPC": "0"}, {"Sec-GPC": "true"}):
        await door(service, me, headers)
    assert await ledger(me) == []
    for _ in range(2):
        await door(service, me, SIGNAL)
    assert await ledger(me) == [("DATA_SHARING", False, None, "GLOBAL_PRIVACY_CONTROL")]


@pytest.mark.parametrize("dsns", [1], indirect=True, ids=["one cell"])
async def test_a_request_with_the_signal_is_answered_as_opted_out_and_the_service_says_that_it_heeds_it(
    service: Service, make_person: MakePerson, dsns: tuple[str, ...]
) -> None:
    del dsns
    me = await make_person()
    asker = service.asker(me.opaque_id)
    answer = await asker.send("POST", "/graphql", json={"query": SHARING}, headers=SIGNAL)
    found = answer.data["data"]["viewer"]["dataSharing"]
    assert found == {"optedOut": True, "source": "GLOBAL_PRIVACY_CONTROL", "signalled": True}
    said = await asker.send("GET", "/.well-known/gpc.json")
    assert said.data["gpc"] is True
