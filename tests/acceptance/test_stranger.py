"""A stranger who uses only the pages and the explorer: from signing up to signing out everywhere."""

import asyncio
import datetime as dt
import http
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import aiohttp
import pyotp
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.virtual_authenticator import VirtualAuthenticatorOptions

from tests.acceptance.browsers import Forms, open_browser
from tests.acceptance.main_job import ROOT
from tests.acceptance.people import People
from tests.acceptance.test_page import Page
from tests.conftest import eventually
from tests.oidc import sign_up

PASSWORD: Final = "seven lamps in a cellar"
WITHIN_S: Final = 60.0


@pytest.fixture(scope="module")
def driver(short_folder: Path) -> Iterator[Chrome]:
    """Start a browser of its own: its cookies are a stranger's."""
    with open_browser(short_folder / "stranger") as started:
        yield started


async def test_a_stranger_needs_only_the_pages_and_the_explorer(driver: Chrome, people_of_one_cell: People) -> None:
    if not (ROOT / "graphiql" / "dist" / "manifest.json").exists():
        pytest.skip("needs the explorer: build it with `npm ci && npm run build` in graphiql/")
    job, forms, name = people_of_one_cell.job, Forms(driver), f"str.{secrets.token_hex(4)}"
    email, url = f"{secrets.token_hex(8)}@example.org", job.identity_url
    await asyncio.to_thread(sign_up_by_mail, forms, url, email, name)
    totp, used = await asyncio.to_thread(enable_codes, forms, url, email)

    page = Page(driver)
    driver.get(job.url)
    page.find("#kith-sign-in").click()
    await asyncio.to_thread(forms.heading, "Sign in")
    forms.fill("Sign in", email=email, password=PASSWORD)
    await asyncio.to_thread(forms.heading, "One more step")
    # A code opens once: what the program shows next does as well as waiting for it.
    forms.fill("Go on", code=totp.at(max(dt.datetime.now(dt.UTC), used + dt.timedelta(seconds=30))))
    await asyncio.to_thread(page.wait_for_name, name)

    star = people_of_one_cell.take()
    renamed = f"new.{secrets.token_hex(4)}"
    page.type(f'mutation {{ changeUsername(input: {{username: "{renamed}"}}) {{ user {{ username }} }} }}')
    assert page.run() == {"data": {"changeUsername": {"user": {"username": renamed}}}}
    page.type(f'mutation {{ followUser(input: {{userId: "{star.id}"}}) {{ user {{ viewerFollowState }} }} }}')
    page.wait(lambda: "changeUsername" not in page.query)
    page.press()
    page.wait(lambda: "viewerFollowState" in page.response)
    assert '"ACTIVE"' in page.response
    token = page.find("#kith-token").get_attribute("value")
    assert token

    driver.get(f"{url}/account")
    forms.press("Sign out everywhere")
    await asyncio.to_thread(forms.heading, "You are signed out")
    driver.back()
    await asyncio.to_thread(forms.heading, "Sign in")
    assert email not in driver.page_source, "the page before is not shown from what the browser kept"
    driver.get(f"{url}/account")
    await asyncio.to_thread(forms.heading, "Sign in")
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as client:

        async def is_refused() -> bool:
            async with client.post(job.url, json={"query": "{ me { id } }"}) as answer:
                return int(answer.status) == http.HTTPStatus.UNAUTHORIZED

        await eventually(is_refused, within=WITHIN_S)
    assert not [complaint for complaint in forms.complaints() if "status of 40" not in complaint], "only refusals"


def sign_up_by_mail(forms: Forms, url: str, email: str, name: str) -> None:
    """Sign up with the keyboard alone, and follow the link of the mail that development shows."""
    forms.driver.get(f"{url}/sign-up")
    forms.type(email=email, username="star", password=PASSWORD)
    assert "not available" in forms.find("#username-problem").text
    forms.type(username=name, password="password1")
    assert "tried first" in forms.find("#password-problem").text
    forms.type(password=PASSWORD)
    forms.heading("Look into your mails")
    forms.driver.get(f"{url}/mails")
    text = forms.find("main").text
    link = re.search(r"http://\S+/sign-up/confirm\S+", text[text.index(email) :])
    assert link
    forms.driver.get(link[0])
    forms.choose("Make my account")
    forms.heading("Welcome")


def enable_codes(forms: Forms, url: str, email: str) -> tuple[pyotp.TOTP, dt.datetime]:
    """Sign in with the keyboard alone, switch codes on, and sign out.

    Gives the program for codes, and the time of the one that it showed.
    """
    forms.driver.get(f"{url}/sign-in")
    forms.type(email=email, password=PASSWORD)
    forms.heading("Your account")
    forms.press("Switch codes on")
    totp = pyotp.TOTP(forms.find("#secret").text.replace(" ", ""))
    assert forms.driver.find_elements(By.CSS_SELECTOR, ".picture svg path")
    used = dt.datetime.now(dt.UTC)
    forms.fill("Switch codes on", code=totp.at(used))
    forms.heading("Your recovery codes")
    forms.press("I have kept them")
    forms.heading("Your account")
    forms.press("Sign out everywhere")
    forms.heading("You are signed out")
    return totp, used


async def test_a_passkey_of_a_real_browser_signs_in_alone(driver: Chrome, people_of_one_cell: People) -> None:
    job, forms = people_of_one_cell.job, Forms(driver)
    async with job.identity_parts() as parts:
        browser = await sign_up(parts, secrets.token_urlsafe(16))
    cookie = {"url": job.identity_url, "name": parts.cookie.name, "value": browser.secret}
    driver.execute_cdp_cmd("Network.setCookie", {**cookie, "httpOnly": True, "sameSite": "Lax"})
    options = VirtualAuthenticatorOptions(
        transport=VirtualAuthenticatorOptions.Transport.INTERNAL,
        has_resident_key=True,
        has_user_verification=True,
        is_user_verified=True,
    )
    driver.add_virtual_authenticator(options)
    driver.get(f"{job.identity_url}/account/passkeys")
    forms.press("Make a passkey")
    await asyncio.to_thread(forms.heading, "Your recovery codes")
    forms.press("I have kept them")
    forms.press("Sign out everywhere")
    await asyncio.to_thread(forms.heading, "You are signed out")
    forms.press("Sign in")
    forms.press("Sign in with a passkey")
    forms.press("Use a passkey")
    await asyncio.to_thread(forms.heading, "Your account")
    assert driver.find_elements(By.CSS_SELECTOR, "[name=passkey]")
    driver.remove_virtual_authenticator()
    assert forms.complaints() == []
