"""Ways to read the same rows in one process: Tapevault's loader, and pandas, polars, pyarrow and DuckDB by hand.

The peers are told the files and the columns, so that none of them searches folders or reads what nobody wants; each is
written as its documentation shows it, and where there were two ways the faster one was kept. DuckDB keeps footers, as
ours does. Only the loader says in a column which symbol a row is of; of the peers those that join do.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from loader_input import KINDS, PRICES, TRADED, YEAR, World

from core.types import Period
from loader import BacktestDataLoader

CANDLE: Final = ["open", "high", "low", "close"]
COLUMNS: Final = {
    "klines": ["timestamp", *CANDLE, "volume", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote"],
    **{kind: ["timestamp", *CANDLE] for kind in PRICES},
    "funding_rate": ["timestamp", "funding_rate", "funding_interval_hours"],
    "trades": ["timestamp", "id", "price", "qty", "quote_qty", "is_buyer_maker"],
}
"""What a frame of ours has by default, but for the symbol."""
PREFIX: Final = {"mark_price": "mark", "index_price": "index", "premium_index": "premium"}
HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Subject:
    """What one call is about; `number` is its place in its task, by which another process knows it."""

    number: int
    symbols: tuple[str, ...]
    start: datetime
    end: datetime


Read = Callable[[Subject], Any]


def has(method: str, parameter: str) -> bool:
    """Whether the loader can do that."""
    found = getattr(BacktestDataLoader, method, None)
    return found is not None and parameter in inspect.signature(found).parameters


class Ours:
    """The loader, opened once and asked with its defaults, so that looking for what is missing takes its time."""

    def __init__(self, data: Path) -> None:
        self._loader = BacktestDataLoader(data_dir=data)

    def rows(self, output: str, kinds: Sequence[str] = ("klines",)) -> Read:
        more = self._more("load_data", output)
        return lambda one: self._loader.load_data(one.symbols, one.start, one.end, kinds, **more)

    def aligned(self, output: str, **options: Any) -> Read:
        more = self._more("load_aligned_data", output) | options
        return lambda one: self._loader.load_aligned_data(one.symbols, one.start, one.end, **more)

    def close(self) -> None:
        self._loader.close()

    def _more(self, method: str, output: str) -> dict[str, str]:
        return {"output": output} if has(method, "output") else {}


@dataclass(frozen=True, slots=True)
class Files:
    """Where the rows of a world lie."""

    world: World

    def of(self, kind: str, symbols: Sequence[str]) -> list[str]:
        return [str(self.world.file(kind, symbol)) for symbol in symbols]

    def of_day(self, one: Subject) -> str:
        return str(self.world.trade_file(Period.day(one.start.date())))

    def of_month(self) -> list[str]:
        return [str(self.world.trade_file(day)) for day in self.world.trade_days]

    @property
    def by_time(self) -> Path:
        """All candles in one file, sorted by time and symbol."""
        return self.world.peers / "klines-by-time.parquet"

    @property
    def in_one(self) -> Path:
        """All trades in one file, as pandas writes it."""
        return self.world.peers / f"{TRADED}-trades.parquet"


class Pandas:
    """`read_parquet`, `concat` and `merge_asof`."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def rows(self, one: Subject) -> Any:
        return self._read("klines", one.symbols)

    def kinds(self, one: Subject) -> Any:
        return {kind: self._read(kind, one.symbols) for kind in KINDS}

    def aligned(self, one: Subject) -> Any:
        """Symbol by symbol: sorting all of them by time, as `by=` demands, takes longer."""
        frames = [self._aligned(symbol).assign(symbol=symbol) for symbol in one.symbols]
        return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)

    def hour_of_named_day(self, one: Subject) -> Any:
        return pd.read_parquet(self._files.of_day(one), columns=COLUMNS["trades"], filters=_between(one))

    def hour_of_all_days(self, one: Subject) -> Any:
        paths: Any = self._files.of_month()  # a list, which pandas-stubs do not know
        return pd.read_parquet(paths, columns=COLUMNS["trades"], filters=_between(one))

    def hour_of_one_file(self, one: Subject) -> Any:
        return pd.read_parquet(self._files.in_one, columns=COLUMNS["trades"], filters=_between(one))

    def day(self, one: Subject) -> Any:
        return pd.read_parquet(self._files.by_time, columns=["symbol", *COLUMNS["klines"]], filters=_between(one))

    def _read(self, kind: str, symbols: Sequence[str]) -> pd.DataFrame:
        frames = [pd.read_parquet(path, columns=COLUMNS[kind]) for path in self._files.of(kind, symbols)]
        return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)

    def _aligned(self, symbol: str) -> pd.DataFrame:
        frame = self._read("klines", [symbol])
        for kind in PRICES:
            prices = self._read(kind, [symbol]).rename(columns=_prefixed(kind))
            frame = pd.merge_asof(frame, prices, on="timestamp")
        frame["available_at"] = frame["timestamp"] + HOUR
        funding = self._read("funding_rate", [symbol]).rename(columns={"timestamp": "settled"})
        return pd.merge_asof(frame, funding, left_on="available_at", right_on="settled").drop(columns="settled")


