"""The way of docs/privacy.md, from the first edit to the certificate, on the whole service; and then the search."""

import asyncio
import contextlib
import io
import json
import os
import secrets
import zipfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from auth.jwks import development_key
from auth.token import issue_token
from settings import load
from storage.redis_client import open_redis
from tests.acceptance.main_job import MainJob, free_port, launch, until
from tests.acceptance.people import Person, meet_everybody
from tests.integration.brokers import read_all
from tests.proof.erasure.dumps import dump_text, holds

LONG = os.environ.get("PROVE") == "long"
WITHIN_S = 120.0
pytestmark = pytest.mark.skipif(not LONG, reason="runs the whole service twice: make prove")

EDIT = """mutation($c: String!, $url: String!, $phone: String!) { updateProfile(input: {
  displayName: $c, bio: $c, avatarUrl: $url, pronouns: $c, location: $c, phone: $phone, birthDate: "1990-02-28",
  links: [{label: $c, url: $url}]}) { userErrors { message path } } }"""
RENAME = "mutation($c: String!) { changeUsername(input: {username: $c}) { userErrors { message } } }"
AGREE = """mutation($c: String!) { recordConsent(input: {purpose: TERMS_OF_SERVICE, version: $c, granted: true}) {
  userErrors { message } } }"""
EXPORT = "mutation { requestDataExport(input: {}) { dataExport { progress } userErrors { message } } }"
READY = "{ viewer { dataExport { progress path } user { username bio phone } } }"
DELETE = """mutation($c: String!) { deleteAccount(input: {confirmation: $c}) {
  restorableUntil userErrors { message } } }"""


@contextlib.asynccontextmanager
async def running(folder: Path, **variables: str) -> AsyncIterator[MainJob]:
    job = launch(folder, port=free_port(), cells=2, **variables)
    try:
        await job.up()
        yield job
        await job.stop()
    finally:
        job.process.kill()
        job.process.wait()


def addresses_of(job: MainJob) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((job.data_dir / "run.json").read_text())["addresses"]
    return found


async def fetch_export(person: Person, job: MainJob) -> bytes:
    """Ask for the export, wait for it, and fetch it by its link."""
    await person.ask(EXPORT)
    async with asyncio.timeout(WITHIN_S):
        while (path := (await person.ask(READY))["viewer"]["dataExport"]["path"]) is None:
            await asyncio.sleep(0.2)
    address = job.url.removesuffix("/graphql") + path
    async with aiohttp.ClientSession() as session, session.get(address) as response:
        return await response.read()


async def search(job: MainJob, marks: tuple[str, ...]) -> dict[str, list[str]]:
    """Name the places that hold one of the marks, each with those that it holds."""
    places: dict[str, bytes] = {}
    addresses = addresses_of(job)
    for number, dsn in enumerate(addresses["postgres_dsns"]):
        places[f"cell {number}, with its outbox and audit log"] = await dump_text(dsn)
    places["Redis"] = await dump_redis(addresses["redis_url"])
    places["topics"] = b"\n".join(repr(record).encode() for record in await read_all(addresses["kafka_bootstrap"]))
    logs = [*(job.data_dir / "logs").rglob("*"), job.output]
    places["logs"] = b"\n".join(path.read_bytes() for path in logs if path.is_file())
    places["certificates"] = b"\n".join(path.read_bytes() for path in (job.data_dir / "certificates").glob("*"))
    async with aiohttp.ClientSession() as session:
        for name, path in (("memory of the server", "/debug/memory"), ("metrics", "/metrics")):
            async with session.get(job.url.removesuffix("/graphql") + path) as response:
                places[name] = await response.read()
    assert all(places[name] for name in places if name not in ("certificates", "Redis")), "every place says something"
    found = {name: [mark for mark in marks if holds(dump, mark)] for name, dump in places.items()}
    return {name: held for name, held in found.items() if held}


async def dump_redis(url: str) -> bytes:
    dump = b""
    async with open_redis(url) as redis:
        async for key in redis.client.scan_iter(count=1000):
            dump += key + (await redis.client.dump(key) or b"")
    return dump


async def test_from_the_first_edit_to_the_certificate_and_nothing_is_left_anywhere(short_folder: Path) -> None:
    folder, canary = short_folder / "everywhere", f"canary{secrets.token_hex(6)}"
    phone = f"+49{secrets.randbelow(10**12):012}"
    marks = (canary, phone)
    async with running(folder) as job:
        people = await meet_everybody(job)
        person, other = signed_in(job, people.take()), people.take()
        await person.ask(EDIT, c=canary, url=f"https://{canary}.example/", phone=phone)
        await person.ask(RENAME, c=canary)
        await person.ask(AGREE, c=canary)
        await person.follow(other)
        await other.follow(person)
        shown = await person.ask(READY)
        assert (shown["viewer"]["user"]["username"], shown["viewer"]["user"]["phone"]) == (canary, phone)
        with zipfile.ZipFile(io.BytesIO(await fetch_export(person, job))) as archive:
            exported = b"".join(archive.read(name) for name in archive.namelist())
        assert [mark for mark in marks if mark.encode() not in exported] == [], "the export has them all"
        there = await search(job, marks)
        assert [name for name in there if name.startswith("cell")], "the search finds what there is"
        assert [name for name, held in there.items() if phone in held] == [], "open it lies nowhere"
        assert {"topics", "logs", "certificates", "metrics"}.isdisjoint(there)
        deleted = await person.ask(DELETE, c=canary)
        assert deleted["deleteAccount"]["restorableUntil"] is not None
    async with running(folder, KITH_DAYS_AHEAD="31") as job:
        certificates = job.data_dir / "certificates"
        await until(lambda: any(certificates.glob("*.json")), WITHIN_S)
        await person_is_gone(job, other, person)
        assert await search(job, marks) == {}
        [certificate] = certificates.glob("*.json")
        assert person.id in certificate.read_text()


async def person_is_gone(job: MainJob, other: Person, person: Person) -> None:
    """See as another that nobody is there; it fills the server's memory with what there is."""
    document = "query($id: ID!) { user(id: $id) { username } me { followersCount } }"
    answer = await signed_in(job, other).ask(document, id=person.id)
    assert answer == {"user": None, "me": {"followersCount": 0}}


def signed_in(job: MainJob, person: Person) -> Person:
    """Sign somebody in, just now and at this run."""
    settings = load({"KITH_DATA_DIR": str(job.data_dir)})
    return Person(job, person.name, person.id, issue_token(development_key(settings), settings, person.id))
