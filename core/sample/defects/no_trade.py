"""No trade is not lost data, and a flat candle is not always no trade: D10 to D15."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import numpy as np

from core.dates import format_us
from core.sample.defects.plan import Planted, Truth, Verdict
from core.sample.defects.site import Site
from core.sample.defects.text import Text, as_in, zero
from core.sample.values import Bools, Decimals, Ints, integers
from core.types import GapStatus, Market, Period, Series, Span

_SUMS = ("volume", "quote_volume", "count", "taker_buy_volume", "taker_buy_quote_volume")
_MOST_LONE = 8


def halted_trades(site: Site) -> Planted | None:
    """D10: nothing is traded for hours, and ids go on without a hole."""
    halt = _halt_in(site)
    if halt is None:
        return None
    said = f"nothing was traded from {format_us(halt.start_us)} to {format_us(halt.end_us)}; ids run on"
    return site.harmless("halt", halt, 0, said, gap=GapStatus.HALT, verdict=Verdict.EXPLAINED)


def halted_candles(site: Site) -> Planted | None:
    """D11: in a halt spot has no candles, futures have flat ones of zero volume."""
    halt = _halt_in(site)
    if halt is None:
        return None
    step = site.step_us
    first, end = -(-halt.start_us // step) * step, halt.end_us // step * step
    if end <= first:
        return None
    if site.series.market is not Market.SPOT:
        said = "candles of the halt are flat, with zero volume"
        return site.harmless("flat rows in a halt", Span(first, end), (end - first) // step, said)
    said = "spot has no candles that lie wholly inside the halt"
    facts = {"gap": GapStatus.HALT, "verdict": Verdict.EXPLAINED, "in_archive": False, "in_rest": False}
    return site.harmless("no rows in a halt", Span(first, end), (end - first) // step, said, **facts)


def _halt_in(site: Site) -> Span | None:
    return next((halt for halt in site.instrument.halts if site.period.span.contains(halt)), None)


def false_flat_rows(site: Site) -> Planted | None:
    """D12: candles say that nothing was traded, though trades and API say what."""
    text = site.text()
    busy = _numbers(text, "count") > 0
    starts = np.flatnonzero(busy[1:-1] & busy[2:]) + 1
    if not len(starts):
        return None
    first = int(starts[int(site.random.integers(0, len(starts)))])
    quiet = np.flatnonzero(~busy[first:])
    most = min(int(quiet[0]) if len(quiet) else len(busy) - first, max(2, len(busy) // 4))
    length = int(site.random.integers(2, most + 1))
    times = text.times_us()
    span = Span(int(times[first]), int(times[first + length - 1]) + site.step_us)
    close = Decimal(text.cell(first - 1, "close").decode())
    site.strike(span, lambda there, _: _flattened(there, _inside(there, span), close))
    said = f"{length} candles are flat at {close} and empty, though there were trades"
    return site.planted("false flat rows", span, length, said, echoes=site.echoes())


def _inside(text: Text, span: Span) -> Bools:
    times = text.times_us()
    inside: Bools = (times >= span.start_us) & (times < span.end_us)
    return inside


def _flattened(text: Text, rows: Bools, close: Decimal) -> Text:
    prices: dict[str, Callable[[bytes], bytes]] = dict.fromkeys(
        ("open", "high", "low", "close"), lambda cell: as_in(cell, close)
    )
    return text.with_cells(rows, prices | dict.fromkeys(_SUMS, zero))


def flat_after_delisting(site: Site) -> Planted | None:
    """D13: candles go on, flat and empty, when the symbol has gone."""
    life = site.market.life(site.series)
    if life is None or life.end_us >= site.market.span.end_us or site.step_us == 1:
        return None
    first_us = -(-life.end_us // site.step_us) * site.step_us
    span = Span(first_us, max(site.period.span.end_us, first_us))
    if not site.period.span.contains(Span(life.end_us - 1, life.end_us)) or span.end_us == span.start_us:
        return None
    site.strike(site.period.span, lambda text, period: _continued(text, site, first_us, period.span.end_us))
    rows = (span.end_us - span.start_us) // site.step_us
    said = f"delisted at {format_us(life.end_us)}, and {rows} flat candles more"
    return site.planted("flat rows after delisting", span, rows, said, truth=Truth.MARKET)


def _continued(text: Text, site: Site, first_us: int, end_us: int) -> Text:
    """Flat candles behind the last one, if that is in this archive."""
    times = text.times_us()
    if not len(times) or times[-1] + site.step_us != first_us:
        return text
    cells = text.lines[-1].split(b",")
    close = Decimal(text.cell(len(text.lines) - 1, "close").decode())
    flat = _flattened(replace(text, lines=(b",".join(cells),)), np.ones(1, dtype=np.bool_), close).lines[0].split(b",")
    lasts = int(cells[text.place("close_time")]) - int(cells[text.time_place])
    lines = []
    for open_us in range(first_us, end_us, site.step_us):
        row = list(flat)
        row[text.time_place] = str(open_us // text.unit_us).encode()
        row[text.place("close_time")] = str(open_us // text.unit_us + lasts).encode()
        lines.append(b",".join(row))
    return replace(text, lines=(*text.lines, *lines))


def lone_ids_absent(site: Site) -> Planted | None:
    """D14: single ids are absent while time goes on as ever: trades of the insurance fund, as in aggregates (D35)."""
    if site.series.dataset == "agg_trades":
        return _left_out(site, _MOST_LONE, "lone ids absent")
    text = site.text()
    count = len(text.lines)
    lone = min(int(site.random.integers(2, _MOST_LONE + 1)), (count - 2) // 4)
    if lone < 1:
        return None
    rows = 1 + 2 * np.sort(site.random.choice((count - 2) // 2, lone, replace=False))
    ids = {text.cell(int(row), "id") for row in rows}
    times = text.times_us()
    span = Span(int(times[rows[0]]), int(times[rows[-1]]) + 1)
    site.strike(span, lambda there, _: there.only(np.array([cell not in ids for cell in there.column("id")])))
    said = f"ids {b' '.join(sorted(ids)).decode()} are absent, each alone"
    facts = {"verdict": Verdict.EXPLAINED, "in_archive": False, "in_rest": False, "truth": Truth.AS_PUBLISHED}
    return site.planted("lone ids absent", span, lone, said, echoes=site.echoes(), **facts)


def trades_left_out(site: Site) -> Planted | None:
    """D35: aggregates of futures leave trades out, so that candles cannot be made of them."""
    return _left_out(site, 200, "aggregates lack trades")


def _left_out(site: Site, most: int, kind: str) -> Planted | None:
    """Take the last trade out of some aggregates of several, each in a minute of its own: `last + 2 = next first`."""
    text = site.text()
    first_ids, last_ids = (_numbers(text, name) for name in ("first_trade_id", "last_trade_id"))
    times = text.times_us()
    several = np.flatnonzero(last_ids > first_ids)
    _, chosen = np.unique(times[several] // 60_000_000, return_index=True)
    several = several[chosen]
    if len(several) < 2:
        return None
    count = int(site.random.integers(2, min(most, len(several)) + 1))
    rows = np.sort(site.random.choice(several, count, replace=False))
    sizes = _sizes_of(site, [int(last_ids[row]) for row in rows])
    lost = {text.cell(int(row), "agg_trade_id"): sizes[int(last_ids[row])] for row in rows}
    span = Span(int(times[rows[0]]), int(times[rows[-1]]) + 1)

    def without(there: Text, _: Period) -> Text:
        struck = np.array([cell in lost for cell in there.column("agg_trade_id")])
        return there.edited(struck, lambda cells: _smaller(there, cells, lost[cells[there.place("agg_trade_id")]]))

    site.strike(span, without)
    said = f"{count} aggregates lack their last trade, in {count} minutes; `trades` has it"
    facts = {"verdict": Verdict.EXPLAINED, "in_archive": False, "in_rest": False, "truth": Truth.AS_PUBLISHED}
    return site.planted(kind, span, count, said, echoes=site.echoes(), **facts)


def _numbers(text: Text, name: str) -> Ints:
    return np.array([int(cell) for cell in text.column(name)], dtype=np.int64)


def _sizes_of(site: Site, ids: list[int]) -> dict[int, Decimal]:
    """The quantities of trades by id."""
    rows = site.market.rows(Series(site.series.market, "trades", site.series.symbol), site.period.span)
    known, sizes = integers(rows["id"]), rows["qty"]
    assert isinstance(sizes, Decimals)
    return {each: Decimal(int(sizes.units[each - known[0]])).scaleb(-sizes.places) for each in ids}


def _smaller(text: Text, cells: list[bytes], size: Decimal) -> list[bytes]:
    quantity, last = text.place("quantity"), text.place("last_trade_id")
    left = Decimal(cells[quantity].decode()) - size
    changed = {quantity: as_in(cells[quantity], left), last: str(int(cells[last]) - 1).encode()}
    return [changed.get(place, cell) for place, cell in enumerate(cells)]


def off_the_grid(site: Site) -> Planted | None:
    """D15: a candle of spot closes early and the next one opens late, as around old halts."""
    text = site.text()
    count = len(text.lines)
    if count < 3:
        return None
    row = int(site.random.integers(1, count - 1))
    times = text.times_us()
    step_ms = site.step_us // 1000
    early, late = (int(site.random.integers(step_ms // 10, step_ms // 2)) * 1000 + 789_000 for _ in range(2))
    before_us, after_us = int(times[row - 1]), int(times[row])

    def shifted(there: Text, _: Period) -> Text:
        found = there.times_us()
        unit = there.unit_us
        closing = there.with_cells(
            found == before_us, {"close_time": lambda cell: str(int(cell) - early // unit).encode()}
        )
        return closing.with_cells(found == after_us, {"open_time": lambda cell: str(int(cell) + late // unit).encode()})

    span = Span(before_us, after_us + site.step_us)
    site.strike(span, shifted)
    said = f"a candle closes {early / 1e6:.3f} s early, the next opens {late / 1e6:.3f} s late"
    facts = {"truth": Truth.AS_PUBLISHED, "verdict": Verdict.EXPLAINED, "in_archive": False}
    return site.planted("off the grid", span, 2, said, **facts)
