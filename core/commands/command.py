"""What all scripts share: the common options, and how an outcome becomes an exit code.

Exit codes: 0 all well, 1 some files failed (the rest is kept), 2 wrong usage or configuration, 3 nothing is published
for the request, 130 interrupted.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from core.commands.logs import FORMATS
from core.commands.names import as_called
from core.datasets import DATASETS, Dataset, dataset_named, interval_named, market_named
from core.dates import span_of
from core.errors import ConfigError, MarketDataError
from core.jobs.request import Request
from core.monitor.terminal import restore
from core.nearest import did_you_mean, one_of
from core.settings import Settings, load_settings, load_symbols
from core.types import ACCEPTABLE, Market, State

INTERRUPTED = 130
FUTURES_TYPES = ("klines", "mark_price", "index_price", "premium_index", "funding_rate")
SPOT_TYPES = ("klines",)
_BYTES = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([KMGT]?)(i?)B?", re.IGNORECASE)


class Parser(argparse.ArgumentParser):
    """argparse whose complaint about an unknown option or choice names the near one; no abbreviations, which would
    change their meaning with the next option. Its help calls commands as this one was called."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)
        self.is_subcommand = False

    def format_help(self) -> str:
        """As ever, with commands as they are called here."""
        return as_called(super().format_help())

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As ever; but a subcommand says itself which words it does not know, for it alone knows what it has."""
        found, rest = super().parse_known_args(args, namespace)
        if rest and self.is_subcommand:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return found, rest

    def error(self, message: str) -> NoReturn:
        options = [option for action in self._actions for option in action.option_strings]
        wrong = message.removeprefix("unrecognized arguments: ").split()[0] if "unrecognized" in message else ""
        print(f"error: {message}{did_you_mean(wrong, options) if wrong else ''}", file=sys.stderr)
        print(f"try: {self.prog} --help", file=sys.stderr)
        raise SystemExit(ConfigError.exit_code)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """A word that is none of the choices is answered with the near one, and with all of them."""
        if action.choices is None or value in action.choices:
            return
        choices = [str(choice) for choice in action.choices]
        what = f"no {(action.metavar or 'choice')!s}".lower() if not action.option_strings else "none of these"
        raise argparse.ArgumentError(action, f"{str(value)!r} is {what}{one_of(str(value), choices)}")


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], help: str, description: str, examples: str
) -> argparse.ArgumentParser:
    """A subcommand: its parser, to which its options are still to be added."""
    command: Parser = commands.add_parser(name, help=help, description=description, epilog=examples)
    command.is_subcommand = True
    command.set_defaults(run=run)
    return command


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """The options of every script that downloads; users' cron jobs depend on them."""
    add_source_options(parser.add_argument_group("where from and where to"))
    add_request_options(parser.add_argument_group("what"))
    add_download_options(parser.add_argument_group("how"))


def add_source_options(group: "argparse._ArgumentGroup") -> None:
    """Where from, and where to."""
    add_data_options(group)
    group.add_argument("--source", metavar="URL", help="archive; without --listing it serves the listing too")
    group.add_argument("--listing", metavar="URL", help="bucket listing, where it differs from the archive")
    group.add_argument("--rest", metavar="URL", help="REST API, for what the archive lacks")


def add_download_options(group: "argparse._ArgumentGroup") -> None:
    """How much at once, what of doubtful archives, and what is said."""
    add_run_options(group)
    group.add_argument("--workers", type=positive, metavar="N", help="archives at once (default: settings, 32)")
    group.add_argument(
        "--accept",
        metavar="a,b",
        help="store archives with these faults of the source too: unverified, mismatch-upstream, corrupt-upstream "
        "(of this, the lines that can be read; a zip that does not open never)",
    )
    group.add_argument(
        "--salvage", action="store_true", help="store the good rows of files with lines at fault; keep those apart"
    )


