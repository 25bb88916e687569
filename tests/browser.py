"""A headless browser for the tests of pages: Debian's Chromium, driven by Playwright; no download of another one.

    from browser import browser  # noqa: F401 (a fixture)

    def test_a_page(browser: Browser) -> None:
        with opened(browser, url, width=390) as visit:
            assert visit.page.title() == "Tapevault"
        assert visit.complaints == []

One browser serves all tests of a process. Where there is none they skip and say so; TAPEVAULT_CHROMIUM names another.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = os.environ.get("TAPEVAULT_CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium is installed (apt-get install chromium), so pages are not looked at")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield started
        started.close()


@dataclass
class Visit:
    """A page that is looked at: every request it made, and all that the browser complained of."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    is_over: bool = False
    """What is under way when the window closes fails, and says nothing of the page."""

    def complain(self, what: str) -> None:
        if not self.is_over:
            self.complaints.append(what)

    def elsewhere(self, home: str) -> list[str]:
        """Requests that went to any other server than that of `home`."""
        return [url for url in self.requests if urlsplit(url)[:2] != urlsplit(home)[:2]]

    @property
    def overhang(self) -> int:
        """How many pixels of the page lie to the right of the window, so that one would have to scroll."""
        wide: int = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return wide


@contextmanager
def opened(browser: Browser, url: str, width: int = 1440, height: int = 900, scheme: str = "light") -> Iterator[Visit]:
    """A page in a window of its own, in a light or dark one."""
    is_dark = scheme == "dark"
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if is_dark else "light", has_touch=width < 600
    )
    visit = Visit(context.new_page())
    visit.page.on("request", lambda request: visit.requests.append(request.url))
    visit.page.on("requestfailed", lambda request: visit.complain(f"{request.url}: {request.failure}"))
    visit.page.on("pageerror", lambda error: visit.complain(str(error)))
    visit.page.on("console", lambda said: visit.complain(said.text) if said.type in ("error", "warning") else None)
    try:
        visit.page.goto(url)
        yield visit
    finally:
        visit.is_over = True
        context.close()
