"""The explorer page in a real browser: choosing a person, running a query, hearing of a follow while it happens.

`KITH_SCREENSHOT=docs/explorer.png pytest tests/acceptance/test_page.py -k picture` takes the picture of the README.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from selenium.common.exceptions import TimeoutException
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from tests.acceptance.browsers import open_browser
from tests.acceptance.main_job import ROOT
from tests.acceptance.people import People
from tests.oidc import sign_up

SCREENSHOT: Final = os.environ.get("KITH_SCREENSHOT")
WITHIN_S: Final = 60.0
EXPORT: Final = "mutation { requestDataExport(input: {}) { userErrors { code } } }"
PASSWORD: Final = "three wise tortoises"
MOST_BYTES: Final = 200_000
TABS: Final = ("WhoAmI", "ProfileWithFollowers", "Follow", "Block", "LiveFollows", "PrivacySettings")
_MODEL: Final = "return __MONACO.editor.getModels().find(m => m.uri.path.endsWith(arguments[0]))?.getValue() ?? ''"


class Page:
    """The page, as a person at the keyboard uses it."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def find(self, selector: str) -> WebElement:
        """Find an element, which may still have to appear."""
        found: WebElement = self.wait(lambda: next(iter(self.driver.find_elements(By.CSS_SELECTOR, selector)), None))
        return found

    def wait(self, look: Callable[[], Any]) -> Any:
        """Look until there is something; fails with what the page shows instead."""
        waiting = WebDriverWait(self.driver, WITHIN_S, poll_frequency=0.05)
        try:
            return waiting.until(lambda _driver: look())
        except TimeoutException as error:
            error.msg = f"{self.driver.current_url}: {self.driver.find_element(By.TAG_NAME, 'body').text}"
            raise

    def become(self, name: str) -> None:
        """Choose a person, and wait until the server has said who that is."""
        Select(self.find("#kith-person")).select_by_value(name)
        self.wait_for_name(name or "anonymous")

    def wait_for_name(self, name: str) -> None:
        """Wait until the server has said who one is."""
        self.wait(lambda: self.find("#kith-who").text == f"You are {name}")

    def open_tab(self, name: str) -> None:
        """Open one of the tabs that the page starts with."""
        tabs = self.wait(lambda: self.driver.find_elements(By.CSS_SELECTOR, "[id^=graphiql-session-tab-]"))
        tabs[TABS.index(name)].click()
        self.wait(lambda: f" {name} " in self.query.replace("(", " "))

    def type(self, query: str) -> None:
        """Type over the query."""
        self.find(".graphiql-query-editor .monaco-editor").click()
        editor = self.driver.switch_to.active_element
        editor.send_keys(Keys.CONTROL, "a")
        editor.send_keys(Keys.DELETE)
        self.driver.execute_cdp_cmd("Input.insertText", {"text": query})
        self.wait(lambda: self.query == query)

    def press(self) -> None:
        """Press the button that runs the operation, or stops it."""
        self.find("button.graphiql-execute-button").click()

    def run(self) -> dict[str, Any]:
        """Run the operation, and give the answer that is shown."""
        self.press()
        answer: dict[str, Any] = json.loads(self.wait(lambda: self.response))
        return answer

    @property
    def query(self) -> str:
        """Read the query editor."""
        return self.model("-operation.graphql") or self.model(".graphql")

    @property
    def response(self) -> str:
        """Read the response; empty while it is awaited."""
        return self.model("-response.json")

    def model(self, suffix: str) -> str:
        """Read what an editor holds."""
        return str(self.driver.execute_script(_MODEL, suffix))

    def complaints(self) -> list[str]:
        """Give the errors of the console, violations of the content security policy among them."""
        entries: list[dict[str, Any]] = self.driver.get_log("browser")  # type: ignore[no-untyped-call] # not annotated
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]


@pytest.fixture(scope="module")
def driver(short_folder: Path) -> Iterator[Chrome]:
    """Start a browser that remembers nothing."""
    with open_browser(short_folder / "browser") as started:
        yield started


@pytest.fixture
def page(driver: Chrome, people_of_one_cell: People) -> Iterator[Page]:
    """Open the page in a tab of its own; in the end, the console must not have complained."""
    if not (ROOT / "graphiql" / "dist" / "manifest.json").exists():
        pytest.skip("needs the explorer: build it with `npm ci && npm run build` in graphiql/")
    first = driver.current_window_handle
    driver.switch_to.new_window("tab")
    driver.get(people_of_one_cell.job.url)
    opened = Page(driver)
    opened.find(".graphiql-query-editor .monaco-editor")
    yield opened
    complaints = opened.complaints()
    driver.close()
    driver.switch_to.window(first)
    assert complaints == []


