"""Lock the rows of a study, so that it can be repeated bit for bit; see docs/snapshots.md."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from core.commands.command import (
    Parser,
    add_command,
    add_data_options,
    add_run_options,
    local_settings_from,
    shown,
    status_line,
)
from core.commands.logs import log_to_stderr
from core.commands.stored import selection_from
from core.datasets import DATASETS, market_named
from core.dates import format_us, span_of
from core.errors import NoData
from core.layout import Layout
from core.snapshot.compare import Change, changes, scope_differences
from core.snapshot.folder import Verdict, against_folder
from core.snapshot.lock import Lock
from core.snapshot.take import stored_span, take
from core.snapshot.text import DEFAULT_NAME, load, refuse_taken, save
from core.storage.manager import StorageManager
from core.types import Market, Series, Span

EXAMPLES = f"""examples:
  python scripts/snapshot.py create --symbols BTCUSDT,ETHUSDT --data-types klines,funding_rate --interval 1h
  python scripts/snapshot.py create --market spot --start 2024-01-01 --end 2024-12-31 --output study.lock
  python scripts/snapshot.py verify
  python scripts/snapshot.py diff {DEFAULT_NAME}
  python scripts/snapshot.py diff old.lock new.lock --json

  loader = BacktestDataLoader(snapshot="{DEFAULT_NAME}")

