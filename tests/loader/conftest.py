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
