"""Make a folder with pictures of what is inside the stored data of one symbol; see docs/eda-report.md."""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core.bars.spec import BarSpec
from core.commands.command import (
    Parser,
    add_data_options,
    add_run_options,
    local_settings_from,
    positive,
    shown,
    status_line,
    words_from,
)
from core.commands.logs import log_to_stderr
from core.datasets import dataset_named, interval_named, market_named
from core.dates import parse_day
from core.errors import ConfigError
from core.nearest import one_of
from core.types import Market

if TYPE_CHECKING:
    from loader.report.parts import Asked

EXAMPLES = """examples:
  python scripts/eda_report.py --symbol BTCUSDT --out reports/BTCUSDT
  python scripts/eda_report.py --symbol BTCUSDT --out reports/minutes --interval 1m --start 2024-01-01 --end 2024-03-31
  python scripts/eda_report.py --symbol BTCUSDT --out reports/bars --bars dollar-40000000 --trade-days 90

Open index.html in a browser, from disk or by `python -m http.server`; the page asks nobody for anything. Only what is
stored is read. Of sections that are made of single trades, the last --trade-days days are taken.
exit codes: 0 all well, 2 wrong usage or the folder is in use, 3 nothing stored, 130 interrupted
"""
ROWS = "1m"
TRADE_DAYS = 30
MODELS = ("logistic", "boosting")


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    log_to_stderr(options, "warning")
    asked = _asked(options)
    settings = local_settings_from(options)
    with status_line(options, "looking for what is stored") as says:
        from loader.report.made import make  # pandas, SciPy and what teaches models: not for --help

        made = make(asked, settings, options.out, options.force, lambda name: says(f"now {name}"))
    if options.json:
        facts = {"folder": str(made.folder), "bytes": made.size_bytes, "sections": made.sections}
        print(json.dumps(facts | {"empty": list(made.empty)}))
    elif not options.quiet:
        print(f"{shown(made.folder / 'index.html')}: {made.sections} sections, {made.size_bytes / 1e6:.1f} MB")
        for title in made.empty:
            print(f"nothing in {title}; the page says why")
    return 0


def _asked(options: argparse.Namespace) -> "Asked":
    from loader.report.parts import Asked

    market = market_named(options.market)
    interval_named(options.interval, dataset_named("klines", market), market)
    start, end = (
        None if day is None else parse_day(day, name)
        for name, day in (("--start", options.start), ("--end", options.end))
    )
    if start is not None and end is not None and end < start:
        raise ConfigError(f"--end {end} lies before --start {start}")
    if not re.fullmatch(r"\w+", options.symbol):
        raise ConfigError(f"--symbol: {options.symbol!r} is not one symbol, as BTCUSDT")
    rows: str | BarSpec = ROWS if options.bars is None else BarSpec.parse(options.bars)
    models = () if options.models == "none" else words_from(options.models, "--models")
    for name in models:
        if name not in MODELS:
            raise ConfigError(f"--models: {name!r}{one_of(name, (*MODELS, 'none'))}")
    days = TRADE_DAYS if options.trade_days is None else options.trade_days
    return Asked(options.symbol, market, start, end, options.interval, rows, days, tuple(dict.fromkeys(models)))


def parser() -> argparse.ArgumentParser:
    made = Parser(description=__doc__, epilog=EXAMPLES)
    mine = made.add_argument_group("this script")
    mine.add_argument("--symbol", required=True, metavar="NAME", help="one symbol, as BTCUSDT")
    mine.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the report; made if need be")
    mine.add_argument("--force", action="store_true", help="replace a report that is there")
    group = made.add_argument_group("what")
    group.add_argument("--market", default=Market.UM.value, help="um (default), cm or spot")
    group.add_argument("--start", metavar="YYYY-MM-DD", help="first UTC day, included (default: the first stored)")
    group.add_argument("--end", metavar="YYYY-MM-DD", help="last UTC day, included (default: the last stored)")
    group.add_argument("--interval", default="1h", help="of candles (default 1h)")
    group.add_argument(
        "--bars", metavar="SPEC", help="features and labels of bars, as dollar-40000000 (default: of minutes)"
    )
    group.add_argument(
        "--trade-days",
        type=positive,
        metavar="N",
        help=f"how many days of trades at most, the last ones ({TRADE_DAYS})",
    )
    group.add_argument("--models", default=",".join(MODELS), metavar="a,b", help=f"{', '.join(MODELS)} (both), or none")
    add_data_options(made.add_argument_group("where from"))
    add_run_options(made.add_argument_group("how"))
    return made
