"""The pages of the auth service, as a browser asks for them, and as somebody does who is up to no good."""

import contextlib
import dataclasses
import datetime as dt
import html
import json
import re
import secrets
import uuid
from collections.abc import AsyncIterator
from typing import Final

import aiohttp
import pyotp
import pytest
from aiohttp import web
from multidict import CIMultiDict

from domain.rate_limits import RATES, OperationClass
from identity import mails
from identity.accounts import TABLE, Account, fetch_account, insert_account
from identity.app import make_app
from identity.metrics import PASSWORD_HASHES
from identity.parts import Parts
from identity.passwords import Effort, Passwords
from identity.sessions import fetch_sessions
from tests.authenticator import Authenticator
from tests.faulty import Faulty

PASSWORD: Final = "seven lamps in a cellar"
OTHER_PASSWORD: Final = "eight lamps in an attic"
CHEAP: Final = Effort(memory_kib=64, passes=1, threads=1, waiting=8)
_FIELD: Final = re.compile(r'name="form" value="([0-9a-f]{64})"')
_LINK: Final = re.compile(r"http://localhost:8100(/\S+)")


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a page answered."""

    status: int
    headers: CIMultiDict[str]
    body: bytes

    @property
    def text(self) -> str:
        return html.unescape(self.body.decode())

    @property
    def leads_to(self) -> str:
        return self.headers.get("Location", "")


class Browser:
    """A browser without scripts, which does not follow where it is led by itself."""

    def __init__(self, base: str, session: aiohttp.ClientSession) -> None:
        self.base = base
        self.session = session

    async def get(self, path: str, **headers: str) -> Answer:
        return await self._ask("GET", path, None, headers)

    async def send(
        self, path: str, _form: str | None = None, _headers: dict[str, str] | None = None, **fields: str
    ) -> Answer:
        """Send a form of the page at `_form`, or of the page at `path` itself."""
        page = await self.get(_form or path)
        found = _FIELD.search(page.text)
        assert found, page
        return await self._ask("POST", path, {"form": found[1], **_named(fields)}, _headers or {})

    async def sign_in(self, email: str, password: str = PASSWORD, **more: str) -> Answer:
        return await self.send("/sign-in", None, None, email=email, password=password, **more)

    async def _ask(self, method: str, path: str, form: dict[str, str] | None, headers: dict[str, str]) -> Answer:
        asked = self.session.request(method, self.base + path, data=form, headers=headers, allow_redirects=False)
        async with asked as answer:
            return Answer(answer.status, CIMultiDict(answer.headers), await answer.read())


def _named(fields: dict[str, str]) -> dict[str, str]:
    return {"continue" if name == "onward" else name: value for name, value in fields.items()}


@dataclasses.dataclass(frozen=True, slots=True)
class Site:
    """The service as it is served for a test."""

    parts: Parts
    base: str
    browsers: contextlib.AsyncExitStack

    async def browser(self) -> Browser:
        session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        return Browser(self.base, await self.browsers.enter_async_context(session))

    async def member(self) -> tuple[uuid.UUID, str]:
        """Make an account; gives its id and its address."""
        account_id, email = uuid.uuid4(), f"{secrets.token_hex(8)}@example.org"
        stored = await self.parts.credentials.passwords.hash(PASSWORD)
        sealed = await self.parts.emails.seal(TABLE, account_id, email)
        subject = secrets.token_urlsafe(12)
        account = Account(account_id, subject, self.parts.emails.digest(email), sealed, stored)
        async with self.parts.database.transaction() as connection:
            await insert_account(connection, account)
        return account_id, email

    async def mail_to(self, email: str) -> list[str]:
        """Give what was written to an address, newest first."""
        async with self.parts.database.connection() as connection:
            latest = await mails.fetch_latest(connection, self.parts.vault, 100)
        return [mail.letter.text for mail in latest if mail.letter.to == email]

    async def link_to(self, email: str) -> str:
        found = _LINK.search((await self.mail_to(email))[0])
        assert found
        return found[1]


@pytest.fixture
async def site(identity_parts: Parts) -> AsyncIterator[Site]:
    """Serve the pages with cheap hashes, and without limits of rates."""
    passwords = Passwords(CHEAP)
    credentials = dataclasses.replace(identity_parts.credentials, passwords=passwords)
    async with serving(dataclasses.replace(identity_parts, credentials=credentials)) as served:
        yield served
    passwords.close()


@contextlib.asynccontextmanager
async def serving(parts: Parts) -> AsyncIterator[Site]:
    runner = web.AppRunner(make_app(parts))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Site(parts, f"http://127.0.0.1:{runner.addresses[0][1]}", stack)


def enforcing(site: Site) -> contextlib.AbstractAsyncContextManager[Site]:
    limits = dataclasses.replace(site.parts.credentials.limits, is_enforced=True)
    credentials = dataclasses.replace(site.parts.credentials, limits=limits)
    # Another address than that of other tests, whose counts are in the same Redis.
    return serving(
        dataclasses.replace(
            site.parts,
            credentials=credentials,
            settings=site.parts.settings.model_copy(update={"proxies": 1}),
        )
    )


def hashes() -> float:
    return float(PASSWORD_HASHES._value.get())


async def test_somebody_signs_in_sees_the_account_and_signs_out(site: Site) -> None:
    _, email = await site.member()
    browser = await site.browser()
    assert (await browser.get("/account")).leads_to == "/sign-in?continue=%2Faccount"
    answer = await browser.sign_in(email.upper(), onward="/authorize?client_id=graphiql&state=x")
    assert (answer.status, answer.leads_to) == (303, "/authorize?client_id=graphiql&state=x")
    page = await browser.get("/account")
    assert email in page.text
    assert "(this one)" in page.text
    assert (await browser.send("/sign-out", "/account")).leads_to == "/sign-in"
    assert (await browser.get("/account")).status == 303


async def test_a_wrong_password_and_nobodys_account_differ_in_nothing(site: Site) -> None:
    _, known = await site.member()
    blocked, blocked_email = await site.member()
    async with site.parts.database.transaction() as connection:
        await connection.execute("UPDATE accounts SET state = 'BLOCKED' WHERE id = $1", blocked)
    answers, made = [], []
    browser = await site.browser()
    for email, password in (
        (known, OTHER_PASSWORD),
        (f"{secrets.token_hex(8)}@example.org", PASSWORD),
        ("no address", PASSWORD),
        ("", ""),
        (blocked_email, PASSWORD),
    ):
        before = hashes()
        answers.append(await browser.sign_in(email, password))
        made.append(hashes() - before)
    assert made == [1] * 5
    assert {answer.status for answer in answers} == {400}
    assert len({answer.body for answer in answers}) == 1
    changing = {"Date"} | {name for name in answers[0].headers if name.lower().startswith("x-ratelimit")}
    assert len({str([(k, v) for k, v in each.headers.items() if k not in changing]) for each in answers}) == 1


@pytest.mark.parametrize("password", ["x" * 1025, "ü" * 600, "x" * 900_000], ids=["1025", "umlauts", "far more"])
async def test_a_password_that_is_too_long_is_a_bad_request_and_costs_no_hash(site: Site, password: str) -> None:
    _, known = await site.member()
    browser = await site.browser()
    before = hashes()
    answers = [await browser.sign_in(email, password) for email in (known, "nobody@example.org")]
    assert [answer.status for answer in answers] == [400, 400]
    assert answers[0].body == answers[1].body
    assert hashes() == before


async def test_what_is_too_much_at_once_is_told_to_come_back(site: Site) -> None:
    full = Passwords(Effort(memory_kib=64, passes=1, threads=1, waiting=0))
    while full._places.acquire(blocking=False):
        pass
    credentials = dataclasses.replace(site.parts.credentials, passwords=full)
    async with serving(dataclasses.replace(site.parts, credentials=credentials)) as busy:
        answer = await (await busy.browser()).sign_in("ana@example.org")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert "x-ratelimit-remaining" not in answer.headers, "nothing was done for it, and so nothing counts"
    full._places.release()
    full.close()


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/account//evil",
        "/authorize",
        "/mails",
        "/account\r\nX: y",
    ],
)
async def test_signing_in_leads_nowhere_else(site: Site, target: str) -> None:
    _, email = await site.member()
    answer = await (await site.browser()).sign_in(email, onward=target)
    assert answer.leads_to == "/account"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
    ],
)
async def test_a_form_that_another_site_sends_is_refused(site: Site, headers: dict[str, str]) -> None:
    _, email = await site.member()
    browser = await site.browser()
    assert (await browser.send("/sign-in", None, headers, email=email, password=PASSWORD)).status == 403


async def test_a_form_of_a_page_that_sends_no_referrer_has_no_origin_and_counts(site: Site) -> None:
    _, email = await site.member()
    ours = {"Origin": "null", "Sec-Fetch-Site": "same-origin"}
    answer = await (await site.browser()).send("/sign-in", None, ours, email=email, password=PASSWORD)
    assert answer.leads_to == "/account"


async def test_a_form_without_its_token_or_with_anothers_is_refused(site: Site) -> None:
    _, email = await site.member()
    browser, other = await site.browser(), await site.browser()
    fields = {"email": email, "password": PASSWORD}
    assert (await browser._ask("POST", "/sign-in", fields, {})).status == 403
    await browser.get("/sign-in")
    assert (await browser._ask("POST", "/sign-in", fields, {})).status == 403
    theirs = _FIELD.search((await other.get("/sign-in")).text)
    assert theirs
    assert (await browser._ask("POST", "/sign-in", {**fields, "form": theirs[1]}, {})).status == 403
    before = _FIELD.search((await browser.get("/sign-in")).text)
    assert before
    await browser.sign_in(email)
    answer = await browser._ask("POST", "/account/sign-out-everywhere", {"form": before[1]}, {})
    assert answer.status == 403  # shown before the sign-in


async def test_whoever_knows_the_services_name_alone_is_led_to_signing_in(site: Site) -> None:
    browser = await site.browser()
    assert (await browser.get("/")).leads_to == "/account"
    assert (await browser.get("/account")).leads_to == "/sign-in?continue=%2Faccount"


async def test_whose_page_was_open_for_too_long_is_led_to_it_again(site: Site) -> None:
    browser = await site.browser()
    for path, onward in (
        ("/sign-up", "/sign-up"),
        ("/sign-up/confirm?token=x", None),
        ("/account/password", "/account"),
    ):
        refused = await browser._ask("POST", path, {"form": "0" * 64}, {})
        assert refused.status == 403
        assert f'<a href="{onward or path}">Open the page again</a>' in refused.text


@pytest.mark.parametrize(("fault", "status"), [("away", 503), ("begin", 500)])
async def test_what_fails_is_told_to_people_in_words(site: Site, fault: str, status: int) -> None:
    database = Faulty(site.parts.database.pool, fault, "a secret")
    async with serving(dataclasses.replace(site.parts, database=database)) as broken:
        answer = await (await broken.browser()).send("/sign-in", email="ana@example.org", password=PASSWORD)
        assert answer.status == status
        assert re.search("<h1>(A moment, please|Something went wrong)</h1>", answer.text)
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "a secret" not in answer.text


@pytest.mark.parametrize("path", ["/sign-up", "/sign-in", "/sign-in/passkey", "/recovery", "/mails"])
async def test_pages_say_strictly_what_they_may_do_and_hold_nothing_inline(site: Site, path: str) -> None:
    page = await (await site.browser()).get(path)
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self' http://" in policy
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["Cache-Control"] == "no-store"
    assert not re.search(r"\son\w+=|style=|<script>|javascript:", page.text)
    cookie = page.headers["Set-Cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Lax", "Path=/"))


async def test_every_field_has_a_label_and_its_error_is_tied_to_it(site: Site) -> None:
    answer = await (await site.browser()).sign_in("nobody@example.org")
    for field in ("email", "password"):
        assert f'<label for="{field}">' in answer.text
    assert 'aria-describedby="password-problem"' in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert 'role="alert" tabindex="-1" autofocus' in answer.text
    assert "<title>Error: Sign in" in answer.text


async def enable_totp(browser: Browser) -> tuple[pyotp.TOTP, list[str]]:
    page = await browser.get("/account/totp")
    found = re.search(r'id="secret">([A-Z2-7 ]+)<', page.text)
    assert found, page
    totp = pyotp.TOTP(found[1].replace(" ", ""))
    codes = await browser.send("/account/totp", code=totp.now())
    return totp, re.findall(r"<code>([a-z2-7-]{19})</code>", codes.text)


async def test_a_code_by_the_clock_signs_in_once_and_so_does_each_recovery_code(site: Site) -> None:
    account, email = await site.member()
    browser = await site.browser()
    await browser.sign_in(email)
    totp, codes = await enable_totp(browser)
    assert len(codes) == 10
    assert "takes a code by the clock" in (await site.mail_to(email))[0]
    moment = [dt.datetime.now(dt.UTC) + dt.timedelta(minutes=2)]
    async with serving(dataclasses.replace(site.parts, clock=lambda: moment[0])) as later:

        async def attempt(code: str) -> str:
            browser = await later.browser()
            assert (await browser.sign_in(email, onward="/account")).leads_to.startswith("/sign-in/second?")
            assert (await browser.get("/account")).status == 303
            answer = await browser.send("/sign-in/second", code=code, onward="/account")
            return answer.leads_to or str(answer.status)

        assert await attempt(totp.at(moment[0] + dt.timedelta(seconds=60))) == "400"
        assert await attempt(totp.at(moment[0] - dt.timedelta(seconds=60))) == "400"
        assert await attempt(totp.at(moment[0])) == "/account"
        assert await attempt(totp.at(moment[0])) == "400"
        assert await attempt(totp.at(moment[0] - dt.timedelta(seconds=30))) == "400"
        assert await attempt(codes[0].upper().replace("-", " ")) == "/account"
        assert await attempt(codes[0]) == "400"
        async with site.parts.database.connection() as connection:
            sessions = await fetch_sessions(connection, account, moment[0])
        assert [session.methods for session in sessions if "otp" in session.methods] == [("pwd", "otp", "mfa")] * 2


async def test_after_five_tries_of_a_second_factor_the_password_is_asked_for_again(site: Site) -> None:
    _, email = await site.member()
    browser, thief = await site.browser(), await site.browser()
    await browser.sign_in(email)
    _, codes = await enable_totp(browser)
    await thief.sign_in(email)
    answers = [await thief.send("/sign-in/second", code=f"{number:06}") for number in range(4)]
    assert {answer.status for answer in answers} == {400}
    page = _FIELD.search((await thief.get("/sign-in/second")).text)
    assert page
    assert (await thief._ask("POST", "/sign-in/second", {"form": page[1], "code": "000005"}, {})).status == 400
    last = await thief._ask("POST", "/sign-in/second", {"form": page[1], "code": codes[0]}, {})
    assert last.leads_to.startswith("/sign-in?")
    assert (await thief.get("/account")).status == 303


async def test_codes_are_switched_off_and_the_password_is_enough_again(site: Site) -> None:
    _, email = await site.member()
    browser = await site.browser()
    await browser.sign_in(email)
    await enable_totp(browser)
    await browser.send("/account/totp/remove", "/account")
    assert (await (await site.browser()).sign_in(email)).leads_to == "/account"


async def test_what_a_forgotten_session_must_not_do_takes_a_recent_sign_in(site: Site) -> None:
    _, email = await site.member()
    moment = [dt.datetime.now(dt.UTC)]
    async with serving(dataclasses.replace(site.parts, clock=lambda: moment[0])) as aging:
        browser = await aging.browser()
        await browser.sign_in(email)
        moment[0] += dt.timedelta(minutes=11)
        for path in ("/account/totp", "/account/passkeys"):
            answer = await browser.get(path)
            assert answer.leads_to == f"/sign-in?continue={path.replace('/', '%2F')}&again=1"
        for path in ("/account/email", "/account/totp/remove", "/account/recovery-codes", "/account/passkeys/remove"):
            assert "again=1" in (await browser.send(path, "/account", email="new@example.org")).leads_to
        assert "sign in once more" in (await browser.get("/sign-in?again=1")).text
        await browser.sign_in(email)
        assert (await browser.get("/account/totp")).status == 200


async def test_a_passkey_signs_in_alone_and_as_a_second_factor_and_no_answer_counts_twice(site: Site) -> None:
    account, email = await site.member()
    browser = await site.browser()
    await browser.sign_in(email)
    device = Authenticator("http://localhost:8100", "localhost", counts=False)
    options = options_in(await browser.get("/account/passkeys"))
    added = await browser.send("/account/passkeys", credential=device.create(options))
    assert len(re.findall(r"<code>", added.text)) == 10
    alone = await site.browser()
    answer = device.get(options_in(await alone.get("/sign-in/passkey")))
    assert (await alone.send("/sign-in/passkey", credential=answer)).leads_to == "/account"
    assert (await alone.send("/sign-in/passkey", credential=answer)).status == 400
    stranger = await site.browser()
    assert (await stranger.send("/sign-in/passkey", credential=answer)).status == 400
    second = await site.browser()
    assert "/sign-in/second" in (await second.sign_in(email)).leads_to
    options = options_in(await second.get("/sign-in/second"))
    assert len(json.loads(options)["allowCredentials"]) == 1
    assert (await second.send("/sign-in/second", credential=device.get(options))).leads_to == "/account"
    name = re.search(r'name="passkey" value="([^"]+)"', (await browser.get("/account")).text)
    assert name
    await browser.send("/account/passkeys/remove", "/account", passkey=name[1])
    assert (await (await site.browser()).sign_in(email)).leads_to == "/account"
    gone = device.get(options_in(await alone.get("/sign-in/passkey")))
    assert (await alone.send("/sign-in/passkey", credential=gone)).status == 400
    async with site.parts.database.connection() as connection:
        kinds = await connection.fetch("SELECT kind FROM identity_events WHERE account_id = $1 ORDER BY id", account)
    assert {"passkey.added", "passkey.removed"} <= {row["kind"] for row in kinds}


def options_in(page: Answer) -> str:
    found = re.search(r'data-options="([^"]+)"', page.body.decode())
    assert found, page
    return html.unescape(found[1])


async def test_a_forgotten_password_is_changed_by_a_link_that_is_good_once(site: Site) -> None:
    _, email = await site.member()
    signed_in, browser = await site.browser(), await site.browser()
    await signed_in.sign_in(email)
    asked = [await browser.send("/recovery", email=address) for address in (email, f"x{email}")]
    assert [answer.leads_to for answer in asked] == ["/mail-sent"] * 2
    assert asked[0].body == asked[1].body
    assert [len(await site.mail_to(address)) for address in (email, f"x{email}")] == [1, 1]
    assert "there is no account" in (await site.mail_to(f"x{email}"))[0]
    link = await site.link_to(email)
    assert (await browser.send(link, password="password1")).status == 400
    assert (await browser.send(link, password=OTHER_PASSWORD)).status == 200
    assert (await browser.get(link)).status == 404
    assert (await signed_in.get("/account")).status == 303
    assert (await browser.sign_in(email)).status == 400
    assert (await browser.sign_in(email, OTHER_PASSWORD)).status == 303
    assert "by a link in a mail" in (await site.mail_to(email))[0]


async def test_a_link_that_leads_nowhere_has_a_row_like_any_other(site: Site) -> None:
    _, email = await site.member()
    browser = await site.browser()
    for address in (email, f"x{email}"):
        async with site.parts.database.connection() as connection:
            before = await connection.fetch("SELECT digest FROM mail_links")
            await browser.send("/recovery", email=address)
            assert len({*await connection.fetch("SELECT digest FROM mail_links")} - {*before}) == 1


async def test_a_new_password_signs_other_browsers_out(site: Site) -> None:
    _, email = await site.member()
    browser, other = await site.browser(), await site.browser()
    await browser.sign_in(email)
    await other.sign_in(email)
    assert (
        await browser.send("/account/password", "/account", current="wrong one", password=OTHER_PASSWORD)
    ).status == 400
    assert (await browser.send("/account/password", "/account", current=PASSWORD, password=email)).status == 400
    answer = await browser.send("/account/password", "/account", current=PASSWORD, password=OTHER_PASSWORD)
    assert "Your password is changed" in (await browser.get(answer.leads_to)).text
    assert (await browser.get("/account")).status == 200
    assert (await other.get("/account")).status == 303
    assert (await other.sign_in(email, OTHER_PASSWORD)).leads_to == "/account"


async def test_another_address_counts_once_its_mail_was_answered(site: Site) -> None:
    account, email = await site.member()
    _, taken = await site.member()
    browser = await site.browser()
    await browser.sign_in(email)
    await enable_totp(browser)
    fresh = f"new.{email}"
    asked = [await browser.send("/account/email", "/account", email=address) for address in (taken, fresh)]
    assert asked[0].body == asked[1].body
    assert "another account" in (await site.mail_to(taken))[0]
    link = await site.link_to(fresh)
    assert (await (await site.browser()).get(link)).status == 303
    assert (await browser.send(link)).leads_to == "/account"
    assert fresh in (await browser.get("/account")).text
    assert "Another address" in (await site.mail_to(email))[0]
    assert (await (await site.browser()).sign_in(email)).status == 400
    assert "/sign-in/second" in (await (await site.browser()).sign_in(fresh)).leads_to
    async with site.parts.database.connection() as connection:
        changed = await fetch_account(connection, account)
        told = await connection.fetch("SELECT kind FROM commands WHERE subject_id = $1", account)
    assert changed is not None
    assert changed.email_verified_at is not None
    assert [row["kind"] for row in told] == ["EMAIL"]  # the user service hears of it


async def test_signing_up_with_an_address_that_has_an_account_differs_in_nothing(site: Site) -> None:
    _, known = await site.member()
    browser, answers, made = await site.browser(), [], []
    for email in (known, f"x{known}"):
        before = hashes()
        fields = {"email": email, "username": f"n.{secrets.token_hex(4)}", "password": PASSWORD}
        answers.append(await browser.send("/sign-up", None, None, **fields))
        made.append(hashes() - before)
    assert made == [1, 1]
    assert [answer.leads_to for answer in answers] == ["/mail-sent"] * 2
    assert answers[0].body == answers[1].body
    assert "You have one already" in (await site.mail_to(known))[0]
    link = await site.link_to(f"x{known}")
    assert "Make my account" in (await browser.get(link)).text
    assert "being made" in (await browser.get((await browser.send(link)).leads_to)).text
    assert (await browser.get("/sign-up/confirm?token=none")).status == 404


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("email", "no address", "not an e-mail address"),
        ("email", "a@b.example\r\nBcc: eve@example.org", "not an e-mail address"),
        ("username", "a..b", "letters and digits"),
        ("username", "admin", "not available"),
        ("password", "kith-2026", "your own name"),
        ("password", "password1", "tried first"),
    ],
)
async def test_what_is_wrong_with_a_sign_up_is_told_beside_its_field(
    site: Site, field: str, value: str, says: str
) -> None:
    fields = {"email": "new@example.org", "username": "newcomer", "password": PASSWORD, field: value}
    before = hashes()
    answer = await (await site.browser()).send("/sign-up", None, None, **fields)
    assert (answer.status, hashes()) == (400, before)
    assert re.search(rf'id="{field}-problem">[^<]*{says}', answer.text)


async def test_sessions_end_one_by_one_and_all_at_once(site: Site) -> None:
    account, email = await site.member()
    first, second, third = [await site.browser() for _ in range(3)]
    for browser in (first, second, third):
        await browser.sign_in(email)
    page = await first.get("/account")
    assert page.text.count('name="session"') == 3
    async with site.parts.database.connection() as connection:
        second_id = (await fetch_sessions(connection, account, dt.datetime.now(dt.UTC)))[1].id
    await first.send("/account/sessions", "/account", session=str(second_id))
    assert (await second.get("/account")).status == 303
    stranger = await site.browser()
    _, other_email = await site.member()
    await stranger.sign_in(other_email)
    answer = await first.send("/account/sign-out-everywhere", "/account")
    assert "signed out" in answer.text
    assert [(await browser.get("/account")).status for browser in (first, third, stranger)] == [303, 303, 200]


async def test_nobody_ends_the_session_of_somebody_else(site: Site) -> None:
    account, email = await site.member()
    _, other_email = await site.member()
    browser, other = await site.browser(), await site.browser()
    await browser.sign_in(email)
    await other.sign_in(other_email)
    async with site.parts.database.connection() as connection:
        (session,) = await fetch_sessions(connection, account, dt.datetime.now(dt.UTC))
    await other.send("/account/sessions", "/account", session=str(session.id))
    assert (await browser.get("/account")).status == 200


async def test_signing_in_as_somebody_else_ends_the_session_before(site: Site) -> None:
    account, email = await site.member()
    _, other_email = await site.member()
    browser = await site.browser()
    await browser.sign_in(email)
    await browser.sign_in(other_email)
    assert other_email in (await browser.get("/account")).text
    async with site.parts.database.connection() as connection:
        assert await fetch_sessions(connection, account, dt.datetime.now(dt.UTC)) == []


async def test_signing_in_too_often_is_refused_for_known_and_unknown_accounts_alike(site: Site) -> None:
    _, known = await site.member()
    most = RATES[OperationClass.SIGN_IN].account[0].amount
    async with enforcing(site) as strict:

        async def knock(email: str, address: str) -> tuple[list[int], list[str]]:
            browser, statuses, left = await strict.browser(), [], []
            for _ in range(most + 1):
                where = {"X-Forwarded-For": address}
                answer = await browser.send("/sign-in", None, where, email=email, password=OTHER_PASSWORD)
                statuses.append(answer.status)
                left.append(answer.headers["x-ratelimit-remaining"])
                assert answer.status != 429 or int(answer.headers["Retry-After"]) > 0
            return statuses, left

        told = await knock(known, somewhere()), await knock(f"x{known}", somewhere())
        assert told[0] == told[1]
        assert told[0][0] == [400] * most + [429]
        before = hashes()
        browser = await strict.browser()
        elsewhere = {"X-Forwarded-For": somewhere()}
        refused = await browser.send("/sign-in", None, elsewhere, email=known, password=PASSWORD)
        assert (refused.status, hashes()) == (429, before)


def somewhere() -> str:
    return ".".join(["10", *(str(secrets.randbelow(250)) for _ in range(3))])


async def test_second_factors_are_tried_so_often_and_no_more_however_often_the_password_is_shown(site: Site) -> None:
    _, email = await site.member()
    browser = await site.browser()
    await browser.sign_in(email)
    await enable_totp(browser)
    most = RATES[OperationClass.SECOND_FACTOR].account[0].amount
    async with enforcing(site) as strict:
        thief = await strict.browser()
        where = {"X-Forwarded-For": somewhere()}
        statuses = []
        for number in range(most + 1):
            await thief.send("/sign-in", None, where, email=email, password=PASSWORD)
            statuses.append((await thief.send("/sign-in/second", None, where, code=f"{number:06}")).status)
        assert statuses[-1] == 429
        assert 429 not in statuses[: most - 1]  # the one that switched codes on may have counted as well


async def test_nothing_that_is_personal_or_secret_is_in_the_rows(site: Site) -> None:
    _, email = await site.member()
    browser = await site.browser()
    await browser.sign_in(email)
    totp, codes = await enable_totp(browser)
    await browser.send("/account/email", "/account", email=f"new.{email}")
    link = await site.link_to(f"new.{email}")
    tables = ("accounts", "totp_factors", "recovery_codes", "mails", "mail_links", "sessions", "identity_events")
    async with site.parts.database.connection() as connection:
        rows = [row for table in tables for row in await connection.fetch(f"SELECT * FROM {table}")]  # noqa: S608 - a test
    kept = str([tuple(row.values()) for row in rows])
    for secret in (email, email.partition("@")[0], PASSWORD, totp.secret, codes[0], link.rpartition("/")[2]):
        assert secret not in kept
