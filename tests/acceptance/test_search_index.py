"""The example of another service, as a process of its own: it finds people, and never across a block."""

import asyncio
import contextlib
import json
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from examples.search_index.facts import TOPICS, NotAFact, read_fact
from examples.search_index.index import Block, Index, Profile
from examples.search_index.index import Person as Found
from tests.acceptance.main_job import ROOT, environment
from tests.acceptance.people import People, Person
from tests.conftest import eventually
from tests.integration.brokers import NoText, open_careless_writer

WITHIN_S = 60.0


@contextlib.asynccontextmanager
async def following(people: People, file: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the example on the broker and the API of a run of the main job."""
    addresses = json.loads((people.job.data_dir / "run.json").read_text())["addresses"]
    command = ["-m", "examples.search_index", "--file", str(file), "follow"]
    command += ["--bootstrap", addresses["kafka_bootstrap"], "--api", people.job.url]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, cwd=ROOT, env=environment())
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(WITHIN_S):
                assert await process.wait() == 0


async def search(file: Path, words: str, viewer: Person | None = None) -> set[str]:
    """Ask the index as a user of it would."""
    arguments = ["search", words, *([f"--viewer={viewer.id}"] if viewer is not None else [])]
    command = ["-m", "examples.search_index", "--file", str(file), *arguments]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=ROOT, env=environment(), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return {line.split("  ")[1] for line in out.decode().splitlines()}


def finds(index: Index, words: str, expected: set[str], viewer: Person | None = None) -> Callable[[], Awaitable[bool]]:
    """Look into the file itself: whoever waits would start one process after the other."""

    async def found() -> bool:
        people = index.search(words, viewer_id=viewer.id if viewer is not None else None)
        return {person.username for person in people} == expected

    return found


async def rename(person: Person, name: str) -> None:
    payload = await person.act("updateProfile", displayName=name)
    assert payload["userErrors"] == []


async def litter(people: People) -> None:
    """Put what nobody can read in front of whatever comes next, in every partition that the example reads."""
    addresses = json.loads((people.job.data_dir / "run.json").read_text())["addresses"]
    envelope = [("ce_id", b"x"), ("ce_type", b"user.updated")]
    records: list[tuple[bytes, list[tuple[str, bytes]]]] = [
        (b"\x00", envelope),
        (b'{"version": "x"}', envelope),
        (b'{"version": 1, "userId": [], "userVersion": 1}', envelope),
        (b"{}", [(NoText("x"), b"")]),
    ]
    async with open_careless_writer(addresses["kafka_bootstrap"]) as producer:
        for topic in TOPICS:
            for partition in await producer.partitions_for(topic):
                for value, headers in records:
                    await producer.send_and_wait(topic, value, partition=partition, headers=headers)


@pytest.fixture
def index(tmp_path: Path) -> Any:
    opened = Index(tmp_path / "index.sqlite")
    yield opened
    opened.close()


async def test_the_index_follows_profiles_and_blocks_both_ways_and_survives_a_kill_and_what_nobody_can_read(
    people_of_one_cell: People, index: Index, tmp_path: Path
) -> None:
    people, file = people_of_one_cell, tmp_path / "index.sqlite"
    one, other, third = people.take(), people.take(), people.take()
    await rename(one, "Quetzal One")
    await rename(other, "Quetzal Other")
    everybody = {one.name, other.name}
    async with following(people, file) as process:
        await eventually(finds(index, "quetzal", everybody), within=WITHIN_S)
        await litter(people)
        await one.act("blockUser", userId=other.id)
        await eventually(finds(index, "quetzal", {one.name}, one), within=WITHIN_S)
        await eventually(finds(index, "quetzal", {other.name}, other), within=WITHIN_S)
        assert await search(file, "quetzal", third) == everybody
        process.kill()
        await process.wait()
    await rename(third, "Quetzal Third")
    await one.act("unblockUser", userId=other.id)
    async with following(people, file):
        await eventually(finds(index, "quetzal", everybody | {third.name}, one), within=WITHIN_S)
        await eventually(finds(index, "quetzal", everybody | {third.name}, other), within=WITHIN_S)
        await eventually(finds(index, "gone", set()), within=WITHIN_S)
        assert await search(file, "gone") == set(), "whoever is deleted is nobody's to find"
        await eventually(finds(index, "ana", set(), people.dee), within=WITHIN_S)
        assert await search(file, "ana", people.dee) == set(), "dee blocks ana"


ANA, BO = Found("a", "ana", "Ana Bell"), Found("b", "bo", None)


def test_a_fact_is_had_once_and_one_that_fails_not_at_all(index: Index) -> None:
    assert index.have("1", Profile("a", 1, ANA)) is True
    assert index.have("1", Profile("a", 9, None)) is False
    assert index.search("bell") == [ANA]
    with pytest.raises(sqlite3.Error):
        index.have("2", Profile("a", 2, Found("a", "x", [])))  # type: ignore[arg-type] # as a fault would
    assert index.has_had("2") is False


def test_what_is_older_than_what_is_known_changes_nothing(index: Index) -> None:
    index.have("1", Profile("a", 3, ANA))
    index.have("2", Profile("a", 2, None))
    index.have("3", Profile("b", 1, BO))
    index.have("4", Block("a", "b", 8, holds=False))
    index.have("5", Block("a", "b", 7, holds=True))
    assert index.search("b", viewer_id="a") == [ANA, BO]


def test_each_of_two_may_block_and_lifting_one_leaves_the_other(index: Index) -> None:
    index.have("1", Profile("a", 1, ANA))
    index.have("2", Profile("b", 1, BO))
    index.have("3", Block("a", "b", 1, holds=True))
    index.have("4", Block("b", "a", 2, holds=True))
    index.have("5", Block("a", "b", 3, holds=False))
    assert [index.search("b", viewer_id=viewer) for viewer in ("a", "b", "c", None)] == [
        [ANA],
        [BO],
        [ANA, BO],
        [ANA, BO],
    ]


def test_the_example_reads_the_records_of_the_contract_and_passes_over_the_future() -> None:
    from domain.events import STREAMS, EventType  # noqa: PLC0415 - the example itself knows nothing of these
    from events.contract import example_headers, example_payload  # noqa: PLC0415

    headers: list[tuple[str, bytes]] = []
    for event_type in EventType:
        headers = [(name, text.encode()) for name, text in example_headers(event_type).items()]
        payload = example_payload(event_type)
        fact = read_fact(headers, json.dumps(payload).encode())
        assert fact is not None
        assert fact.type == event_type.value
        assert read_fact(headers, json.dumps({**payload, "version": 2}).encode()) is None
    assert set(TOPICS) <= {f"{stream}.v1" for stream in STREAMS.values()}
    unreadable = (None, b"\x00", b"[]", b"{}", b'{"version": "1"}', b'{"version": true}', b"[" * 100_000)
    for value in unreadable:
        with pytest.raises(NotAFact):
            read_fact(headers, value)