exit codes: 0 equal (create: written), 1 different, 2 wrong usage or a lock that cannot be read, 3 nothing stored,
130 interrupted
"""
DIFFERENT = 1
_SHOWN = 40
_NAMED = 10


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    log_to_stderr(options, "warning")
    code: int = options.run(options)
    return code


def create(options: argparse.Namespace) -> int:
    """Write down what is stored."""
    began = time.monotonic()
    path = options.output.expanduser()
    refuse_taken(path, options.force)
    storage = _storage(options)
    market = market_named(options.market)
    wanted, empty = _wanted(options, storage, market)
    span = _span(options, storage, wanted)
    with status_line(options, "looking for what is stored") as says:
        lock = take(storage, market, span, [*wanted, *empty], _counting(says, len(wanted) + len(empty)))
    if not any(one.last_us >= span.start_us for one in lock.series):  # funding of the day before alone is nothing
        raise NoData("no stored row lies between --start and --end; get more with download_all.py, or lock other days")
    save(lock, path, options.force)
    without = [str(one.series) for one in lock.series if not one.contents]
    if without and not options.quiet:
        more = f" and {len(without) - _NAMED} more" if len(without) > _NAMED else ""
        print(f"locked as having no rows: {', '.join(without[:_NAMED])}{more}", file=sys.stderr)
    if options.json:
        print(json.dumps(_created(lock, path, without, time.monotonic() - began)))
    elif not options.quiet:
        print(f"{shown(path.absolute())}: {_scope(lock)}")
        print(f"content {lock.content}")
    return 0


def verify(options: argparse.Namespace) -> int:
    """Prove that the locked rows are all stored, unchanged."""
    lock, verdict = _against_folder(options, options.lock)
    broken = verdict.broken
    if options.json:
        facts = {"lock": str(options.lock), "equal": not broken, "rows": lock.rows, "series": len(lock.series)}
        print(json.dumps(facts | {"newer_rows": verdict.newer_rows, "changes": [_as_json(one) for one in broken]}))
    elif not options.quiet:
        _show(broken)
        newer = f"; {verdict.newer_rows:,} newer rows, which a load with the lock does not see"
        said = "is not equal to what is stored" if broken else "is equal to what is stored"
        print(f"{options.lock} {said}: {_scope(lock)}{newer if verdict.newer_rows else ''}")
    return DIFFERENT if broken else 0


def diff(options: argparse.Namespace) -> int:
    """Say what has changed since a lock was made."""
    if options.new is None:
        found = _against_folder(options, options.lock)[1].changes
        scope: tuple[str, ...] = ()
        other = "what is stored"
    else:
        old, new = load(options.lock), load(options.new)
        scope = scope_differences(old, new)
        found = tuple(changes(old, new))
        other = str(options.new)
    is_equal = not Verdict(found).differences and not scope
    if options.json:
        facts = {"old": str(options.lock), "new": None if options.new is None else other, "equal": is_equal}
        print(json.dumps(facts | {"scope": list(scope), "changes": [_as_json(one) for one in found]}))
    elif not options.quiet:
        for text in scope:
            print(f"scope: {text}")
        _show(found)
        print(f"{options.lock} and {other} {'have the same rows' if is_equal else 'differ'}")
    return 0 if is_equal else DIFFERENT


def _against_folder(options: argparse.Namespace, path: Path) -> tuple[Lock, Verdict]:
    lock = load(path)
    storage = _storage(options)
    if not any(storage.stamps(one.series) for one in lock.series):
        raise NoData(f"none of the {len(lock.series)} series in {path} is stored; get them with download_all.py")
    with status_line(options, f"reading {path}") as says:
        return lock, against_folder(lock, storage, _counting(says, len(lock.series)))


def _storage(options: argparse.Namespace) -> StorageManager:
    settings = local_settings_from(options)
    return StorageManager(Layout(settings.data_root), settings.storage, settings.quality)


def _counting(says: Callable[[str], None], series: int) -> Callable[[Series], None]:
    """Tells how many series are done."""
    number = count(1)
    return lambda one: says(f"{next(number)} of {series} series; now {one}")


def _wanted(options: argparse.Namespace, storage: StorageManager, market: Market) -> tuple[list[Series], list[Series]]:
    """The stored series that are asked for, and those that are asked for by symbol and type and are not stored.

    Raises ConfigError, NoData for a symbol of which nothing at all is stored.
    """
    chosen = selection_from(options)
    stored = list(storage.series(market))
    for symbol in chosen.missing(stored):
        near = chosen.near(symbol, stored)
        raise NoData(f"{market} {symbol}: nothing of that is stored{near or '; get it with download_all.py'}")
    wanted = [one for one in stored if one in chosen]
    if not wanted:
        raise NoData(f"nothing of that is stored of {market}; get it with download_all.py")
    intervals = chosen.intervals or sorted({one.interval for one in wanted if one.interval})
    named = [
        Series(market, kind.name, kind.directory(symbol), interval)
        for kind in (DATASETS[name] for name in chosen.datasets or ())
        for symbol in chosen.symbols or ()
        for interval in (intervals if kind.has_interval else [None])
    ]
    here = set(wanted)
    return wanted, [one for one in dict.fromkeys(named) if one not in here]


def _span(options: argparse.Namespace, storage: StorageManager, wanted: Sequence[Series]) -> Span:
    """The days asked for; where one is not, the months of the first and the last stored row."""
    asked = span_of(options.start, options.end, datetime.now(UTC).date())
    if options.start and options.end:
        return asked
    stored = stored_span(storage, wanted)
    start_us = asked.start_us if options.start else min(stored.start_us, asked.end_us)
    return Span(start_us, asked.end_us if options.end else max(stored.end_us, start_us))


def _scope(lock: Lock) -> str:
    first, end = format_us(lock.span.start_us), format_us(lock.span.end_us)
    return f"{lock.rows:,} rows of {len(lock.series)} series of {lock.market}, {first} to {end} UTC"


def _show(found: Sequence[Change]) -> None:
    for change in found[:_SHOWN]:
        print(change)
    if len(found) > _SHOWN:
        print(f"and {len(found) - _SHOWN} more changes; --json shows all")


def _created(lock: Lock, path: Path, without: list[str], seconds: float) -> dict[str, object]:
    return {
        "lock": str(path),
        "content": lock.content,
        "market": lock.market.value,
        "start": format_us(lock.span.start_us),
        "end": format_us(lock.span.end_us),
        "series": len(lock.series),
        "rows": lock.rows,
        "partitions": sum(len(one.partitions) for one in lock.series),
        "without_rows": without,
        "seconds": round(seconds, 3),
    }


def _as_json(change: Change) -> dict[str, object]:
    return {
        "series": str(change.series),
        "period": change.period.label if change.period else None,
        "kind": change.kind.value,
        "rows_before": change.rows_before,
        "rows_after": change.rows_after,
        "first": None if change.first_us is None else format_us(change.first_us),
        "last": None if change.last_us is None else format_us(change.last_us),
        "causes": list(change.causes),
        "text": str(change),
    }


def parser() -> argparse.ArgumentParser:
    made = Parser(description=__doc__, epilog=EXAMPLES)
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    created = add_command(commands, "create", create, "lock what is stored", create.__doc__ or "", EXAMPLES)
    what = created.add_argument_group("what; all that is stored of the market by default")
    what.add_argument("--market", default=Market.UM.value, help="um (default), cm or spot")
    what.add_argument("--symbols", metavar="A,B", help="symbols, or @majors for a category")
    what.add_argument("--data-types", metavar="a,b", help=f"of {', '.join(DATASETS)}")
    what.add_argument("--interval", help="of candles (default: all that are stored)")
    what.add_argument("--start", metavar="YYYY-MM-DD", help="first UTC day (default: from the first stored month)")
    what.add_argument("--end", metavar="YYYY-MM-DD", help="last UTC day (default: to the end of the last stored month)")
    mine = created.add_argument_group("this command")
    mine.add_argument(
        "--output", type=Path, default=Path(DEFAULT_NAME), metavar="FILE", help=f"(default {DEFAULT_NAME})"
    )
    mine.add_argument("--force", action="store_true", help="replace a lock that is there")
    says = "prove that the locked rows are stored"
    checked = add_command(commands, "verify", verify, says, verify.__doc__ or "", EXAMPLES)
    checked.add_argument(
        "lock", nargs="?", type=Path, default=Path(DEFAULT_NAME), metavar="LOCK", help=f"(default {DEFAULT_NAME})"
    )
    compared = add_command(commands, "diff", diff, "say what has changed", diff.__doc__ or "", EXAMPLES)
    compared.add_argument("lock", type=Path, metavar="OLD", help="the lock that is compared")
    compared.add_argument("new", nargs="?", type=Path, metavar="NEW", help="another lock (default: what is stored)")
    for command in (created, checked, compared):
        add_data_options(command.add_argument_group("where"))
        add_run_options(command.add_argument_group("how"))
    return made
