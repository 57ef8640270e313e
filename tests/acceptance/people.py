"""Whoever uses the API in these tests, through client libraries that anybody can install."""

import asyncio
import base64
import contextlib
import dataclasses
import datetime as dt
import itertools
import json
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from time import monotonic
from typing import Any, Final

import aiohttp
from gql import Client, GraphQLRequest
from gql.transport.aiohttp import AIOHTTPTransport
from gql.transport.exceptions import TransportQueryError
from gql.transport.websockets import WebsocketsTransport
from joserfc import jwt
from joserfc.jwk import ECKey

from domain.ids import NodeType, OpaqueIds, new_id
from keys import load_keys
from settings import load
from storage.cells import open_cells
from storage.database import Database
from storage.users import NewUser, create_user
from tests.acceptance.main_job import MainJob

ANSWER_WITHIN_S: Final = 10
STARTS_WITHIN_S: Final = 60.0
MORE_MEMBERS: Final = 150
MUTATION: Final = """
mutation Act($input: {input}!) {{
  {name}(input: $input) {{
    clientMutationId
    user {{ id username viewerFollowState viewerIsFollowing viewerHasBlocked followersCount }}
    userErrors {{ code message path }}
    consistencyToken
  }}
}}
"""
LIVE: Final = """
subscription Live($after: String) {
  followReceived(after: $after) { id cursor kind createdAt actor { username } }
}
"""

Data = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Read the body."""
        return json.loads(self.body)

    @property
    def codes(self) -> list[str]:
        """Give the codes of the errors."""
        return [error["extensions"]["code"] for error in self.json["errors"]]


class Refused(Exception):
    """The API answered with top-level errors."""

    def __init__(self, errors: Sequence[Data], data: Data | None) -> None:
        super().__init__(str(errors))
        self.errors = errors
        self.data = data

    @property
    def code(self) -> str:
        """Give the code of the only error."""
        [error] = self.errors
        return str(error["extensions"]["code"])


@dataclasses.dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an access token, or without one."""

    job: MainJob
    name: str
    id: str
    token: str | None

    @property
    def headers(self) -> dict[str, str]:
        """Give the headers that say who asks."""
        return {"Authorization": f"Bearer {self.token}"} if self.token is not None else {}

    async def ask(self, document: str, **variables: object) -> Data:
        """Run a query or a mutation over HTTP and give its data.

        Raises:
            Refused: there are top-level errors.
        """
        transport = AIOHTTPTransport(self.job.url, headers=self.headers, timeout=ANSWER_WITHIN_S)
        try:
            async with Client(transport=transport) as session:
                data: Data = await session.execute(GraphQLRequest(document, variable_values=variables))
        except TransportQueryError as error:
            raise Refused(error.errors or [], error.data) from error
        return data

    async def act(self, mutation: str, **fields: object) -> Data:
        """Run a mutation and give its payload."""
        kind = f"{mutation[0].upper()}{mutation[1:]}Input"
        payload: Data = (await self.ask(MUTATION.format(name=mutation, input=kind), input=fields))[mutation]
        return payload

    async def follow(self, other: "Person") -> Data:
        """Follow somebody, which must be possible."""
        payload = await self.act("followUser", userId=other.id)
        assert payload["userErrors"] == []
        return payload

    async def unfollow(self, other: "Person") -> Data:
        """Unfollow somebody, which must be possible."""
        payload = await self.act("unfollowUser", userId=other.id)
        assert payload["userErrors"] == []
        return payload

    async def post(self, document: str, accept: str = "application/json", **variables: object) -> Answer:
        """Run an operation over HTTP and give the answer as it came."""
        body = {"query": document, "variables": variables}
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)) as session,
            session.post(self.job.url, json=body, headers={**self.headers, "Accept": accept}) as response,
        ):
            return Answer(response.status, response.headers.copy(), await response.read())

    @contextlib.asynccontextmanager
    async def live(self, after: str | None = None) -> AsyncIterator["Live"]:
        """Listen for followers over a WebSocket."""
        transport = WebsocketsTransport(
            self.job.socket_url,
            init_payload={"authorization": f"Bearer {self.token}"},
            subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL],
        )
        async with Client(transport=transport) as session:
            events = session.subscribe(GraphQLRequest(LIVE, variable_values={"after": after}))
            async with contextlib.aclosing(events):
                yield Live(events)


