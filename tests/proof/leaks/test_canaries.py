"""A text of its own in every private field: no byte that leaves the service holds one that the model forbids."""

import asyncio
import dataclasses
import datetime as dt
import logging
import random
import secrets
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from unittest import mock

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer

from domain.events import EventType
from domain.notifications import NotificationKind
from domain.pages import Position
from domain.users import ProfileLink, User, UserState
from embedded import Part, Services
from events.consumer import GROUP, READ_TOPICS, Consumer
from events.effects import Subscription
from events.handlers import Handlers
from events.letters import Letters
from events.relay import Relay
from logs import JsonFormatter
from resolvers.delivery import cursor_scope
from schema.schema import SCHEMA
from storage.cells import Cell, Record
from storage.notifications import NewNotification, add_notification, fetch_after
from storage.redis_client import Redis
from storage.users import change_user
from tests.cold import is_watch
from tests.conftest import eventually
from tests.proof.leaks.conftest import LONG
from tests.proof.leaks.crowd import Member, Viewers, make_target, make_viewers
from tests.proof.leaks.model import SETTINGS, VIEWERS, Setting, meets, sees
from tests.proof.leaks.paths import Walker
from tests.proof.leaks.queries import Generator
from tests.proof.leaks.service import ANSWER_WITHIN_S, Answer, Asker, Service

SEED = 20_260_101
OPERATIONS = 600 if LONG else 27
AT_ONCE = 4
STUB = "the stub"
GONE = {"deleted": UserState.DELETED, "suspended": UserState.SUSPENDED}


@dataclasses.dataclass(frozen=True, slots=True)
class Canary:
    """A text that stands in one field of one target."""

    text: str
    owner: str
    group: str


@dataclasses.dataclass(slots=True)
class Menagerie:
    """The targets by setting, the viewers, and every canary."""

    service: Service
    viewers: Viewers
    targets: dict[str, Member]
    canaries: list[Canary]

    def forbidden(self, viewer: str) -> list[Canary]:
        """Give the canaries that a viewer must never get."""
        return [canary for canary in self.canaries if not self._allowed(viewer, canary)]

    def _allowed(self, viewer: str, canary: Canary) -> bool:
        if canary.owner in GONE:
            return False
        if viewer.startswith("self"):
            viewer = "self" if viewer == f"self {canary.owner}" else "member"
        if canary.group == STUB:
            return meets(viewer) or viewer == "blocking"
        return sees(viewer, SETTINGS[canary.owner], canary.group)

    def asker(self, viewer: str) -> Asker:
        """Give a viewer as a client; `self NAME` is the target of that setting."""
        if viewer.startswith("self"):
            return self.service.asker(self.targets[viewer.removeprefix("self ")].opaque_id)
        return self.viewers.asker(viewer, self.viewers.third)


WATCHERS = [*(kind for kind in VIEWERS if kind != "self"), "self public", "self all for nobody"]


