"""What only shows where many series are looked at together: a day that all symbols of a kind lack (D2)."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from core.dates import DAY_US, HOUR_US, day_of
from core.integrity.checker import Examined
from core.types import Finding, Market, Series, Span

EVERY: Final = "*"
"""Stands for all symbols where a finding is of none in particular."""
LEAST_US: Final = HOUR_US
OWN_US: Final = DAY_US
"""A gap that reaches so much further than the time that all lack is the symbol's own, and says nothing of the feed."""
_CAUSE: Final = "all symbols lack it, see the finding of the whole feed"

Group = tuple[Market, str, str | None]


def with_feeds(examined: Sequence[Examined]) -> list[Examined]:
    """The same, and behind it an entry for each feed that all its symbols lack on some day.

    Their own gaps of that time are then told with that cause. A halt, and what is known, is no fault of the feed.
    """
    groups: dict[Group, list[Examined]] = defaultdict(list)
    for each in examined:
        groups[each.series.market, each.series.dataset, each.series.interval].append(each)
    feeds = {group: list(_common(members)) for group, members in groups.items() if len(members) > 1}
    told = [_explained(each, feeds.get(_group(each.series), ())) for each in examined]
    for (market, dataset, interval), spans in feeds.items():
        series = Series(market, dataset, EVERY, interval)
        findings = tuple(Finding(series, span, "feed-lacks", _detail(span)) for span in spans)
        if findings:
            told.append(Examined(series, findings, (), 0, spans[0].start_us, spans[-1].end_us))
    return told


def _group(series: Series) -> Group:
    return series.market, series.dataset, series.interval


def _common(members: Sequence[Examined]) -> Iterable[Span]:
    """Times of an hour or more that every series lacks which has rows before and behind, two of them at least for no
    longer than that."""
    gaps = [[finding.span for finding in each.findings if _is_open(finding)] for each in members if each.rows]
    for span in _lacked(members):
        if sum(any(_is_about(gap, span) for gap in own) for own in gaps) > 1:
            yield span


def _is_about(gap: Span, span: Span) -> bool:
    around = Span(max(0, span.start_us - OWN_US), span.end_us + OWN_US)
    return gap.contains(span) and around.contains(gap)


def _lacked(members: Sequence[Examined]) -> Iterator[Span]:
    """Times of an hour or more in which a gap of every series lies that has rows before and behind."""
    edges: list[tuple[int, int, int]] = []
    for each in members:
        if each.rows:
            edges += [(each.first_us, 1, 0), (each.last_us, -1, 0)]
            for finding in each.findings:
                if _is_open(finding):
                    edges += [(finding.span.start_us, 0, 1), (finding.span.end_us, 0, -1)]
    alive = lacking = 0
    start: int | None = None
    for at, lives, lacks in sorted(edges):
        if start is not None and (lives or lacks):
            if at - start >= LEAST_US:
                yield Span(start, at)
            start = None
        alive, lacking = alive + lives, lacking + lacks
        if alive > 1 and lacking == alive:
            start = at


def _explained(one: Examined, spans: Iterable[Span]) -> Examined:
    spans = list(spans)
    if not spans:
        return one
    findings = tuple(
        replace(each, cause=_CAUSE) if _is_open(each) and _is_within(each.span, spans) else each
        for each in one.findings
    )
    return replace(one, findings=findings)


def _is_open(finding: Finding) -> bool:
    return finding.cause is None and finding.kind in ("gap", "trades-lost")


def _is_within(span: Span, spans: Iterable[Span]) -> bool:
    return any(each.contains(span) for each in spans)


def _detail(span: Span) -> str:
    hours = (span.end_us - span.start_us) / HOUR_US
    first, last = day_of(span.start_us), day_of(span.end_us - 1)
    days = f"{first}" if first == last else f"{first} to {last}"
    return (
        f"all symbols that were looked at lack the same {hours:g} hours, {days}: the feed stood still; "
        "it may be filled later"
    )
