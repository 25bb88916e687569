"""Questions and answers instead of options: each answer becomes part of a command line, which is shown and then run."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rich.console import Console
from rich.prompt import Confirm, Prompt
from rich.table import Table
from rich.text import Text

from core.commands.command import (
    FUTURES_TYPES,
    INTERRUPTED,
    SPOT_TYPES,
    local_settings_from,
    symbols_from,
    words_from,
)
from core.commands.steps import TRADES, by_itself, typed
from core.datasets import DATASETS, dataset_named, interval_named, market_named
from core.dates import span_of
from core.errors import ConfigError, MarketDataError, NoData
from core.jobs.holdings import series_held
from core.jobs.selection import is_of
from core.layout import Layout
from core.nearest import did_you_mean, one_of
from core.types import Market

Run = Callable[[Sequence[str]], int]
"""Does what a command line says, and gives its exit code."""
_ALL = "all"
_PRIORITY = "priority"
_LEAVE = "quit"


@dataclass(slots=True)
class _Questions:
    """Asks until the answer is one that the command would take. `before` are the answers of the last time."""

    console: Console
    layout: Layout
    bars: Sequence[str] = ()
    before: dict[str, str] = field(default_factory=dict)

    def ask(self, what: str, default: str, check: Callable[[str], object]) -> str:
        while True:
            said = Prompt.ask(f"  {what}", default=self.before.get(what, default), console=self.console).strip()
            try:
                check(said)
            except MarketDataError as error:
                self.console.print(Text(f"  {error}", style="red"))
                continue
            self.before[what] = said
            return said

    def market(self, everything: bool = False) -> str:
        """`all` is an answer where `everything` is."""
        choices = [*map(str, Market), *([_ALL] if everything else [])]
        said = f"market ({', '.join(choices)})"

        def check(word: str) -> None:
            if word not in choices:
                raise ConfigError(f"unknown market {word!r}{one_of(word, choices)}")

        return self.ask(said, _ALL if everything else Market.UM.value, check)

    def kinds(self, market: str, default: str) -> str:
        def check(text: str) -> None:
            for name in words_from(text, "data types") if text != _ALL or default != _ALL else ():
                if name not in DATASETS:
                    raise ConfigError(f"unknown data type {name!r}{one_of(name, DATASETS)}")
                if market != _ALL:
                    dataset_named(name, market_named(market))

        return self.ask("data types, with commas", default, check)

    def symbols(self) -> str:
        """Those of the exchange; it is the download that knows them."""

        def check(text: str) -> None:
            if text not in (_ALL, _PRIORITY):
                symbols_from(text)

        return self.ask(f"symbols, with commas, @majors, {_PRIORITY} or {_ALL}", _PRIORITY, check)

    def stored_symbols(self) -> str:
        """Those of which something is here."""
        here = series_held(self.layout)

        def check(text: str) -> None:
            for symbol in symbols_from(text) or () if text != _ALL else ():
                if not any(is_of(one, symbol) for one in here):
                    names = sorted({one.symbol for one in here})
                    raise NoData(f"nothing of {symbol} is here{did_you_mean(symbol, names)}")

        return self.ask(f"symbols, with commas, @majors or {_ALL}", _ALL, check)

    def interval(self, market: str, kinds: str) -> str:
        of_candles = [name for name in kinds.split(",") if name in DATASETS and DATASETS[name].has_interval]
        if not of_candles:
            return ""

        def check(word: str) -> None:
            interval_named(word, DATASETS[of_candles[0]], market_named(market))

        return self.ask("interval of candles", "1h", check)

    def days(self) -> tuple[str, str]:
        today = datetime.now(UTC).date()
        first = self.ask(f"first day (YYYY-MM-DD, or {_ALL})", _ALL, lambda text: span_of(_given(text), None, today))
        last = self.ask(
            f"last day (YYYY-MM-DD, or {_ALL})", _ALL, lambda text: span_of(_given(first), _given(text), today)
        )
        return first, last

    def yes(self, what: str, default: bool) -> bool:
        return Confirm.ask(f"  {what}", default=default, console=self.console)


def _given(text: str) -> str | None:
    return None if text == _ALL else text


def _options(**answers: str) -> list[str]:
    """What was answered, as options; `all` is what a command takes anyway."""
    given = {name: text for name, text in answers.items() if text and text != _ALL}
    return [word for name, text in given.items() for word in (f"--{name.replace('_', '-')}", text)]


def _asked(questions: _Questions, is_here: bool = False) -> list[str]:
    """What of the exchange's, or of that which `is_here`."""
    market = questions.market()
    symbols = questions.stored_symbols() if is_here else questions.symbols()
    usual = SPOT_TYPES if market == Market.SPOT else FUTURES_TYPES
    kinds = questions.kinds(market, ",".join(usual))
    interval = questions.interval(market, kinds if kinds != _ALL else ",".join(usual))
    start, end = questions.days()
    kinds = "" if kinds == ",".join(usual) else kinds
    named = ["--priority-only"] if symbols == _PRIORITY else _options(symbols=symbols)
    interval = "" if interval == "1h" else interval
    return [*_options(market=market), *named, *_options(data_types=kinds, interval=interval, start=start, end=end)]


def _stored(questions: _Questions) -> list[str]:
    """What of that which is here."""
    market = questions.market(everything=True)
    return _options(market=market, symbols=questions.stored_symbols(), data_types=questions.kinds(market, _ALL))


