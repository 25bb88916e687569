"""Look at what is stored: whether it can be read, is in order, and has no gaps. Nothing is changed."""

import argparse
import json
import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from core.commands.command import local_settings_from, status_line, tell_not_stored
from core.commands.names import as_called
from core.commands.stored import add_local_options, add_priority_option, examined, wanted_from
from core.integrity.checker import ALWAYS, Examined
from core.integrity.days import DayGap, days_of
from core.layout import Layout
from core.storage.manager import StorageManager

EXAMPLES = """examples:
  python scripts/pipeline.py validate
  python scripts/pipeline.py validate --check-daily-gaps --market um --data-types klines

A gap lies between the first and the last row of a series. It is open (nothing was tried yet), late (it may still be
published), halt (nothing was traded), confirmed-hole (every source lacks it) or type-ended: docs/integrity.md.
exit codes: 0 nothing unexplained, 1 something unexplained was found or a symbol is not stored, 2 wrong usage,
3 nothing stored, 130 interrupted
"""
_SHOWN = 20
_DAYS_SHOWN = 200


def validate(options: argparse.Namespace) -> int:
    """Look at what is stored: whether it can be read, is in order, and has no gaps."""
    began = time.monotonic()
    settings = local_settings_from(options)
    storage = StorageManager(Layout(settings.data_root), settings.storage, settings.quality)
    wanted, missing = wanted_from(options, storage)
    with status_line(options, f"looking at {len(wanted)} series") as says:
        found = examined(settings, wanted, ALWAYS, False, says)
    tell_not_stored(missing)
    days = days_of(gap for each in found for gap in each.gaps) if options.check_daily_gaps else []
    open_findings = [finding for each in found for finding in each.findings if finding.cause is None]
    seconds = time.monotonic() - began
    if options.json:
        print(json.dumps(_validated(options, found, days, missing, seconds)))
    elif not options.quiet:
        console = Console()
        if days:
            console.print(_days_table(days))
        for finding in open_findings[:_SHOWN]:
            line = as_called(f"{finding.series}: {finding.kind}: {finding.detail}")
            console.print(line, markup=False, soft_wrap=True)
        if len(open_findings) > _SHOWN:
            console.print(as_called(f"and {len(open_findings) - _SHOWN:,} more; monitor.py integrity shows all"))
        looked_at = sum(1 for each in found if each.rows)
        rows = sum(each.rows for each in found)
        counts = f"{looked_at:,} series, {rows:,} rows, {len(open_findings):,} unexplained"
        gaps = f"; {len(days):,} days with gaps" if options.check_daily_gaps else ""
        console.print(f"{counts}{gaps}; {seconds:.1f} seconds")
    return 1 if open_findings or missing else 0


def _validated(
    options: argparse.Namespace,
    found: Sequence[Examined],
    days: Sequence[DayGap],
    missing: Sequence[str],
    seconds: float,
) -> dict[str, object]:
    return {
        "series": [
            {
                "series": str(each.series),
                "rows": each.rows,
                "gaps": len(each.gaps),
                "unexplained": sum(finding.cause is None for finding in each.findings),
            }
            for each in found
        ],
        "unexplained": sum(finding.cause is None for each in found for finding in each.findings),
        "days": [
            {
                "series": str(day.series),
                "day": day.day.isoformat(),
                "missing": "all" if day.is_whole else "part",
                "rows": day.rows,
                "status": day.status.value,
                "detail": day.detail,
            }
            for day in days
        ]
        if options.check_daily_gaps
        else None,
        "missing": list(missing),
        "seconds": round(seconds, 3),
    }


def _days_table(days: Sequence[DayGap]) -> Table:
    table = Table(title="Days with gaps", title_justify="left")
    table.add_column("series", overflow="fold")
    table.add_column("day", no_wrap=True)
    table.add_column("missing")
    table.add_column("rows", justify="right")
    table.add_column("status", no_wrap=True)
    table.add_column("what", overflow="fold")
    for day in days[:_DAYS_SHOWN]:
        rows = f"{day.rows:,}" if day.rows else ""
        what = "all" if day.is_whole else "part"
        table.add_row(str(day.series), day.day.isoformat(), what, rows, day.status, day.detail.replace("[", "\\["))
    if len(days) > _DAYS_SHOWN:
        table.add_row(f"and {len(days) - _DAYS_SHOWN:,} more; --json has all of them")
    return table


def add_options(command: argparse.ArgumentParser) -> None:
    """What `validate` is told."""
    mine = command.add_argument_group("this command")
    mine.add_argument(
        "--check-daily-gaps", action="store_true", help="also list the days that lack rows, and how each gap ended"
    )
    add_priority_option(mine)
    add_local_options(command)