class Pyarrow:
    """A file read as it is, and many one after the other, or as a dataset."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def rows(self, one: Subject) -> Any:
        return self._read("klines", one.symbols)

    def kinds(self, one: Subject) -> Any:
        return {kind: self._read(kind, one.symbols) for kind in KINDS}

    def dataset(self, one: Subject) -> Any:
        return ds.dataset(self._files.of("klines", one.symbols)).to_table(COLUMNS["klines"])

    def hour(self, one: Subject) -> Any:
        field = ds.field("timestamp")
        inside = (field >= one.start) & (field < one.end)
        return ds.dataset(self._files.of_day(one)).to_table(COLUMNS["trades"], filter=inside)

    def _read(self, kind: str, symbols: Sequence[str]) -> pa.Table:
        tables = [pq.ParquetFile(path).read(COLUMNS[kind]) for path in self._files.of(kind, symbols)]
        return tables[0] if len(tables) == 1 else pa.concat_tables(tables)


class Polars:
    """`scan_parquet` of the named files, `join_asof`, `collect`."""

    def __init__(self, files: Files) -> None:
        import polars

        self._pl = polars
        self._files = files

    def rows(self, one: Subject) -> Any:
        return self._scan("klines", one.symbols).collect()

    def kinds(self, one: Subject) -> Any:
        found = self._pl.collect_all([self._scan(kind, one.symbols) for kind in KINDS])
        return dict(zip(KINDS, found, strict=True))

    def aligned(self, one: Subject) -> Any:
        """A plan for each symbol, all of them collected at once: less time than one plan with `by=`, at any number."""
        return self._pl.concat(self._pl.collect_all([self._aligned(symbol) for symbol in one.symbols]))

    def aligned_by_bar(self, one: Subject) -> Any:
        """Prices of the same bar only; here one symbol after the other is what takes the least time."""
        return self._pl.concat([self._aligned(symbol, is_same_bar=True).collect() for symbol in one.symbols])

    def day(self, one: Subject) -> Any:
        return self._within(self._pl.scan_parquet(self._files.by_time), one, ["symbol", *COLUMNS["klines"]])

    def day_of_files(self, one: Subject) -> Any:
        return self._within(self._scan("klines", one.symbols), one, COLUMNS["klines"])

    def hour(self, one: Subject) -> Any:
        return self._within(self._pl.scan_parquet(self._files.of_day(one)), one, COLUMNS["trades"])

    def _scan(self, kind: str, symbols: Sequence[str]) -> Any:
        return self._pl.scan_parquet(self._files.of(kind, symbols)).select(COLUMNS[kind])

    def _within(self, frame: Any, one: Subject, columns: Sequence[str]) -> Any:
        time = self._pl.col("timestamp")
        return frame.filter((time >= one.start) & (time < one.end)).select(columns).collect()

    def _aligned(self, symbol: str, is_same_bar: bool = False) -> Any:
        frame = self._scan("klines", [symbol])
        for kind in PRICES:
            prices = self._scan(kind, [symbol]).rename(_prefixed(kind))
            if is_same_bar:
                frame = frame.join(prices, on="timestamp", how="left", maintain_order="left")
            else:
                frame = frame.join_asof(prices, on="timestamp")
        frame = frame.with_columns(available_at=self._pl.col("timestamp") + HOUR, symbol=self._pl.lit(symbol))
        return frame.join_asof(self._scan("funding_rate", [symbol]), left_on="available_at", right_on="timestamp")


class DuckDb:
    """`read_parquet` of the named files, `ASOF JOIN`, to Arrow."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._connection = duckdb.connect(":memory:")
        self._connection.execute("SET GLOBAL parquet_metadata_cache = true")

    def rows(self, one: Subject) -> Any:
        return self._table(f"SELECT {_names('klines')} FROM read_parquet(?)", self._files.of("klines", one.symbols))

    def kinds(self, one: Subject) -> Any:
        return {
            kind: self._table(f"SELECT {_names(kind)} FROM read_parquet(?)", self._files.of(kind, one.symbols))
            for kind in KINDS
        }

    def aligned(self, one: Subject) -> Any:
        """The number of a file stands for its symbol, which spares DuckDB the words."""
        return self._table(_ASOF, *(self._files.of(kind, one.symbols) for kind in KINDS))

    def hour(self, one: Subject) -> Any:
        return self._table(
            f"SELECT {_names('trades')} FROM read_parquet(?) WHERE timestamp >= ? AND timestamp < ?",
            [self._files.of_day(one)],
            one.start,
            one.end,
        )

    def day(self, one: Subject) -> Any:
        return self._table(
            f"SELECT symbol, {_names('klines')} FROM read_parquet(?) WHERE timestamp >= ? AND timestamp < ?",
            [str(self._files.by_time)],
            one.start,
            one.end,
        )

    def close(self) -> None:
        self._connection.close()

    def _table(self, query: str, *parameters: Any) -> pa.Table:
        return self._connection.sql(query, params=list(parameters)).to_arrow_table()


