"""Look at what is stored; each view is a subcommand."""

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from core.commands.command import (
    Parser,
    add_command,
    add_data_options,
    add_run_options,
    local_settings_from,
    status_line,
    tell_not_stored,
)
from core.commands.live import add_live
from core.commands.logs import log_to_stderr
from core.commands.names import as_called
from core.commands.records import add_records
from core.commands.status_page import add_web
from core.commands.stored import add_stored_options, examined, span_since, wanted_from
from core.dates import format_us
from core.integrity.checker import Examined
from core.layout import Layout
from core.storage.manager import StorageManager
from core.types import Finding, Span

ALL_EXAMPLES = """examples:
  python scripts/monitor.py live
  python scripts/monitor.py summary --market um --symbols BTCUSDT
  python scripts/monitor.py failures --retry
  python scripts/monitor.py integrity
"""
EXAMPLES = """examples:
  python scripts/monitor.py integrity
  python scripts/monitor.py integrity --market um --symbols BTCUSDT,ETHUSDT --since 2024-01-01
  python scripts/monitor.py integrity --deep --json

--deep also takes the digests of archives on disk and holds series against each other: candles against trades and
shorter candles, aggregates against trades, premium against mark and index, months against their days. docs/integrity.md
says what each kind of finding means and what to do about it. Nothing is changed.
exit codes: 0 nothing unexplained, 1 something unexplained was found or a symbol is not stored, 2 wrong usage,
3 nothing stored for the request, 130 interrupted
"""
_SHOWN = 200


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    log_to_stderr(options, "error")
    code: int = options.run(options)
    return code


def integrity(options: argparse.Namespace) -> int:
    """Gaps, checks and reconciliation of what is stored."""
    began = time.monotonic()
    span = span_since(options.since)
    settings = local_settings_from(options)
    storage = StorageManager(Layout(settings.data_root), settings.storage, settings.quality)
    wanted, missing = wanted_from(options, storage)
    with status_line(options, f"looking at {len(wanted)} series") as says:
        found = examined(settings, wanted, span, options.deep, says)
    tell_not_stored(missing)
    seconds = time.monotonic() - began
    if options.json:
        print(json.dumps(_as_json(options, found, missing, seconds)))
    elif not options.quiet:
        console = Console()
        shown = [finding for each in found for finding in each.findings if finding.kind != "old"]
        if shown:
            console.print(_table(shown))
        console.print(_summary(found, seconds), soft_wrap=True)
    return 1 if missing or any(_unexplained(each) for each in found) else 0


def _unexplained(one: Examined) -> list[Finding]:
    return [finding for finding in one.findings if finding.cause is None]


def _as_json(
    options: argparse.Namespace, found: Sequence[Examined], missing: Sequence[str], seconds: float
) -> dict[str, Any]:
    return {
        "deep": options.deep,
        "series": sum(1 for each in found if each.rows),
        "rows": sum(each.rows for each in found),
        "findings": [_finding(finding) for each in found for finding in each.findings],
        "unexplained": sum(len(_unexplained(each)) for each in found),
        "missing": list(missing),
        "seconds": round(seconds, 3),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "series": str(finding.series),
        "kind": finding.kind,
        "count": finding.count,
        "start": format_us(finding.span.start_us),
        "end": format_us(finding.span.end_us),
        "cause": finding.cause,
        "detail": finding.detail,
    }


def _table(findings: Sequence[Finding]) -> Table:
    """What is unexplained first."""
    table = Table(title="Found", title_justify="left")
    table.add_column("series", overflow="fold")
    table.add_column("kind", no_wrap=True)
    table.add_column("count", justify="right")
    table.add_column("when", overflow="fold")
    table.add_column("cause", overflow="fold")
    ordered = sorted(findings, key=lambda finding: finding.cause is not None)
    for finding in ordered[:_SHOWN]:
        cause = _plain(finding.cause) if finding.cause else f"[bold red]unexplained[/]: {_plain(finding.detail)}"
        table.add_row(str(finding.series), finding.kind, f"{finding.count:,}", _when(finding.span), cause)
    if len(ordered) > _SHOWN:
        table.add_row(f"and {len(ordered) - _SHOWN:,} more; --json has all of them", "", "", "", "")
    return table


def _plain(text: str) -> str:
    return as_called(text).replace("[", "\\[")


def _when(span: Span) -> str:
    end_us = span.end_us - 1 if span.end_us % 1000 == 1 else span.end_us  # behind an event, which has no length
    return format_us(span.start_us) + (f" to {format_us(end_us)}" if end_us > span.start_us else "")


def _summary(found: Sequence[Examined], seconds: float) -> str:
    series, rows = sum(1 for each in found if each.rows), sum(each.rows for each in found)
    unexplained = sum(len(_unexplained(each)) for each in found)
    old = sum(finding.kind == "old" for each in found for finding in each.findings)
    explained = sum(len(each.findings) for each in found) - unexplained - old
    says = f"{unexplained:,} unexplained, {explained:,} with a cause" if unexplained + explained else "nothing found"
    ages = f"; {old:,} series end days ago" if old else ""
    return f"{series:,} series, {rows:,} rows: {says}{ages}; {seconds:.1f} seconds"


def parser() -> argparse.ArgumentParser:
    made = Parser(description=__doc__, epilog=ALL_EXAMPLES)
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    says = "gaps, checks and reconciliation of what is stored"
    command = add_command(commands, "integrity", integrity, says, f"{says.capitalize()}.", EXAMPLES)
    mine = command.add_argument_group("this command")
    mine.add_argument("--deep", action="store_true", help="digests of archives and reconciliation, too")
    what = command.add_argument_group("what; all that is stored by default")
    add_stored_options(what)
    what.add_argument("--since", metavar="YYYY-MM-DD", help="first UTC day that is looked at")
    add_data_options(command.add_argument_group("where"))
    add_run_options(command.add_argument_group("how"))
    add_live(commands)
    add_records(commands)
    add_web(commands)
    return made
