"""The picture of docs/bars.md: every kind is in it, and it can be drawn again."""

import sys
from pathlib import Path

from core.bars import BARS
from core.bars.spec import BarSpec

DOCS = Path(__file__).resolve().parent.parent / "docs"
sys.path.insert(0, str(DOCS))

import bars_picture  # noqa: E402


def test_every_kind_is_drawn_and_shown(tmp_path: Path) -> None:
    assert {BarSpec.parse(text).kind for text in bars_picture.SPECS} == set(BARS)
    bars = bars_picture.bars_of_the_day()
    assert all(len(frame) >= 8 for frame in bars.values())
    bars_picture.draw(bars).savefig(tmp_path / "bars.png")
    assert (tmp_path / "bars.png").stat().st_size > 20_000
    assert "](pictures/bars.png)" in (DOCS / "bars.md").read_text(encoding="utf-8")
    assert bars_picture.TARGET.stat().st_size < 120_000
