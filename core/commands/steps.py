"""What `pipeline.py run` does, as the commands that it consists of; and one command after another in one process."""

import argparse
import contextlib
import shlex
import signal
from collections.abc import Iterator, Sequence

from core.commands.command import request_from
from core.commands.names import PROGRAM, command_line, is_installed
from core.events import LOGGER

TRADES = ("trades", "agg_trades")
_WHERE = ("data_dir", "settings")
_SOURCE = ("source", "listing", "rest")
_ASKED = ("market", "symbols", "data_types", "interval", "start", "end")
_LOCAL = ("market", "symbols")
_HOW = ("log_level", "log_format")
_DOWNLOAD = ("workers", "accept", "limit_rate")


def steps_of(options: argparse.Namespace) -> list[list[str]]:
    """The commands, in their order, each with all that it is told. Raises ConfigError."""
    kinds = [dataset.name for dataset in request_from(options).datasets]
    trades = [kind for kind in kinds if kind in TRADES]
    flags = [f"--{name}" for name in ("json", "quiet") if getattr(options, name)]
    salvage = ["--salvage"] if options.salvage else []
    fetch = [f"--{name.replace('_', '-')}" for name in ("priority_only", "no_resume") if getattr(options, name)]
    everywhere = [*_words(options, (*_WHERE, *_HOW)), *flags]
    download = [*_words(options, (*_ASKED, *_SOURCE, *_DOWNLOAD)), *salvage, *everywhere]
    stored = [*_words(options, _LOCAL), "--data-types", ",".join(kinds), *everywhere]
    steps = [
        ["download", *fetch, *download],
        ["convert", *_words(options, _ASKED), *salvage, *everywhere],
        ["optimize", "--max-size", options.max_size, *stored],
        ["validate", *stored],
    ]
    if trades:
        bars = ["--bars", options.bars] if options.bars else []
        steps.append(["features", *bars, *_words(options, _LOCAL), "--data-types", ",".join(trades), *everywhere])
    return steps


def typed(words: Sequence[str]) -> str:
    """The line that is typed for a subcommand of `pipeline.py` with its options."""
    return shlex.join([PROGRAM, *words]) if is_installed() else command_line(words)


@contextlib.contextmanager
def by_itself() -> Iterator[None]:
    """What a command changes in its process is put back behind it: who hears of signals, and what is logged where."""
    handlers, level = list(LOGGER.handlers), LOGGER.level
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in signals.items():
            signal.signal(number, handler)
        for added in [one for one in LOGGER.handlers if one not in handlers]:
            LOGGER.removeHandler(added)
            added.close()
        LOGGER.setLevel(level)


def _words(options: argparse.Namespace, names: Sequence[str]) -> list[str]:
    """Options as they are typed, without those that were not given."""
    given = [(f"--{name.replace('_', '-')}", getattr(options, name)) for name in names]
    return [word for name, value in given if value not in (None, "text") for word in (name, str(value))]
