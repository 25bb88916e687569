"""The command line of `loader.py`, and what it prints."""

import argparse
import json
import os
import platform
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from loader_input import Size, World, add_options, made
from loader_processes import Peer, python_of, race_streams, streams
from loader_race import Figures, goals_of, race, table_of_streams
from loader_tasks import NAMES, STREAM_GOALS, Hands, groups_of, task
from loader_ways import Files, has

from loader import MissingDataWarning

STREAMS: Final = "streams"
CLEAR_REFS: Final = Path("/proc/self/clear_refs")
ELSEWHERE: Final = {"arctic": "ArcticDB", "nautilus": "NautilusTrader"}


@dataclass
class Report:
    """What has been measured so far."""

    figures: dict[str, Any] = field(default_factory=dict)
    goals: list[str] = field(default_factory=list)

    def add(self, name: str, figures: Figures) -> None:
        self.figures[name] = {way: {"median": each.median, "values": each.values} for way, each in figures.items()}

    def table(self) -> str:
        return "\n".join(["", "| work | what | measured | goal | |", "| --- | --- | --: | --: | --- |", *self.goals])


def main(arguments: list[str] | None = None) -> None:
    options = _options(arguments)
    world = made(options.dir.absolute(), Size(options.symbols, options.trades, options.days))
    report = Report()
    with ExitStack() as stack, warnings.catch_warnings():
        warnings.simplefilter("ignore", MissingDataWarning)
        peers = {name: stack.enter_context(peer) for name, peer in _peers(world)}
        _say(f"{_machine()}, {time.strftime('%Y-%m-%d')}\n{_versions(peers)}")
        measure(Hands.of(world, peers), options, report)
    if STREAMS in options.only:
        measure_streams(world, options.rounds, report)
    _say(report.table())
    if options.json:
        options.json.write_text(json.dumps(report.figures, indent=1))


def measure(hands: Hands, options: argparse.Namespace, report: Report) -> None:
    """All tasks but the streams."""
    for name in NAMES:
        if name in options.only:
            work = task(name, hands)
            figures = race(work, options.rounds, _say)
            report.add(name, figures)
            report.goals += goals_of(work.title, work.goals, figures)


def measure_streams(world: World, rounds: int, report: Report) -> None:
    if not CLEAR_REFS.exists():
        _say("no Linux, so no memory to tell of: streams left out")
        return
    found = race_streams(streams(Files(world), has("iter_data", "chunk")), world.size.trades, rounds)
    title = f"Streaming {world.size.trades:,} trades"
    _say(table_of_streams(f"{title}, each in a fresh process", found))
    for way, figures in found.items():
        report.add(f"{STREAMS}: {way}", figures)
        if way.startswith("Tapevault"):
            report.goals += goals_of(f"{title}, {way}", STREAM_GOALS, figures)


def _peers(world: World) -> Iterator[tuple[str, Peer]]:
    """Those of another environment that are here."""
    groups = groups_of(world)
    for name in ELSEWHERE:
        if python_of(name):
            told = groups if name == "arctic" else {task: groups[task] for task in ("one", "fifty")}
            yield name, Peer(name, Files(world), told)


def _machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def _versions(peers: Mapping[str, Peer]) -> str:
    """Those of the libraries that take part, and which do not."""
    said = []
    for name in ("pandas", "polars", "pyarrow", "duckdb"):
        try:
            said.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            said.append(f"{name} NOT INSTALLED, left out")
    for name, title in ELSEWHERE.items():
        said.append(peers[name].version if name in peers else f"{title} NOT INSTALLED (make tools), left out")
    if not has("load_data", "output"):
        said.append("the loader has no output= yet: to Arrow left out")
    return ", ".join(said)


def _say(text: str) -> None:
    print(text, flush=True)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--rounds", type=int, default=7, help="counted rounds of the largest tasks (default 7)")
    every = (*NAMES, STREAMS)
    parser.add_argument(
        "--only", type=lambda text: text.split(","), default=every, help=f"some of {', '.join(every)} (default: all)"
    )
    parser.add_argument("--json", type=Path, help="where to write every figure")
    options = parser.parse_args(arguments)
    if unknown := set(options.only) - set(every):
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}")
    return options