def add_data_options(group: "argparse._ArgumentGroup") -> None:
    """Where the data lies, and which settings hold."""
    group.add_argument("--data-dir", type=Path, metavar="DIR", help="data root (default: settings, data/)")
    group.add_argument("--settings", type=Path, metavar="FILE", help="instead of config/settings.yaml")


def add_request_options(group: "argparse._ArgumentGroup") -> None:
    """Which series, and of when."""
    group.add_argument("--market", default=Market.UM.value, help="um (default), cm or spot")
    group.add_argument("--symbols", metavar="A,B", help="symbols, or @majors for a category (default: all)")
    group.add_argument("--data-types", metavar="a,b", help=f"of {', '.join(DATASETS)}")
    group.add_argument("--interval", default="1h", help="of candles (default 1h)")
    group.add_argument("--start", metavar="YYYY-MM-DD", help="first UTC day, included")
    group.add_argument("--end", metavar="YYYY-MM-DD", help="last UTC day, included")


def add_run_options(group: "argparse._ArgumentGroup") -> None:
    """What is said, and where."""
    group.add_argument("--json", action="store_true", help="one JSON object on stdout at the end, nothing else there")
    group.add_argument("--quiet", action="store_true", help="no progress and no summary")
    group.add_argument("--log-level", metavar="LEVEL", help="debug, info (default), warning or error, on stderr")
    group.add_argument("--log-format", choices=FORMATS, default="text", help="of log lines, also of data/logs (text)")


def settings_from(options: argparse.Namespace) -> Settings:
    """The settings file overlaid by the options of a script that downloads."""
    settings = source_settings_from(options)
    changed = {"workers": options.workers} if options.workers else {}
    return settings.replace(download=changed, quality=_quality(options, settings))


def source_settings_from(options: argparse.Namespace) -> Settings:
    """The settings file overlaid by where from and where to."""
    download: dict[str, object] = {}
    if options.source:
        download |= {"source": options.source.rstrip("/"), "listing": options.source.rstrip("/")}
    if options.listing:
        download["listing"] = options.listing.rstrip("/")
    if options.rest:
        download["rest"] = options.rest.rstrip("/")
    for name, url in download.items():
        if not str(url).startswith(("http://", "https://")):
            raise ConfigError(f"--{name}: {url!r} is not a URL; it starts with http:// or https://")
    return local_settings_from(options).replace(download=download)


def _quality(options: argparse.Namespace, settings: Settings) -> dict[str, object]:
    """What is accepted, by settings and options together."""
    words = words_from(options.accept, "--accept")
    for word in words:
        if word not in ACCEPTABLE:
            raise ConfigError(f"--accept: unknown fault {word!r}{one_of(word, list(map(str, ACCEPTABLE)))}")
    accept = tuple(dict.fromkeys([*settings.quality.accept, *words]))
    return {"accept": accept, "salvage": settings.quality.salvage or options.salvage or State.CORRUPT in accept}


def local_settings_from(options: argparse.Namespace) -> Settings:
    """The settings file overlaid by the options of a script that only reads what is stored."""
    settings = load_settings(options.settings)
    if options.data_dir is not None:
        settings = settings.replace(paths={"data": options.data_dir.expanduser().absolute()})
    return settings


def request_from(options: argparse.Namespace, default_types: Sequence[str] | None = None) -> Request:
    """What is asked for, every word checked; `default_types` where --data-types is not given."""
    market = market_named(options.market)
    datasets = _datasets(options.data_types, market, default_types)
    interval = options.interval
    for dataset in datasets:
        if dataset.has_interval:
            interval_named(interval, dataset, market)
    span = span_of(options.start, options.end, datetime.now(UTC).date())
    return Request(market, datasets, interval, span, symbols_from(options.symbols))


def prepare_data_root(root: Path) -> None:
    """Make sure that the data root can be written before anything else is done."""
    probe = root / "metadata" / f".writable.{os.getpid()}"
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"cannot write to the data folder {root}: {error.strerror}; choose another --data-dir"
        ) from error


