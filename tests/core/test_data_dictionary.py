"""docs/data-dictionary.md says what core/datasets says, about every column, and its command keeps it so."""

from pathlib import Path

import pytest
from factories import Command

from core.commands import data_dictionary
from core.datasets import DATASETS
from core.errors import ConfigError, StorageError
from core.storage.schema import schema_of

ROWS = [
    (dataset, market, column)
    for dataset in DATASETS.values()
    for market in dataset.markets
    for column in dataset.columns[market]
]


def section(name: str) -> str:
    text = data_dictionary.DICTIONARY.read_text(encoding="utf-8")
    return text.partition(f"\n## `{name}`\n")[2].partition("\n## ")[0]


def test_the_dictionary_is_what_the_datasets_say() -> None:
    said = data_dictionary.DICTIONARY.read_text(encoding="utf-8")
    assert said == data_dictionary.dictionary(), "run: python scripts/data_dictionary.py --write"


@pytest.mark.parametrize("name", list(DATASETS))
def test_a_section_tells_what_it_is_where_from_and_what_is_done_to_it(name: str) -> None:
    dataset, said = DATASETS[name], section(name)
    for fact in (f"`{dataset.remote}`", dataset.repair, *dataset.notes, *dataset.history.values()):
        assert fact in said
    assert ", ".join(f"`{part}`" for part in dataset.key) in said
    assert [cadence for cadence in ("by month", "by day") if f", {cadence}" in said or f"and {cadence}" in said]


def test_every_column_of_every_market_has_its_row_or_is_read_past() -> None:
    for dataset, market, column in ROWS:
        said = section(dataset.name)
        if column.name is None:
            assert f"`{column.source}` ({column.doc})" in said
            continue
        field = schema_of(dataset, market).field(column.name)
        words = " or ".join(f"`{word}`" for word in (column.source, *column.aliases))
        null = "yes" if field.nullable else "no"
        assert f"| `{column.name}` | {words} | {field.type} | {null} | {column.unit} | {column.doc} |" in said


def test_the_command_checks_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data-dictionary.md"
    monkeypatch.setattr(data_dictionary, "DICTIONARY", path)
    with pytest.raises(ConfigError, match="is not what core/datasets says; run this with --write"):
        data_dictionary.main(["--check"])
    assert data_dictionary.main(["--write"]) == 0
    assert data_dictionary.main(["--check"]) == 0
    path.write_text(path.read_text(encoding="utf-8").replace("base asset", "coins"), encoding="utf-8")
    with pytest.raises(ConfigError):
        data_dictionary.main(["--check"])
    monkeypatch.setattr(data_dictionary, "DICTIONARY", tmp_path / "gone" / "data-dictionary.md")
    with pytest.raises(StorageError):
        data_dictionary.main(["--write"])


def test_the_command_helps_and_refuses_what_it_does_not_know() -> None:
    command = Command("scripts/data_dictionary.py")
    helped = command.run("--help")
    assert (helped.code, helped.err) == (0, "")
    assert "--check" in helped.out
    assert "--write" in helped.out
    assert command.run("--check").code == 0
    for options in ((), ("--check", "--write"), ("--wrong",)):
        refused = command.run(*options)
        assert (refused.code, refused.out) == (2, "")
        assert refused.err.startswith("error: ")
