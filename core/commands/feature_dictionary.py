"""Write the tables of docs/features.md from core/features, or check that they say what it says."""

import argparse
from collections.abc import Iterator, Sequence
from typing import Final

from core.commands.generated import parser_of, read, settle
from core.errors import ConfigError
from core.features import FEATURES, SUBJECTS
from core.features.feature import Feature
from core.settings import CHECKOUT

DOCUMENT = CHECKOUT / "docs" / "features.md"
BEGIN: Final = "<!-- written by scripts/feature_dictionary.py -->\n"
END: Final = "<!-- end -->\n"
_BAR: Final = "\\|"

EXAMPLES = """examples:
  python scripts/feature_dictionary.py --check
  python scripts/feature_dictionary.py --write
"""


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    return settle(DOCUMENT, document(), options.write, "core/features")


def document() -> str:
    """The whole document, its tables as the code says them and the rest as it is. Raises ConfigError without marks."""
    before, begin, rest = read(DOCUMENT).partition(BEGIN)
    _, end, behind = rest.partition(END)
    if not begin or not end:
        raise ConfigError(f"{DOCUMENT.name} has no place for the tables: lines {BEGIN.strip()} and {END.strip()}")
    return f"{before}{begin}{tables()}{end}{behind}"


def tables() -> str:
    """All features, a table for each subject."""
    lines = [f"\n{len(FEATURES)} features.\n"]
    for name, features in SUBJECTS.items():
        lines += [f"### {name.capitalize()}\n", *_table(features), ""]
    return "\n".join(lines)


def _table(features: Sequence[Feature]) -> Iterator[str]:
    yield "| Feature | Formula | Unit | Window | Warm-up | Source |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for one in features:
        name = f"`{one.name}`{' (proxy)' if one.is_proxy else ''}"
        cells = (name, one.formula, one.unit, _window(one), one.needed.removesuffix(" rows"), one.source)
        yield f"| {' | '.join(cell.replace('|', _BAR) for cell in cells)} |"


def _window(one: Feature) -> str:
    if one.since_midnight:
        return "since midnight"
    if one.hours:
        return f"{one.hours} clock hours before its own"
    return "row" if one.window == 1 else str(one.window)


def parser() -> argparse.ArgumentParser:
    return parser_of(__doc__, EXAMPLES)
