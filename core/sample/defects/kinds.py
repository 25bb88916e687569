"""Peculiar to one kind of data: metrics, the book, funding and prices (D36 to D39)."""

from dataclasses import replace
from decimal import Decimal

import numpy as np

from core.dates import HOUR_US, format_us
from core.sample import prices
from core.sample.csv_text import csv_bytes
from core.sample.defects.plan import Planted, Truth, Verdict
from core.sample.defects.site import Site
from core.sample.defects.text import Cells, Text, as_in
from core.sample.market import times_of
from core.sample.positions import LABELS_ARE_STARTS_FROM
from core.sample.values import Columns
from core.types import Period, Span

_FASTER = {8: 4, 4: 1}
_OFF = Decimal("1.03")
_LEAST_SNAPSHOTS = 24
"""For so long at least the book is wrong: fewer equal snapshots may be chance where little is traded."""


def moved_labels(site: Site) -> Planted | None:
    """D36: um metrics label the start of their five minutes instead of the end, so that a midnight is in two files."""
    if site.period.span.start_us != LABELS_ARE_STARTS_FROM or not site.has_day(-1):
        return None
    midnight = Span(LABELS_ARE_STARTS_FROM, LABELS_ARE_STARTS_FROM + site.step_us)
    said = f"{format_us(LABELS_ARE_STARTS_FROM)} is the label of a row of two days, of two different windows"
    return site.harmless("label moved", midnight, 1, said, verdict=Verdict.EXPLAINED)


def wrong_book(site: Site) -> Planted | None:
    """D37: the ask bands stand still from some moment on, or all values are far from the price."""
    text = site.text()
    times = text.times_us()
    moments = np.unique(times)
    if len(moments) <= _LEAST_SNAPSHOTS:
        return None
    since_us = int(moments[int(site.random.integers(1, len(moments) - _LEAST_SNAPSHOTS + 1))])
    if site.random.integers(0, 2):
        changed = _frozen(text, since_us)
        kind, said = "frozen book", f"the ask bands stand still from {format_us(since_us)} on"
    else:
        changed = text.with_cells(times >= since_us, {"notional": _too_much})
        kind, said = "book off the price", f"notional is {_OFF:.0%} of what it should be from {format_us(since_us)} on"
    differ = np.array([before != after for before, after in zip(text.lines, changed.lines, strict=True)])
    if not differ.any():
        return None
    site.rewrite(site.period, changed)
    span = Span(since_us, int(times.max()) + 1)
    return site.planted(kind, span, int(differ.sum()), said)


def _frozen(text: Text, since_us: int) -> Text:
    times = text.times_us()
    asks = np.array([not cell.startswith(b"-") for cell in text.column("percentage")])
    band, depth = text.place("percentage"), text.place("depth")
    still = {text.cell(int(row), "percentage"): int(row) for row in np.flatnonzero((times == since_us) & asks)}

    def as_then(cells: Cells) -> Cells:
        row = still.get(cells[band])
        return cells if row is None else [*cells[:depth], *text.lines[row].split(b",")[depth:]]

    return text.edited((times > since_us) & asks, as_then)


def _too_much(cell: bytes) -> bytes:
    return as_in(cell, Decimal(cell.decode()) * _OFF)


def faster_funding(site: Site) -> Planted | None:
    """D38: for some days funding is settled every 4 hours instead of 8, or every hour instead of 4."""
    slow = site.instrument.funding_hours
    fast = _FASTER.get(slow)
    life = site.market.life(site.series)
    hours = site.text().times_us() // HOUR_US * HOUR_US
    if fast is None or life is None or len(hours) < 6:
        return None
    first = int(site.random.integers(1, len(hours) - 4))
    last = int(site.random.integers(first + 1, len(hours) - 1))
    span = Span(int(hours[first]) + HOUR_US, int(hours[last]) + HOUR_US)
    rows = _settled_every(site, fast, span, life)
    lines = Text.of(site.series, csv_bytes(site.series, site.period, rows)).lines

    def inserted(there: Text, _: Period) -> Text:
        times = there.times_us()
        before, after = times < span.start_us, times >= span.end_us
        return replace(there, lines=(*there.only(before).lines, *lines, *there.only(after).lines))

    site.strike(span, inserted)
    said = f"{slow} h, {fast} h from {format_us(int(hours[first]))} to {format_us(int(hours[last]))}, then {slow} h"
    facts = {"truth": Truth.AS_PUBLISHED, "in_archive": False, "rest_rows": rows}
    return site.harmless("funding interval", span, len(lines) - (last - first), said, **facts)


def _settled_every(site: Site, hours: int, span: Span, life: Span) -> Columns:
    instrument = replace(site.instrument, funding_hours=hours)
    points = prices.points_of(site.market.seed, site.instrument, site.market.span)
    rows = prices.funding(site.market.seed, instrument, points, life)
    times = times_of(site.series, rows)
    inside = (times >= span.start_us) & (times < span.end_us)
    return {name: values[inside] for name, values in rows.items()}


def older_than_the_market(site: Site) -> Planted | None:
    """D39: mark and index prices from before the contract was listed."""
    life = site.market.life(site.series)
    if life is None or not site.period.span.start_us < life.start_us < site.period.span.end_us:
        return None
    start_us = max(site.period.span.start_us, site.market.span.start_us)
    instrument = site.instrument
    points = prices.points_of(site.market.seed, instrument, site.market.span)
    values = points.index if site.series.dataset == "index_price" else points.mark
    first_us = int(site.text().times_us()[0])
    rows = prices.price_candles(points, values, site.series.interval or "", Span(start_us, first_us), is_over=False)
    count = len(times_of(site.series, rows))
    if not count:
        return None
    span = Span(start_us, first_us)

    def preceded(there: Text, period: Period) -> Text:
        lines = Text.of(site.series, csv_bytes(site.series, period, rows)).lines
        opens = times_of(site.series, rows)
        inside = (opens >= period.span.start_us) & (opens < period.span.end_us)
        return replace(there, lines=(*(lines[row] for row in np.flatnonzero(inside)), *there.lines))

    site.strike(span, preceded)
    said = f"{count} candles from before the listing at {format_us(life.start_us)}"
    facts = {"truth": Truth.AS_PUBLISHED, "in_archive": False, "rest_rows": rows}
    return site.harmless("older than the market", span, count, said, **facts)
