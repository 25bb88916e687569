"""`BacktestDataLoader`: stored market data as frames, exact about when each value was known.

Reading needs no write access, holds no lock, and may run while an update writes. A loader may be shared by threads and
used inside a running event loop. pyarrow, DuckDB and pandas are imported inside the methods: together they take half a
second, which a script that only imports us, or asks for help, should not wait for.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from core.errors import ConfigError
from core.nearest import did_you_mean, one_of
from loader.missing import checked_on_missing, report

if TYPE_CHECKING:
    from datetime import date, timedelta
    from decimal import Decimal

    from pyarrow import Table

    from core.bars.spec import BarSpec
    from core.settings import Settings
    from core.types import Series, Span
    from loader.arguments import Request
    from loader.frames import Columns, Frame
    from loader.missing import Missing
    from loader.pins import Pins
    from loader.rows import Rows
    from loader.universe import Universe
    from loader.views import Views


class BacktestDataLoader:
    """Loads frames from the data folder.

    Without `settings`, `load_settings()` is asked; `data_dir` overrides the data folder of either. Nothing is opened
    before the first read. `close()`, or leaving a `with` block, lets go of DuckDB's memory.

    With `snapshot`, a file that `scripts/snapshot.py create` made, every load gives exactly the locked rows: bit for
    bit the same frames wherever they are stored. What came behind the last locked row of a series is not seen. A
    request that reaches outside the lock raises ConfigError, rows that are no longer the locked ones SnapshotMismatch
    that names series and month. What is read is proved once, and again after its files have changed.

    Said once for all methods:

    - **Times.** Text, `date`, `datetime` and pandas `Timestamp` are taken; a naive time is UTC. The start is included.
      An end that is a pure date (`2024-01-31`) includes that whole day; an end that is an instant (a text with a time
      of day, a datetime, a Timestamp) is excluded.
    - **output**: `pandas` (the default), `polars`, `arrow` (a pyarrow.Table), `numpy` (a dict of arrays by column), or
      `relation`, a live DuckDB relation that reads when its rows are asked for. All have the same rows and columns.
      Of frames with many symbols, `symbol` is a categorical whose categories are the symbols asked for, sorted (text
      in numpy and relations). A relation reads when its rows are asked for: where an update is at work just then, ask
      for another output, which is of one moment.
    - **on_missing**: what is done about rows that are expected and not stored: `warn` (the default: a
      MissingDataWarning, whose `missing` lists series by series what is absent, begins late, ends early, has gaps or
      is stale), `raise` (NoData) or `ignore`. Where nothing at all is found, `warn` raises NoData, too. A relation is
      not read to find its gaps: only series without any file are told of.
    - **Errors.** ConfigError for an argument that makes no sense, with a near match where there is one; StorageError
      if a file cannot be read or two archives contradict each other about a row.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        data_dir: str | Path | None = None,
        snapshot: str | Path | None = None,
    ) -> None:
        from core.download.known import known_partitions
        from core.layout import Layout
        from core.settings import load_settings
        from core.storage.cross_sections import CrossSections
        from core.storage.stored import StoredRows
        from loader.ended import Ended
        from loader.reader import RowReader

        chosen = settings or load_settings()
        if data_dir is not None:
            chosen = chosen.replace(paths={"data": Path(data_dir).expanduser().absolute()})
        layout = Layout(chosen.data_root)
        catalog = functools.partial(known_partitions, layout)
        self._settings = chosen
        self._pins: Pins | None = None
        if snapshot is None:
            self._storage = StoredRows(layout, chosen.storage, chosen.quality, catalog)
        else:
            from core.snapshot.text import load
            from loader.pins import PinnedStorage

            path = Path(snapshot).expanduser()
            self._storage = pinned = PinnedStorage(layout, chosen, catalog, load(path), path)
            self._pins = pinned.pins
        self._ended = Ended(layout.symbols_info)
        sections = CrossSections(layout) if snapshot is None else None
        self._reader = RowReader(self._storage, chosen.loader, self._pins, sections)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of DuckDB and its memory; using the loader again opens it again."""
        self._reader.close()

    # rows as they are stored

    def load_data(
        self,
        symbols: str | Iterable[str],
        start_date: str | date,
        end_date: str | date,
        data_types: str | Iterable[str] = ("klines",),
        interval: str = "1h",
        market: str = "um",
        columns: Iterable[str] | None = None,
        output: str = "pandas",
        on_missing: str = "warn",
    ) -> dict[str, Frame]:
        """Stored rows, one frame per data type.

        Each frame is sorted by symbol, then timestamp (trades, agg_trades and book_ticker: by id), with a RangeIndex
        and no nulls but NaN in metrics: `timestamp` (datetime64[us, UTC]; of candles the OPEN time, so a row is known
        one interval later), `symbol`, then float64, int64 (counts, ids), bool, and words as categoricals:

            klines                      open high low close volume quote_volume trades taker_buy_base taker_buy_quote
            klines of cm                open high low close volume (contracts) base_volume trades taker_buy_volume
                                        taker_buy_base
            mark_price index_price premium_index                                            open high low close
            funding_rate                funding_rate funding_interval_hours; timestamp is the settlement, to the ms
            trades                      id price qty quote_qty (cm: base_qty) is_buyer_maker
            agg_trades                  agg_trade_id price quantity first_trade_id last_trade_id is_buyer_maker
            metrics                     open_interest open_interest_value (cm: open_interest_base)
                                        top_trader_account_ratio top_trader_position_ratio account_ratio
                                        taker_volume_ratio; NaN where the exchange left the cell empty; timestamp is
                                        the published label: of um before 2026-06-25 the END of its five minutes, of
                                        all else their START, so that the row was known five minutes later
            book_depth                  percentage depth notional; a row per band of each snapshot
            book_ticker                 update_id best_bid_price best_bid_qty best_ask_price best_ask_qty event_time
            liquidation_snapshot        side order_type time_in_force original_quantity price average_price order_status
                                        last_fill_quantity accumulated_fill_quantity

        Units are in docs/data-dictionary.md, and `describe("klines")` says them. `columns` picks others, in that order,
        for instance `close_time`; a type that lacks one of them leaves it out. `interval` concerns candles only.
        """
        _check(output, on_missing)
        request = self._request(symbols, start_date, end_date, data_types, interval, market, columns)
        if output == "relation":
            self._tell_absent(request, on_missing)
            return self._views.of_request(request)
        rows = self._rows(request)
        self._tell_lacking(request, rows, on_missing)
        return self._long(request, rows, output)

    def iter_data(
        self,
        symbols: str | Iterable[str],
        start_date: str | date,
        end_date: str | date,
        data_types: str | Iterable[str] = ("klines",),
        interval: str = "1h",
        market: str = "um",
        columns: Iterable[str] | None = None,
        chunk: str = "1d",
        output: str = "pandas",
        on_missing: str = "warn",
    ) -> Iterator[dict[str, Frame]]:
        """The frames of `load_data` chunk by chunk, in order of time, in memory that does not grow with the request.

        A chunk is a period of UTC time: `1d`, `1w`, `1mo`, or any number of s, m, h, d, w. Each yielded dict has a
        frame for every data type, with exactly the rows that `load_data` gives for that period; periods without any row
        are passed over. About half a million rows are in memory at a time, or one chunk if that has more: take a
        shorter one (`15m`) for trades. Missing series are told of before the first chunk, gaps are not.
        """
        from loader.resample import period_grid
        from loader.stream import chunks_of

        _check(output, on_missing)
        if output == "relation":
            raise ConfigError("iter_data gives rows that were read; output 'relation' is read by DuckDB, use load_data")
        request = self._request(symbols, start_date, end_date, data_types, interval, market, columns)
        grid = period_grid(chunk)
        self._tell_absent(request, on_missing)
        chunks = chunks_of(self._reader, self._storage, request, grid)
        return (self._long(request, rows, output) for rows in chunks)

    # rows joined by what was known

    def load_aligned_data(
        self,
        symbols: str | Iterable[str],
        start_date: str | date,
        end_date: str | date,
        interval: str = "1h",
        market: str = "um",
        max_age: str | timedelta | Literal[0] | None = 0,
        ages: bool = False,
        output: str = "pandas",
        on_missing: str = "warn",
    ) -> Frame:
        """One row per symbol and candle, with what else was known when the candle closed.

        Sorted by symbol and timestamp, RangeIndex. Columns: `timestamp` (open time, datetime64[us, UTC]), `symbol`,
        `available_at` (datetime64[us, UTC]: the candle's end, when the WHOLE row was known; decide at or after it), the
        columns of klines, then

            mark_ index_ premium_  with open high low close: float64, the last candle of that kind that was complete
                                   then, if its own end lies no more than `max_age` before; else NaN
            funding_rate           float64, the last settlement stamped at or before `available_at`; NaN without one
            funding_interval_hours float64, of that settlement; NaN without one
            funding_time           datetime64[us, UTC], its stamp; NaT without one

        With the default `max_age=0` only candles of the same end join, so what is missing stays missing. `'3h'` lets
        them be up to three hours older, None however old; then `ages=True` tells: `mark_age`, `index_age`,
        `premium_age` and `funding_age` (timedelta64[us]; NaT where there is no value). A settlement stamped
        08:00:00.003 is not known to the candle that ends at 08:00:00. Funding is in force until the next settlement and
        so carried on; if the last one is more than a day older than the row, so that later ones cannot be stored, that
        is told as `stale`. Rows with one key and different content are an error, never a row too many.
        """
        from loader.wide import WIDE, parse_max_age, read_wide, wide_columns, wide_missing

        _check(output, on_missing)
        oldest_us = parse_max_age(max_age)
        request = self._request(symbols, start_date, end_date, WIDE, interval, market)
        wide = read_wide(self._reader, request, oldest_us)
        missing = list(wide_missing(self._storage, wide, self._ended)) if on_missing != "ignore" else []
        self._tell(missing, request, len(wide.bars) > 0, on_missing)
        return self._given(wide_columns(wide, ages), output)

    # all symbols

    def load_universe(
        self,
        start_date: str | date,
        end_date: str | date,
        min_volume: float | None = None,
        data_types: str | Iterable[str] = ("klines",),
        interval: str = "1h",
        market: str = "um",
        columns: Iterable[str] | None = None,
        window: int = 30,
        min_history: int = 1,
        output: str = "pandas",
        on_missing: str = "warn",
    ) -> dict[str, Frame]:
        """As `load_data`, of all symbols of which candles of `interval` are stored, delisted ones included.

        With `min_volume` only rows of days on which their symbol was a member, as `universe` says with the same
        arguments: by what was known before that day. Symbols come and go, so only symbols without any row of a type are
        told of as missing.
        """
        from loader.universe import members_only

        _check(output, on_missing)
        if output == "relation":
            raise ConfigError("load_universe has no relation; ask sql() for klines and universe() for the members")
        found = self._universe(market, interval)
        request = self._request(found.symbols, start_date, end_date, data_types, interval, market, columns)
        rows = self._rows(request)
        present = {name: read.counts > 0 for name, read in rows.items() if name != "klines"}
        missing, is_any = self._absent(request, present), any(map(len, rows.values()))
        if min_volume is not None:
            table = self._members(found, request.span, min_volume, window, min_history)
            rows = {name: members_only(request, read, table) for name, read in rows.items()}
        self._tell(missing, request, is_any, on_missing)
        return self._long(request, rows, output)

    def universe(
        self,
        start: str | date,
        end: str | date,
        min_volume: float | None = None,
        interval: str = "1h",
        market: str = "um",
        window: int = 30,
        min_history: int = 1,
        output: str = "pandas",
    ) -> Frame:
        """Which symbols one could have chosen on each day, by what was known before it: a row per day and symbol.

        `date` (datetime64[us, UTC], midnight), `symbol`, `member` (bool), `reason` (`member`,
        `not-traded-the-day-before`, `too-few-days`, `below-min-volume`), `mean_quote_volume` (float64, NaN without
        days) and `days` (int32). A symbol is there from the day after its first stored candle. It is a member if it has
        candles on the day before, on at least `min_history` of the `window` days before, and if the mean of its daily
        quote volume over these days is at least `min_volume`. Volumes are sums of the candles of `interval`, of cm
        contracts in USD (100 of BTC, 10 of all else).
        """
        _check(output)
        found = self._universe(market, interval)
        table = self._members(found, self._days(found, start, end), min_volume, window, min_history)
        return self._given(dict(zip(table.column_names, table.columns, strict=True)), output)

    def universe_in_hindsight(
        self, start_date: str | date, end_date: str | date, min_volume: float, interval: str = "1h", market: str = "um"
    ) -> list[str]:
        """The symbols whose mean daily quote volume over the WHOLE span reached `min_volume`: known only at its end.

        To choose by it what is traded within the span is to look ahead, and flatters every backtest. It is here for
        description, and to measure how much that flatters.
        """
        from loader.universe import parse_volume

        found = self._universe(market, interval)
        return found.in_hindsight(self._days(found, start_date, end_date), parse_volume(min_volume))

    # other bars

    def load_bars(
        self,
        symbol: str | Iterable[str],
        start: str | date,
        end: str | date,
        bars: str | BarSpec | Iterable[str | BarSpec] = "dollar",
        threshold: float | str | Decimal | None = None,
        market: str = "um",
        data_type: str = "trades",
        unfinished: bool = False,
        stored: bool = False,
        output: str = "pandas",
        on_missing: str = "warn",
        **options: Any,
    ) -> Frame | dict[str, Frame]:
        """Information-driven and time bars from stored trades (`data_type='agg_trades'`: from aggregated ones).

        `bars` is a kind (`time`, `tick`, `volume`, `dollar`, `tick_imbalance`, `volume_imbalance`, `dollar_imbalance`,
        `afml_dollar_imbalance`, `tick_run`, `volume_run`, `dollar_run`) with its `threshold` (a step like `'1h'` for
        time bars; 40,000,000 for dollar bars if not given) and `options`, or a whole spec: `'dollar-40000000'`. Of
        several the trades are read once, and what comes is a dict of frames by the text of their spec.
        `symbol` is one or several, each with bars of its own, which begin with its first trade in the request. Rows by
        symbol and time: `symbol`, then the columns of `core.bars.table.schema_of`; a bar is known at its `time_close`.
        The bar that is not finished at the end comes with `unfinished=True` only. With `stored` they are those that
        `scripts/pipeline.py features` made, from the first stored trade on, as far as they close within the request.
        A bar of the clock is finished where a trade behind its step is stored, be that behind the request. Trades that
        are missing at the ends of the request, or whole days between, are told of (`on_missing`).
        Sums are exact, so bars do not depend on how trades are stored. docs/bars.md has the formulas; a BarsDrift
        warning says when an adaptive size has run away.
        """
        from core.layout import Layout
        from loader.bars import bar_columns, lacking_bars, read_bars, specs_of, stored_bars
        from loader.gaps import lacking_trades
        from loader.stream import has_files

        _check(output, on_missing)
        specs = specs_of(bars, threshold, options)
        if data_type not in ("trades", "agg_trades"):
            near = did_you_mean(str(data_type), ("trades", "agg_trades"))
            raise ConfigError(f"data_type: bars are made of trades or agg_trades, not of {data_type!r}{near}")
        request = self._request(symbol, start, end, data_type, "1h", market)
        (dataset,) = request.datasets
        if stored and (self._pins is not None or unfinished):
            raise ConfigError("stored bars are whole and know no snapshot; leave out stored, or unfinished")
        present = has_files(self._storage, request, dataset)
        missing = self._absent(request, {dataset.name: present})
        missing += lacking_trades(self._storage, request, dataset, self._ended)
        layout, advice = Layout(self._settings.data_root), self._advice
        if stored:
            unmade = lacking_bars(layout, request, dataset, specs, present)
            missing, advice = [*unmade.missing, *missing], unmade.advice
            present = unmade.present
        report(missing, request.span, any(present), on_missing, advice, 3)
        if stored:
            rows = stored_bars(layout, self._storage, request, specs)
        else:
            rows = read_bars(self._reader, self._storage, request, dataset, specs, unfinished)
        frames = {str(spec): self._given(bar_columns(request, rows[spec]), output) for spec in specs}
        are_many = isinstance(bars, Iterable) and not isinstance(bars, str)
        return frames if are_many else frames[str(specs[0])]

    # features

    def load_features(
        self,
        symbol: str,
        start_date: str | date,
        end_date: str | date,
        interval: str | BarSpec = "1s",
        features: str | Iterable[str] | None = None,
        market: str = "um",
        data_type: str = "trades",
        output: str = "pandas",
        on_missing: str = "warn",
    ) -> Frame:
        """What was known at the end of each interval, or of each bar: a matrix made of one symbol's stored trades.

        Rows by time, RangeIndex: `timestamp` (datetime64[us, UTC], the interval's beginning), `available_at` (its end:
        no value of the row is made of anything at or after it), then the `features` in the order of
        `core.features.FEATURES`, float64. Without `features` all that the market has data for. docs/features.md has
        their formulas, units and warm-ups; NaN is what is not known, not yet, or has the denominator 0.

        `interval` is one of the clock (`'500ms'`, `'1s'`, `'5m'`; intervals without trades are rows, too, from the
        first stored trade to the last stored day) or a bar as in `load_bars` (`'dollar-1000000'`), which begins with
        the first trade of the request. Of the clock, values do not depend on where the request begins: what windows
        need from before is read, as far as it is stored. What else a feature needs (funding_rate, premium_index,
        index_price, metrics) is NaN, and told of, where it is not stored.
        """
        from loader.features import together

        asked = (symbol, start_date, end_date, interval, features, market, data_type)
        return self._given(together(self._features(asked, output, on_missing)), output)

    def iter_features(
        self,
        symbol: str,
        start_date: str | date,
        end_date: str | date,
        interval: str | BarSpec = "1s",
        features: str | Iterable[str] | None = None,
        market: str = "um",
        data_type: str = "trades",
        output: str = "pandas",
        on_missing: str = "warn",
    ) -> Iterator[Frame]:
        """The rows of `load_features` in frames of at most 86,400, in memory that does not grow with the request."""
        asked = (symbol, start_date, end_date, interval, features, market, data_type)
        return (self._given(part, output) for part in self._features(asked, output, on_missing))

    def resample(
        self,
        symbols: str | Iterable[str],
        start_date: str | date,
        end_date: str | date,
        interval: str,
        source: str | None = None,
        market: str = "um",
        data_type: str = "klines",
        partial: str = "drop",
        output: str = "pandas",
        on_missing: str = "warn",
    ) -> Frame:
        """Candles of `interval` built from stored shorter ones: any number of s, m, h, d, w, or `1mo`.

        Columns as `load_data`, with `available_at` behind `symbol` and `candles` (int32: of how many shorter ones) at
        the end. A row is a period that begins within the request, built from all its shorter candles, also those
        outside the request, and only if it is over. `source` is the interval to build from; without it the longest that
        fits and that every symbol has stored. With `partial='drop'` periods of which a shorter candle is missing are
        left out and told of; `'keep'` gives them from what there is (the exchange's own candles of listing hours and
        halts are such); where the last one is missing, `available_at` is the end of the next stored candle. Periods are
        counted from 1970-01-01 UTC, weeks begin on Mondays.
        """
        from loader.arguments import parse_request
        from loader.resample import PARTIAL, resampled, resampled_columns, source_interval

        _check(output, on_missing)
        if partial not in PARTIAL:
            raise ConfigError(f"partial: unknown {partial!r}{one_of(str(partial), PARTIAL)}")
        if not isinstance(data_type, str):
            raise ConfigError(f"data_type: {data_type!r} is not one data type, as 'klines'")
        request = parse_request(symbols, start_date, end_date, data_type, "1m", market)
        (dataset,) = request.datasets
        if not dataset.has_interval:
            raise ConfigError(f"data_type: {data_type} are no candles, and resampled are candles only")
        shorter = source_interval(self._storage, request, dataset, interval, source)
        request = self._admitted(replace(request, interval=shorter))
        found, left_out = resampled(self._reader, request, dataset, interval, partial == "keep", self._ended)
        missing = [*self._absent(request, {dataset.name: found.rows.counts > 0}), *left_out]
        self._tell(missing, request, len(found.rows) > 0, on_missing)
        return self._given(resampled_columns(request, found), output)

    # SQL

    def sql(self, query: str, params: Mapping[str, Any] | None = None, output: str = "pandas") -> Frame:
        """One SELECT over views of all stored series: `klines_1h`, `mark_price_1h`, `funding_rate`, `trades` ... of um,
        and with the market before it of any: `spot.klines_1m`.

        A view has `timestamp` and `symbol` (as the exchange files it), of candles `available_at`, and all stored
        columns; order rows if order matters. `params` are values for `$name` in the query. Only the files of symbols
        and times that the query asks for are read, but of a series whose archives overlap, and with a snapshot, all
        rows. Of columns with one name the second is called `symbol_1`. Raises ConfigError for anything but one SELECT,
        NoData for a view of which nothing is stored.
        """
        _check(output)
        if output == "relation":
            return self._views.live(query, params)
        table = self._views.sql(query, params)
        return self._given(dict(zip(table.column_names, table.columns, strict=True)), output)

    def views(self) -> list[str]:
        """The names that `sql` knows just now, with their market: `um.klines_1h`."""
        return self._views.names()

    # what there is

    def symbols(self, market: str = "um", data_type: str = "klines") -> list[str]:
        """The symbols of which any such data is stored, at any interval, sorted; as the exchange files them
        (index_price of cm: the pair); with a snapshot those of which rows are locked."""
        from loader.arguments import stored_kind

        where, dataset = stored_kind(data_type, market)
        return sorted({series.symbol for series in self._storage.series(where, dataset.name)})

    def coverage(
        self,
        symbols: str | Iterable[str] | None = None,
        data_types: str | Iterable[str] | None = None,
        market: str | None = None,
        gaps: bool = True,
        output: str = "pandas",
    ) -> Frame:
        """What is on disk, a row per series: `market`, `data_type`, `symbol`, `interval`, `first` and `last` timestamp,
        `rows`, `files`, `bytes`, then `gaps` between the first and the last row, `missing_rows` in them, `open_gaps` of
        them without a known cause (a halt, a known outage), and `revisions`: how often the exchange replaced an archive
        that was here. Gaps are found by reading each series through; `gaps=False` leaves these columns out.
        """
        from loader.coverage import coverage_columns

        _check(output)
        wanted = self._stored(symbols, data_types, market)
        return self._given(coverage_columns(self._storage, self._settings, wanted, gaps), output)

    def describe(self, data_type: str | None = None, market: str = "um", output: str = "pandas") -> Frame:
        """Without a data type what is stored, a row per market, data type and interval: `symbols`, `first`, `last`,
        `rows`, `files`, `bytes`. With one its columns, a row each: `column`, `dtype`, `unit`, `meaning`."""
        from loader.arguments import stored_kind
        from loader.coverage import dictionary_columns, summary_columns

        _check(output)
        if data_type is None:
            return self._given(summary_columns(self._storage, self._storage.series()), output)
        where, dataset = stored_kind(data_type, market)
        return self._given(dictionary_columns(where, dataset.name), output)

    # parts of these

    def _request(
        self,
        symbols: str | Iterable[str],
        start: str | date,
        end: str | date,
        data_types: str | Iterable[str],
        interval: str,
        market: str,
        columns: Iterable[str] | None = None,
    ) -> Request:
        from loader.arguments import parse_request

        return self._admitted(parse_request(symbols, start, end, data_types, interval, market, columns))

    def _rows(self, request: Request) -> dict[str, Rows]:
        return {dataset.name: self._reader.rows(request, dataset) for dataset in request.datasets}

    def _long(self, request: Request, rows: Mapping[str, Rows], output: str) -> dict[str, Frame]:
        from loader.frames import long_columns

        return {name: self._given(long_columns(request.symbols, read), output) for name, read in rows.items()}

    def _tell_lacking(self, request: Request, rows: Mapping[str, Rows], on_missing: str) -> None:
        """Of rows that were read: which symbols have none, and what the others lack."""
        from loader.gaps import lacking

        missing: list[Missing] = []
        for dataset in request.datasets if on_missing != "ignore" else ():
            missing += self._absent(request, {dataset.name: rows[dataset.name].counts > 0})
            missing += lacking(request, dataset, rows[dataset.name], self._ended)
        self._tell(missing, request, any(map(len, rows.values())), on_missing, above=5)

    def _tell_absent(self, request: Request, on_missing: str) -> None:
        """Before any row is read: of which symbols there is no file."""
        from loader.stream import has_files

        present = {dataset.name: has_files(self._storage, request, dataset) for dataset in request.datasets}
        self._tell(self._absent(request, present), request, any(map(any, present.values())), on_missing, above=5)

    def _absent(self, request: Request, present: Mapping[str, Iterable[bool]]) -> list[Missing]:
        """By data type, of each symbol whether it is present: those that are not."""
        from loader.lookup import absent

        asked = [dataset for dataset in request.datasets if dataset.name in present]
        return [part for each in asked for part in absent(self._storage, request, each, present[each.name])]

    def _tell(self, missing: Sequence[Missing], request: Request, found: bool, on_missing: str, above: int = 4) -> None:
        report(missing, request.span, found, on_missing, self._advice, above)

    def _features(self, asked: tuple[Any, ...], output: str, on_missing: str) -> Iterator[Columns]:
        from loader.features import parse_features, read_features

        _check(output, on_missing)
        request = parse_features(*asked)
        self._admitted(request.trades)
        parts, missing, found = read_features(self._reader, self._storage, request)
        self._tell(missing, request.trades, found, on_missing, above=5)
        return parts

    def _given(self, columns: Columns, output: str) -> Frame:
        from loader.frames import to_output

        if output == "relation":
            return self._views.of_columns(columns)
        return to_output(columns, output)

    @property
    def _views(self) -> Views:
        from loader.views import Views

        return Views(self._storage, self._reader, self._pins)

    def _universe(self, market: str, interval: str) -> Universe:
        from core.datasets import dataset_named, interval_named, market_named
        from loader.universe import Universe

        where = market_named(market)
        interval_named(str(interval), dataset_named("klines", where), where)
        return Universe(self._storage, self._views, where, interval)

    def _days(self, found: Universe, start: str | date, end: str | date) -> Span:
        from loader.arguments import parse_span

        return self._admitted(found.request(parse_span(start, end))).span

    def _members(self, found: Universe, span: Span, min_volume: object, window: object, min_history: object) -> Table:
        from loader.universe import parse_days, parse_volume

        least = parse_volume(0 if min_volume is None else min_volume)
        history, days = parse_days(min_history, "min_history"), parse_days(window, "window")
        if history > days:
            raise ConfigError(
                f"min_history: {history} days are more than the {days} of the window, so nobody is a member"
            )
        return found.table(span, least, history, days)

    def _stored(
        self, symbols: str | Iterable[str] | None, data_types: str | Iterable[str] | None, market: str | None
    ) -> Sequence[Series]:
        from loader.arguments import wanted_of

        return wanted_of(self._storage.series(), symbols, data_types, market)

    def _admitted(self, request: Request) -> Request:
        """The request, if the snapshot covers it. Raises ConfigError."""
        if self._pins is not None:
            self._pins.admit(request)
        return request

    @property
    def _advice(self) -> str | None:
        """What to do about rows that are missing; None: download them."""
        return self._pins.advice if self._pins is not None else None


def _check(output: str, on_missing: str = "warn") -> None:
    """Raises ConfigError for words that there are not."""
    from loader.frames import checked_output

    checked_output(output)
    checked_on_missing(on_missing)
