"""What docs/extending.md says of the code is so: its files are there, and its names mean what it says."""

import re

import pytest
from factories import ROOT

from core.exchanges.archive import Archive
from core.integrity.checks import CHECKS, Check
from core.storage.formats import FORMATS

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")


def names_of(protocol: type) -> set[str]:
    return {name for name in vars(protocol) if not name.startswith("_")}


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:core|tests|config|scripts|docs)/[\w./]+)`", PAGE))))
def test_a_file_that_is_named_is_there(path: str) -> None:
    assert (ROOT / path).exists()


def test_an_exchange_has_the_methods_that_are_named() -> None:
    section = PAGE.split("## An exchange")[1].split("## ")[0]
    assert names_of(Archive) <= set(re.findall(r"`(\w+)`", section))
    assert (len(names_of(Archive)), "the ten methods" in section) == (10, True)


def test_where_the_exchange_is_chosen_is_said() -> None:
    section = PAGE.split("## An exchange")[1].split("## ")[0]
    chosen = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "core").rglob("*.py")
        if re.search(r'\b(?:EXCHANGES|APIS)\["', path.read_text(encoding="utf-8"))
    }
    assert chosen == set(re.findall(r"`(core/(?:commands|jobs)/\w+\.py)`", section))


def test_checks_and_formats_are_made_as_it_says() -> None:
    assert Check._fields == ("run", "datasets")
    assert all(isinstance(check, Check) for check in CHECKS.values())
    for module in FORMATS.values():
        assert isinstance(module.SUFFIX, str)
        assert callable(module.read)
        assert {"write", "close", "abandon"} <= set(dir(module.Writer))
