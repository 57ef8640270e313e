"""The way of docs/privacy.md, walked as it is written, from sign-up to certificate; and then the search everywhere.

It takes about a minute and a half, most of it two starts and stops of the whole service.
"""

import asyncio
import contextlib
import json
import os
import re
import secrets
import sys
import zipfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from redis.asyncio import Redis

from auth.jwks import development_key
from auth.token import issue_token
from identity.database import beside
from loaders.checker import fetch_memory
from settings import load
from tests.acceptance.main_job import ROOT, MainJob, environment, free_port, launch
from tests.acceptance.people import Person, meet_everybody
from tests.integration.brokers import read_all
from tests.proof.erasure.dumps import dump_text, holds

LONG = os.environ.get("PROVE") == "long"
WITHIN_S: Final = 180.0
WORKERS: Final = 2
GUIDE: Final = (ROOT / "docs" / "privacy.md").read_text()
START: Final = "make run"
pytestmark = pytest.mark.skipif(not LONG, reason="runs the whole service twice: make prove")

EDIT: Final = """mutation($c: String!, $url: String!) { updateProfile(input: {
  bio: $c, avatarUrl: $url, pronouns: $c, location: $c, links: [{label: $c, url: $url}]}) {
  userErrors { message path } } }"""
RENAME: Final = "mutation($c: String!) { changeUsername(input: {username: $c}) { userErrors { message } } }"


def read_blocks(guide: str) -> Iterator[str]:
    """Read the commands off the guide: paragraphs that are indented by four spaces."""
    for paragraph in re.split(r"\n\n+", guide):
        lines = paragraph.splitlines()
        if all(line.startswith("    ") for line in lines):
            yield "\n".join(line[4:] for line in lines)


def test_the_guide_has_commands_for_both_runs() -> None:
    starts = [block for block in read_blocks(GUIDE) if block.endswith(START)]
    assert starts == [START, f"KITH_DAYS_AHEAD=31 {START}"]


class Shell:
    """One bash for the whole walk, in which what a command sets stays set."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._said: list[str] = []

    async def run(self, commands: str) -> str:
        """Run commands, and give what they wrote."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        end = secrets.token_hex(8)
        self._process.stdin.write(f"{commands}\necho {end}\n".encode())
        said = ""
        async with asyncio.timeout(WITHIN_S):
            while not said.endswith(f"{end}\n"):
                line = await self._process.stdout.readline()
                assert line, said
                said += line.decode()
        self._said.append(said.removesuffix(f"{end}\n"))
        return self._said[-1]

    @property
    def said(self) -> str:
        """Give all that was written so far."""
        return "".join(self._said)


def _name_curl(home: Path, agent: str) -> None:
    home.mkdir(parents=True)
    (home / ".curlrc").write_text(f'user-agent = "{agent}"\n')


@contextlib.asynccontextmanager
async def open_shell(home: Path, agent: str, **variables: str) -> AsyncIterator[Shell]:
    """Open a shell whose curl says who it is."""
    _name_curl(home, agent)
    process = await asyncio.create_subprocess_exec(
        "bash",
        cwd=ROOT,
        env=environment(CURL_HOME=str(home), **variables),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=1 << 20,
    )
    try:
        yield Shell(process)
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@contextlib.asynccontextmanager
async def running(folder: Path, port: int, **variables: str) -> AsyncIterator[MainJob]:
    job = launch(folder, port=port, cells=2, KITH_WORKERS=str(WORKERS), **variables)
    try:
        await job.up()
        yield job
        await job.stop()
    finally:
        job.process.kill()
        job.process.wait()


class Stranger:
    """Somebody who walks the guide, with a canary for a name and a number of the own."""

    def __init__(self, shell: Shell, canary: str) -> None:
        self.shell = shell
        self.canary = self.name = canary
        self.phone = f"+49{secrets.randbelow(10**12):012}"

    @property
    def marks(self) -> tuple[str, ...]:
        """Give what nothing may hold in the end."""
        return (self.canary, self.phone)

    async def take(self, block: str, job: MainJob) -> None:
        """Do what a block says; every answer must be without errors."""
        here = {
            ".venv/bin/python": sys.executable,
            "http://127.0.0.1:8000": job.url.removesuffix("/graphql"),
            "http://localhost:8100": job.identity_url,
            ".kith/": f"{job.data_dir}/",
            "mara.kees": self.name,
            "mara@": f"{self.canary}@",
            "Mara Kees": self.canary,
            "Lamps.": self.canary,
            "2026-11": self.canary,
            "+49 30 5550123": self.phone,
        }
        for written, meant in here.items():
            block = block.replace(written, meant)
        said = await self.shell.run(block)
        sys.stdout.write(said)
        answers = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        assert [answer for answer in answers if "errors" in answer] == []
        assert [answer for answer in answers if '"userErrors": [{' in json.dumps(answer)] == []


def addresses_of(job: MainJob) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((job.data_dir / "run.json").read_text())["addresses"]
    return found


