"""Write stored data in the format of another tool; see docs/exports.md."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table

from core.commands.command import (
    Parser,
    add_data_options,
    add_request_options,
    add_run_options,
    local_settings_from,
    request_from,
    shown,
    status_line,
    tell_not_stored,
)
from core.commands.logs import log_to_stderr
from core.datasets import DATASETS, market_named
from core.errors import ConfigError, DiskFull, MarketDataError, NoData
from core.export import EXPORTS
from core.export.format import Format, Options, Written
from core.jobs.request import Request
from core.layout import Layout
from core.nearest import did_you_mean, one_of
from core.storage.manager import StorageManager
from core.types import Series

EXAMPLES = """examples:
  python scripts/export.py --format nautilus --out catalog --symbols BTCUSDT --interval 1m
  python scripts/export.py --format hftbacktest --out events --symbols BTCUSDT --start 2024-08-01 --end 2024-08-03
  python scripts/export.py --format freqtrade --out user_data/data/binance --symbols @majors
  python scripts/export.py --format vectorbt --out frames --start 2024-01-01 --end 2024-12-31
  python scripts/export.py --format csv --out csv --symbols BTCUSDT --data-types trades,funding_rate --gzip

Only what is stored is read; download_all.py gets more. Files that are there under the same names are replaced.
exit codes: 0 all well, 1 some series failed or are not stored (the rest is written), 2 wrong usage, 3 nothing stored,
130 interrupted
"""
_MAX_PRECISION = 16
_SHOWN = 20


@dataclass
class Outcome:
    """What one command has written, and what not."""

    files: list[Written] = field(default_factory=list)
    failures: list[tuple[Sequence[Series], MarketDataError]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def empty(self, wanted: Sequence[Series]) -> list[str]:
        """Series that are stored and have no row of these days."""
        done = {one for file in self.files for one in file.series} | {
            one for group, _ in self.failures for one in group
        }
        return [str(one) for one in wanted if one not in done]


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    began = time.monotonic()
    log_to_stderr(options, "warning")
    chosen = _format(options.format)
    told = _told(options, chosen)
    market = market_named(options.market)
    request = request_from(options, [name for name in chosen.datasets if market in DATASETS[name].markets])
    _refuse_foreign(options, request, chosen)
    settings = local_settings_from(options)
    storage = StorageManager(Layout(settings.data_root), settings.storage, settings.quality)
    stored = _stored(storage, request)
    wanted = [one for one in stored if request.symbols is None or one.symbol in _named(request, one)]
    outcome = Outcome(missing=_missing(options, request, wanted))
    if not wanted:
        raise NoData(_nothing(request, stored))
    with status_line(options, "looking for what is stored") as says:
        for _, group in groupby(sorted(wanted, key=lambda one: str(chosen.group(one))), key=chosen.group):
            series = tuple(group)
            says(f"{len(outcome.files)} files written; now {', '.join(map(str, series[:3]))}")
            _export(storage, chosen, request, series, options.out.expanduser(), told, outcome)
    return _report(options, outcome, outcome.empty(wanted), time.monotonic() - began)


def _export(
    storage: StorageManager,
    chosen: Format,
    request: Request,
    series: Sequence[Series],
    folder: Path,
    told: Options,
    outcome: Outcome,
) -> None:
    """One group; its failure leaves the others alone, but a full disk does not."""
    try:
        for file in chosen.write(storage, series, request.span, folder, told):
            outcome.files.append(file)
    except DiskFull:
        raise
    except MarketDataError as error:
        outcome.failures.append((series, error))


def _stored(storage: StorageManager, request: Request) -> list[Series]:
    found = (one for dataset in request.datasets for one in storage.series(request.market, dataset.name))
    return [one for one in found if one.interval in (None, request.interval)]


def _named(request: Request, one: Series) -> set[str]:
    """The symbols asked for, as the exchange files this kind of data."""
    return {DATASETS[one.dataset].directory(symbol) for symbol in request.symbols or ()}


def _missing(options: argparse.Namespace, request: Request, wanted: Sequence[Series]) -> list[str]:
    """What was asked for by name and is not stored: each symbol, or each series if its type was named too."""
    here = set(wanted)
    missing = []
    for symbol in request.symbols or ():
        series = [request.series(dataset, symbol) for dataset in request.datasets]
        absent = [one for one in series if one not in here]
        if options.data_types or len(absent) == len(series):
            missing += [str(one) for one in absent] if options.data_types else [f"{request.market}/{symbol}"]
    return missing


def _nothing(request: Request, stored: Sequence[Series]) -> str:
    kinds = ", ".join(dataset.name for dataset in request.datasets)
    names = sorted({one.symbol for one in stored})
    near = did_you_mean(request.symbols[0], names) if request.symbols else ""
    whose = f"{', '.join(request.symbols)}: " if request.symbols else ""
    hint = near or "; get it with download_all.py"
    return f"{whose}nothing is stored of {request.market} {kinds} ({request.interval}){hint}"


def _report(options: argparse.Namespace, outcome: Outcome, empty: list[str], seconds: float) -> int:
    if not outcome.files:
        if outcome.failures:
            raise outcome.failures[0][1]
        raise NoData(
            "no stored row lies between --start and --end; get more with download_all.py, or export other days"
        )
    tell_not_stored(outcome.missing)
    if empty and not options.quiet:
        print(f"no rows of these days: {', '.join(empty)}", file=sys.stderr)
    for _, error in outcome.failures:
        print(f"failed: {error}", file=sys.stderr)
    if options.json:
        print(json.dumps(_as_json(options, outcome, empty, seconds), ensure_ascii=False))
    elif not options.quiet:
        Console().print(_table(options.out, outcome))
    return 1 if outcome.failures or outcome.missing else 0


def _as_json(options: argparse.Namespace, outcome: Outcome, empty: list[str], seconds: float) -> dict[str, object]:
    return {
        "format": options.format,
        "out": str(options.out),
        "rows": sum(file.rows for file in outcome.files),
        "files": [{"path": str(file.path), "rows": file.rows, "notes": list(file.notes)} for file in outcome.files],
        "missing": outcome.missing,
        "empty": empty,
        "failures": [{"series": [str(one) for one in group], "error": str(why)} for group, why in outcome.failures],
        "seconds": round(seconds, 3),
    }


def _table(folder: Path, outcome: Outcome) -> Table:
    table = Table(title=f"Export to {shown(folder)}", title_justify="left")
    table.add_column("file", overflow="fold")
    table.add_column("rows", justify="right")
    table.add_column("note", overflow="fold")
    root = folder.expanduser()
    for file in outcome.files[:_SHOWN]:
        table.add_row(str(file.path.relative_to(root)), f"{file.rows:,}", "; ".join(file.notes))
    noted = sum(bool(file.notes) for file in outcome.files[_SHOWN:])
    if len(outcome.files) > _SHOWN:
        rest = sum(file.rows for file in outcome.files[_SHOWN:])
        also = f"{noted} of them with notes; --json shows all" if noted else ""
        table.add_row(f"and {len(outcome.files) - _SHOWN} more", f"{rest:,}", also)
    return table


def _format(name: str) -> Format:
    if name not in EXPORTS:
        raise ConfigError(f"--format: {name!r}{one_of(name, EXPORTS)}")
    return EXPORTS[name]


def _told(options: argparse.Namespace, chosen: Format) -> Options:
    """The format's own options. Raises ConfigError for one that means nothing to it."""
    told = {"gzip": options.gzip, "price_precision": options.price_precision, "size_precision": options.size_precision}
    for name, value in told.items():
        if value not in (None, False) and name not in chosen.options:
            whose = next(known for known, each in EXPORTS.items() if name in each.options)
            raise ConfigError(f"--{name.replace('_', '-')} is for --format {whose}, not for {options.format}")
    return Options(**told)