def test_somebody_is_chosen_and_a_query_answered(page: Page) -> None:
    page.become("ana")
    page.type("{ me { username displayName } }")
    assert page.run() == {"data": {"me": {"username": "ana", "displayName": "Ana Reyes"}}}
    assert page.find("#kith-status").text.startswith("HTTP 200 in ")


async def test_whoever_has_an_account_signs_in_and_stays_so_until_signing_out(
    page: Page, people_of_one_cell: People
) -> None:
    person, job = people_of_one_cell.take(), people_of_one_cell.job
    async with job.identity_parts() as parts:
        browser = await sign_up(parts, person.id, PASSWORD)
    page.find("#kith-sign-in").click()
    page.find("input[name=email]").send_keys(browser.email)
    page.find("input[name=password]").send_keys(PASSWORD, Keys.ENTER)
    page.wait_for_name(person.name)
    page.type("{ me { username } }")
    assert page.run() == {"data": {"me": {"username": person.name}}}
    stored = page.driver.execute_script("return JSON.stringify([sessionStorage, localStorage, location.href])")
    assert (page.find("#kith-token").get_attribute("value") or "").startswith("eyJ")
    assert "eyJ" not in stored
    assert "code=" not in stored
    page.driver.refresh()
    page.wait_for_name(person.name)
    async with job.identity_parts() as parts, parts.database.connection() as connection:
        statement = "UPDATE sessions SET authenticated_at = authenticated_at - interval '1 hour' WHERE account_id = $1"
        await connection.execute(statement, browser.account_id)
    page.driver.refresh()
    page.wait_for_name(person.name)
    page.type(EXPORT)
    assert page.run()["errors"][0]["extensions"]["code"] == "STEP_UP_REQUIRED"
    page.wait(lambda: page.find("#kith-sign-in").text == "Sign in again")
    page.find("#kith-sign-in").click()
    page.find("input[name=email]").send_keys(browser.email)
    page.find("input[name=password]").send_keys(PASSWORD, Keys.ENTER)
    page.wait_for_name(person.name)
    page.wait(lambda: page.query == EXPORT)
    assert page.run()["data"]["requestDataExport"]["userErrors"] == []
    page.find("#kith-sign-in").click()
    page.wait_for_name("anonymous")
    page.wait(lambda: page.find("#kith-sign-in").text == "Sign in")
    page.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})


def test_nobody_is_anonymous(page: Page) -> None:
    page.become("")
    page.open_tab("WhoAmI")
    assert page.run() == {"data": {"me": None}}


def test_errors_are_shown(page: Page) -> None:
    page.become("ana")
    page.type("{ user { id } }")
    assert page.run()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    assert "exactly one" in page.find("#kith-status").text


def test_a_token_that_is_not_accepted_is_told(page: Page) -> None:
    field = page.find("#kith-token")
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys("nonsense")
    page.wait(lambda: page.find("#kith-who").text == "You are nobody: token refused")
    # The browser itself notes the answer 401 in the console: that is what was asked for here.
    assert all("401" in complaint for complaint in page.complaints())


async def test_a_follow_appears_while_the_page_listens(page: Page, people_of_one_cell: People) -> None:
    people = people_of_one_cell
    page.become("ana")
    page.open_tab("LiveFollows")
    page.press()
    page.wait(lambda: "Listening" in page.find("#kith-status").text)
    count = 0
    for _ in range(10):  # the first follow may come before the stream has begun
        await people.eve.unfollow(people.ana)
        await people.eve.follow(people.ana)
        if count := count_of_events(page):
            break
    await people.eve.unfollow(people.ana)
    assert count == 1
    assert json.loads(page.response)["data"]["followReceived"]["actor"] == {
        "username": "eve",
        "displayName": "Eve Novak",
    }
    page.press()
    page.wait(lambda: "stopped" in page.find("#kith-status").text)


def count_of_events(page: Page) -> int:
    """Give how many events the page has shown within a second."""
    look = WebDriverWait(page.driver, 1.0, poll_frequency=0.05, ignored_exceptions=[])
    try:
        shown = look.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "#kith-events"))
    except TimeoutException:
        return 0
    return int(shown[0].get_attribute("data-count") or 0)


def test_a_picture_is_taken_that_shows_no_token(page: Page, people_of_one_cell: People, tmp_path: Path) -> None:
    page.become("ana")
    page.open_tab("ProfileWithFollowers")
    assert page.run()["data"]["user"]["followersCount"] == 121
    assert str(people_of_one_cell.ana.token) not in page.find("body").text
    assert page.find("#kith-token").value_of_css_property("-webkit-text-security") == "disc"
    size = {"width": 1400, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)  # without the browser's own bars
    picture = Path(SCREENSHOT) if SCREENSHOT else tmp_path / "explorer.png"
    assert page.driver.save_screenshot(str(picture))
    assert picture.stat().st_size < MOST_BYTES
