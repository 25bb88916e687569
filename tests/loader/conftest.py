from collections.abc import Iterator
from pathlib import Path

import pytest
from loader_world import World

from loader import BacktestDataLoader


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "data")


@pytest.fixture
def loader(world: World) -> Iterator[BacktestDataLoader]:
    with world.loader() as opened:
        yield opened


ENDS = r"ignore:partly missing. \S+ \S+ to \S+ \S+ UTC. (\S+ (begins|ends) at \S+ \S+ )+(and|To|No) :UserWarning"
"""Most tests ask for a year or so, whatever is stored of it; what they are told of its ends has tests of its own."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent and not item.get_closest_marker("ends"):
            item.add_marker(pytest.mark.filterwarnings(ENDS.replace(" :", ":")))