def _refuse_foreign(options: argparse.Namespace, request: Request, chosen: Format) -> None:
    for dataset in request.datasets:
        if dataset.name not in (*chosen.datasets, *chosen.when_named):
            takes = ", ".join((*chosen.datasets, *chosen.when_named))
            raise ConfigError(f"--data-types: {options.format} does not take {dataset.name}; it takes {takes}")


def _precision(text: str) -> int:
    if not text.isdecimal() or int(text) > _MAX_PRECISION:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of decimals, 0 to {_MAX_PRECISION}")
    return int(text)


def parser() -> argparse.ArgumentParser:
    made = Parser(description=__doc__, epilog=EXAMPLES)
    mine = made.add_argument_group("this script")
    kinds = "; ".join(f"{name}: {each.doc}" for name, each in EXPORTS.items())
    mine.add_argument("--format", required=True, metavar="NAME", help=kinds)
    mine.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to write to; made if need be")
    mine.add_argument("--gzip", action="store_true", help="csv: compressed")
    mine.add_argument("--price-precision", type=_precision, metavar="N", help="nautilus: decimals (default: from data)")
    mine.add_argument("--size-precision", type=_precision, metavar="N", help="nautilus: decimals (default: from data)")
    add_request_options(made.add_argument_group("what"))
    add_data_options(made.add_argument_group("where from"))
    add_run_options(made.add_argument_group("how"))
    return made
