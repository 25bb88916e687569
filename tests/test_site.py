"""The documentation as a site: built without warnings, asking nobody else."""

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from browser import browser, opened  # noqa: F401 (a fixture)
from factories import ROOT
from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make site` does, in a folder of its own."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (folder / "mkdocs.yml").write_text((ROOT / "mkdocs.yml").read_text())
    zensical = Path(sys.executable).with_name("zensical")
    build = [str(zensical), "build", "--strict", "--clean", "--config-file", "mkdocs.yml"]
    done = subprocess.run(build, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower()
    return folder / "site"


def test_every_page_of_the_documentation_is_in_the_menu(site: Path) -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    listed = [page for part in nav for pages in part.values() for page in pages]
    assert sorted(listed) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))
    assert all((site / page).with_suffix(".html").exists() for page in listed)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(site: Path) -> Iterator[str]:
    """The site over HTTP on this machine; its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("width", [390, 1440])
def test_pages_ask_nobody_else_and_fit(served: str, browser: Browser, width: int) -> None:  # noqa: F811
    for page in ("index", "quickstart", "commands", "bars"):
        with opened(browser, f"{served}/{page}.html", width=width) as visit:
            assert re.search("Tapevault", visit.page.title())
            assert visit.page.locator("article h1").count() == 1
            assert visit.overhang <= 0, page
        assert visit.elsewhere(served) == [], page
        assert visit.complaints == [], page