async def search(job: MainJob, marks: Sequence[str]) -> dict[str, list[str]]:
    """Name the places that hold one of the marks, each with those that it holds."""
    places: dict[str, bytes] = {}
    addresses = addresses_of(job)
    for number, dsn in enumerate(addresses["postgres_dsns"]):
        places[f"cell {number}, with its outbox and audit log"] = await dump_text(dsn)
    places["the auth service, with its mails and events"] = await dump_text(beside(addresses["postgres_dsns"][0]))
    places["Redis"] = await dump_redis(addresses["redis_url"])
    places["topics"] = b"\n".join(repr(record).encode() for record in await read_all(addresses["kafka_bootstrap"]))
    logs = [path for path in (job.data_dir / "logs").rglob("*") if path.is_file()]
    assert any(path.name == "identity.log" for path in logs)
    places["logs"] = b"\n".join(path.read_bytes() for path in logs)
    places["terminal, where development shows mails"] = job.output.read_bytes()
    places["certificates"] = b"\n".join(path.read_bytes() for path in (job.data_dir / "certificates").glob("*"))
    origin = job.url.removesuffix("/graphql")
    memories = await asyncio.to_thread(fetch_memory, origin)
    assert len(memories) == WORKERS
    places |= {f"memory of {name}": repr(lines).encode() for name, lines in memories.items()}
    async with aiohttp.ClientSession() as session:
        for name, address in (("metrics", f"{origin}/metrics"), ("mails", f"{job.identity_url}/mails")):
            async with session.get(address) as response:
                places[name] = await response.read()
    found = {name: [mark for mark in marks if holds(dump, mark)] for name, dump in places.items()}
    return {name: held for name, held in found.items() if held}


async def dump_redis(url: str) -> bytes:
    dump = b""
    async with Redis.from_url(url, socket_timeout=WITHIN_S) as redis:  # patient, as the service's own is not
        async for key in redis.scan_iter(count=1000):
            dump += key + (await redis.dump(key) or b"")
    return dump


async def say_more(job: MainJob, person: Person, renamed: str) -> Person:
    """Fill in what the guide leaves out, be followed, and take another name."""
    answer = await person.ask(EDIT, c=person.name, url=f"https://{person.name}.example/")
    assert answer["updateProfile"]["userErrors"] == []
    answer = await person.ask(RENAME, c=renamed)
    assert answer["changeUsername"]["userErrors"] == []
    other = (await meet_everybody(job)).take()
    await other.follow(person)
    return other


def signed_in(job: MainJob, person: Person) -> Person:
    """Sign somebody in, just now and at this run."""
    settings = load({"KITH_DATA_DIR": str(job.data_dir)})
    return Person(job, person.name, person.id, issue_token(development_key(settings), settings, person.id))


async def look_before(job: MainJob, stranger: Stranger) -> tuple[Person, Person]:
    """See that the search finds what there is, and that the export has it all; gives the stranger and somebody else."""
    [user_id] = set(re.findall(r'"user":{"id":"([^"]+)"', stranger.shell.said))
    person = signed_in(job, Person(job, stranger.canary, user_id, None))
    with zipfile.ZipFile(job.data_dir / "export.zip") as archive:
        exported = b"".join(archive.read(name) for name in archive.namelist())
    assert [mark for mark in stranger.marks if mark.encode() not in exported] == [], "the export has them all"
    stranger.name = f"{stranger.canary}x"
    other = await say_more(job, person, stranger.name)
    there = await search(job, stranger.marks)
    assert {"the auth service, with its mails and events", "mails"} <= set(there), "the search finds what there is"
    assert [name for name in there if name.startswith("cell")]
    assert [name for name, held in there.items() if stranger.phone in held] == [], "open it lies nowhere"
    assert {"topics", "logs", "certificates", "metrics"}.isdisjoint(there)
    return person, other


async def is_gone(job: MainJob, other: Person, person: Person) -> None:
    """See as another that nobody is there; it fills the servers' memory with what there is."""
    document = """query($id: ID!) { user(id: $id) { username }
        me { followingCount following(first: 100) { nodes { id } } } }"""
    for _ in range(4 * WORKERS):
        answer = await signed_in(job, other).ask(document, id=person.id)
        followed = [node["id"] for node in answer["me"]["following"]["nodes"]]
        assert (answer["user"], answer["me"]["followingCount"]) == (None, len(followed))
        assert person.id not in followed


async def test_from_sign_up_to_the_certificate_and_nothing_is_left_anywhere(short_folder: Path) -> None:
    canary, port, blocks = f"canary{secrets.token_hex(6)}", free_port(), list(read_blocks(GUIDE))
    later = blocks.index(f"KITH_DAYS_AHEAD=31 {START}")
    folder = short_folder / secrets.token_hex(3)
    async with open_shell(folder / "home", canary, KITH_DATA_DIR=str(folder / "data")) as shell:
        stranger, met = Stranger(shell, canary), None
        async with running(folder, port) as job:
            for block in blocks[1:later]:
                if "deleteAccount" in block and met is None:
                    met = await look_before(job, stranger)
                await stranger.take(block, job)
        assert met is not None
        person, other = met
        async with running(folder, port, KITH_DAYS_AHEAD="31") as job:
            for block in blocks[later + 1 :]:
                await stranger.take(block, job)
            await is_gone(job, other, person)
            assert await search(job, stranger.marks) == {}
        for said in (
            "is genuine",
            f"{person.id} was purged",
            "acknowledged by identity, kith",
            "0 people are there again",
        ):
            assert said in shell.said
