"""What `pipeline.py run` does, as the commands that it consists of; and one command after another in one process."""

import argparse
import contextlib
import shlex
import signal
from collections.abc import Iterator, Sequence

from core.commands.command import request_from, settings_from
from core.commands.download_all import rate_from
from core.commands.features import specs_from
from core.commands.names import PROGRAM, command_line, is_installed
from core.commands.optimize import most_bytes_from
from core.errors import ConfigError
from core.events import LOGGER

TRADES = ("trades", "agg_trades")
_WHERE = ("data_dir", "settings")
_SOURCE = ("source", "listing", "rest")
_ASKED = ("market", "symbols", "data_types", "interval", "start", "end")
_STORED = ("market", "symbols")
_HOW = ("log_level", "log_format")
_DOWNLOAD = ("workers", "accept", "limit_rate")
_CONVERT = ("workers", "accept")


def steps_of(options: argparse.Namespace) -> list[list[str]]:
    """The commands, in their order, each with all that it is told, every word of it checked: the last of them begins
    hours behind the first. Raises ConfigError."""
    kinds = [dataset.name for dataset in request_from(options).datasets]
    trades = [kind for kind in kinds if kind in TRADES]
    _check(options, trades)
    salvage = _flags(options, ("salvage",))
    first = _flags(options, ("priority_only",))
    everywhere = [*_words(options, (*_WHERE, *_HOW)), *_flags(options, ("json", "quiet"))]
    fetch = [*first, *_flags(options, ("no_resume",)), *_words(options, (*_ASKED, *_SOURCE, *_DOWNLOAD))]
    stored = [*first, *_words(options, _STORED)]
    looked_at = [*stored, "--data-types", ",".join(kinds), *_words(options, ("interval",)), *everywhere]
    steps = [
        ["download", *fetch, *salvage, *everywhere],
        ["convert", *first, *_words(options, (*_ASKED, *_CONVERT)), *salvage, *everywhere],
        ["optimize", "--max-size", options.max_size, *looked_at],
        ["validate", *looked_at],
    ]
    if trades:
        bars = ["--bars", options.bars] if options.bars else []
        steps.append(["features", *bars, *stored, "--data-types", ",".join(trades), *everywhere])
    return steps


def _check(options: argparse.Namespace, trades: Sequence[str]) -> None:
    """What only a later step would look at."""
    if options.priority_only and options.symbols:
        raise ConfigError("--priority-only and --symbols exclude each other")
    if options.bars and not trades:
        raise ConfigError(f"--bars: bars are made of trades; ask for {' or '.join(TRADES)} with --data-types, too")
    settings_from(options)
    if options.limit_rate:
        rate_from(options.limit_rate)
    most_bytes_from(options.max_size)
    specs_from(options.bars)


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


def _flags(options: argparse.Namespace, names: Sequence[str]) -> list[str]:
    return [f"--{name.replace('_', '-')}" for name in names if getattr(options, name)]


def _words(options: argparse.Namespace, names: Sequence[str]) -> list[str]:
    """Options as they are typed, without those that were not given."""
    given = [(f"--{name.replace('_', '-')}", getattr(options, name)) for name in names]
    return [word for name, value in given if value not in (None, "text") for word in (name, str(value))]
