"""`BacktestDataLoader`: stored market data as frames, exact about when each value was known.

Reading needs no write access, holds no lock, and may run while an update writes. A loader may be shared by threads and
used inside a running event loop. pyarrow, DuckDB and pandas are imported inside the methods: together they take half a
second, which a script that only imports us, or asks for help, should not wait for.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from core.errors import NoData
from loader.missing import Missing, MissingDataWarning, describe

if TYPE_CHECKING:
    from datetime import date

    import pandas as pd

    from core.settings import Settings
    from core.types import Span
    from loader.arguments import Request
    from loader.pins import Pins


class BacktestDataLoader:
    """Loads frames from the data folder.

    Without `settings`, `load_settings()` is asked; `data_dir` overrides the data folder of either. Nothing is opened
    before the first read. `close()`, or leaving a `with` block, lets go of DuckDB's memory.

    With `snapshot`, a file that `scripts/snapshot.py create` made, every load gives exactly the locked rows: bit for
    bit the same frames wherever they are stored. What came behind the last locked row of a series is not seen. A
    request that reaches outside the lock raises ConfigError, rows that are no longer the locked ones SnapshotMismatch
    that names series and month. What is read is proved once, and again after its files have changed.
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
        from core.storage.manager import StorageManager
        from loader.reader import RowReader

        chosen = settings or load_settings()
        if data_dir is not None:
            chosen = chosen.replace(paths={"data": Path(data_dir).expanduser().absolute()})
        layout = Layout(chosen.data_root)
        catalog = functools.partial(known_partitions, layout)
        self._pins: Pins | None = None
        if snapshot is None:
            self._storage = StorageManager(layout, chosen.storage, chosen.quality, catalog)
        else:
            from core.snapshot.text import load
            from loader.pins import PinnedStorage

            path = Path(snapshot).expanduser()
            self._storage = pinned = PinnedStorage(layout, chosen, catalog, load(path), path)
            self._pins = pinned.pins
        self._reader = RowReader(self._storage, chosen.loader, self._pins)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of DuckDB and its memory; using the loader again opens it again."""
        self._reader.close()

    def load_data(
        self,
        symbols: str | Iterable[str],
        start_date: str | date,
        end_date: str | date,
        data_types: str | Iterable[str] = ("klines",),
        interval: str = "1h",
        market: str = "um",
        columns: Iterable[str] | None = None,
    ) -> dict[str, pd.DataFrame]:
        """Stored rows, one frame per data type.

        Each frame is sorted by symbol, then timestamp (trades, agg_trades and book_ticker: by id), with a RangeIndex
        and no nulls but NaN in metrics: `timestamp` (datetime64[us, UTC]; of candles the OPEN time, so a row is known
        one interval later), `symbol` (categorical; its categories are the symbols asked for, sorted), then float64,
        int64 (counts, ids), bool, and words as categoricals:

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

        Units are in docs/data-dictionary.md.

        `columns` picks others, in that order, for instance `close_time`; a type that lacks one of them leaves it out.
        `interval` concerns candles only. `start_date` is included; `end_date` is included if it is a pure date and
        excluded if it is an instant (a text with a time of day, a datetime, a Timestamp). A naive time is UTC.

        What is missing is reported by a MissingDataWarning, and an empty type is an empty frame. Raises NoData if
        nothing at all is there, ConfigError for an argument that makes no sense, StorageError if a file cannot be
        read or two archives contradict each other about a row.
        """
        from loader.arguments import parse_request
        from loader.frames import long_columns, to_frame
        from loader.lookup import absent

        request = self._admitted(parse_request(symbols, start_date, end_date, data_types, interval, market, columns))
        rows = {dataset.name: self._reader.rows(request, dataset) for dataset in request.datasets}
        missing = [
            part
            for dataset in request.datasets
            for part in absent(self._storage, request, dataset, rows[dataset.name].counts > 0)
        ]
        _report(missing, request.span, any(map(len, rows.values())), self._advice)
        return {name: to_frame(long_columns(request.symbols, read)) for name, read in rows.items()}

    def load_aligned_data(
        self,
        symbols: str | Iterable[str],
        start_date: str | date,
        end_date: str | date,
        interval: str = "1h",
        market: str = "um",
    ) -> pd.DataFrame:
        """One row per symbol and candle, with what else was known when the candle closed.

        Sorted by symbol and timestamp, RangeIndex. Columns: `timestamp` (open time, datetime64[us, UTC]), `symbol`
        (categorical), `available_at` (datetime64[us, UTC]: the candle's end, when the WHOLE row was known; decide at
        or after it), the columns of klines, then

            mark_ index_ premium_  with open high low close: float64, the candle of the same open time, NaN without one
            funding_rate           float64, the last settlement stamped at or before `available_at`; NaN without one
            funding_interval_hours float64, of that settlement; NaN without one
            funding_time           datetime64[us, UTC], its stamp; NaT without one

        A settlement stamped 08:00:00.003 is not known to the candle that ends at 08:00:00. Nothing is filled forward
        but funding, which is in force until the next settlement; if the last one is more than a day older than the row,
        so that later ones cannot be stored, a MissingDataWarning says how many rows carry such a rate.

        Dates as in `load_data`. A type or symbol without rows is NaN and reported by MissingDataWarning. Raises NoData
        if there is no candle at all, ConfigError (spot has no funding, for instance) and StorageError as `load_data`.
        """
        from loader.arguments import parse_request
        from loader.frames import to_frame
        from loader.wide import WIDE, read_wide, wide_columns, wide_missing

        request = self._admitted(parse_request(symbols, start_date, end_date, WIDE, interval, market))
        rows = read_wide(self._reader, request)
        missing = list(wide_missing(self._storage, request, rows))
        _report(missing, request.span, len(rows["klines"]) > 0, self._advice)
        return to_frame(wide_columns(request, rows))

    def symbols(self, market: str = "um", data_type: str = "klines") -> list[str]:
        """The symbols of which any such data is stored, at any interval, sorted; as the exchange files them
        (index_price of cm: the pair); with a snapshot those of which rows are locked. Raises ConfigError for an unknown
        market or data type."""
        from loader.arguments import stored_kind

        where, dataset = stored_kind(data_type, market)
        return sorted({series.symbol for series in self._storage.series(where, dataset.name)})

    def _admitted(self, request: Request) -> Request:
        """The request, if the snapshot covers it. Raises ConfigError."""
        if self._pins is not None:
            self._pins.admit(request)
        return request

    @property
    def _advice(self) -> str | None:
        """What to do about rows that are missing; None: download them."""
        return self._pins.advice if self._pins is not None else None


def _report(missing: Sequence[Missing], asked: Span, found: bool, advice: str | None) -> None:
    """Warns the caller of the loader about what is missing. Raises NoData if nothing was found."""
    if not found:
        raise NoData(f"no data: {describe(missing, asked, advice)}")
    if missing:
        warnings.warn(MissingDataWarning(f"partly missing: {describe(missing, asked, advice)}", missing), stacklevel=3)
