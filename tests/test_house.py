"""The house rules, read from the code: floors, registries, settings, and that the README tells the truth."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.bars import BARS
from core.bars.rules import Family
from core.datasets import DATASETS
from core.export import EXPORTS
from core.settings import Settings, load_settings
from core.storage.formats import FORMATS

ROOT = Path(__file__).resolve().parent.parent
GROUND = (
    "types",
    "errors",
    "dates",
    "nearest",
    "datasets",
    "decimals",
    "division",
    "layout",
    "events",
    "settings",
    "compiled",
)
"""Floor 0, each importing only what stands before it (`settings` last)."""
FLOORS = {
    **dict.fromkeys((f"core.{name}" for name in GROUND), 0),
    **dict.fromkeys(("core.bars", "core.download", "core.learning", "core.storage"), 1),
    **dict.fromkeys(("core.exchanges", "core.export", "core.features", "core.integrity"), 2),
    **dict.fromkeys(("core.sample", "core.snapshot"), 2),
    **dict.fromkeys(("loader", "core.jobs", "core.monitor", "core.web"), 3),
    "core.commands": 4,
    "scripts": 5,
}
FORBIDDEN_NAMES = {"utils", "helpers", "common", "base", "misc"}


def sources() -> list[Path]:
    return [path for folder in ("core", "loader", "scripts") for path in sorted((ROOT / folder).rglob("*.py"))]


def room_of(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] == "_root":
        return "scripts"
    if parts[0] in ("loader", "scripts"):
        return parts[0]
    return ".".join(parts[:2]) if parts[0] == "core" and parts[1:] not in ([], ["__init__"]) else None


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Every imported module, also inside functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.lineno, node.module or ""


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_go_down(path: Path) -> None:
    here = room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    if here is None:
        return
    assert here in FLOORS, f"{here} has no floor: say in tests/test_house.py where it stands"
    for line, module in imports_of(path):
        there = room_of(module)
        if there is None or there == here:
            continue
        assert there in FLOORS, f"{path}:{line}: {module} has no floor"
        if FLOORS[here] == 0 and FLOORS[there] == 0:
            order = [f"core.{name}" for name in GROUND]
            assert order.index(there) < order.index(here), f"{path}:{line}: {here} may not import {there}"
        else:
            assert FLOORS[there] < FLOORS[here], f"{path}:{line}: {here} may not import {there}"


def test_no_room_is_called_utils() -> None:
    assert [path for path in sources() if path.stem in FORBIDDEN_NAMES] == []


def test_every_dataset_file_is_registered() -> None:
    others = {"__init__", "clock", "contracts", "dataset", "grid"}
    files = {path.stem for path in (ROOT / "core" / "datasets").glob("*.py")} - others
    assert files == set(DATASETS)
    assert all(dataset.name == name for name, dataset in DATASETS.items())


def test_every_format_file_is_registered() -> None:
    files = {path.stem for path in (ROOT / "core" / "storage" / "formats").glob("*.py")} - {"__init__"}
    assert {form.__name__.rpartition(".")[2] for form in FORMATS.values()} == files


def test_every_module_of_a_family_of_bars_is_that_of_a_registered_kind() -> None:
    kernels = {"threshold", "clock", "imbalance", "runs"}
    assert {rule.family.module for rule in BARS.values()} == kernels
    assert all((ROOT / "core" / "bars" / f"{name}.py").exists() for name in kernels)
    assert {rule.family for rule in BARS.values()} == set(Family)


def test_every_export_has_its_file() -> None:
    files = {path.stem for path in (ROOT / "core" / "export").glob("*.py")} - {"__init__"}
    assert set(EXPORTS) <= files
    assert all({*entry.datasets, *entry.when_named} <= set(DATASETS) for entry in EXPORTS.values())


def test_the_shipped_settings_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TAPEVAULT_HOME", raising=False)
    assert load_settings(ROOT / "config" / "settings.yaml") == Settings()


def test_the_top_level_is_what_was_agreed() -> None:
    for name in ("scripts", "loader", "core", "config", "tests", "data", "requirements.txt"):
        assert (ROOT / name).exists(), name


def readme_commands() -> list[str]:
    text = "\n".join(path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    return sorted(set(re.findall(r"python (?:-m )?((?:scripts|benchmarks)/\w+\.py)", text)))


def test_every_script_the_documentation_names_exists() -> None:
    assert readme_commands()
    assert [command for command in readme_commands() if not (ROOT / command).exists()] == []


def test_every_make_target_the_readme_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"`make (\w+)`", (ROOT / "README.md").read_text(encoding="utf-8"))):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_pinned_requirements_say_an_exact_version() -> None:
    tools = (ROOT / "tests" / "tools").glob("requirements-*.txt")
    for path in (ROOT / "requirements.txt", ROOT / "requirements-dev.txt", *tools):
        for line in path.read_text(encoding="utf-8").splitlines():
            requirement = line.split("#")[0].split(";")[0].strip()
            assert not requirement or requirement.startswith("-r ") or re.fullmatch(r"[\w.-]+==[\w.]+", requirement)


def test_only_commands_print() -> None:
    for path in sources():
        if path.parts[-2] != "commands":
            calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
            assert not [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"], path
