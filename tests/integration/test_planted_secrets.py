"""Secrets planted in everything that browsers and applications send, also where it fails: none comes out elsewhere."""

import asyncio
import collections
import contextlib
import dataclasses
import itertools
import os
import re
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final

import pytest
from prometheus_client import generate_latest

from identity.pages import forms
from identity.pages.routes import SENT, SHOWN
from identity.parts import Parts
from identity.passwords import Passwords
from storage.redis_client import CacheUnavailable, Redis
from tests.faulty import Faulty
from tests.integration.test_identity_pages import CHEAP, Browser, Site, enable_totp
from tests.oidc import Application, open_application
from tests.planted import Logs, kept_logs

FIELDS: Final = (
    "email username password current code credential session passkey token continue refresh_token client_id "
    "redirect_uri code_verifier grant_type scope state nonce code_challenge"
).split()
LONG: Final = os.environ.get("PROVE") == "long"
OTHERS: Final = ("/token", "/revoke", "/authorize", "/jwks.json", "/readyz", "/metrics", "/mails", "/nowhere")


@pytest.fixture
def logs() -> Iterator[Logs]:
    with kept_logs() as kept:
        yield kept


@pytest.fixture
async def parts(identity_parts: Parts) -> AsyncIterator[Parts]:
    passwords = Passwords(CHEAP)
    credentials = dataclasses.replace(identity_parts.credentials, passwords=passwords)
    nowhere = os.open(os.devnull, os.O_WRONLY)  # for the mails of development, which hold what they are for
    yield dataclasses.replace(identity_parts, credentials=credentials, console=nowhere)
    os.close(nowhere)
    passwords.close()


async def live(parts: Parts) -> set[str]:
    """Go all ways that there are, and give every secret and all that is personal on them."""
    async with open_application(parts) as application, contextlib.AsyncExitStack() as stack:
        site = Site(application.parts, application.parts.url, stack)
        _, email = await site.member()
        browser = await site.browser()
        cookies = set[str]()
        await browser.sign_in(email)
        totp, codes = await enable_totp(browser)
        cookies |= cookies_of(browser)
        other = await site.browser()
        await other.sign_in(email)
        await other.send("/sign-in/second", code=f"code-{secrets.token_hex(8)}")
        cookies |= cookies_of(other)
        await other.send("/sign-in/second", code=codes[0])
        newcomer, name = f"{secrets.token_hex(8)}@example.org", f"planted{secrets.token_hex(4)}"
        password = f"a password {secrets.token_hex(8)}"
        await (await site.browser()).send("/sign-up", email=newcomer, username=name, password=password)
        await (await site.browser()).send("/recovery", email=email)
        recovery = (await link_to(site, email)).rpartition("/")[2]
        links = {recovery, (await link_to(site, newcomer)).rpartition("=")[2]}
        await (await site.browser()).send(f"/recovery/{recovery}", password=password)
        tokens = await use_tokens(application)
        return {email, newcomer, name, password, totp.secret, *codes, *links, *cookies | cookies_of(other), *tokens}


async def link_to(site: Site, email: str) -> str:
    found = re.search(r"http://\S+", (await site.mail_to(email))[0])
    assert found
    return found[0]


def cookies_of(browser: Browser) -> set[str]:
    return {morsel.value for morsel in browser.session.cookie_jar}


async def use_tokens(application: Application) -> set[str]:
    ana = await application.sign_up()
    code = await application.code(ana)
    first = (await application.exchange(code)).body
    second = (await application.refresh(first["refresh_token"])).body
    await application.exchange(code)
    await application.post("/revoke", {"client_id": "graphiql", "token": second["refresh_token"]})
    given = {str(answer[name]) for answer in (first, second) for name in ("access_token", "refresh_token")}
    return {code, application.verifier, ana.secret, ana.email, str(first["id_token"]), *given}


async def storm(parts: Parts, planted: set[str]) -> collections.Counter[int]:
    """Send it in every place to every address, all of it in the long form; gives the answers by status."""
    async with open_application(parts) as application:
        found, turn = collections.Counter[int](), itertools.cycle(sorted(planted))
        for path, method in itertools.product((*SHOWN, *SENT, *OTHERS), ("GET", "POST")):
            for secret in itertools.islice(turn, len(planted) if LONG else 1):
                found[await plant(application, method, path.replace("{token}", "x" + secret[:40]), secret)] += 1
        return found


async def plant(application: Application, method: str, path: str, secret: str) -> int:
    keys, browser = application.parts.keys, secrets.token_urlsafe(32)
    form = dict.fromkeys(FIELDS, secret) | {"form": forms.token_for(keys.pages, browser, None)}
    cookies = {"kith-form": browser, "kith-half": secret}
    said = dict.fromkeys(("Authorization", "User-Agent", "Referer", "X-Request-Id", "X-Forwarded-For"), secret)
    sent: dict[str, Any] = {"data": form} if method == "POST" else {"params": dict.fromkeys(FIELDS, secret)}
    asked = application.http.request(
        method, application.parts.url + path, headers=said | cookie(cookies), allow_redirects=False, **sent
    )
    async with asked as answer:
        text = await answer.text() + str(answer.headers)
        if answer.status >= 500 or answer.content_type == "application/json":
            assert secret not in text, (method, path, answer.status)
        return int(answer.status)


def cookie(values: Mapping[str, str]) -> dict[str, str]:
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in values.items())}


async def kept_in(redis: Redis) -> str:
    """Give the keys under which the auth service counts; what is under them are numbers."""
    while True:
        with contextlib.suppress(CacheUnavailable):
            return str(await redis.run(lambda client: client.keys("*rate/*")))
        await asyncio.sleep(0.1)


async def test_no_secret_comes_out_where_it_does_not_belong(
    parts: Parts, redis: Redis, logs: Logs, capfd: pytest.CaptureFixture[str]
) -> None:
    planted = await live(parts)
    assert len(planted) > 25
    statuses = {}
    for fault in ("away", "begin", "end"):
        database = Faulty(parts.database.pool, fault, " ".join(planted))
        statuses[fault] = await storm(dataclasses.replace(parts, database=database), planted)
    assert statuses["away"][500] == 0 < statuses["away"][503]
    assert min(statuses["begin"][500], statuses["end"][500]) > 15, "what crashes is among it"
    async with parts.database.connection() as connection:
        events = str(await connection.fetch("SELECT e::text FROM identity_events e"))
    shown = capfd.readouterr()
    places = {
        "logs": logs.written.getvalue(),
        "standard output": shown.out + shown.err,
        "metrics": generate_latest().decode(),
        "redis": await kept_in(redis),
        "events": events,
    }
    assert [(secret, place) for place, text in places.items() for secret in planted if secret in text] == []
    assert "a request failed" in places["logs"]
    # The same look finds what a log with the texts of exceptions would have told.
    assert all(secret in logs.told.getvalue() for secret in planted)
