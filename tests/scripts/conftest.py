"""The published market and an empty data root."""

from pathlib import Path

import pytest
from script_world import FIRST, LAST, SHELVES

from core.sample.archive import write_archive
from core.sample.market import SampleMarket, small_market


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What the loader tells of missing rows has tests of its own; here it is asked for more than there is."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.filterwarnings("ignore::loader.missing.MissingDataWarning"))


@pytest.fixture(scope="session")
def market() -> SampleMarket:
    return small_market(first=FIRST, last=LAST)


@pytest.fixture(scope="session")
def archive(market: SampleMarket, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    write_archive(market, folder, SHELVES)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"