def _download(questions: _Questions) -> list[str]:
    return ["download", *_asked(questions)]


def _convert(questions: _Questions) -> list[str]:
    return ["convert", *_asked(questions, is_here=True)]


def _optimize(questions: _Questions) -> list[str]:
    return ["optimize", *_stored(questions), *(["--dry-run"] if questions.yes("only look", default=False) else [])]


def _validate(questions: _Questions) -> list[str]:
    gaps = questions.yes("list days with gaps", default=True)
    return ["validate", *_stored(questions), *(["--check-daily-gaps"] if gaps else [])]


def _features(questions: _Questions) -> list[str]:
    def of_trades(text: str) -> None:
        for name in words_from(text, "data types"):
            if name not in TRADES:
                raise ConfigError(f"bars are made of trades, not of {name!r}{one_of(name, TRADES)}")

    bars = questions.ask(f"bars ({', '.join(questions.bars)})", questions.bars[0], _one_of(questions.bars))
    market = questions.market(everything=True)
    kinds = questions.ask(f"made of ({', '.join(TRADES)})", "trades", of_trades)
    return ["features", "--type", bars, *_options(market=market, symbols=questions.stored_symbols(), data_types=kinds)]


def _run(questions: _Questions) -> list[str]:
    return ["run", *_asked(questions)]


def _cleanup(questions: _Questions) -> list[str]:
    kept = questions.ask("archives whose rows are stored (keep, remove)", "keep", _one_of(("keep", "remove")))
    apply = [] if questions.yes("only look", default=True) else ["--apply"]
    return ["cleanup", *(["--raw", kept] if kept == "remove" else []), *apply]


def _delete(questions: _Questions) -> list[str]:
    return ["delete", *_stored(questions)]


def _one_of(choices: Sequence[str]) -> Callable[[str], None]:
    def check(word: str) -> None:
        if word not in choices:
            raise ConfigError(f"{word!r} is none of these{one_of(word, choices)}")

    return check


@dataclass(frozen=True, slots=True)
class _Action:
    says: str
    words: Callable[[_Questions], list[str]]
    is_of_source: bool = False


_ACTIONS: Mapping[str, _Action] = {
    "download": _Action("list, fetch, verify and store", _download, is_of_source=True),
    "convert": _Action("store archives that are downloaded", _convert, is_of_source=True),
    "optimize": _Action("merge small files into larger ones", _optimize),
    "validate": _Action("order, sanity and gaps of what is stored", _validate),
    "features": _Action("bars of trades", _features),
    "run": _Action("all of the above in turn", _run, is_of_source=True),
    "cleanup": _Action("files that are not needed any more", _cleanup),
    "delete": _Action("all data, or some", _delete),
}


def menu(options: argparse.Namespace, run: Run, bars: Sequence[str]) -> int:
    """Ask what to do and do it, until somebody leaves. 0, or 130 where that was by Ctrl-C.

    `bars` are the sets of bars that have a name, the usual one first. Where only the command itself could know
    that an answer is wrong, the questions are offered again.
    """
    console = Console()
    layout = Layout(local_settings_from(options).data_root)
    before: dict[str, dict[str, str]] = {}
    try:
        while True:
            name = _chosen(console, layout)
            if name == _LEAVE:
                return 0
            action = _ACTIONS[name]
            questions = _Questions(console, layout, bars, before.setdefault(name, {}))
            while True:
                words = [*action.words(questions), *_everywhere(options, action)]
                code = _do(console, words, run)
                if code != ConfigError.exit_code or name == "delete":
                    break  # of delete, what was typed was no name: that is an answer, too
                if not questions.yes("answer again", default=True):
                    break  # no answer mends a folder that cannot be written
    except EOFError:
        console.print()
        return 0
    except KeyboardInterrupt:
        console.print()
        return INTERRUPTED


def _chosen(console: Console, layout: Layout) -> str:
    names = [*_ACTIONS, _LEAVE]
    table = Table.grid(padding=(0, 2))
    for number, name in enumerate(names, 1):
        table.add_row(
            f"{number}", f"[bold]{name}[/bold]", _ACTIONS[name].says if name in _ACTIONS else f"or {_LEAVE[0]}"
        )
    console.print(f"\nTapevault, data in {layout.root}", highlight=False, markup=False)
    console.print(table)
    while True:
        said = Prompt.ask("number or name", default=_LEAVE, console=console).strip()
        if said.isdigit() and 1 <= int(said) <= len(names):
            return names[int(said) - 1]
        if said in names:
            return said
        if said == _LEAVE[0]:
            return _LEAVE
        near = did_you_mean(said, names) or "; the numbers are on the left"
        console.print(Text(f"there is no {said!r}{near}", style="red"))


def _everywhere(options: argparse.Namespace, action: _Action) -> list[str]:
    """What the menu itself was told about the place of things."""
    names = ("data_dir", "settings", *(("source", "listing", "rest") if action.is_of_source else ()))
    return _options(**{name: str(getattr(options, name) or "") for name in names})


def _do(console: Console, words: Sequence[str], run: Run) -> int:
    """Show the command and run it."""
    console.print(f"\n$ {typed(words)}\n", style="bold", markup=False, highlight=False, soft_wrap=True)
    try:
        with by_itself():
            code = run(words)
    except MarketDataError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = INTERRUPTED
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    if code:
        console.print(f"exit code {code}", highlight=False)
    return code
