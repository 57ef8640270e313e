"""The real thing: a web server as a process, fresh people in its cells, its door over HTTP, and its tables."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import http.client
import itertools
import json
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import redis

from auth.jwks import development_key
from auth.token import issue_token
from domain.ids import NodeType, OpaqueIds
from domain.policies import PrivacyPolicy
from embedded import Addresses
from keys import load_keys
from settings import load
from storage.cells import open_cells
from storage.database import Database
from storage.migrate import migrate
from storage.users import NewUser, create_user
from tests.acceptance.main_job import HOST, ROOT, environment, free_port

T = TypeVar("T")
Data = dict[str, Any]
NAMES: Final = ("ana", "bo", "cy", "dee")
ANSWER_WITHIN_S: Final = 15.0
UP_WITHIN_S: Final = 60.0
BUSY_AT_MOST_S: Final = 10.0
BUSY_PAUSE_S: Final = 0.5
_NUMBERS: Final = itertools.count(1)

_ROWS: Final = """
SELECT owner_id, other_id, follows, followed_by, follows_at, followed_by_at, blocks, blocks_until, blocked_by,
       blocked_by_until, mutes, mutes_until, version
FROM relationships WHERE owner_id = ANY($1::bigint[])
"""
_COUNTS: Final = "SELECT user_id, followers, following FROM user_counts WHERE user_id = ANY($1::bigint[])"
_AUDIT: Final = """
SELECT actor_id, action, target_id, version FROM audit_logs WHERE actor_id = ANY($1::bigint[]) ORDER BY id
"""
_EVENTS: Final = """
SELECT aggregateid, type, payload::text AS payload FROM outbox
WHERE aggregateid = ANY($1::text[]) AND type <> 'user.created' ORDER BY sequence
"""


class Mismatch(AssertionError):
    """The service did what the reference does not."""


@dataclasses.dataclass(frozen=True, slots=True)
class Person:
    """Somebody of one example."""

    id: int
    opaque_id: str
    username: str
    token: str


@dataclasses.dataclass(frozen=True, slots=True)
class Tables:
    """Everything that the cells hold of some people."""

    rows: list[asyncpg.Record]
    counts: list[asyncpg.Record]
    audit: list[asyncpg.Record]
    events: list[asyncpg.Record]


class Server:
    """One web server on a port of its own, with or without a planted bug; killed and started again at will."""

    def __init__(self, variables: dict[str, str], log: Path, bug: str | None) -> None:
        self.port = free_port()
        self._command = ["-m", "tests.proof.model.planted", bug] if bug else ["server.py", "web"]
        self._environment = environment(**variables, KITH_PORT=str(self.port))
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._command], cwd=ROOT, env=self._environment, stdout=log, stderr=log
            )
        give_up = time.monotonic() + UP_WITHIN_S
        while not self._answers():
            assert self._process.poll() is None, self._log.read_text()[-2000:]
            assert time.monotonic() < give_up, "the server does not answer"
            time.sleep(0.02)

    def kill(self) -> None:
        """End it at once, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        """Ask it to end, and give its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(ANSWER_WITHIN_S)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=ANSWER_WITHIN_S)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()


@dataclasses.dataclass(slots=True)
class World:
    """A server with its cells, for a state machine that runs in a thread beside the loop."""

    server: Server
    database: Database
    redis: "redis.Redis"
    variables: dict[str, str]
    loop: asyncio.AbstractEventLoop
    crashes_left: int
    examples: int = 0
    steps: int = 0
    crashes: int = 0
    busy: int = 0
    mismatches: list[str] = dataclasses.field(default_factory=list)

    def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the loop, from the thread of the machine."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(ANSWER_WITHIN_S)

    def make_people(self, private: Sequence[bool]) -> list[Person]:
        """Make as many people as are named, over all cells in turn, in the order of their ids."""
        return self.wait_for(self._make_people(private))

    async def _make_people(self, private: Sequence[bool]) -> list[Person]:
        number, people = next(_NUMBERS), list[Person]()
        key, settings = development_key(load(self.variables)), load(self.variables)
        for index, (name, is_private) in enumerate(zip(NAMES, private, strict=True)):
            username = f"{name}.{number}"
            new = NewUser(username, policy=PrivacyPolicy(is_private=is_private))
            cell = (index + number) % len(self.database.shards.cells)
            while True:  # an id of the same millisecond may be lower than the one before
                user_id = await create_user(self.database, new, cell=cell, now=dt.datetime.now(dt.UTC))
                if not people or user_id > people[-1].id:
                    break
                new = dataclasses.replace(new, username=f"{username}.{user_id}")
            opaque_id = self.database.ids.encode(NodeType.USER, user_id)
            people.append(Person(user_id, opaque_id, new.username, issue_token(key, settings, opaque_id)))
        return people

    def ask(self, person: Person | None, document: str, variables: Data) -> Data:
        """Run an operation and give its data; whatever else comes is a mismatch.

        A server that has too much to do says so, and may be asked the same again: nothing is done twice.
        """
        give_up = time.monotonic() + BUSY_AT_MOST_S
        while _is_busy(body := self._ask_once(person, document, variables)) and time.monotonic() < give_up:
            self.busy += 1
            time.sleep(BUSY_PAUSE_S)
        if "errors" in body:
            raise Mismatch(f"errors: {body['errors']}")
        data: Data = body["data"]
        return data

    def _ask_once(self, person: Person | None, document: str, variables: Data) -> Data:
        connection = self._send(person, document, variables)
        try:
            response = connection.getresponse()
            body: Data = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Mismatch(f"no answer: {error!r}") from error
        finally:
            connection.close()
        return body

    def ask_twice(self, person: Person, document: str, variables: Data) -> list[Data]:
        """Run an operation twice at the same time."""
        with ThreadPoolExecutor(2) as threads:
            return list(threads.map(lambda _number: self.ask(person, document, variables), range(2)))

    def ask_and_drop(self, person: Person, document: str, variables: Data) -> None:
        """Run an operation whose answer gets lost on its way."""
        connection = self._send(person, document, variables)
        connection.sock.recv(1, socket.MSG_PEEK)
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    def ask_and_crash(self, person: Person, document: str, variables: Data, *, after_s: float) -> None:
        """Run an operation and kill the server while it works; then start it again."""
        connection = self._send(person, document, variables)
        time.sleep(after_s)
        self.restart()
        connection.close()

    def restart(self) -> None:
        """Kill the server and start it again."""
        self.crashes += 1
        self.crashes_left -= 1
        self.server.kill()
        self.server.start()

    def _send(self, person: Person | None, document: str, variables: Data) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(HOST, self.server.port, timeout=ANSWER_WITHIN_S)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if person is not None:
            headers["Authorization"] = f"Bearer {person.token}"
        connection.request("POST", "/graphql", json.dumps({"query": document, "variables": variables}), headers)
        return connection

    def read_tables(self, people: Sequence[Person]) -> Tables:
        """Read what the cells hold of some people."""
        return self.wait_for(self._read_tables(people))

    async def _read_tables(self, people: Sequence[Person]) -> Tables:
        ids, opaque_ids = [person.id for person in people], [person.opaque_id for person in people]
        tables = Tables([], [], [], [])
        for cell in self.database.shards.cells:
            tables.rows.extend(await cell.fetch(_ROWS, ids))
            tables.counts.extend(await cell.fetch(_COUNTS, ids))
            tables.audit.extend(await cell.fetch(_AUDIT, ids))
            tables.events.extend(await cell.fetch(_EVENTS, opaque_ids))
        return tables


def _is_busy(body: Data) -> bool:
    return [error["extensions"]["code"] for error in body.get("errors", ())] == ["OVERLOADED"]


@contextlib.asynccontextmanager
async def open_world(
    addresses: Addresses, dsns: Sequence[str], folder: Path, *, bug: str | None = None, crashes: int = 0
) -> AsyncIterator[World]:
    """Run a web server on cells, for as long as the context is open; at most `crashes` times it may be killed."""
    variables = {
        "KITH_DATA_DIR": str(folder),
        "KITH_POSTGRES_DSNS": ",".join(dsns),
        "KITH_REDIS_URL": addresses.redis_url,
        "KITH_KAFKA_BOOTSTRAP": addresses.kafka_bootstrap,
    }
    ids = OpaqueIds(load_keys(load(variables)).opaque_ids)
    server = Server(variables, folder / f"{bug or 'web'}-{secrets.token_hex(4)}.log", bug)
    async with open_cells(dsns) as shards:
        try:
            await asyncio.to_thread(server.start)
            with redis.Redis.from_url(addresses.redis_url) as client:
                yield World(server, Database(shards, ids), client, variables, asyncio.get_running_loop(), crashes)
            assert bug or await asyncio.to_thread(server.stop) == os.EX_OK
        finally:
            await asyncio.to_thread(server.kill)


async def make_cells(addresses: Addresses, number: int) -> tuple[str, ...]:
    """Make databases of our own beside those of the other tests, which count what they find in theirs."""
    first = urlsplit(addresses.postgres_dsns[0])
    names = [f"kith_model_{secrets.token_hex(4)}" for _ in range(number)]
    connection = await asyncpg.connect(addresses.postgres_dsns[0])
    for name in names:
        await connection.execute(f'CREATE DATABASE "{name}"')
    await connection.close()
    dsns = tuple(urlunsplit(first._replace(path=f"/{name}")) for name in names)
    await migrate(dsns, lambda _line: None)
    return dsns