@dataclasses.dataclass(slots=True)
class Live:
    """A running `followReceived`."""

    events: AsyncGenerator[Data, None]
    _next: asyncio.Task[Data] | None = None

    async def next(self, within: float = ANSWER_WITHIN_S) -> Data:
        """Give the next event; raises TimeoutError, after which one may go on waiting."""
        if self._next is None:
            self._next = asyncio.ensure_future(anext(self.events))
        event = await asyncio.wait_for(asyncio.shield(self._next), within)
        self._next = None
        notification: Data = event["followReceived"]
        return notification

    async def stop(self) -> None:
        """Stop waiting for what does not come."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait({self._next})


@dataclasses.dataclass(slots=True)
class People:
    """Everybody of one run: the named people, and members without relations (but that some follow `star`)."""

    job: MainJob
    named: dict[str, Person]
    key: ECKey
    nobody: str
    _members: "itertools.chain[Person]"

    def __getattr__(self, name: str) -> Person:
        """Give a named person."""
        try:
            return self.named[name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def anonymous(self) -> Person:
        """Give somebody who does not sign in."""
        return Person(self.job, "", "", None)

    def take(self) -> Person:
        """Give a member whom no other test uses."""
        return next(self._members)


async def cursor_of_now(people: People, owner: Person) -> str:
    """Give the cursor of an event that has just come: a stream opened after it misses nothing from then on."""
    async with owner.live() as live:
        event = await first_event(people.take(), owner, live)
    return str(event["cursor"])


async def first_event(follower: Person, owner: Person, live: Live) -> Data:
    """Follow until the stream, which may not have begun at the first follow, tells of it."""
    began = monotonic()
    while True:
        await follower.follow(owner)
        try:
            return await live.next(within=1.0)
        except TimeoutError:
            assert monotonic() - began < STARTS_WITHIN_S
            await follower.unfollow(owner)


async def meet_everybody(job: MainJob) -> People:
    """Find the named people and the members of a run, and sign tokens for the members."""
    key = ECKey.import_key(json.loads((job.data_dir / "auth" / "development.jwk.json").read_text()))
    anonymous = Person(job, "", "", None)
    named = {name: Person(job, name, _subject_of(token), token) for name, token in job.tokens.items()}
    ids_of_this_run = OpaqueIds(load_keys(load({"KITH_DATA_DIR": str(job.data_dir)})).opaque_ids)
    members = [*await _fetch_members(anonymous), *await _make_members(job, ids_of_this_run)]
    people = [Person(job, name, id_, sign(key, claims_of(id_))) for name, id_ in members]
    return People(job, named, key, ids_of_this_run.encode(NodeType.USER, new_id(0)), itertools.chain(people))


def _subject_of(token: str) -> str:
    payload = token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"])


async def _fetch_members(anonymous: Person) -> list[tuple[str, str]]:
    document = """query($after: String) { user(username: "star") { followers(first: 100, after: $after) {
        nodes { username id } pageInfo { hasNextPage endCursor } } } }"""
    members: list[tuple[str, str]] = []
    after = None
    while True:
        page = (await anonymous.ask(document, after=after))["user"]["followers"]
        members += [(node["username"], node["id"]) for node in page["nodes"] if node["username"].startswith("fan")]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            return members


async def _make_members(job: MainJob, ids: OpaqueIds) -> list[tuple[str, str]]:
    """Make as many people more as all tests together take."""
    addresses = json.loads((job.data_dir / "run.json").read_text())["addresses"]
    made: list[tuple[str, str]] = []
    async with open_cells(addresses["postgres_dsns"], connections=2) as shards:
        database = Database(shards, ids)
        for number in range(MORE_MEMBERS):
            name, cell = f"member{secrets.token_hex(5)}", number % len(shards.cells)
            user_id = await create_user(database, NewUser(name), cell=cell, now=dt.datetime.now(dt.UTC))
            made.append((name, ids.encode(NodeType.USER, user_id)))
    return made


def claims_of(subject: str, **changes: object) -> dict[str, object]:
    """Give the claims of an access token; a change to None leaves a claim out."""
    now = int(time.time())
    claims = {
        "iss": "https://auth.kith.localhost",
        "aud": "kith",
        "sub": subject,
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
        "jti": secrets.token_hex(16),
        **changes,
    }
    return {name: value for name, value in claims.items() if value is not None}


def sign(key: ECKey, claims: dict[str, object], **changes: object) -> str:
    """Sign an access token; a change to None leaves a part of the header out."""
    header = {"alg": "ES256", "typ": "at+jwt", "kid": key.kid, **changes}
    return jwt.encode({name: value for name, value in header.items() if value is not None}, claims, key)
