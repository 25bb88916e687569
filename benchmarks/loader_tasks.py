"""What `loader.py` measures: questions, who answers them, and the goals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

from loader_race import Goal, InProcess, Task, Way, at_most, faster, within
from loader_ways import DuckDb, Files, Ours, Pandas, Polars, Pyarrow, has, whole_years
from loader_world import KINDS, World

ARROW: Final = "Tapevault to Arrow"
PANDAS: Final = "Tapevault to pandas"
AS_OF: Final = "last known, unlimited"
SAME_BAR: Final = "same bar"


@dataclass(frozen=True)
class Hands:
    """Everybody who takes part."""

    world: World
    ours: Ours
    pandas: Pandas
    pyarrow: Pyarrow
    duckdb: DuckDb
    polars: Polars | None

    @classmethod
    def of(cls, world: World) -> "Hands":
        files = Files(world)
        polars = Polars(files) if find_spec("polars") else None
        return cls(world, Ours(world), Pandas(files), Pyarrow(files), DuckDb(files), polars)

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


def tasks(hands: Hands) -> Iterator[Task]:
    """All of them, each made when its turn comes."""
    world = hands.world
    several, fifty, everything = world.whole[:8], world.symbols[:50], world.symbols
    yield _one(hands, several)
    yield _kinds(hands, several)
    yield _fifty(hands, fifty)
    yield _all(hands, everything)
    yield _aligned(hands, "aligned-1", "one symbol-year", [[symbol] for symbol in several], _ONE_GOALS, 3)
    yield _aligned(hands, "aligned-50", f"{len(fifty)} symbol-years", [fifty], _FIFTY_GOALS, 2)
    yield _aligned(hands, "aligned-500", f"{len(everything)} symbol-years", [everything], _ALL_GOALS, 1)


def _one(hands: Hands, symbols: Sequence[str]) -> Task:
    ways = [
        *hands.rows("klines"),
        InProcess("pandas", hands.pandas.rows),
        InProcess("pyarrow", hands.pyarrow.rows),
        InProcess("DuckDB", hands.duckdb.rows),
        *_of(hands.polars, polars="rows"),
    ]
    goals = [
        at_most(ARROW, 2),
        at_most(PANDAS, 4),
        faster(ARROW, "NautilusTrader", 4, aim=8),
        faster(ARROW, "pandas", 1.9, aim=4),
    ]
    subjects = whole_years([[symbol] for symbol in symbols])
    return Task("one", "One symbol-year of hourly candles", subjects, ways, goals, rounds=6)


def _kinds(hands: Hands, symbols: Sequence[str]) -> Task:
    ways = [
        *hands.rows(*KINDS),
        InProcess("pandas", hands.pandas.kinds),
        InProcess("pyarrow", hands.pyarrow.kinds),
        InProcess("DuckDB", hands.duckdb.kinds),
        *_of(hands.polars, polars="kinds"),
    ]
    subjects = whole_years([[symbol] for symbol in symbols])
    return Task("kinds", "Five kinds of data, one symbol-year", subjects, ways, [at_most(ARROW, 10)], rounds=6)


def _fifty(hands: Hands, symbols: Sequence[str]) -> Task:
    goals = [
        faster(ARROW, "NautilusTrader", 14),
        faster(ARROW, "ArcticDB to Arrow", 1.4),
        faster(ARROW, "polars", 2.5),
    ]
    return Task("fifty", f"{len(symbols)} symbol-years", whole_years([symbols]), _many(hands), goals, rounds=2)


def _all(hands: Hands, symbols: Sequence[str]) -> Task:
    goals = [faster(ARROW, "polars", 1), within(PANDAS, 1.5, of=ARROW)]
    return Task("all", f"{len(symbols)} symbol-years, ordered", whole_years([symbols]), _many(hands), goals)


def _many(hands: Hands) -> list[Way]:
    return [
        *hands.rows("klines"),
        InProcess("pandas", hands.pandas.rows),
        InProcess("pyarrow", hands.pyarrow.rows),
        InProcess("pyarrow dataset", hands.pyarrow.dataset),
        InProcess("DuckDB", hands.duckdb.rows),
        *_of(hands.polars, polars="rows"),
    ]


_ONE_GOALS: Final = (
    at_most(ARROW, 4),
    faster(ARROW, "polars join_asof", 2),
    faster(ARROW, "pandas merge_asof", 6),
)
_FIFTY_GOALS: Final = (
    faster(ARROW, "DuckDB ASOF", 8),
    faster(ARROW, "pandas merge_asof", 20),
)
_ALL_GOALS: Final = (
    at_most(ARROW, 1300, aim=500),
    faster(ARROW, "DuckDB ASOF", 4),
)


def _aligned(
    hands: Hands, name: str, what: str, groups: Sequence[Sequence[str]], goals: Sequence[Goal], rounds: int
) -> Task:
    ways = [
        *hands.aligned(),
        *_of(hands.polars, AS_OF, **{"polars join_asof": "aligned"}),
        InProcess("DuckDB ASOF", hands.duckdb.aligned, asks=AS_OF),
        InProcess("pandas merge_asof", hands.pandas.aligned, asks=AS_OF, at_most=5),
        *_of(hands.polars, SAME_BAR, **{"polars, same bar": "aligned_by_bar"}),
    ]
    return Task(name, f"Aligned, five kinds of data, {what}", whole_years(groups), ways, goals, rounds)


def _of(hand: Any, asks: str = "rows", **reads: str) -> list[Way]:
    """Ways of a peer, by the names of what it can; none if it is not here."""
    return [] if hand is None else [InProcess(name, getattr(hand, read), asks=asks) for name, read in reads.items()]
