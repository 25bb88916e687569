"""The trades of the sample market, and what the exchange makes of them: candles and aggregates."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from core.dates import HOUR_US
from core.sample.clock import MICROSECONDS_SINCE, candle_edges, close_times
from core.sample.instruments import Instrument, moment
from core.sample.prices import PLACES, POINT_US, points_of
from core.sample.values import Bools, Columns, Decimals, Ints, divide_half_up, random_stream
from core.types import Market, Span

_HOURS = np.array(
    [70, 60, 60, 70, 60, 50, 60, 90, 110, 100, 90, 90, 110, 140, 170, 180, 160, 140, 120, 110, 100, 90, 90, 80]
)
"""How busy each hour of the day is, in percent."""

_FILLS = np.repeat([1, 2, 3, 6], [60, 25, 10, 5])
"""Into how many fills an order falls: one outcome per percent."""

_BUSY = 10
AGGREGATE_US = 100_000


@dataclass(frozen=True, slots=True, eq=False)
class Tape:
    """Every trade of one instrument in order; equally long columns in ticks, steps and value units."""

    id: Ints
    time_us: Ints
    price: Ints
    qty: Ints
    value: Ints
    is_buyer_maker: Bools


@lru_cache(maxsize=2)
def tape_of(seed: int, instrument: Instrument, history: Span, life: Span) -> Tape:
    """All trades of one instrument: orders at random times, each falling into fills around the mark price."""
    name = f"{instrument.market}/{instrument.symbol}"
    order_times = _order_times(seed, name, instrument, history, life)
    orders = len(order_times)
    seller_takes = random_stream(seed, name, "side").integers(0, 2, orders).astype(np.bool_)
    fills = _FILLS[random_stream(seed, name, "fills").integers(0, 100, orders)]
    time_us, is_buyer_maker = np.repeat(order_times, fills), np.repeat(seller_takes, fills)
    depth = np.arange(len(time_us)) - np.repeat(np.cumsum(fills) - fills, fills)
    noise = random_stream(seed, name, "noise").integers(0, 2, orders)
    away = 1 + depth // 3 + np.repeat(noise, fills)
    price = _mid_ticks(seed, instrument, history, time_us) + np.where(is_buyer_maker, -away, away)
    price = np.maximum(price, 1)
    size = random_stream(seed, name, "size").integers(0, 1000, len(time_us))
    qty = 1 + instrument.lot * size**3 // 250_000_000
    first_id = int(random_stream(seed, name, "id").integers(1_000_000, 5_000_000_000))
    ids = np.arange(first_id, first_id + len(time_us), dtype=np.int64)
    return Tape(ids, time_us, price, qty, value_of(instrument, price, qty), is_buyer_maker)


def _order_times(seed: int, name: str, instrument: Instrument, history: Span, life: Span) -> Ints:
    hours, counts = _orders_by_hour(seed, name, instrument, history, life)
    hour_of = np.repeat(hours, counts)
    tick = 1 if instrument.market is Market.SPOT else 1000
    offsets = random_stream(seed, name, "time").integers(0, HOUR_US // tick, len(hour_of)) * tick
    times = _bunched(seed, name, np.sort(hour_of + offsets), hour_of, tick)
    times = times[(times >= life.start_us) & (times < life.end_us)]
    for halt in instrument.halts:
        times = times[(times < halt.start_us) | (times >= halt.end_us)]
    times[:1] = life.start_us
    return np.where(times < MICROSECONDS_SINCE, times // 1000 * 1000, times)


def _orders_by_hour(seed: int, name: str, instrument: Instrument, history: Span, life: Span) -> tuple[Ints, Ints]:
    hours = np.arange(history.start_us, history.end_us, HOUR_US, dtype=np.int64)
    percent = random_stream(seed, name, "activity").integers(30, 171, len(hours))
    counts = instrument.orders_per_hour * percent * _HOURS[hours // HOUR_US % 24] // 10_000
    if instrument.busy_from:
        counts[hours >= moment(instrument.busy_from.isoformat())] *= _BUSY
    counts[(hours + HOUR_US <= life.start_us) | (hours >= life.end_us)] = 0
    # The hour of the listing has a trade, so that the first candle has a price.
    counts[hours == life.start_us // HOUR_US * HOUR_US] += 20
    return hours, counts


def _bunched(seed: int, name: str, times: Ints, hour_of: Ints, tick: int) -> Ints:
    """A third of the orders follow the one before within 80 ms, but never out of their own hour."""
    follows = random_stream(seed, name, "follows").integers(0, 3, len(times)) == 0
    lag = random_stream(seed, name, "lag").integers(0, 80_000 // tick, len(times)) * tick
    before = np.roll(times, 1) + lag
    follows &= (before >= hour_of) & (before < times)
    return np.sort(np.where(follows, before, times))


def _mid_ticks(seed: int, instrument: Instrument, history: Span, time_us: Ints) -> Ints:
    mark = points_of(seed, instrument, history).mark
    mid = mark[(time_us - history.start_us) // POINT_US]
    return divide_half_up(mid, 10 ** (PLACES - instrument.price_decimals))


def value_of(instrument: Instrument, price: Ints, qty: Ints) -> Ints:
    """What steps are worth at a price in ticks: quote asset, exactly price * qty; in `cm` base asset, contracts *
    contract value / price."""
    if instrument.market is not Market.CM:
        return price * qty
    scale = instrument.contract_usd * 10**instrument.value_decimals * 10**instrument.price_decimals
    return divide_half_up(qty * scale, price)


def trades(instrument: Instrument, tape: Tape) -> Columns:
    """The tape as the exchange publishes it."""
    inverse = instrument.market is Market.CM
    columns: Columns = {
        "id": tape.id,
        "price": Decimals(tape.price, instrument.price_decimals),
        "qty": Decimals(tape.qty, instrument.qty_decimals),
        "base_qty" if inverse else "quote_qty": Decimals(tape.value, instrument.value_decimals),
        "time": tape.time_us,
        "is_buyer_maker": tape.is_buyer_maker,
    }
    return columns | _best_match(instrument, len(tape.id))


def agg_trades(instrument: Instrument, tape: Tape) -> Columns:
    """Neighbouring trades of one price and side joined: at one time in spot, in one 100 ms of the clock in futures."""
    window = tape.time_us if instrument.market is Market.SPOT else tape.time_us // AGGREGATE_US
    begins = np.ones(len(tape.id), dtype=np.bool_)
    begins[1:] = (np.diff(window) != 0) | (np.diff(tape.price) != 0) | np.diff(tape.is_buyer_maker)
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(tape.id)) - 1
    columns: Columns = {
        "agg_trade_id": tape.id[0] // 2 + np.arange(len(first)),
        "price": Decimals(tape.price[first], instrument.price_decimals),
        "quantity": Decimals(np.add.reduceat(tape.qty, first), instrument.qty_decimals),
        "first_trade_id": tape.id[first],
        "last_trade_id": tape.id[last],
        "transact_time": tape.time_us[first],
        "is_buyer_maker": tape.is_buyer_maker[first],
    }
    return columns | _best_match(instrument, len(first))


def _best_match(instrument: Instrument, rows: int) -> Columns:
    return {"is_best_match": np.ones(rows, dtype=np.bool_)} if instrument.market is Market.SPOT else {}


def klines(instrument: Instrument, tape: Tape, interval: str, life: Span, is_over: bool) -> Columns:
    """Exactly what the trades add up to. A candle without a trade is flat at the close before it; spot has no candle
    that lies wholly inside a halt."""
    edges = candle_edges(interval, life, is_over)
    bounds = np.searchsorted(tape.time_us, edges)
    columns = _traded(instrument, tape, bounds[:-1], bounds[1:])
    zero = np.zeros(len(edges) - 1, dtype=np.int64)
    columns |= {"open_time": edges[:-1], "close_time": close_times(edges[1:], edges[:-1], instrument.market)}
    columns |= {"ignore": zero}
    shown = _outside_halts(instrument, edges)
    return {name: values[shown] for name, values in columns.items()}


def _traded(instrument: Instrument, tape: Tape, starts: Ints, ends: Ints) -> Columns:
    filled = ends > starts
    at, price = starts[filled], tape.price[: ends[-1]] if len(ends) else tape.price[:0]
    taker = np.where(tape.is_buyer_maker, 0, 1)[: len(price)]
    close = tape.price[np.maximum(ends, 1) - 1]

    def reduced(ufunc: np.ufunc, column: Ints, empty: Ints) -> Ints:
        result = empty.copy()
        if len(at):
            result[filled] = ufunc.reduceat(column[: len(price)], at)
        return result

    nothing = np.zeros(len(starts), dtype=np.int64)
    bought, spent = tape.qty[: len(price)] * taker, tape.value[: len(price)] * taker
    ticks, steps, value = instrument.price_decimals, instrument.qty_decimals, instrument.value_decimals
    return {
        "open": Decimals(np.where(filled, tape.price[np.minimum(starts, len(tape.price) - 1)], close), ticks),
        "high": Decimals(reduced(np.maximum, tape.price, close), ticks),
        "low": Decimals(reduced(np.minimum, tape.price, close), ticks),
        "close": Decimals(close, ticks),
        "volume": Decimals(reduced(np.add, tape.qty, nothing), steps),
        "quote_volume": Decimals(reduced(np.add, tape.value, nothing), value),
        "count": ends - starts,
        "taker_buy_volume": Decimals(reduced(np.add, bought, nothing), steps),
        "taker_buy_quote_volume": Decimals(reduced(np.add, spent, nothing), value),
    }


def _outside_halts(instrument: Instrument, edges: Ints) -> Bools:
    shown = np.ones(len(edges) - 1, dtype=np.bool_)
    if instrument.market is Market.SPOT:
        for halt in instrument.halts:
            shown &= (edges[:-1] < halt.start_us) | (edges[1:] > halt.end_us)
    return shown
