"""A headless browser for the tests of pages: Debian's Chromium, driven by Playwright; no download of another one.

    from browser import browser  # noqa: F401 (a fixture)

    def test_a_page(browser: Browser) -> None:
        with opened(browser, url, width=390) as visit:
            assert visit.page.title() == "Tapevault"
        assert visit.complaints == []

One browser serves all tests of a process. Where there is none they skip and say so; TAPEVAULT_CHROMIUM names another.

Playwright keeps an event loop running in the thread it was started in for as long as the browser is open, and commands
of other tests start loops of their own. So the browser has a thread to itself.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast
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
    with ThreadPoolExecutor(1, thread_name_prefix="browser") as thread:
        playwright = thread.submit(sync_playwright().start).result()
        there = _There(playwright, thread)
        try:
            started = there.chromium.launch(executable_path=path, args=list(ARGUMENTS))
            yield cast(Browser, started)
            started.close()
        finally:
            there.stop()


class _There:
    """An object of Playwright's: everything asked of it is done in its own thread, what it gives likewise."""

    def __init__(self, one: object, thread: Executor) -> None:
        self._one = one
        self._thread = thread

    def __getattr__(self, name: str) -> Any:
        found = self._done(lambda: getattr(self._one, name))
        if not callable(found) or isinstance(found, _There):
            return found
        return lambda *values, **options: self._done(lambda: found(*values, **options))

    def _done(self, work: Callable[[], object]) -> Any:
        given = self._thread.submit(work).result()
        return _There(given, self._thread) if type(given).__module__.startswith("playwright.") else given


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
