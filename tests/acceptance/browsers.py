"""Chromium without a window, driven as a person at the keyboard would."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

WITHIN_S: Final = 60.0
MOST_TABS: Final = 30
FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,900",
)


def programs() -> tuple[str, str]:
    """Find the browser and its driver."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    browser = next((path for name in names if (path := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("needs a browser: install it with `apt-get install chromium chromium-driver`")
    return browser, driver


@contextlib.contextmanager
def open_browser(folder: Path) -> Iterator[Chrome]:
    """Start a browser that remembers nothing."""
    browser, driver_program = programs()
    options = ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = Chrome(options=options, service=Service(driver_program))
    try:
        yield started
    finally:
        started.quit()


def _named(name: str) -> Callable[[WebElement], bool]:
    return lambda element: element.get_attribute("name") == name


class Forms:
    """Pages made of forms, as a person fills them in."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def wait(self, look: Callable[[], Any]) -> Any:
        """Look until there is something; a page that is left meanwhile shows nothing."""
        gone = (StaleElementReferenceException,)
        try:
            return WebDriverWait(self.driver, WITHIN_S, 0.05, gone).until(lambda _driver: look())
        except TimeoutException as error:
            error.msg = self.driver.find_element(By.TAG_NAME, "body").text[:1000]
            raise

    def find(self, selector: str) -> WebElement:
        """Find an element, which may still have to appear."""
        found: WebElement = self.wait(lambda: next(iter(self.driver.find_elements(By.CSS_SELECTOR, selector)), None))
        return found

    def heading(self, text: str) -> None:
        """Wait for the page of a heading."""
        self.wait(lambda: any(each.text == text for each in self.driver.find_elements(By.CSS_SELECTOR, "h1")))

    def press(self, text: str) -> None:
        """Press the button, or follow the link, that says so."""
        path = f"//button[normalize-space()='{text}'] | //a[normalize-space()='{text}']"
        self.wait(lambda: next(iter(self.driver.find_elements(By.XPATH, path)), None)).click()

    def fill(self, button: str, **fields: str) -> None:
        """Fill a form in, and send it."""
        for name, text in fields.items():
            self.find(f"[name={name}]").send_keys(text)
        self.press(button)

    def type(self, **fields: str) -> None:
        """Fill a form in with the keyboard alone, over what stands there, and send it with Enter."""
        self.find(f"[name={next(iter(fields))}]")
        for name, text in fields.items():
            self._tab_to(_named(name))
            ActionChains(self.driver).send_keys(text).perform()
        ActionChains(self.driver).send_keys(Keys.ENTER).perform()

    def choose(self, text: str) -> None:
        """Go to the button, or the link, that says so with the keyboard alone, and press Enter."""
        self.wait(lambda: text in self.driver.find_element(By.TAG_NAME, "main").text)
        self._tab_to(lambda element: element.tag_name in ("a", "button") and element.text == text)
        ActionChains(self.driver).send_keys(Keys.ENTER).perform()

    def _tab_to(self, is_there: Callable[[WebElement], bool]) -> None:
        for _ in range(MOST_TABS):
            ActionChains(self.driver).send_keys(Keys.TAB).perform()
            if is_there(self.driver.switch_to.active_element):
                return
        pytest.fail("the keyboard does not lead there")

    def complaints(self) -> list[str]:
        """Give the errors of the console, violations of the content security policy among them."""
        entries: list[dict[str, Any]] = self.driver.get_log("browser")  # type: ignore[no-untyped-call] # not annotated
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]
