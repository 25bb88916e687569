"""What is absent, or comes late: D1 to D9, and D40, a name that was away for long."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

import numpy as np

from core.datasets import DATASETS
from core.dates import DAY_US, HOUR_US, MINUTE_US, day_of, format_us
from core.sample.archive import sidecar_of
from core.sample.defects.plan import Planted, Truth, Verdict
from core.sample.defects.site import Site, present
from core.sample.market import times_of
from core.types import Cadence, GapStatus, Series, Span

_DAY = re.compile(r"-(\d{4}-\d{2}-\d{2})\.zip")
_LEAST_ROWS = 4
_RELEASED = time(11, 0)
_LEAST_JUMP_US = 5 * MINUTE_US
_ATTEMPTS = 8
_LEAST_ENDED_US = 7 * DAY_US
_LEAST_AWAY, _MOST_AWAY = 7, 60


def absent_day(site: Site) -> Planted | None:
    """D1: one day's file is not there, though those around it are."""
    if not (site.has_day(-1) and site.has_day(1)):
        return None
    text = site.text()
    site.remove(site.period)
    return site.missing("missing file", site.extent(text), len(set(text.lines)), f"no archive of {site.period.label}")


def frozen_feed(site: Site) -> Planted | None:
    """D2: nothing of a market is published for some days, and then all of it at once."""
    days = int(site.random.integers(3, 9))
    last = site.period.first + timedelta(days=days - 1)
    if not site.has_day(days):
        return None
    window = Span.of_days(site.period.first, last)
    release = datetime.combine(last + timedelta(days=1), _RELEASED, UTC)
    folder = site.folder / "data" / site.series.market.archive_path / "daily"
    zips = 0
    for path in sorted(folder.rglob("*.zip")):
        found = _DAY.search(path.name)
        if found and site.period.first <= date.fromisoformat(found[1]) <= last:
            zips += 1
            for each in (path, sidecar_of(path)):
                if each.exists():
                    site.put(each, each.read_bytes(), release)
    return site.planted(
        "late files",
        window,
        zips,
        f"days of {site.series.market} from {site.period.first} to {last} are published on {release:%Y-%m-%d %H:%M}",
        in_archive=True,
        truth=Truth.MARKET,
        verdict=Verdict.EXPLAINED,
        gap=GapStatus.LATE,
        echoes=tuple(_others_in_market(site, window)),
        changes_us=(int(release.timestamp()) * 1_000_000,),
    )


def _others_in_market(site: Site, window: Span) -> Iterator[Series]:
    """Every other series of the market that has archives of that time."""
    market = site.series.market
    for name, kind in DATASETS.items():
        for listed in site.market.series(name, "1h" if kind.has_interval else None):
            if listed.market is market:
                found = present(site.folder, listed)
                yield from (each for each in found if each != site.series and site.at(each).covering(window))


