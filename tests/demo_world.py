"""The demo's market, served and downloaded once for all tests that need it, whichever worker comes first."""

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from docs import cookbook


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two data folders; one ends with the day of the cookbook's cut. Beside them, as `archive`, what they came from."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folders = {name: root / "cookbook" / name for name in ("whole", "cut")}
    done = root / "cookbook" / "done"
    with FileLock(root / "cookbook.lock"):
        if not done.exists():
            with cookbook.exchange(root / "cookbook" / "archive") as source:
                cookbook.prepare(source, folders["whole"])
                cookbook.download(source, folders["cut"], "--end", "2024-09-30")
            done.touch()
    return folders | {"archive": root / "cookbook" / "archive"}


def copied(home: Path, target: Path) -> None:
    """A home of a test's own. Archives and partitions are never written to, only replaced, so they are the same files;
    the status database is written to."""

    def copy(source: str, name: str) -> None:
        (os.link if Path(source).relative_to(home).parts[0] in ("raw", "processed") else shutil.copy2)(source, name)

    shutil.copytree(home, target, copy_function=copy)
