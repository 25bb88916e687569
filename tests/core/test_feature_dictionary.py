"""docs/features.md says what core/features says, about every feature, and its command keeps it so."""

from pathlib import Path

import pytest
from factories import Command

from core.commands import feature_dictionary
from core.errors import ConfigError, StorageError
from core.features import FEATURES


def test_the_tables_are_what_the_features_say() -> None:
    said = feature_dictionary.DOCUMENT.read_text(encoding="utf-8")
    assert said == feature_dictionary.document(), "run: python scripts/feature_dictionary.py --write"
    for name, feature in FEATURES.items():
        (line,) = [line for line in said.splitlines() if line.startswith(f"| `{name}`")]
        cells = line.replace("\\|", "/").split(" | ")
        assert len(cells) == 6
        assert cells[1] == feature.formula.replace("|", "/")
        assert cells[2] == feature.unit
        assert cells[5] == f"{feature.source.replace('|', '/')} |"
        assert ("(proxy)" in cells[0]) is feature.is_proxy


def test_the_command_checks_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "features.md"
    monkeypatch.setattr(feature_dictionary, "DOCUMENT", path)
    with pytest.raises(ConfigError, match="has no place for the tables"):
        feature_dictionary.main(["--write"])
    path.write_text(
        f"before\n{feature_dictionary.BEGIN}out of date\n{feature_dictionary.END}behind\n", encoding="utf-8"
    )
    with pytest.raises(ConfigError, match="is not what core/features says; run this with --write"):
        feature_dictionary.main(["--check"])
    assert feature_dictionary.main(["--write"]) == 0
    assert feature_dictionary.main(["--check"]) == 0
    text = path.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("behind\n")
    assert "out of date" not in text
    monkeypatch.setattr(feature_dictionary, "DOCUMENT", tmp_path)
    with pytest.raises(StorageError):
        feature_dictionary.main(["--check"])


def test_the_command_is_one() -> None:
    command = Command("scripts/feature_dictionary.py")
    assert command.run("--check").code == 0
    refused = command.run("--check", "--write")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("error: ")
