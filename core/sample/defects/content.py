"""Rows that are doubled, in disorder, or contradict one another: D25 to D35."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np

from core.dates import INTERVAL_US, format_us
from core.layout import stem
from core.sample.archive import checksum_line, sidecar_of, zipped
from core.sample.defects.plan import Planted, Truth, Verdict
from core.sample.defects.site import Site
from core.sample.defects.text import Text, a_little_more, zero
from core.sample.market import times_of
from core.sample.values import Columns, Decimals, Ints
from core.types import Cadence, GapStatus, Period, Span

_MOST = 50
_RATIOS = (
    "count_toptrader_long_short_ratio",
    "sum_toptrader_long_short_ratio",
    "count_long_short_ratio",
)


def doubled_rows(site: Site) -> Planted | None:
    """D25: some rows stand twice, one block behind the other."""
    text = site.text()
    count = len(text.lines)
    first, length = _block(site, count, min(count, _MOST))
    rows = np.concatenate([np.arange(first + length), np.arange(first, count)])
    site.rewrite(site.period, text.only(rows))
    times = text.times_us()[first : first + length]
    said = f"{length} rows from {format_us(int(times[0]))} on stand twice"
    return site.planted("duplicate rows", _span_of(site, times), length, said, truth=Truth.MARKET, in_archive=True)


def _block(site: Site, count: int, most: int) -> tuple[int, int]:
    """Some neighbouring rows: the first, and how many."""
    length = int(site.random.integers(1, most + 1))
    return int(site.random.integers(0, count - length + 1)), length


def _span_of(site: Site, times: Ints) -> Span:
    return Span(int(times.min()), int(times.max()) + site.step_us)


def untidy_metrics(site: Site) -> Planted | None:
    """D26: metrics in no order, some twice, with empty cells."""
    text = site.text()
    count = len(text.lines)
    if count < 8:
        return None
    doubled, blank = (int(site.random.integers(1, 5)) for _ in range(2))
    rows = site.random.permutation(count)
    empty = b'""' if site.series.market.value == "cm" else b""
    chosen = np.sort(site.random.choice(count, blank, replace=False))
    emptied = text.with_cells(chosen, dict.fromkeys(_RATIOS, lambda _: empty))
    site.rewrite(site.period, emptied.only(np.concatenate([rows, rows[:doubled]])))
    said = f"no order, {doubled} rows more stand twice, {blank} rows lack the account ratios"
    facts = {"verdict": Verdict.EXPLAINED, "truth": Truth.AS_PUBLISHED, "in_archive": False}
    return site.planted("untidy rows", site.extent(text), doubled, said, **facts)


def one_id_two_rows(site: Site) -> Planted | None:
    """D27: the first aggregate of a day has the id of the last one of the day before."""
    if not site.has_day(-1):
        return None
    before = site.text(Period.day(site.period.first - timedelta(days=1)))
    text = site.text()
    last = before.cell(len(before.lines) - 1, "agg_trade_id")
    if int(text.cell(0, "agg_trade_id")) != int(last) + 1:
        return None
    site.rewrite(site.period, text.with_cells(np.array([0]), {"agg_trade_id": lambda _: last}))
    times = text.times_us()
    span = Span(int(before.times_us()[-1]), int(times[:2].max()) + 1)  # to the next one, before which an id is missing
    said = f"id {last.decode()} is that of the last row of a day and of the first of the next"
    return site.planted("one id, two rows", span, 1, said, echoes=site.echoes())


def disordered_rows(site: Site) -> Planted | None:
    """D28: a block of rows stands behind the one that follows it, or two halves of the day are interleaved."""
    text = site.text()
    count = len(text.lines)
    if count < 6 or (np.diff(text.times_us()) < 0).any():
        return None
    if site.random.integers(0, 2):
        length = int(site.random.integers(1, count // 2))
        first = int(site.random.integers(0, count - 2 * length + 1))
        rows = np.arange(count)
        rows[first : first + 2 * length] = np.roll(rows[first : first + 2 * length], length)
        said = f"two blocks of {length} rows are exchanged"
    else:
        half = count // 2
        rows = np.empty(count, dtype=np.int64)
        rows[0 : 2 * half : 2], rows[1 : 2 * half : 2] = np.arange(half), np.arange(half, 2 * half)
        rows[2 * half :] = np.arange(2 * half, count)
        said = "the two halves of the file are interleaved"
    moved = np.flatnonzero(rows != np.arange(count))
    site.rewrite(site.period, text.only(rows))
    span = _span_of(site, text.times_us()[moved])
    return site.planted("rows out of order", span, len(moved), said, truth=Truth.MARKET, in_archive=True)


def time_goes_back(site: Site) -> Planted | None:
    """D29: a trade with a higher id has an earlier time: two neighbours of one minute have each other's."""
    text = site.text()
    times = text.times_us()
    rises = np.flatnonzero((np.diff(times) > 0) & (times[1:] // 60_000_000 == times[:-1] // 60_000_000))
    if not len(rises):
        return None
    row = int(rises[int(site.random.integers(0, len(rises)))])
    name = "id" if site.series.dataset == "trades" else "agg_trade_id"
    time = "time" if name == "id" else "transact_time"
    ids = text.cell(row, name), text.cell(row + 1, name)
    unit = text.unit_us
    swapped = {ids[0]: int(times[row + 1]), ids[1]: int(times[row])}

    def exchanged(there: Text, _: Period) -> Text:
        place, key = there.place(time), there.place(name)
        struck = np.array([cell in swapped for cell in there.column(name)])
        return there.edited(
            struck,
            lambda cells: [*cells[:place], str(swapped[cells[key]] // unit).encode(), *cells[place + 1 :]],
        )

    span = Span(int(times[row]), int(times[row + 1]) + 1)
    site.strike(span, exchanged)
    said = f"id {ids[1].decode()} is {(span.end_us - 1 - span.start_us) / 1e6} s earlier than {ids[0].decode()}"
    facts = {"verdict": Verdict.EXPLAINED, "truth": Truth.AS_PUBLISHED, "in_archive": False, "in_rest": False}
    return site.planted("time goes back", span, 1, said, **facts)


def month_against_days(site: Site) -> Planted | None:
    """D30: candles of a month are not those of its days; the days are right."""
    days = [each for each in site.covering(site.period.span) if each.cadence is Cadence.DAILY]
    if not days:
        return None
    day = days[int(site.random.integers(0, len(days)))]
    text = site.text()
    times = text.times_us()
    inside = np.flatnonzero((times >= day.span.start_us) & (times < day.span.end_us))
    if not len(inside):
        return None
    first, length = _block(site, len(inside), min(len(inside), _MOST))
    rows = inside[first : first + length]
    site.rewrite(site.period, text.with_cells(rows, _off(site)))
    said = f"{length} candles of {day.label} in the month have another {next(iter(_off(site)))}"
    facts = {"in_archive": True, "truth": Truth.MARKET, "echoes": site.echoes()}
    return site.planted("month differs from days", _span_of(site, times[rows]), length, said, **facts)


def _off(site: Site) -> dict[str, Callable[[bytes], bytes]]:
    """A change that leaves a candle plausible: one unit of the last decimal."""
    return {"volume" if site.series.dataset == "klines" else "high": a_little_more}


def intervals_disagree(site: Site) -> Planted | None:
    """D31: a candle is not what the candles of a shorter interval add up to."""
    shorter = [
        each
        for each in site.siblings()
        if (each.dataset, each.symbol) == (site.series.dataset, site.series.symbol)
        and (INTERVAL_US[each.interval or ""] or 0) < site.step_us
        and site.at(each).covering(site.period.span)
    ]
    if not shorter:
        return None
    text = site.text()
    row = int(site.random.integers(0, len(text.lines)))
    span = _span_of(site, text.times_us()[row : row + 1])
    site.strike(span, lambda there, _: there.with_cells(there.times_us() == span.start_us, _off(site)))
    said = f"{next(iter(_off(site)))} is one unit more than that of {shorter[0].interval}"
    return site.planted("intervals disagree", span, 1, said, truth=Truth.MARKET, echoes=site.echoes())


def rest_disagrees(site: Site) -> Planted | None:
    """D32: the archive is as it was, and the API answers with another volume."""
    text = site.text()
    first, length = _block(site, len(text.lines), min(len(text.lines), _MOST))
    span = _span_of(site, text.times_us()[first : first + length])
    rows = site.market.rows(site.series, span)
    name = "volume" if site.series.dataset == "klines" else "quantity"
    other = _more(rows, name)
    said = f"{name} of {length} rows is one unit more in the API"
    facts = {"truth": Truth.MARKET, "verdict": Verdict.EXPLAINED, "in_archive": True, "rest_rows": other}
    return site.planted("API differs", span, len(times_of(site.series, rows)), said, **facts)


def _more(rows: Columns, name: str) -> Columns:
    values = rows[name]
    assert isinstance(values, Decimals)
    return rows | {name: replace(values, units=values.units + 1)}


def no_quantity(site: Site) -> Planted | None:
    """D33: aggregates with a quantity of 0; `trades` says how much it was."""
    text = site.text()
    count = len(text.lines)
    first, length = _block(site, count, max(1, count // 3))
    ids = set(text.column("agg_trade_id")[first : first + length])
    times = text.times_us()[first : first + length]
    span = _span_of(site, times)

    def emptied(there: Text, _: Period) -> Text:
        struck = np.array([cell in ids for cell in there.column("agg_trade_id")])
        return there.with_cells(struck, {"quantity": zero})

    site.strike(span, emptied)
    said = f"{length} aggregates from {format_us(span.start_us)} on have the quantity 0"
    facts = {"in_archive": False, "truth": Truth.AS_PUBLISHED, "echoes": site.echoes()}
    return site.planted("quantity 0", span, length, said, **facts)


def silent_replacement(site: Site) -> Planted | None:
    """D34: a file that lacked some rows is replaced, weeks later and without a word, by the whole one."""
    text = site.text()
    count = len(text.lines)
    if count < 3:
        return None
    length = int(site.random.integers(1, max(1, count // 3) + 1))
    first = int(site.random.integers(1, count - length))
    path, published = site.path(site.period), site.modified(site.period)
    replaced = published + timedelta(days=int(site.random.integers(5, 60)), minutes=7)
    rows = np.concatenate([np.arange(first), np.arange(first + length, count)])
    member = f"{stem(site.series, site.period)}.csv"
    earlier = zipped(member, text.only(rows).content(), published)
    seconds = int(published.timestamp())
    site.put(path.with_name(f".{path.name}@{seconds}"), earlier, published)
    line = checksum_line(site.series, path.name, earlier)
    site.put(path.with_name(f".{sidecar_of(path).name}@{seconds}"), line, published)
    site.replace_zip(site.period, lambda written: zipped(member, text.content(), written), replaced)
    return site.planted(
        "replaced file",
        _span_of(site, text.times_us()[first : first + length]),
        length,
        f"the archive of {published:%Y-%m-%d} lacks {length} rows; it is replaced on {replaced:%Y-%m-%d %H:%M}",
        in_archive=True,
        truth=Truth.MARKET,
        gap=GapStatus.FILLED,
        changes_us=(int(replaced.timestamp()) * 1_000_000,),
    )
