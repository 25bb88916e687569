"""Say what is wrong with this installation, this machine or the way to the source, and how to mend it."""

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, replace

from rich.console import Console
from rich.table import Table
from rich.text import Text

from core.commands.command import Parser, add_source_options, source_settings_from
from core.commands.names import as_called
from core.jobs.health import Look, Verdict, look_here, look_there

EXAMPLES = """examples:
  python scripts/doctor.py
  python scripts/doctor.py --offline
  python scripts/doctor.py --source http://127.0.0.1:8000 --json

Nothing is changed. exit codes: 0 nothing is wrong (something may be doubtful), 1 something is wrong, 2 wrong usage or
settings
"""
SIGNS = {Verdict.WELL: ("ok", "green"), Verdict.DOUBTFUL: ("hm", "yellow"), Verdict.WRONG: ("no", "bold red")}


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    settings = source_settings_from(options)
    looks = list(look_here(settings))
    if not options.offline:
        looks += asyncio.run(look_there(settings))
    looks = [replace(look, found=as_called(look.found), mend=as_called(look.mend)) for look in looks]
    wrong = sum(look.verdict is Verdict.WRONG for look in looks)
    doubtful = sum(look.verdict is Verdict.DOUBTFUL for look in looks)
    if options.json:
        print(json.dumps({"looks": [asdict(look) for look in looks], "wrong": wrong, "doubtful": doubtful}))
    else:
        console = Console()
        console.print(_table(looks))
        says = f"{wrong} wrong, {doubtful} doubtful" if wrong or doubtful else "all well"
        console.print(f"{len(looks)} looks: {says}", highlight=False)
    return 1 if wrong else 0


def _table(looks: Sequence[Look]) -> Table:
    """A line for each look; below it, where something is to be done, what."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for look in looks:
        sign, style = SIGNS[look.verdict]
        said = Text(look.found)
        if look.mend:
            said.append(f"\n{look.mend}", style="bold")
        table.add_row(Text(sign, style=style), look.about, said)
    return table


def parser() -> argparse.ArgumentParser:
    made = Parser(description=__doc__, epilog=EXAMPLES)
    add_source_options(made.add_argument_group("where from and where to"))
    how = made.add_argument_group("how")
    how.add_argument("--offline", action="store_true", help="do not ask the source")
    how.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return made
