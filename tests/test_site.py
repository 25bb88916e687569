"""The documentation as a site: built without warnings, opened from disk, asking nobody else."""

import re
import shutil
import subprocess
import sys
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


@pytest.mark.parametrize("width", [390, 1440])
def test_pages_open_from_disk_and_ask_nobody(site: Path, browser: Browser, width: int) -> None:  # noqa: F811
    for page in ("index", "quickstart", "commands", "bars"):
        with opened(browser, (site / f"{page}.html").as_uri(), width=width) as visit:
            assert re.search("Tapevault", visit.page.title())
            assert visit.page.locator("article h1").count() == 1
            assert visit.overhang == 0, page
        assert [url for url in visit.requests if not url.startswith(("file:", "data:", "blob:"))] == [], page
        assert visit.complaints == [], page
