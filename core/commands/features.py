"""Make bars of stored trades, or bring them up to date."""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from core.bars.spec import BarSpec
from core.commands.command import (
    local_settings_from,
    positive,
    prepare_data_root,
    status_line,
    tell_not_stored,
)
from core.commands.names import as_called
from core.commands.stored import add_local_options, add_priority_option, wanted_from
from core.errors import ConfigError
from core.jobs.alone import alone
from core.layout import Layout
from core.nearest import did_you_mean
from core.storage.manager import StorageManager

if TYPE_CHECKING:
    from core.jobs.bars import BarTask, Built

EXAMPLES = """examples:
  python scripts/pipeline.py features --type standard --symbols BTCUSDT
  python scripts/pipeline.py features --type imbalance --symbols @majors --data-types agg_trades
  python scripts/pipeline.py features --bars dollar-1000000,tick_run-500-unclamped --market spot
  python scripts/pipeline.py features --type grid --symbols BTCUSDT --scheduler tcp://10.0.0.5:8786

Bars lie under data/processed/bars/<spec>. What is right is left alone: the trades of a new day extend them, and where
the exchange has replaced trades they are made again from there. load_bars(..., stored=True) reads them; docs/bars.md
has the kinds and their numbers.
exit codes: 0 all well, 1 something could not be made (the rest is) or is not stored, 2 wrong usage, 3 nothing stored,
4 the same command is at work already, 130 interrupted
"""
BAR_TYPES = {
    "standard": ("time-1h", "tick-1000", "dollar-40000000"),
    "imbalance": (
        "dollar_imbalance-5000000",
        "tick_imbalance-1000",
        "volume_imbalance-1000",
        "afml_dollar_imbalance-1000",
    ),
    "run": ("tick_run-1000", "volume_run-1000", "dollar_run-1000"),
    "grid": (),
}
"""What `--type` stands for; of `grid`, 72 sets of numbers of dollar imbalance bars."""
_SHOWN = 20


def features(options: argparse.Namespace) -> int:
    """Bring stored bars up to date."""
    from core.jobs.bars import TRADES, BarTask, Built  # numba, which no other command needs

    began = time.monotonic()
    specs = specs_from(options.bars, options.type)
    if options.scheduler and (options.processes is not None or options.sequential):
        given = "--sequential" if options.sequential else "--processes"
        raise ConfigError(f"{given} is for this machine, and --scheduler gives the work to others; leave one out")
    settings = local_settings_from(options)
    layout = Layout(settings.data_root)
    storage = StorageManager(layout, settings.storage, settings.quality)
    options.data_types = options.data_types or "trades"
    if odd := [name for name in options.data_types.split(",") if name not in TRADES]:
        raise ConfigError(
            f"--data-types: bars are made of {' or '.join(TRADES)}, not of {odd[0]!r}{did_you_mean(odd[0], TRADES)}"
        )
    wanted, missing = wanted_from(options, storage)
    tasks = [BarTask(settings, series, specs, not options.sequential) for series in wanted]
    prepare_data_root(layout.root)
    found: list[Built] = []
    with alone(layout, "features"), status_line(options, f"{len(specs)} kinds of bars of {len(wanted)} series") as says:
        storage.sweep()
        for built in _built(tasks, options):
            found.append(built)
            says(f"{len(found):,} of {len(wanted) * len(specs):,}; {built.series} {built.spec}")
    tell_not_stored(missing)
    for built in found:
        if built.error:
            print(as_called(f"failed: {built.series} {built.spec}: {built.error}"), file=sys.stderr)
        elif built.drift and built.months:
            print(f"drift: {built.series} {built.drift}", file=sys.stderr)
    seconds = time.monotonic() - began
    if options.json:
        rows = [asdict(built) | {"series": str(built.series)} for built in found]
        print(json.dumps({"bars": rows, "missing": missing, "seconds": round(seconds, 3)}))
    elif not options.quiet:
        Console().print(_bars_table(found))
        trades = sum({built.series: built.trades for built in found}.values())
        Console().print(f"{sum(built.bars for built in found):,} bars; {trades:,} trades read; {seconds:.1f} seconds")
    return 1 if missing or any(built.error for built in found) else 0


def _built(tasks: "Sequence[BarTask]", options: argparse.Namespace) -> "Iterator[Built]":
    from core.jobs.bars import build_all

    if not options.scheduler:
        yield from build_all(tasks, options.processes)
        return
    try:
        from core.jobs.bars_cluster import build_on, cluster
    except ImportError as error:
        raise ConfigError(f"--scheduler needs Dask ({error}): pip install -r requirements-distributed.txt") from error
    with cluster(options.scheduler) as client:
        yield from build_on(client, tasks)


def specs_from(bars: str | None, kind: str | None = None) -> tuple[BarSpec, ...]:
    """What `--bars` and `--type` say. Raises ConfigError."""
    if bars and kind:
        raise ConfigError("--type and --bars both say which bars; leave one of them out")
    if kind == "grid":
        from core.bars.grid import grid_of

        return tuple(grid_of())
    texts = bars.split(",") if bars else BAR_TYPES[kind or "standard"]
    return tuple(dict.fromkeys(BarSpec.parse(text) for text in texts))


def _bars_table(found: "Sequence[Built]") -> Table:
    table = Table(title="Bars", title_justify="left")
    table.add_column("bars", overflow="fold")
    for name in ("series", "bars of all", "months written"):
        table.add_column(name, justify="right")
    for spec in dict.fromkeys(built.spec for built in found):
        own = [built for built in found if built.spec == spec]
        bars, months = sum(built.bars for built in own), sum(built.months for built in own)
        table.add_row(spec, f"{len(own):,}", f"{bars:,}", f"{months:,}")
        if table.row_count == _SHOWN and len({built.spec for built in found}) > _SHOWN:
            table.add_row("and more; --json has all of them")
            break
    return table


def add_options(command: argparse.ArgumentParser) -> None:
    """What `features` is told."""
    mine = command.add_argument_group("this command")
    mine.add_argument("--type", choices=BAR_TYPES, help="a usual set of bars (default standard)")
    mine.add_argument("--bars", metavar="a,b", help="these bars instead, as dollar-40000000")
    mine.add_argument("--processes", type=positive, metavar="N", help="series at once (default: as many as processors)")
    mine.add_argument(
        "--scheduler", metavar="URL", help="on a Dask cluster, as tcp://host:8786; it has to see the data"
    )
    mine.add_argument("--sequential", action="store_true", help="decode and build in turn, not at once")
    add_priority_option(mine)
    add_local_options(command)
