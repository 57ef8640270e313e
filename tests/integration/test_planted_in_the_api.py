"""Secrets planted in everything that clients of the API send, at every door, also where it fails: none comes out."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import itertools
import json
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from unittest import mock

import aiohttp
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client import generate_latest

from auth.jwks import development_key
from auth.token import issue_token
from domain.ids import NodeType
from embedded import Addresses
from events.broker import PARTITIONS, ensure_topics, open_admin, open_producer
from events.publisher import Publisher
from keys import Keys
from listeners import bind, listening, port_of
from server import open_parts
from settings import Settings, load
from storage.cells import Cell
from storage.outbox_reading import fetch_of_keys
from storage.personal import change_details
from storage.redis_client import CacheUnavailable, Redis
from storage.users import NewUser, create_user
from tests.acceptance.main_job import free_port
from tests.conftest import KEY
from tests.planted import Logs, kept_logs
from tests.raw_sockets import connected
from transport.admission import ADMISSION
from transport.app import Parts, make_app
from transport.connections import ConnectionCaps
from transport.failures import FORM
from transport.serving import Serving

LONG: Final = os.environ.get("PROVE") == "long"
WITHIN_S: Final = 60.0
EDIT: Final = """mutation($name: String, $phone: String, $birth: Date) {
  updateProfile(input: {displayName: $name, phone: $phone, birthDate: $birth}) {
    user { email phone birthDate } userErrors { message path } consistencyToken } }"""
ODD: Final = """query($id: ID!, $n: Int, $after: String) {
  user(id: $id) { username followers(first: $n, after: $after) { nodes { id } } } me { username } }"""
BLOCK: Final = """mutation($id: ID!, $at: DateTime) {
  blockUser(input: {userId: $id, expiresAt: $at}) { userErrors { message path } } }"""
NAMED: Final = "query($name: String!) { user(username: $name) { id } }"
WHOLE: Final = "mutation($input: UpdateProfileInput!) { updateProfile(input: $input) { userErrors { message } } }"
LIVE: Final = "subscription($after: String) { followReceived(after: $after) { id } }"
HEADERS: Final = (
    "Accept Content-Type Cookie Idempotency-Key Origin Referer Request-Timeout Sec-GPC Traceparent User-Agent "
    "X-Consistency-Token X-Forwarded-For X-Request-Id"
).split()
JSON: Final = {"Content-Type": "application/json"}


class Crash(Exception):
    """Something nobody thought of, whose text holds all that was at hand."""


@dataclasses.dataclass(slots=True)
class Planted:
    """The service, somebody who uses it, what that person sends, and what errors were answered."""

    parts: Parts
    session: aiohttp.ClientSession
    origin: str
    user_id: int
    subject: str
    token: str
    secrets: dict[str, str]
    turn: Iterator[str]
    errors: list[str] = dataclasses.field(default_factory=list)
    statuses: set[int] = dataclasses.field(default_factory=set)

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def send(self, method: str, path: str, headers: Mapping[str, str] | None = None, **sent: Any) -> Any:
        """Send a request, and keep what it was answered where that is an error."""
        url, said = self.origin + path, {**(headers or {})}
        async with self.session.request(method, url, headers=said, allow_redirects=False, **sent) as response:
            text = await self._read(response)
            self.statuses.add(response.status)
        if response.status >= 400 or '"errors"' in text:
            self.errors.append(f"{response.status} {response.reason} {dict(response.headers)} {text}")
        return text

    async def _read(self, response: aiohttp.ClientResponse) -> str:
        """Read an answer; of a stream, what it says first."""
        if response.content_type != "text/event-stream":
            return await response.text()
        return (await response.content.readany()).decode()

    async def ask(self, document: str, headers: Mapping[str, str] | None = None, **variables: object) -> Any:
        body = {"query": document, "variables": variables}
        return await self.send("POST", "/graphql", {**self.bearer, **(headers or {})}, json=body)

    async def talk(self, payload: object, *messages: object) -> None:
        """Say something on a WebSocket, and hear it out; what a crash leaves open is closed from here."""
        url = f"{self.origin}/graphql"
        async with self.session.ws_connect(url, protocols=("graphql-transport-ws",)) as socket:
            await socket.send_json({"type": "connection_init", "payload": payload})
            for message in messages:
                await (socket.send_str(message) if isinstance(message, str) else socket.send_json(message))
            await socket.send_json({"type": "ping"})
            async for heard in socket:
                self.errors.append(str(heard.data))
                if json.loads(heard.data)["type"] == "pong":
                    break
            await socket.close()

    async def shout(self, data: bytes) -> None:
        """Send bytes that need not be a request, and read until the end."""
        port = int(self.origin.rpartition(":")[2])
        async with connected(port, WITHIN_S) as (reader, writer):
            writer.write(data)
            writer.write_eof()
            self.errors.append((await reader.read()).decode("utf-8", "replace"))


@pytest.fixture
def logs() -> Iterator[Logs]:
    with kept_logs() as kept:
        yield kept


@pytest.fixture
async def planted(addresses: Addresses, tmp_path: Path) -> AsyncIterator[Planted]:
    settings = load(
        {
            "KITH_DATA_DIR": str(tmp_path),
            "KITH_POSTGRES_DSNS": addresses.postgres_dsns[0],
            "KITH_REDIS_URL": addresses.redis_url,
            "KITH_KAFKA_BOOTSTRAP": addresses.kafka_bootstrap,
            "KITH_PROXIES": "1",
        }
    )
    async with contextlib.AsyncExitStack() as stack:
        with mock.patch("server.load_keys", return_value=Keys(*[KEY] * len(dataclasses.fields(Keys)))):
            parts = await stack.enter_async_context(open_parts(settings))
        app = make_app(parts)
        serving = Serving(app, caps=ConnectionCaps(), form=FORM, early=app[ADMISSION].early)
        listeners = stack.enter_context(listening(bind(load({"KITH_PORT": str(free_port())}))))
        await serving.start(listeners)
        stack.push_async_callback(serving.stop)
        timeout = aiohttp.ClientTimeout(total=WITHIN_S)
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        yield await plant(parts, settings, session, f"http://127.0.0.1:{port_of(listeners)}")


async def plant(parts: Parts, settings: Settings, session: aiohttp.ClientSession, origin: str) -> Planted:
    """Make somebody with an address, a token, a link, and every other secret that a client sends."""
    database, key = parts.backend.database, development_key(settings)
    user_id = await create_user(database, NewUser(f"pl{secrets.token_hex(6)}"), cell=0, now=dt.datetime.now(dt.UTC))
    subject, email = database.ids.encode(NodeType.USER, user_id), f"{secrets.token_hex(8)}@example.org"

    async def give_email(connection: Any) -> None:
        await change_details(
            connection, parts.backend.vault, user_id, lambda old: dataclasses.replace(old, email=email)
        )

    await database.shards.home(user_id).transact(give_email)
    token = issue_token(key, settings, subject)
    other = issue_token(key, settings, secrets.token_urlsafe(16))
    planted = {
        "token": token,
        "token of nobody": other,
        "signature of a token": token.rpartition(".")[2],
        "e-mail": email,
        "phone": f"+4930{secrets.randbelow(10**9):09}",
        "birth date": f"19{secrets.randbelow(80) + 10}-0{secrets.randbelow(9) + 1}-1{secrets.randbelow(10)}",
        "address": f"198.51.{secrets.randbelow(255)}.{secrets.randbelow(155) + 100}",
        "cookie": f"kith-session={secrets.token_urlsafe(16)}",
        "key": f"key-{secrets.token_hex(12)}",
        "variable": f"variable {secrets.token_hex(12)}",
        "link": parts.backend.links.issue(f"{subject} {secrets.token_hex(16)}", 4e9),
        "consistency": parts.backend.consistency.issue({subject: 1}),
        "forged consistency": secrets.token_urlsafe(32),
    }
    turn = itertools.cycle(list(planted.values()))
    return Planted(parts, session, origin, user_id, subject, token, planted, turn)


async def live(planted: Planted) -> None:
    """Use every door as it is meant to be used, and see that what is planted arrives."""
    known = planted.secrets
    said = {"Idempotency-Key": known["key"], "Cookie": known["cookie"], "X-Forwarded-For": known["address"]}
    said |= dict.fromkeys(("Traceparent", "User-Agent", "Referer", "X-Request-Id"), known["variable"])
    variables = {"name": "A name", "phone": known["phone"], "birth": known["birth date"]}
    body = json.loads(await planted.ask(EDIT, {**said, "X-Consistency-Token": known["consistency"]}, **variables))
    edited = body["data"]["updateProfile"]
    assert edited["user"] == {"email": known["e-mail"], "phone": known["phone"], "birthDate": known["birth date"]}
    known["given consistency"] = edited["consistencyToken"]
    star = planted.parts.backend.database.ids.encode(NodeType.USER, planted.user_id)
    for path in ("/v1/users/me", f"/v1/social/follow/{star}", f"/v1/exports/{known['link']}"):
        await planted.send("POST" if "follow" in path else "GET", path, {**planted.bearer, **said})
    operation = {"query": EDIT, "variables": variables, "extensions": {"idempotencyKey": known["key"] + "2"}}
    await planted.talk(
        {"authorization": f"Bearer {planted.token}"}, {"type": "subscribe", "id": "1", "payload": operation}
    )
    planted.errors.clear()  # these were no errors, and may say what their owner asked for


async def storm(planted: Planted) -> None:
    """Send a secret in each place of each door, in the long form every secret; those that come next take turns."""
    ways = (in_headers, in_bodies, on_lines, in_bytes)
    for _ in planted.secrets if LONG else [None]:
        for way in ways:
            await way(planted, next(planted.turn))


async def in_headers(planted: Planted, secret: str) -> None:
    said = dict.fromkeys(HEADERS, secret)
    whoever = {**JSON, "User-Agent": secret, "X-Forwarded-For": secret}
    await planted.send("POST", "/graphql", whoever, data=b'{"query": "{ me { id } }"}')
    for authorization in (f"Bearer {secret}", secret):
        headers = {**said, "Authorization": authorization}
        await planted.send("POST", "/graphql", {**headers, **JSON}, data=b'{"query": "{ me { id } }"}')
        await planted.send("GET", f"/v1/users/{planted.subject}", headers)
    for header in HEADERS:
        await planted.send(
            "POST", "/graphql", {**planted.bearer, **JSON, header: secret}, data=b'{"query": "{ me { id } }"}'
        )
    await planted.send("DELETE", f"/v1/social/block/{planted.subject}", {**planted.bearer, **said})


async def in_bodies(planted: Planted, secret: str) -> None:
    odd: dict[str, Any] = {"id": secret, "n": secret, "after": secret}
    for document, variables in (
        (ODD, odd),
        (ODD, {**odd, "n": 1}),
        (NAMED, {"name": f"n{secrets.token_hex(6)}"}),  # nobody remembers it: a cell is asked
        (BLOCK, {"id": secret, "at": secret}),
        (BLOCK, {"id": [secret], "at": 7}),
        (WHOLE, {"input": secret}),
        (WHOLE, {"input": {"bio": [secret], "links": secret, "birthDate": secret}}),
        (EDIT, {"name": secret, "phone": secret, "birth": secret}),
        (EDIT, {"name": {"x": secret}, "phone": [secret], "birth": 7}),
    ):
        await planted.ask(document, {"Idempotency-Key": f'"{secret}"'}, **variables)
    for content in (
        {"query": ODD, "operationName": secret, "variables": odd},
        {"documentId": secret},
        [secret],
        secret,
    ):
        await planted.send("POST", "/graphql", planted.bearer, json=content)
    await planted.send("POST", "/graphql", {**planted.bearer, **JSON}, data=f'{{"query": "{secret}'.encode())
    asked = {"query": ODD, "variables": json.dumps(odd), "extensions": secret, "operationName": secret}
    for params in (asked, {"query": "{ me { id } }", "variables": secret}, {"access_token": secret}):
        await planted.send("GET", "/graphql", planted.bearer, params=params)
    for path in (f"/v1/users/{secret}", f"/v1/exports/{secret}", f"/{secret}", f"/v1/users/me?token={secret}"):
        await planted.send("GET", path, planted.bearer)
    await planted.send("POST", f"/v1/social/block/{secret}", planted.bearer, json={"expiresAt": secret})


async def on_lines(planted: Planted, secret: str) -> None:
    headers = {**planted.bearer, "Accept": "text/event-stream"}
    await planted.send("POST", "/graphql", headers, json={"query": LIVE, "variables": {"after": secret}})
    operation = {"query": LIVE, "variables": {"after": secret}, "extensions": {"idempotencyKey": secret}}
    mine = {"authorization": f"Bearer {planted.token}"}
    await planted.talk(mine, {"type": "subscribe", "id": secret[:50], "payload": operation})
    for payload in ({"authorization": f"Bearer {secret}"}, {"authorization": secret}, {secret: secret}, [secret]):
        await planted.talk(payload)
    for message in ({"type": secret}, f'{{"type": "{secret}', {"type": "subscribe", "id": 7, "payload": secret}):
        await planted.talk(mine, message)


async def in_bytes(planted: Planted, secret: str) -> None:
    plain = secret.replace(" ", "%20")
    for data in (
        f"GET /graphql?token={plain} HTTP/9.9\r\nHost: x\r\nCookie: {secret}\r\n\r\n",
        f"{plain} /graphql HTTP/1.1\r\nHost: x\r\n\r\n",
        f"POST /graphql HTTP/1.1\r\nHost: {secret}\r\nContent-Length: {plain}\r\n\r\n{secret}",
        f"POST /graphql HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{secret}\r\n",
        f"GET / HTTP/1.1\r\n{secret}\r\n\r\n",
    ):
        await planted.shout(data.encode())


async def in_broker(planted: Planted, bootstrap: str) -> str:
    """Publish the person's facts as the relay does, and give all that the broker then holds behind what it held."""
    database = planted.parts.backend.database
    far = {"after": 0, "until": 2**63 - 1, "retention": dt.timedelta(days=2), "limit": 100}
    rows = await fetch_of_keys(database.shards.home(planted.user_id), [planted.subject], **far)  # type: ignore[arg-type]
    assert len(rows) >= 2
    places = [TopicPartition("users.v1", number) for number in range(PARTITIONS)]
    async with open_admin(bootstrap) as admin, open_producer(bootstrap) as producer:
        await ensure_topics(admin)
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
        await consumer.start()
        try:
            consumer.assign(places)
            await consumer.seek_to_end(*places)
            publisher = Publisher(producer, passes=lambda _row: True, refuse=_refuse_nothing, alone=set())
            await publisher.publish(rows)
            found: list[str] = []
            async with asyncio.timeout(WITHIN_S):
                while sum(planted.subject in one for one in found) < len(rows):
                    batches = await consumer.getmany(timeout_ms=500)
                    found += [repr(record) for batch in batches.values() for record in batch]
        finally:
            await consumer.stop()
    return "\n".join(found)