def shown(path: Path) -> str:
    """A path as short as it can be typed here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def run_command(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Run a script's main; errors become one line on stderr and the exit code."""
    gc.freeze()
    gc.enable()  # see _root
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except MarketDataError as error:
        print(as_called(f"error: {error}"), file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone: nothing more to say
        code = 1
    raise SystemExit(code)


def run_async(work: Coroutine[None, None, int]) -> int:
    """`asyncio.run` that the first Ctrl-C or polite kill cancels, and that the second one ends at once.

    An impatient second Ctrl-C may come in the middle of anything, and as an exception it would surface wherever Python
    just is. So it ends the process like a crash, which every next run recovers from. The signals stay ours to the end,
    also while the loop closes and threads are waited for.
    """
    tasks: list[asyncio.Future[int]] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if not tasks or tasks[0].get_loop().is_closed():
            _end_at_once()
        task = tasks.pop()
        task.get_loop().call_soon_threadsafe(task.cancel)

    async def noted() -> int:
        tasks.append(asyncio.ensure_future(work))
        return await tasks[0]

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(noted())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where there is one: a quarter more small files a second than asyncio's own loop."""
    if find_spec("uvloop") is None:
        return None
    import uvloop

    return uvloop.new_event_loop


def _end_at_once() -> NoReturn:
    restore()
    show_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""
    os.write(2, f"{show_cursor}interrupted\n".encode())
    os._exit(INTERRUPTED)


def _datasets(text: str | None, market: Market, default: Sequence[str] | None) -> tuple[Dataset, ...]:
    names = words_from(text, "--data-types") or default or (SPOT_TYPES if market is Market.SPOT else FUTURES_TYPES)
    return tuple(dataset_named(name, market) for name in dict.fromkeys(names))


def symbols_from(text: str | None) -> tuple[str, ...] | None:
    """The named symbols, each once; `@majors` stands for a category of config/symbols.yaml. None: all."""
    symbols: list[str] = []
    for word in words_from(text, "--symbols"):
        if word.startswith("@"):
            categories = load_symbols().categories
            if word[1:] not in categories:
                raise ConfigError(f"no category {word[1:]!r}{one_of(word[1:], categories)}")
            symbols += categories[word[1:]]
        else:
            symbols.append(word)
    return tuple(dict.fromkeys(symbols)) or None


def tell_not_stored(names: Iterable[str]) -> None:
    """What was asked for by name and is not there."""
    for name in names:
        print(as_called(f"not stored: {name}; get it with download_all.py"), file=sys.stderr)


def words_from(text: str | None, option: str) -> tuple[str, ...]:
    """The words of a list with commas; () where the option is not given."""
    if text is None:
        return ()
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if not words:
        raise ConfigError(f"{option} is empty")
    return words


def say(options: argparse.Namespace, result: dict[str, object], text: str) -> None:
    """What came of it, as one object or in a line."""
    if options.json:
        print(json.dumps(result))
    elif not options.quiet:
        from rich.console import Console

        Console().print(text)


@contextlib.contextmanager
def status_line(options: argparse.Namespace, first: str) -> Iterator[Callable[[str], None]]:
    """A line on a terminal that says what is being done, `first` to begin with; nothing elsewhere."""
    from rich.console import Console  # a quiet download does without

    console = Console(stderr=True)
    if options.quiet or not console.is_terminal:
        yield lambda text: None
    else:
        with console.status(first) as status:
            yield status.update


def bytes_from(text: str) -> int:
    """`500K`, `20M` and `10GB` count by thousands, `1.5GiB` by 1,024; a number alone is bytes. 0: none of these."""
    match = _BYTES.fullmatch(text.strip())
    if match is None:
        return 0
    number, unit, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " KMGT".index(unit.upper() or " "))


def positive(text: str) -> int:
    """An option's whole number above 0."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def port_from(text: str) -> int:
    """An option's port of this machine; 0 stands for any free one."""
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; 0 to 65535")
    return int(text)
