"""docs/learning.md: its examples run on the demo's market, one behind the other, and its table says the defaults."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from docs import cookbook
from loader.recipe import Recipe

TEXT = cookbook.CHECKOUT / "docs" / "learning.md"


@pytest.mark.filterwarnings("ignore::loader.missing.MissingDataWarning")
def test_the_examples_run(
    homes: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TAPEVAULT_HOME", str(homes["whole"]))
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", TEXT.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 6
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("{'train': ")
    assert "4 15 5" in said
    assert any(line.startswith("[0, 1] {'train': ") and line.endswith(" 1") for line in said)
    assert any(re.fullmatch(r"3 0\.\d+", line) for line in said)
    assert sum(line.startswith("2025-02-1") for line in said) >= 2
    assert said[-1].endswith("['train', 'val']")


def test_the_table_of_options_is_that_of_the_recipe() -> None:
    rows = dict(re.findall(r"^\| (`[^|]+`) \| ([^|]+) \|", TEXT.read_text(encoding="utf-8"), re.MULTILINE))
    said: dict[str, str] = {}
    for names, values in rows.items():
        each = re.findall(r"`(\w+)`", names)
        said.update(zip(each, [value.strip(" `") for value in values.split(",")], strict=True))
    words = {"embargo": "the horizon", "quarantine": "no"}
    assert said == {
        one.name: words.get(one.name, f"{one.default:g}" if isinstance(one.default, float) else str(one.default))
        for one in fields(Recipe)
    }