def truncated_day(site: Site) -> Planted | None:
    """D3: a day's file ends early, and its checksum agrees with what there is."""
    text = site.text()
    times = text.times_us()
    if len(times) < _LEAST_ROWS or not site.has_day(1) or (times[1:] < times[:-1]).any():
        return None
    kept = int(site.random.integers(len(times) // 4 + 1, len(times) * 3 // 4 + 1))
    cut_us = int(times[kept])
    if cut_us == times[0]:
        return None
    return _lost_from(site, Span(cut_us, int(times[-1]) + site.step_us), "the day ends at")


def _lost_from(site: Site, span: Span, what: str) -> Planted:
    lost = _rows_in(site, span)
    site.cut_out(span, [site.period])
    return site.missing("missing rows", span, lost, f"{what} {format_us(span.start_us)}", echoes=site.echoes())


def _rows_in(site: Site, span: Span) -> int:
    """How many rows a span has; what is published twice, once."""
    text = site.text()
    inside = (text.times_us() >= span.start_us) & (text.times_us() < span.end_us)
    return len(set(text.only(inside).lines))


def short_month(site: Site) -> Planted | None:
    """D4: the month lacks one to three days, of which the daily files are there."""
    days = sorted(period for period in site.covering(site.period.span) if period.cadence is Cadence.DAILY)
    days = [day for day in days if site.period.contains(day)]
    length = min(int(site.random.integers(1, 4)), len(days))
    if not length:
        return None
    first = int(site.random.integers(0, len(days) - length + 1))
    chosen = days[first : first + length]
    if (chosen[-1].first - chosen[0].first).days != length - 1:
        return None
    span = Span(chosen[0].span.start_us, chosen[-1].span.end_us)
    lost = _rows_in(site, span)
    if not lost or lost == len(site.text().lines):
        return None
    site.cut_out(span, [site.period])
    labels = f"{chosen[0].label} to {chosen[-1].label}" if length > 1 else chosen[0].label
    return site.missing("month lacks days", span, lost, f"the month {site.period.label} has no row of {labels}")


def partial_edge(site: Site) -> Planted | None:
    """D5: the first day of a series begins when it was listed, its last ends when it went."""
    life = site.market.life(site.series)
    whole = site.period.span
    if life is None:
        return None
    rows = len(site.text().lines)
    there = site.extent(site.text())
    if life.start_us % DAY_US and whole.start_us <= life.start_us < whole.end_us:
        said = f"the series begins at {format_us(life.start_us)}"
        return site.harmless("partial edge", Span(whole.start_us, there.start_us), rows, said)
    if life.end_us % DAY_US and whole.start_us < life.end_us < whole.end_us:
        said = f"the series ends at {format_us(life.end_us)}"
        return site.harmless("partial edge", Span(there.end_us, whole.end_us), rows, said)
    return None


def lost_trades(site: Site) -> Planted | None:
    """D6: trades are lost: ids jump and so does the time. Candles still have them."""
    span = _inner_stretch(site, least_rows=3, least_us=_LEAST_JUMP_US)
    if span is None:
        return None
    text = site.text()
    times, ids = text.times_us(), text.column("id" if site.series.dataset == "trades" else "agg_trade_id")
    inside = [row for row, at in enumerate(times) if span.start_us <= at < span.end_us]
    before, after = inside[0] - 1, inside[-1] + 1
    seconds = (int(times[after]) - int(times[before])) / 1e6
    said = f"ids go from {ids[before].decode()} to {ids[after].decode()} in {seconds:.3f} s"
    site.cut_out(span)
    return site.missing("missing rows", span, len(inside), said, echoes=site.echoes())


def hole_everywhere(site: Site) -> Planted | None:
    """D7: candles of mark, index or premium are absent, and the API has none either."""
    span = _inner_stretch(site, least_rows=1, least_us=0)
    if span is None:
        return None
    lost = _rows_in(site, span)
    site.cut_out(span)
    said = f"no rows from {format_us(span.start_us)} to {format_us(span.end_us)}, nor in the API"
    return site.missing("missing rows", span, lost, said, in_rest=False, echoes=site.echoes())


def absent_metrics(site: Site) -> Planted | None:
    """D8: a day of metrics is absent, or its last hours are."""
    if site.random.integers(0, 2):
        return absent_day(site)
    text = site.text()
    start, end = site.extent(text).start_us, site.extent(text).end_us
    cut_us = start + int(site.random.integers(4, 21)) * HOUR_US
    if cut_us >= end or not site.has_day(1):
        return None
    return _lost_from(site, Span(cut_us, end), "no metrics from")


def ended_type(site: Site) -> Planted | None:
    """D9: from a day on nothing of this kind is published any more, for no symbol of the market."""
    dataset, market = site.series.dataset, site.series.market
    if all(period.span.start_us >= site.period.span.start_us for period in site.periods()):
        return None
    rest = Span(site.period.span.start_us, site.market.span.end_us)
    if rest.end_us - rest.start_us < _LEAST_ENDED_US:
        return None  # which might as well come late
    symbols = {series.symbol for series in site.market.series(dataset, site.series.interval)}
    others = []
    for symbol in sorted(symbols):
        for series in present(site.folder, Series(market, dataset, symbol)):
            others.append(series)
            there = site.at(series)
            for period in there.covering(rest):
                if period.span.start_us >= rest.start_us:
                    there.remove(period)
                else:
                    there.cut_out(rest, [period])
    rows = len(times_of(site.series, site.market.rows(site.series, rest)))
    said = f"{dataset} of {market} ended before {site.period.label}"
    return site.missing(
        "type ended",
        Span(rest.start_us, rest.end_us),
        rows,
        said,
        in_rest=False,
        truth=Truth.HOLE,
        verdict=Verdict.EXPLAINED,
        gap=GapStatus.ENDED,
        echoes=tuple(each for each in others if each != site.series),
    )


def two_lives(site: Site) -> Planted | None:
    """D40: a name is away for weeks and comes back: one symbol, two lives. All its series lack that time."""
    days = int(site.random.integers(_LEAST_AWAY, _MOST_AWAY + 1))
    last_day = day_of(site.market.span.end_us - 1) - timedelta(days=2)
    life = site.market.life(site.series)
    days = min(days, (last_day - site.period.first).days)
    if days < _LEAST_AWAY or life is None or life.start_us >= site.period.span.start_us:
        return None
    span = Span.of_days(site.period.first, site.period.first + timedelta(days=days - 1))
    if span.end_us >= life.end_us:
        return None
    rows = len(times_of(site.series, site.market.rows(site.series, span)))
    own = [series for series in site.siblings() if series.symbol == site.series.symbol]
    for series in (site.series, *own):
        site.at(series).cut_out(span)
    return site.missing(
        "long hole",
        span,
        rows,
        f"{site.series.symbol} is away from {format_us(span.start_us)} to {format_us(span.end_us)}",
        in_rest=False,
        truth=Truth.HOLE,
        echoes=tuple(own),
    )


def _inner_stretch(site: Site, least_rows: int, least_us: int) -> Span | None:
    """Neighbouring rows of the plan's archive, about a quarter of them at most, with others before and behind."""
    times = site.text().times_us()
    count = len(times)
    if count < least_rows + 2 or (times[1:] < times[:-1]).any():
        return None
    for _ in range(_ATTEMPTS):
        length = int(site.random.integers(least_rows, max(least_rows, count // 4) + 1))
        first = int(site.random.integers(1, max(count - length, 2)))
        first = int(np.searchsorted(times, times[first]))  # rows of one time go together
        end_us = max(int(times[min(first + length, count - 1)]), int(times[first]) + least_us)
        last = int(np.searchsorted(times, end_us))
        if first and last < count and last - first >= least_rows:
            return Span(int(times[first]), int(times[last - 1]) + site.step_us)
    return None