class Kept(logging.Handler):
    """Keeps every line as production writes it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(JsonFormatter())
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture(scope="module")
def log() -> Iterator[Kept]:
    kept, root = Kept(), logging.getLogger()
    level = root.level
    root.addHandler(kept)
    root.setLevel(logging.INFO)
    yield kept
    root.removeHandler(kept)
    root.setLevel(level)


@pytest.fixture(scope="module")
async def menagerie(service: Service, log: Kept) -> Menagerie:
    assert log.lines is not None
    viewers, targets, canaries = await make_viewers(service), {}, []
    for number, name in enumerate([*SETTINGS, *GONE]):
        fields = {group: f"c4{secrets.token_hex(6)}" for group in ("BIO", "PROFILE", "LOCATION", "LINKS", STUB)}
        targets[name] = await make_target(
            viewers,
            SETTINGS.get(name, Setting()),
            number,
            bio=f"Bio {fields['BIO']}",
            pronouns=fields["PROFILE"],
            location=fields["LOCATION"],
            links=(ProfileLink(f"l {fields['LINKS']}", f"https://{fields['LINKS']}.example"),),
            display_name=fields[STUB],
            avatar_url=f"https://{fields[STUB]}.example/a",
        )
        canaries += [Canary(text, name, group) for group, text in fields.items()]
        canaries += [Canary(text, name, STUB) for text in (targets[name].name, targets[name].opaque_id)]
        for member in viewers.members.values():
            await add_notification(service.database, news(member, targets[name]))
    for name, state in GONE.items():
        await change_user(service.database, targets[name].id, into(state), event=EventType.USER_UPDATED)
    return Menagerie(service, viewers, targets, canaries)


def into(state: UserState) -> Callable[[User], User]:
    return lambda user: msgspec.structs.replace(user, state=state)


def news(owner: Member, actor: Member) -> NewNotification:
    now = dt.datetime.now(dt.UTC)
    return NewNotification(owner.id, uuid.uuid4(), NotificationKind.FOLLOW, actor.id, now)


def leaked(answer: Answer, forbidden: Sequence[Canary], asked: str) -> list[Canary]:
    """Find forbidden canaries in what was received; what the viewer wrote may come back."""
    received = answer.body.decode() + str(answer.headers)
    return [canary for canary in forbidden if canary.text in received and canary.text not in asked]


def documents_about(menagerie: Menagerie) -> list[str]:
    """Write the operations, whole ones and broken ones."""
    people = [*menagerie.targets.values(), *menagerie.viewers.members.values(), menagerie.viewers.third]
    ids = [*(person.opaque_id for person in people), "AAAAAAAAAAAAAAAAAAAAAA", "x"]
    names = [*(person.name for person in people), "nobody", ""]
    made = Generator(SCHEMA._schema, random.Random(SEED), ids, names, Walker(SCHEMA._schema, nested=0))
    return [made.operation() if number % 3 else made.broken() for number in range(OPERATIONS)]


async def gathered(work: Sequence[Awaitable[list[Canary]]]) -> list[Canary]:
    """Run much at once, but not all."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(what: Awaitable[list[Canary]]) -> list[Canary]:
        async with gate:
            return await what

    return [canary for found in await asyncio.gather(*map(one, work)) for canary in found]


@pytest.mark.parametrize("viewer", WATCHERS)
async def test_no_generated_operation_brings_a_forbidden_canary(menagerie: Menagerie, viewer: str) -> None:
    forbidden = menagerie.forbidden(viewer)
    asker = menagerie.asker(viewer)
    seen: set[str] = set()

    async def ask(document: str) -> list[Canary]:
        answer = await asker.post(document)
        seen.update(canary.text for canary in menagerie.canaries if canary.text in answer.body.decode())
        assert b"INTERNAL_SERVER_ERROR" not in answer.body, (document, answer.body)
        return leaked(answer, forbidden, document)

    assert await gathered([ask(document) for document in documents_about(menagerie)]) == []
    assert seen or not meets(viewer), "whoever meets people sees something of them"


async def test_the_whole_of_everybody_holds_what_is_allowed_and_nothing_else(menagerie: Menagerie) -> None:
    """The same check finds what it looks for: all that the model allows by look-up comes, and nothing else does."""
    for viewer in WATCHERS:
        ids = [target.opaque_id for target in menagerie.targets.values()]
        fields = "username displayName avatarUrl bio pronouns location links { label url }"
        document = f"query($ids: [ID!]) {{ users(ids: $ids) {{ id {fields} }} }}"
        answer = await menagerie.asker(viewer).post(document, {"ids": ids})
        received = answer.body.decode()
        got = {canary.text for canary in menagerie.canaries if canary.text in received}
        forbidden = {canary.text for canary in menagerie.forbidden(viewer)}
        stubs = {c.text for c in menagerie.canaries if c.group == STUB} if viewer == "blocking" else set()
        assert got == {canary.text for canary in menagerie.canaries} - forbidden - stubs, viewer


async def test_no_stream_brings_a_forbidden_canary(menagerie: Menagerie) -> None:
    fields = "id username displayName bio pronouns location followers(first: 9) { nodes { username bio displayName } }"

    async def listen(viewer: str) -> list[Canary]:
        owner = menagerie.viewers.members[viewer]
        scope = cursor_scope(owner.id)
        [cursor] = menagerie.service.parts.backend.cursors.encode(scope, [Position(0, 0)])
        document = f'subscription {{ followReceived(after: "{cursor}") {{ id actor {{ {fields} }} }} }}'
        patience_s = ANSWER_WITHIN_S if meets(viewer) else 2.0
        answer = await menagerie.asker(viewer).listen(document, patience_s=patience_s)
        assert b'"next"' in answer.body or not meets(viewer)
        return leaked(answer, menagerie.forbidden(viewer), document)

    assert await gathered([listen(viewer) for viewer in menagerie.viewers.members]) == []


