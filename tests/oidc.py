"""An application that signs people in at the auth service, and the people, whose browsers are signed in already."""

import base64
import contextlib
import dataclasses
import datetime as dt
import hashlib
import secrets
import uuid
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiohttp

from identity.accounts import TABLE, Account, insert_account
from identity.app import FORM, make_app
from identity.parts import Parts
from identity.sessions import begin_session
from listeners import bind, listening, port_of
from settings import load
from tests.acceptance.main_job import free_port
from transport.connections import ConnectionCaps
from transport.serving import Serving

REDIRECT_URI: Final = "http://127.0.0.1:8000/graphql"
SCOPE: Final = "openid kith:read kith:social"


@dataclasses.dataclass(slots=True)
class Clock:
    """A clock that is set by hand."""

    now: dt.datetime = dataclasses.field(default_factory=lambda: dt.datetime.now(dt.UTC))

    def __call__(self) -> dt.datetime:
        return self.now

    def forward(self, by: dt.timedelta) -> None:
        self.now += by


@dataclasses.dataclass(frozen=True, slots=True)
class Browser:
    """A browser in which somebody is signed in."""

    account_id: uuid.UUID
    subject: str
    session_id: uuid.UUID
    secret: str
    email: str


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the auth service."""

    status: int
    headers: dict[str, str]
    text: str
    body: dict[str, Any]

    @property
    def redirect(self) -> tuple[str, dict[str, str]]:
        """Give where it leads, and the fields of that address."""
        parts = urlsplit(self.headers["Location"])
        return parts._replace(query="").geturl(), dict(parse_qsl(parts.query))


@dataclasses.dataclass(frozen=True, slots=True)
class Application:
    """The application, and the service that it speaks with."""

    parts: Parts
    http: aiohttp.ClientSession
    clock: Clock
    redirect_uri: str = REDIRECT_URI
    verifier: str = dataclasses.field(default_factory=lambda: secrets.token_urlsafe(48))

    @property
    def request(self) -> dict[str, str]:
        """Give a request for a code that is in order."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()
        return {
            "response_type": "code",
            "client_id": "graphiql",
            "redirect_uri": self.redirect_uri,
            "scope": SCOPE,
            "state": "a state",
            "nonce": "a nonce",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }

    async def sign_up(self, subject: str | None = None) -> Browser:
        """Make somebody, and a browser in which that person is signed in."""
        return await sign_up(self.parts, subject or secrets.token_urlsafe(16))

    async def authorize(self, browser: Browser | None = None, query: str | None = None, **fields: str | None) -> Answer:
        """Ask for a code, with some fields changed or (None) left out, or with a whole query."""
        asked = {name: value for name, value in {**self.request, **fields}.items() if value is not None}
        return await self.get(f"/authorize?{urlencode(asked) if query is None else query}", browser)

    async def get(self, path: str, browser: Browser | None = None) -> Answer:
        """Open an address in a browser."""
        headers = {"Cookie": f"{self.parts.cookie.name}={browser.secret}"} if browser is not None else {}
        async with self.http.get(self.parts.url + path, headers=headers, allow_redirects=False) as response:
            return await _read(response)

    async def code(self, browser: Browser, **fields: str) -> str:
        """Get a code."""
        return (await self.authorize(browser, **fields)).redirect[1]["code"]

    async def token(self, **fields: str | None) -> Answer:
        """Ask for tokens."""
        form = {name: value for name, value in {"client_id": "graphiql", **fields}.items() if value is not None}
        return await self.post("/token", form)

    async def post(self, path: str, form: dict[str, str], **headers: str) -> Answer:
        """Send a form."""
        async with self.http.post(self.parts.url + path, data=form, headers=headers) as response:
            return await _read(response)

    async def exchange(self, code: str, **fields: str | None) -> Answer:
        """Exchange a code."""
        asked = {"redirect_uri": self.redirect_uri, "code_verifier": self.verifier, **fields}
        return await self.token(grant_type="authorization_code", code=code, **asked)

    async def refresh(self, token: str, **fields: str | None) -> Answer:
        """Use a refresh token."""
        return await self.token(grant_type="refresh_token", refresh_token=token, **fields)

    async def sign_in(self, browser: Browser, **fields: str) -> dict[str, Any]:
        """Get tokens for whoever is signed in."""
        answer = await self.exchange(await self.code(browser, **fields))
        assert answer.status == 200, answer.body
        return answer.body


async def sign_up(parts: Parts, subject: str, password: str | None = None) -> Browser:
    """Make an account of a person of the user service, and a browser that is signed in."""
    account_id, email = uuid.uuid4(), f"{secrets.token_hex(8)}@example.com"
    sealed = await parts.emails.seal(TABLE, account_id, email)
    hashed = await parts.credentials.passwords.hash(password) if password is not None else None
    account = Account(account_id, subject, parts.emails.digest(email), sealed, hashed)
    async with parts.database.transaction() as connection:
        await insert_account(connection, account)
        session, secret = await begin_session(connection, account_id, methods=["pwd"], agent="x", now=parts.clock())
    return Browser(account_id, subject, session.id, secret, email)


@contextlib.asynccontextmanager
async def open_application(parts: Parts, caps: ConnectionCaps | None = None) -> AsyncIterator[Application]:
    """Serve the auth service at an address of its own, with a clock that is set by hand."""
    clock = Clock()
    with listening(bind(load({"KITH_PORT": str(free_port())}))) as listeners:
        served = dataclasses.replace(parts, url=f"http://127.0.0.1:{port_of(listeners)}", clock=clock)
        serving = Serving(make_app(served), caps=caps or ConnectionCaps(), form=FORM)
        await serving.start(listeners)
        try:
            async with aiohttp.ClientSession() as http:
                yield Application(served, http, clock)
        finally:
            await serving.stop()


async def _read(response: aiohttp.ClientResponse) -> Answer:
    is_json = response.content_type == "application/json"
    body = await response.json() if is_json else {}
    return Answer(response.status, dict(response.headers), await response.text(), body)