def write_by_time(files: Files, symbols: Sequence[str]) -> None:
    """All candles sorted by time and symbol, in row groups of which a day's rows touch one or two."""
    if files.by_time.exists():
        return
    tables = [pq.ParquetFile(path).read(COLUMNS["klines"]) for path in files.of("klines", symbols)]
    codes = np.repeat(np.arange(len(symbols), dtype=np.int32), [table.num_rows for table in tables])
    words = pa.DictionaryArray.from_arrays(codes, pa.array(symbols))
    whole = pa.concat_tables(tables).add_column(0, "symbol", words)
    times = whole.column("timestamp").cast(pa.int64()).to_numpy()
    whole = whole.take(np.argsort(times, kind="stable"))
    _publish(whole, files.by_time, row_group_size=122_880, compression="lz4", use_dictionary=["symbol"])


def write_in_one(files: Files) -> None:
    """All trades in one file with pandas' defaults, which are pyarrow's: row groups of a million rows."""
    if not files.in_one.exists():
        _publish(pa.concat_tables([pq.ParquetFile(path).read() for path in files.of_month()]), files.in_one)


def _publish(table: pa.Table, path: Path, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    pq.write_table(table, draft, **options)
    draft.rename(path)


def _between(one: Subject) -> list[tuple[str, str, datetime]]:
    return [("timestamp", ">=", one.start), ("timestamp", "<", one.end)]


def _prefixed(kind: str) -> dict[str, str]:
    return {name: f"{PREFIX[kind]}_{name}" for name in CANDLE}


def _names(kind: str) -> str:
    return ", ".join(COLUMNS[kind])


def _asof_query() -> str:
    tables = dict(zip(KINDS, "kmipf", strict=True))
    candles = [f"k.{name}" for name in COLUMNS["klines"]]
    prices = [f"{tables[kind]}.{name} AS {new}" for kind in PRICES for name, new in _prefixed(kind).items()]
    reads = [f"(SELECT *, file_index FROM read_parquet(?)) AS {letter}" for letter in tables.values()]
    joins = [
        f"ASOF LEFT JOIN {read} ON k.file_index = {letter}.file_index AND "
        f"k.timestamp{' + INTERVAL 1 HOUR' if letter == 'f' else ''} >= {letter}.timestamp"
        for letter, read in list(zip(tables.values(), reads, strict=True))[1:]
    ]
    selected = ", ".join([*candles, *prices, "f.funding_rate", "f.funding_interval_hours"])
    return f"SELECT {selected} FROM {reads[0]} {' '.join(joins)} ORDER BY k.file_index, k.timestamp"


_ASOF: Final = _asof_query()


def whole_years(groups: Sequence[Sequence[str]]) -> list[Subject]:
    """Each group's year, in full."""
    start, end = (datetime(YEAR.first.year + add, 1, 1, tzinfo=UTC) for add in (0, 1))
    return [Subject(number, tuple(group), start, end) for number, group in enumerate(groups)]
