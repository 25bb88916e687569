"""What datasets say of each other: candles against trades and shorter candles, aggregates against trades, premium
against mark and index, depth against mark. Differences are told with both values; sums are exact.

What is missing on one side is a gap, and told there; here only what both have is compared.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import numpy as np
import pyarrow as pa

from core.datasets import DATASETS
from core.datasets.grid import Bools, Grid, Ints
from core.dates import DAY_US, INTERVAL_US
from core.integrity.aggregate import Candles, added_up, of_candles, of_trades
from core.integrity.exact import places_of, sums, text
from core.integrity.rows import Floats, Rows
from core.integrity.sides import CANDLE_WINDOW_US, Differences, Side, covered, finer_of, shortest, slot_windows, windows
from core.integrity.trading import LEFT_OUT, id_jumps
from core.integrity.walk import with_row_before
from core.types import Finding, Market, Series, Span

_TRADE_WINDOW_US: Final = DAY_US
_DEPTH_SLACK: Final = 0.01
_IS_PRICE: Final = (0.8, 1.25)
_AGGREGATE_US: Final = 1_000_000
_PRICES: Final = ("open", "high", "low", "close")


def candles_of_trades(side: Side, series: Series, span: Span) -> Iterator[Finding]:
    """Candles equal what the trades of their time add up to, in every column and to the last decimal."""
    step = INTERVAL_US.get(series.interval or "")
    trades = Series(series.market, "trades", series.symbol)
    if series.dataset != "klines" or step is None or step > DAY_US:
        return
    grid = Grid(step)
    found = Differences("candle-differs", series, "the trades")
    excused = Differences("candle-differs", series, "the trades", LEFT_OUT)
    for part in covered(side.facts(trades), span):
        start = -(-part.start_us // step) * step
        whole = Span(start, max(start, part.end_us // step * step))
        for window in windows(whole, _TRADE_WINDOW_US):
            candles = side.rows(series, window)
            if candles is None:
                continue
            parts, lone = [], np.zeros(0, dtype=np.int64)
            tables = (pa.Table.from_batches([batch]) for batch in side.storage.scan(trades, window))
            for rows in with_row_before(trades, tables, side.quality):
                lone = np.append(lone, _slots_of_lone_ids(rows, grid))
                parts.append(of_trades(Rows(trades, rows.table.slice(rows.before), side.quality), grid))
            totals = _trade_totals(series.market)
            _compare(found, excused, candles, grid, added_up(parts), totals, np.isin(grid.slots(candles.time), lone))
    yield from found.finding()
    yield from excused.finding()


def candles_of_candles(side: Side, series: Series, span: Span) -> Iterator[Finding]:
    """Candles equal what the next shorter candles that are stored add up to: 1h is sixty 1m (D31)."""
    finer = finer_of(side, series)
    both = side.within(finer, span) if finer else None
    if finer is None or both is None:
        return
    candle_rows = side.within(series, both)
    if candle_rows is None:
        return
    names = {} if series.dataset != "klines" else _candle_totals(series.market)
    first = side.facts(series)[0].first_us
    grid = Grid.of(DATASETS[series.dataset].clock, series.interval, first)
    fine_grid = Grid.of(DATASETS[series.dataset].clock, finer.interval, first)
    found = Differences("interval-differs", series, f"the {finer.interval} candles")
    for window in slot_windows(grid, both):
        candles, shorter = side.rows(series, window), side.rows(finer, window)
        if candles is None or shorter is None:
            continue
        made = of_candles(shorter, grid, {name: name for name in names})
        ends = fine_grid.slots(grid.starts(made.slots + 1))
        whole = made.rows == ends - fine_grid.slots(grid.starts(made.slots))
        nowhere = np.zeros(candles.table.num_rows, dtype=np.bool_)
        _compare(found, found, candles, grid, _chosen(made, whole), names, nowhere, only_made=True)
    yield from found.finding()


def aggregates_of_trades(side: Side, series: Series, span: Span) -> Iterator[Finding]:
    """An aggregate has the quantity, price and side of the trades of its ids (D33, D35)."""
    if series.dataset != "agg_trades":
        return
    trades = Series(series.market, "trades", series.symbol)
    found = Differences("aggregate-differs", series, "the trades")
    for part in covered(side.facts(trades), span):
        for window in windows(part, _TRADE_WINDOW_US):
            aggregates = side.rows(series, window)
            near = Span(max(0, window.start_us - _AGGREGATE_US), window.end_us + _AGGREGATE_US)
            made_of = side.rows(trades, near, ["id", "price", "qty", "is_buyer_maker", "timestamp"])
            if aggregates is not None and made_of is not None:
                _compare_aggregates(found, aggregates, made_of)
    yield from found.finding()


def premium_of_prices(side: Side, series: Series, span: Span) -> Iterator[Finding]:
    """At open and close the premium is about mark / index - 1, within `quality.premium_tolerance`."""
    if series.dataset != "premium_index":
        return
    pair = DATASETS["index_price"].directory(series.symbol)
    mark_series = Series(series.market, "mark_price", series.symbol, series.interval)
    index_series = Series(series.market, "index_price", pair, series.interval)
    both = side.within(mark_series, span)
    both = both and side.within(index_series, both)
    if both is None:
        return
    found = Differences("premium-differs", series, "mark and index")
    columns = ["timestamp", "open", "close"]
    for window in windows(both, 12 * CANDLE_WINDOW_US):
        premium, mark, index = (side.rows(one, window, columns) for one in (series, mark_series, index_series))
        if premium is not None and mark is not None and index is not None:
            _compare_premium(found, premium, mark, index)
    yield from found.finding()


def depth_of_mark(side: Side, series: Series, span: Span) -> Iterator[Finding]:
    """The mean price of each band lies near the mark price of its time (D37).

    What cm counts depth and value in is not documented: it is compared where value over depth is a price at all.
    """
    mark = shortest(side, Series(series.market, "mark_price", series.symbol))
    if series.dataset != "book_depth" or mark is None:
        return
    both = side.within(mark, span)
    step = INTERVAL_US[mark.interval or ""]
    if both is None or step is None:
        return
    found = Differences("depth-off-mark", series, "the mark price")
    for window in windows(both, _TRADE_WINDOW_US):
        depth = side.rows(series, window)
        prices = side.rows(mark, Span(max(0, window.start_us - step), window.end_us), ["timestamp", "high", "low"])
        if depth is not None and prices is not None:
            _compare_depth(found, depth, prices, step)
    yield from found.finding()


RECONCILIATIONS: Final[dict[str, Callable[[Side, Series, Span], Iterator[Finding]]]] = {
    "candles_of_trades": candles_of_trades,
    "candles_of_candles": candles_of_candles,
    "aggregates_of_trades": aggregates_of_trades,
    "premium_of_prices": premium_of_prices,
    "depth_of_mark": depth_of_mark,
}
"""Each compares one series with others of its symbol, where they are stored."""


def _trade_totals(market: Market) -> dict[str, tuple[str, ...]]:
    """By column of a candle, the totals of trades of which it has to equal one."""
    if market is Market.CM:
        volumes = {
            "volume": "volume",
            "base_volume": "value",
            "taker_buy_volume": "taken",
            "taker_buy_base": "taken_value",
        }
        return {"trades": ("count",), **{column: (total,) for column, total in volumes.items()}}
    return {
        "trades": ("count",),
        "volume": ("volume",),
        "quote_volume": ("value", "product"),
        "taker_buy_base": ("taken",),
        "taker_buy_quote": ("taken_value", "taken_product"),
    }


def _candle_totals(market: Market) -> dict[str, tuple[str, ...]]:
    return {column: (column,) for column in _trade_totals(market)}


def _compare(
    found: Differences,
    excused: Differences,
    candles: Rows,
    grid: Grid,
    made: Candles | None,
    totals: Mapping[str, tuple[str, ...]],
    has_excuse: Bools,
    only_made: bool = False,
) -> None:
    """Candles against those that were made; where none was made, they have to be empty unless `only_made`."""
    slots = grid.slots(candles.time)
    made_slots = made.slots if made is not None else np.zeros(0, dtype=np.int64)
    place = np.searchsorted(made_slots, slots)
    has = np.zeros(len(slots), dtype=np.bool_)
    inside = place < len(made_slots)
    has[inside] = made_slots[place[inside]] == slots[inside]
    if not only_made:
        counts = candles.ints("trades")
        for to, which in ((found, ~has_excuse), (excused, has_excuse)):
            to.add(candles.time, ~has & (counts != 0) & which, lambda n: f"{counts[n]} trades, but none is stored")
    if made is None:
        return
    rows, at = np.flatnonzero(has), place[has]
    wrong = np.zeros(len(rows), dtype=np.bool_)
    pairs: list[tuple[str, Floats, Floats]] = []
    for name in _PRICES:
        ours, theirs = candles.floats(name)[rows], getattr(made, name)[at]
        pairs.append((name, ours, theirs))
    for name, options in totals.items():
        ours = candles.ints(name).astype(np.float64)[rows] if name == "trades" else candles.floats(name)[rows]
        theirs = made.total(options[0])[at]
        for other in options[1:]:
            theirs = np.where(theirs == ours, theirs, made.total(other)[at])
        pairs.append((name, ours, theirs))
    for _, ours, theirs in pairs:
        wrong |= ours != theirs

    def say(n: int) -> str:
        unlike = [f"{name} {text(a[n])} against {text(b[n])}" for name, a, b in pairs if a[n] != b[n]]
        return ", ".join(unlike)

    for to, which in ((found, ~has_excuse[rows]), (excused, has_excuse[rows])):
        to.add(candles.time[rows], wrong & which, say)


def _slots_of_lone_ids(rows: Rows, grid: Grid) -> Ints:
    """The candles in which futures may have left out a trade: none in spot."""
    if rows.series.market is Market.SPOT:
        return np.zeros(0, dtype=np.int64)
    at = np.flatnonzero(id_jumps(rows).lone)
    ends = zip(grid.slots(rows.time[at]).tolist(), grid.slots(rows.time[at + 1]).tolist(), strict=True)
    return np.array([slot for first, last in ends for slot in range(first, last + 1)], dtype=np.int64)


def _chosen(made: Candles, which: Bools) -> Candles:
    kept = np.flatnonzero(which)
    totals = {name: [each[n] for n in kept.tolist()] for name, each in made.totals.items()}
    slots, opens, high, low, close, rows = (getattr(made, name)[kept] for name in ("slots", *_PRICES, "rows"))
    return Candles(slots, opens, high, low, close, rows, totals)


def _compare_aggregates(found: Differences, aggregates: Rows, trades: Rows) -> None:
    ids, price = trades.ints("id"), trades.floats("price")
    first, last = aggregates.ints("first_trade_id"), aggregates.ints("last_trade_id")
    start, stop = np.searchsorted(ids, first), np.searchsorted(ids, last, side="right")
    whole = (stop - start == last - first + 1) & (stop > start)
    rows = np.flatnonzero(whole)
    if not len(rows):
        return
    bounds = np.column_stack([start[rows], stop[rows]]).ravel()
    padded = np.append(trades.floats("qty"), 0.0)  # so that a run may end where the trades do
    places = max(places_of(padded), places_of(aggregates.floats("quantity")))
    quantity = aggregates.floats("quantity")[rows]
    theirs = np.array([each / 10**12 for each in sums(padded, bounds, places)[::2]])
    ours_price, their_price = aggregates.floats("price")[rows], price[start[rows]]
    side = aggregates.bools("is_buyer_maker")[rows] != trades.bools("is_buyer_maker")[start[rows]]
    wrong = (quantity != theirs) | (ours_price != their_price) | side

    def say(n: int) -> str:
        of = f"trades {first[rows[n]]} to {last[rows[n]]}"
        if quantity[n] != theirs[n]:
            return f"quantity {text(quantity[n])} against {text(theirs[n])} of {of}"
        if ours_price[n] != their_price[n]:
            return f"price {text(ours_price[n])} against {text(their_price[n])} of {of}"
        return f"another side than {of}"

    found.add(aggregates.time[rows], wrong, say)


def _compare_premium(found: Differences, premium: Rows, mark: Rows, index: Rows) -> None:
    times = np.intersect1d(np.intersect1d(premium.time, mark.time), index.time)
    at = [np.searchsorted(side.time, times) for side in (premium, mark, index)]
    wrong = np.zeros(len(times), dtype=np.bool_)
    apart = {}
    for name in ("open", "close"):
        of = [side.floats(name)[rows] for side, rows in zip((premium, mark, index), at, strict=True)]
        with np.errstate(divide="ignore", invalid="ignore"):
            apart[name] = (of[0], of[1] / of[2] - 1)
        wrong |= ~(np.abs(apart[name][0] - apart[name][1]) <= premium.quality.premium_tolerance)

    def say(n: int) -> str:
        return ", ".join(f"{name} {text(a[n])} against {b[n]:.8f}" for name, (a, b) in apart.items())

    found.add(times, wrong, say)


def _compare_depth(found: Differences, depth: Rows, prices: Rows, step: int) -> None:
    place = np.searchsorted(prices.time, depth.time, side="right") - 1
    here = (place >= 0) & (depth.time - prices.time[np.maximum(place, 0)] < step)
    band = depth.floats("percentage")
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = depth.floats("notional") / depth.floats("depth")
        usual = np.nanmedian(mean / prices.floats("high")[place])
    if depth.series.market is Market.CM and not _IS_PRICE[0] < usual < _IS_PRICE[1]:
        return
    low, high = prices.floats("low")[place], prices.floats("high")[place]
    least = low * (1 + np.minimum(band, 0) / 100) * (1 - _DEPTH_SLACK)
    most = high * (1 + np.maximum(band, 0) / 100) * (1 + _DEPTH_SLACK)
    wrong = here & ~((mean >= least) & (mean <= most)) & np.isfinite(mean)
    found.add(
        depth.time,
        wrong,
        lambda n: f"band {text(band[n])} % at {mean[n]:.8g}, mark from {text(low[n])} to {text(high[n])}",
    )
