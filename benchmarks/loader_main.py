"""The command line of `loader.py`, and what it prints."""

import argparse
import json
import os
import platform
import time
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from loader_race import Figures, goals_of, race
from loader_tasks import Hands, tasks
from loader_world import Size, add_options, made

from loader import MissingDataWarning


def main() -> None:
    options = _options()
    world = made(options.dir.absolute(), Size(options.symbols, options.trades, options.days))
    print(f"{machine()}, {time.strftime('%Y-%m-%d')}\n{versions()}", flush=True)
    found: dict[str, Figures] = {}
    goals: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MissingDataWarning)
        for task in tasks(Hands.of(world)):
            if options.only is None or task.name in options.only:
                found[task.name] = race(task, options.rounds, _say)
                goals += goals_of(task.title, task.goals, found[task.name])
    _say("\n".join(["", "| work | what | measured | goal | |", "| --- | --- | --: | --: | --- |", *goals]))
    if options.json:
        options.json.write_text(json.dumps({name: _plain(figures) for name, figures in found.items()}, indent=1))


def machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def versions() -> str:
    """Those of the libraries that take part, and which do not."""
    said = []
    for name in ("pandas", "polars", "pyarrow", "duckdb"):
        try:
            said.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            said.append(f"{name} NOT INSTALLED, left out")
    return ", ".join(said)


def _plain(figures: Figures) -> dict[str, Any]:
    return {name: {"median": figure.median, "values": figure.values} for name, figure in figures.items()}


def _say(text: str) -> None:
    print(text, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--rounds", type=int, default=7, help="counted rounds of the largest tasks (default 7)")
    parser.add_argument("--only", type=lambda text: text.split(","), help="some of the tasks, by name")
    parser.add_argument("--json", type=Path, help="where to write every figure")
    options = parser.parse_args()
    if options.dir is None:
        parser.error("--dir: where to?")
    return options
