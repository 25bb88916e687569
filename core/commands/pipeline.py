"""Everything that is done with data, from download to deletion; each job is a subcommand. Without one, a menu."""

import argparse
import contextlib
import io
import json
import sys
import time
from collections.abc import Sequence

from core.commands import cleanup, cross_sections, delete, download_all, features, optimize, validate
from core.commands.command import (
    Parser,
    add_command,
    add_source_options,
    local_settings_from,
    say,
)
from core.commands.logs import log_to_stderr
from core.commands.menu import menu
from core.commands.names import as_called
from core.commands.notify import notified
from core.commands.steps import by_itself, steps_of, typed
from core.errors import ConfigError, MarketDataError
from core.jobs.sync import Scope

EVERY_EXAMPLE = """examples:
  python scripts/pipeline.py                                  questions instead of options, on a terminal
  python scripts/pipeline.py --data-dir /big/tapevault        the same for another data folder
  python scripts/pipeline.py run --symbols BTCUSDT --start 2024-01-01
  python scripts/pipeline.py cleanup --explain
  python scripts/pipeline.py optimize --help
"""
DOWNLOAD_EXAMPLES = """examples:
  python scripts/pipeline.py download --priority-only
  python scripts/pipeline.py download --symbols BTCUSDT,ETHUSDT --start 2024-01-01 --end 2024-12-31

The same as download_all.py, which has more examples.
exit codes: 0 all well, 1 some files failed (run again to continue), 2 wrong usage, 3 nothing published, 130 interrupted
"""
CONVERT_EXAMPLES = """examples:
  python scripts/pipeline.py convert
  python scripts/pipeline.py convert --market spot --symbols BTCUSDT --data-types trades --salvage

The same as download_all.py --process-only: nobody is asked for anything.
exit codes: 0 all well, 1 some files failed, 2 wrong usage, 3 nothing is downloaded, 130 interrupted
"""
RUN_EXAMPLES = """examples:
  python scripts/pipeline.py run --symbols BTCUSDT,ETHUSDT --start 2024-01-01
  python scripts/pipeline.py run --symbols BTCUSDT --data-types klines,trades --bars time-1h,dollar-1000000

Each step is told as the command that it is; one that has nothing to do says so. Bars are made where trades are asked
for. The first step that does not end with 0 ends it all, with its exit code, and the command that goes on is said.
exit codes: 0 all well, else that of the step that failed, 130 interrupted
"""


def main(arguments: Sequence[str]) -> int:
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help")):
        return _menu(arguments)
    options = parser().parse_args(arguments, argparse.Namespace(arguments=tuple(arguments)))
    log_to_stderr(options)
    code: int = options.run(options)
    return code


def _menu(arguments: Sequence[str]) -> int:
    """Questions and answers, on a terminal."""
    asked = Parser(description="A menu: questions, and what is done with the answers.")
    add_source_options(asked.add_argument_group("where from and where to, for all that is done"))
    options = asked.parse_args(arguments)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        parser().print_usage(sys.stderr)
        print("error: which command? Without one there is a menu, on a terminal only", file=sys.stderr)
        return ConfigError.exit_code
    return menu(options, main, list(features.BAR_TYPES))


def download(options: argparse.Namespace) -> int:
    """As `download_all.py`."""
    return download_all.download(options, options.arguments)


def run(options: argparse.Namespace) -> int:
    """Everything in turn, until something fails."""
    steps, said = steps_of(options), list[str]()
    return notified(local_settings_from(options).notify, options.arguments, lambda: _run(options, steps, said), said)


def _run(options: argparse.Namespace, steps: Sequence[list[str]], told: list[str]) -> int:
    """The steps; `told` gets what is said of the one that failed."""
    began = time.monotonic()
    results: list[dict[str, object]] = []
    code = 0
    for words in steps:
        name = words[0]
        said = io.StringIO()
        if not (options.quiet or options.json):
            print(f"\n$ {typed(words)}", flush=True)
        with contextlib.redirect_stdout(said) if options.json else contextlib.nullcontext():
            chosen = parser().parse_args(words, argparse.Namespace(arguments=tuple(words)))
            try:
                with by_itself():
                    code = chosen.run(chosen)
            except MarketDataError as error:
                told.append(str(error))
                print(as_called(f"error: {error}"), file=sys.stderr)
                code = error.exit_code
        results.append({"step": name, "code": code, "result": json.loads(said.getvalue() or "null")})
        if code:
            left = ", ".join(other[0] for other in steps[len(results) :])
            after = f"; left: {left}" if left else ""
            told.append(f"{name} ended with exit code {code}{after}; again: {typed(words)}")
            print(f"stopped: {told[-1]}", file=sys.stderr)
            break
    say(options, {"steps": results, "code": code, "seconds": round(time.monotonic() - began, 3)}, _done(results, began))
    return code


def _done(results: Sequence[dict[str, object]], began: float) -> str:
    well = [str(one["step"]) for one in results if not one["code"]]
    return f"\ndone: {', '.join(well) or 'nothing'}; {time.monotonic() - began:.1f} seconds"


def parser() -> argparse.ArgumentParser:
    made = Parser(description=__doc__, epilog=EVERY_EXAMPLE)
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    says = "list, fetch, verify and store what the exchange publishes"
    command = add_command(commands, "download", download, says, download_all.__doc__ or "", DOWNLOAD_EXAMPLES)
    download_all.add_options(command)
    says = "store archives that are downloaded"
    command = add_command(commands, "convert", download, says, f"{says.capitalize()}.", CONVERT_EXAMPLES)
    download_all.add_options(command, Scope.PROCESS)
    says = "download, convert, optimize, validate and features in turn"
    command = add_command(commands, "run", run, says, f"{says.capitalize()}; the first failure ends it.", RUN_EXAMPLES)
    download_all.add_options(command, Scope.ALL)
    mine = command.add_argument_group("of optimize and features")
    mine.add_argument("--max-size", default=optimize.DEFAULT_MAX_SIZE, metavar="SIZE", help="of a merged file")
    mine.add_argument("--bars", metavar="a,b", help="bars to make of trades (default: the standard ones)")
    says = "merge small partitions into larger ones"
    command = add_command(commands, "optimize", optimize.optimize, says, f"{says.capitalize()}.", optimize.EXAMPLES)
    optimize.add_options(command)
    says = "make the loader's cross-sections: a day of all symbols in one read"
    crossing, run_it = cross_sections.EXAMPLES, cross_sections.cross_sections
    command = add_command(commands, "cross-sections", run_it, says, f"{says.capitalize()}.", crossing)
    cross_sections.add_options(command)
    says = "make bars of stored trades, or bring them up to date"
    command = add_command(commands, "features", features.features, says, f"{says.capitalize()}.", features.EXAMPLES)
    features.add_options(command)
    says = "look at what is stored: order, sanity, gaps"
    command = add_command(commands, "validate", validate.validate, says, validate.__doc__ or "", validate.EXAMPLES)
    validate.add_options(command)
    says = "find files that are not needed any more, and remove them"
    command = add_command(commands, "cleanup", cleanup.cleanup, says, f"{says.capitalize()}.", cleanup.examples())
    cleanup.add_options(command)
    says = "delete data; the name has to be typed"
    command = add_command(commands, "delete", delete.delete, says, f"{says.capitalize()}.", delete.EXAMPLES)
    delete.add_options(command)
    return made
