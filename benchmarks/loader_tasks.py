"""What `loader.py` measures: questions, who answers them, and the goals."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from loader_input import KINDS, ROOT, TRADED, World, twin
from loader_processes import Elsewhere, Peer, imports, start_of_nautilus, starts
from loader_race import Goal, InProcess, Task, Way, at_least, at_most, faster, within
from loader_ways import (
    DuckDb,
    Files,
    Ours,
    Pandas,
    Polars,
    Pyarrow,
    Subject,
    has,
    whole_years,
    write_by_time,
    write_in_one,
)

ARROW: Final = "Tapevault to Arrow"
PANDAS: Final = "Tapevault to pandas"
AS_OF: Final = "last known, unlimited"
SAME_BAR: Final = "same bar"
DAY: Final = timedelta(days=1)
HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True)
class Hands:
    """Everybody who takes part; None: is not installed."""

    world: World
    ours: Ours
    pandas: Pandas
    pyarrow: Pyarrow
    duckdb: DuckDb
    polars: Polars | None
    arctic: Peer | None
    nautilus: Peer | None

    @classmethod
    def of(cls, world: World, peers: Mapping[str, Peer]) -> "Hands":
        files = Files(world)
        polars = Polars(files) if find_spec("polars") else None
        elsewhere = peers.get("arctic"), peers.get("nautilus")
        return cls(world, Ours(world.data), Pandas(files), Pyarrow(files), DuckDb(files), polars, *elsewhere)

    def rows(self, *kinds: str) -> Iterator[Way]:
        """Ours, as far as the loader can."""
        if has("load_data", "output"):
            yield InProcess(ARROW, self.ours.rows("arrow", kinds))
        yield InProcess(PANDAS, self.ours.rows("pandas", kinds))

    def aligned(self) -> Iterator[Way]:
        outputs = {ARROW: "arrow", PANDAS: "pandas"} if has("load_aligned_data", "output") else {PANDAS: "pandas"}
        if has("load_aligned_data", "max_age"):
            for name, output in outputs.items():
                yield InProcess(name, self.ours.aligned(output, max_age=None), asks=AS_OF)
        for name, output in outputs.items():
            yield InProcess(f"{name}, same bar", self.ours.aligned(output), asks=SAME_BAR)

    def elsewhere(self, task: str) -> Iterator[Way]:
        """Libraries of another environment, in the tasks that they were told of."""
        if self.arctic:
            yield Elsewhere("ArcticDB to Arrow", self.arctic, f"{task}/arrow")
            yield Elsewhere("ArcticDB to pandas", self.arctic, f"{task}/pandas")
        if self.nautilus and task != "all":
            yield Elsewhere("NautilusTrader", self.nautilus, f"{task}/bars")


def groups_of(world: World) -> dict[str, list[Subject]]:
    """The whole years that are read, by task."""
    return {
        "one": whole_years([[symbol] for symbol in world.whole[:8]]),
        "fifty": whole_years([world.symbols[:50]]),
        "all": whole_years([world.symbols]),
    }


NAMES: Final = (
    *("one", "kinds", "fifty", "all", "aligned-one", "aligned-fifty", "aligned-all"),
    *("day", "hour", "starts", "imports"),
)


def task(name: str, hands: Hands) -> Task:
    """The task of that name, with what it needs beside the world."""
    one, fifty, everything = groups_of(hands.world).values()
    makers: dict[str, Callable[[], Task]] = {
        "one": lambda: _one(hands, one),
        "kinds": lambda: _kinds(hands, one),
        "fifty": lambda: _many(hands, "fifty", fifty, _FIFTY_GOALS, rounds=2),
        "all": lambda: _many(hands, "all", everything, _ALL_GOALS, rounds=1),
        "aligned-one": lambda: _aligned(hands, "aligned-one", one, _ALIGNED_ONE_GOALS, rounds=3),
        "aligned-fifty": lambda: _aligned(hands, "aligned-fifty", fifty, _ALIGNED_FIFTY_GOALS, rounds=2),
        "aligned-all": lambda: _aligned(hands, "aligned-all", everything, _ALIGNED_ALL_GOALS, rounds=1),
        "day": lambda: _day(hands),
        "hour": lambda: _hour(hands),
        "starts": lambda: _starts(hands, one[:1]),
        "imports": lambda: _imports(one[:1]),
    }
    return makers[name]()


def _one(hands: Hands, subjects: Sequence[Subject]) -> Task:
    ways = [
        *hands.rows("klines"),
        InProcess("pandas", hands.pandas.rows),
        InProcess("pyarrow", hands.pyarrow.rows),
        InProcess("DuckDB", hands.duckdb.rows),
        *_of(hands.polars, polars="rows"),
        *hands.elsewhere("one"),
    ]
    goals = [
        at_most(ARROW, 2),
        at_most(PANDAS, 4),
        faster(ARROW, "NautilusTrader", 4, aim=8),
        faster(ARROW, "pandas", 1.9, aim=4),
    ]
    return Task("one", "One symbol-year of hourly candles", subjects, ways, goals, rounds=6)


def _kinds(hands: Hands, subjects: Sequence[Subject]) -> Task:
    ways = [
        *hands.rows(*KINDS),
        InProcess("pandas", hands.pandas.kinds),
        InProcess("pyarrow", hands.pyarrow.kinds),
        InProcess("DuckDB", hands.duckdb.kinds),
        *_of(hands.polars, polars="kinds"),
    ]
    return Task("kinds", "Five kinds of data, one symbol-year", subjects, ways, [at_most(ARROW, 10)], rounds=6)


_FIFTY_GOALS: Final = (
    faster(ARROW, "NautilusTrader", 14),
    faster(ARROW, "ArcticDB to Arrow", 1.4),
    faster(ARROW, "ArcticDB to pandas", 1.4),
    faster(ARROW, "polars", 2.5),
)
_ALL_GOALS: Final = (faster(ARROW, "polars", 1), within(PANDAS, 1.5, of=ARROW))


def _many(hands: Hands, name: str, subjects: Sequence[Subject], goals: Sequence[Goal], rounds: int) -> Task:
    ways = [
        *hands.rows("klines"),
        InProcess("pandas", hands.pandas.rows),
        InProcess("pyarrow", hands.pyarrow.rows),
        InProcess("pyarrow dataset", hands.pyarrow.dataset),
        InProcess("DuckDB", hands.duckdb.rows),
        *_of(hands.polars, polars="rows"),
        *hands.elsewhere(name),
    ]
    return Task(name, f"{_years(subjects)}, ordered", subjects, ways, goals, rounds)


_ALIGNED_ONE_GOALS: Final = (
    at_most(ARROW, 4),
    faster(ARROW, "polars join_asof", 2),
    faster(ARROW, "pandas merge_asof", 6),
)
_ALIGNED_FIFTY_GOALS: Final = (
    faster(ARROW, "DuckDB ASOF", 8),
    faster(ARROW, "pandas merge_asof", 20),
)
_ALIGNED_ALL_GOALS: Final = (
    at_most(ARROW, 1300, aim=500),
    faster(ARROW, "DuckDB ASOF", 4),
)


def _aligned(hands: Hands, name: str, subjects: Sequence[Subject], goals: Sequence[Goal], rounds: int) -> Task:
    ways = [
        *hands.aligned(),
        *_of(hands.polars, AS_OF, **{"polars join_asof": "aligned"}),
        InProcess("DuckDB ASOF", hands.duckdb.aligned, asks=AS_OF),
        InProcess("pandas merge_asof", hands.pandas.aligned, asks=AS_OF, at_most=5),
        *(
            [InProcess("polars, same bar", hands.polars.aligned_by_bar, asks=SAME_BAR, at_most=3)]
            if hands.polars
            else []
        ),
    ]
    return Task(name, f"Aligned, five kinds of data, {_years(subjects)}", subjects, ways, goals, rounds)


def _day(hands: Hands) -> Task:
    """Copies by time have their rows by time and symbol, which is their point: they are sorted before comparing."""
    write_by_time(Files(hands.world), hands.world.symbols)
    crossed, plain = Ours(_with_cross_sections(hands.world)), Ours(twin(hands.world, "plain"))
    ways = [
        InProcess(ARROW, crossed.rows("arrow")),
        InProcess(PANDAS, crossed.rows("pandas")),
        InProcess(f"{ARROW}, without cross-sections", plain.rows("arrow")),
        *([InProcess("polars, copy by time", hands.polars.day, in_order=False)] if hands.polars else []),
        InProcess("DuckDB, copy by time", hands.duckdb.day, in_order=False),
        InProcess("pandas, copy by time", hands.pandas.day, in_order=False),
        *_of(hands.polars, **{"polars, files of symbols": "day_of_files"}),
    ]
    starts_at = [datetime(2023, 2, 11, tzinfo=UTC) + number * 41 * DAY for number in range(8)]
    symbols = tuple(hands.world.symbols)
    subjects = [Subject(number, symbols, start, start + DAY) for number, start in enumerate(starts_at)]
    goals = [within(ARROW, 1.9, of="polars, copy by time")]
    return Task("day", f"One day of {len(symbols)} symbols", subjects, ways, goals, rounds=3)


def _with_cross_sections(world: World) -> Path:
    """A data folder that has them; those that are right already are left alone."""
    data = twin(world, "crossed")
    command = [sys.executable, str(ROOT / "scripts" / "pipeline.py"), "cross-sections", "--data-dir", str(data)]
    subprocess.run([*command, "--market", "um", "--interval", "1h", "--data-types", "klines", "--quiet"], check=True)
    return data


def _hour(hands: Hands) -> Task:
    """What pandas takes depends on what it is told: which of the days, all of them, or one file of them all."""
    write_in_one(Files(hands.world))
    ways = [
        *hands.rows("trades"),
        InProcess("pandas filters, one file of all", hands.pandas.hour_of_one_file),
        InProcess("pandas filters, files of all days", hands.pandas.hour_of_all_days),
        InProcess("pandas filters, file of the day", hands.pandas.hour_of_named_day),
        InProcess("pyarrow dataset, file of the day", hands.pyarrow.hour),
        InProcess("DuckDB, file of the day", hands.duckdb.hour),
        *_of(hands.polars, **{"polars, file of the day": "hour"}),
    ]
    days, size = hands.world.trade_days, hands.world.size
    begins = [datetime.combine(days[number * 5 % len(days)].first, datetime.min.time(), UTC) for number in range(8)]
    subjects = [
        Subject(number, (TRADED,), begin + (number * 7 % 24) * HOUR, begin + (number * 7 % 24 + 1) * HOUR)
        for number, begin in enumerate(begins)
    ]
    goals = [at_most(ARROW, 4), faster(ARROW, "pandas filters, one file of all", 12)]
    title = f"One hour of {size.trades:,} trades in {size.days} days"
    return Task("hour", title, subjects, ways, goals, rounds=4)


def _starts(hands: Hands, subjects: Sequence[Subject]) -> Task:
    symbol = subjects[0].symbols[0]
    ways = starts(Files(hands.world), symbol, has("load_data", "output"))
    if hands.nautilus:
        folder = hands.world.peers / f"nautilus-{hands.nautilus.version.split()[-1]}"
        ways += filter(None, [start_of_nautilus(folder, symbol)])
    goals = [faster(ARROW, "pandas", 2), faster(ARROW, "NautilusTrader", 4)]
    return Task("starts", "A process from its start to one symbol-year", subjects, ways, goals)


def _imports(subjects: Sequence[Subject]) -> Task:
    goals = [within("import loader", 1.3, of="import duckdb")]
    return Task("imports", "A process that imports", subjects, imports(), goals)


STREAM_GOALS: Final = (
    at_least("M rows/s", 35, "M rows/s"),
    at_most("MB at most", 64, unit="MB"),
    within("MB at most", 1.25, of="MB after a third"),
)
"""The last one is what is meant by flat."""


def _of(hand: Any, asks: str = "rows", **reads: str) -> list[Way]:
    """Ways of a peer, by the names of what it can; none if it is not here."""
    return [] if hand is None else [InProcess(name, getattr(hand, read), asks=asks) for name, read in reads.items()]


def _years(subjects: Sequence[Subject]) -> str:
    count = len(subjects[0].symbols)
    return "one symbol-year" if count == 1 else f"{count} symbol-years"