async def _refuse_nothing(refusal: object) -> None:
    raise AssertionError(refusal)


async def in_redis(redis: Redis) -> str:
    """Give every key, and every value that is a text."""
    keys: list[bytes] = await patiently(redis, lambda client: client.keys("*"))
    values: list[bytes | None] = await patiently(redis, lambda client: client.mget(keys))
    return "\n".join(repr(text) for text in (*keys, *values))


async def patiently(redis: Redis, command: Callable[[Any], Awaitable[Any]]) -> Any:
    while True:
        with contextlib.suppress(CacheUnavailable):
            return await redis.run(command)
        await asyncio.sleep(0.1)


async def test_no_secret_comes_out_where_it_does_not_belong(
    planted: Planted, redis: Redis, logs: Logs, capfd: pytest.CaptureFixture[str], addresses: Addresses
) -> None:
    await live(planted)
    await storm(planted)
    text = " ".join(planted.secrets.values())
    with mock.patch.object(Cell, "_fetch", side_effect=Crash(text)):
        await storm(planted)
    await asyncio.sleep(0)
    shown = capfd.readouterr()
    places = {
        "logs": logs.written.getvalue(),
        "standard output": shown.out + shown.err,
        "errors": "\n".join(planted.errors),
        "metrics": generate_latest().decode() + await planted.send("GET", "/metrics"),
        "broker": await in_broker(planted, addresses.kafka_bootstrap),
        "redis": await in_redis(redis),
    }
    assert {200, 400, 401, 404, 405, 422} & planted.statuses
    crashed = [each for each in planted.errors if "INTERNAL_SERVER_ERROR" in each]
    assert [each for each in crashed if '"path":["user"]' in each], "what crashes in a resolver is among it"
    assert "Crash" in places["logs"]
    found = [(name, place) for place, text in places.items() for name, one in planted.secrets.items() if one in text]
    assert found == [], [each[:600] for each in planted.errors if any(planted.secrets[n] in each for n, _ in found)]