async def test_no_page_metric_or_failure_holds_any_canary(menagerie: Menagerie, log: Kept) -> None:
    asker = menagerie.asker("member")
    target = menagerie.targets["public"]
    paths = ("/metrics", "/healthz", "/readyz", "/nowhere")
    answers = [await asker.send("GET", path) for path in paths]
    answers.append(await asker.send("GET", "/graphql", headers={"Accept": "text/html"}))
    answers.append(await asker.post("{ __schema { types { name description fields { name description } } } }"))
    answers.append(await asker.send("POST", "/graphql", data=b"{", headers={"Content-Type": "application/json"}))
    secret = " ".join(canary.text for canary in menagerie.canaries)

    fetch = Cell._fetch

    async def failing(cell: Cell, statement: str, arguments: Sequence[object]) -> list[Record]:
        if is_watch(statement):
            return await fetch(cell, statement, arguments)
        raise RuntimeError(secret)

    with mock.patch.object(Cell, "_fetch", failing):
        answers.append(await asker.post("{ me { id username bio } }"))
        answers.append(await asker.listen("{ viewer { user { bio } } }"))
    assert b"INTERNAL_SERVER_ERROR" in answers[-1].body
    edit = "mutation($t: String) { updateProfile(input: {bio: $t}) { userErrors { message } } }"
    for text in ("x" * 501 + secret, f"{secret}\x00"):
        await asker.post(edit, {"t": text})
    await asker.post(f'{{ user(username: "{target.name}") {{ id nothing }} }}')
    assert [canary for answer in answers for canary in leaked(answer, menagerie.canaries, "")] == []
    assert in_log(log, menagerie) == []
    assert any("error " in line for line in log.lines), "the failure above is in the log, without its text"


@pytest.fixture
async def broker(short_folder: Path) -> AsyncIterator[str]:
    """Run a broker of its own, so that everything in the outbox is sent."""
    folder = short_folder / "canaries"
    async with Services(folder, parts=frozenset({Part.BROKER}), report=lambda _line: None) as services:
        yield services.addresses.kafka_bootstrap


async def test_no_event_nor_the_logs_of_those_who_carry_it_hold_a_text(
    menagerie: Menagerie, log: Kept, broker: str, redis: Redis
) -> None:
    """Events hold ids; what people write about themselves, names among it, is in none of them."""
    service = menagerie.service
    dsns = service.addresses.postgres_dsns
    relays = [Relay(cell, dsn, broker) for cell, dsn in zip(service.database.shards.cells, dsns, strict=True)]
    subscription = Subscription(GROUP, READ_TOPICS, Handlers(service.database, redis).handle)
    consumer = Consumer(broker, subscription, Letters(service.database, GROUP), session_timeout_ms=2000)
    tasks = [asyncio.create_task(work) for work in (*(relay.run() for relay in relays), consumer.run())]
    owner = menagerie.targets["public"]
    try:
        await eventually(lambda: is_told(service, owner))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    records = await read_all(broker)
    ids = {target.opaque_id for target in menagerie.targets.values()}
    texts = [canary for canary in menagerie.canaries if canary.text not in ids]
    assert any(owner.opaque_id.encode() in record for record in records)
    assert [canary for canary in texts for record in records if canary.text.encode() in record] == []
    metrics = await menagerie.asker("anonymous").send("GET", "/metrics")
    assert leaked(metrics, menagerie.canaries, "") == []
    assert in_log(log, menagerie) == []


async def is_told(service: Service, owner: Member) -> bool:
    return bool(await fetch_after(service.database, owner.id, 0, 1))


async def read_all(bootstrap: str) -> list[bytes]:
    """Read every record of every topic: key, value and headers."""
    consumer = AIOKafkaConsumer(*READ_TOPICS, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    records: list[bytes] = []
    try:
        while batches := await consumer.getmany(timeout_ms=1000):
            for batch in batches.values():
                records += [b"%s %s %s" % (r.key or b"", r.value or b"", repr(r.headers).encode()) for r in batch]
    finally:
        await consumer.stop()
    return records


def in_log(log: Kept, menagerie: Menagerie) -> list[str]:
    return [line for line in log.lines for canary in menagerie.canaries if canary.text in line]
