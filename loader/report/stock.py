"""What is stored of the symbol, day by day, and what is missing."""

from collections.abc import Mapping
from datetime import date
from itertools import groupby
from typing import Any, Final

import pandas as pd
from sqlalchemy import Connection

from core.dates import format_us
from core.download.coverage import Cover, Coverage, coverage, gaps_of
from core.download.looking import look
from core.download.overview import HOLES
from core.errors import NoData, TrackerError
from core.types import Gap, Series
from loader.report.parts import Column, Picture, Section, Source, Table

SINGLE: Final = ("trades", "agg_trades", "book_ticker", "book_depth")
"""Kinds whose rows are too many to be read through for a picture."""
SHOWN: Final = 40
_GAPS: Final = ("gaps", "missing_rows", "open_gaps")
_COVERS: Final = {
    Cover.STORED: ("stored", "--stored"),
    Cover.GAP: ("stored, rows are missing in it", "--gap"),
    Cover.MISSING: ("missing at the source, or failed", "--missing"),
    Cover.WAITING: ("to be fetched, or may still be published", "--waiting"),
    Cover.UNASKED: ("between others, never asked for", "--unasked"),
}


def stock(source: Source) -> Section:
    """Of all kinds of data of the symbol, whatever the request's days."""
    asked = source.asked
    table, frame = _stored(source)
    parts: list[Picture | Table] = [table]
    message = None
    try:
        covers, gaps = look(source.layout.database, lambda connection: _known(connection, source))
    except (NoData, TrackerError) as error:
        message = f"Which days are stored, and the gaps that were looked for, cannot be told: {error}"
    else:
        parts += [_calendar(covers)] if covers else []
        parts += [_gaps(gaps)] if gaps else []
    text = [
        f"All data of {asked.market} {asked.symbol} that is stored, whatever --start and --end say. Gaps are runs "
        "of expected rows "
        "that are missing between the first and the last; open ones have no known cause, as a halt or an outage is. In "
        f"{', '.join(SINGLE)} they are not counted here, for every row would have to be read: "
        "python scripts/monitor.py integrity does that."
    ]
    return Section("coverage", "Coverage and gaps", text, message, parts=parts, frames={"coverage": frame})


def _stored(source: Source) -> tuple[Table, pd.DataFrame]:
    asked, every = source.asked, source.stored
    cheap = [name for name in dict.fromkeys(every["data_type"]) if name not in SINGLE]
    counted = source.loader.coverage(asked.symbol, cheap, asked.market.value) if cheap else every.iloc[:0]
    gaps: dict[tuple[Any, ...], list[int]] = {
        _key(one): [one[name] for name in _GAPS] for one in counted.to_dict("records")
    }
    rows = []
    for one in every.to_dict("records"):
        at = [f"{one[name]:%Y-%m-%d %H:%M}" for name in ("first", "last")]
        facts = [one[name] for name in ("rows", "files", "bytes")]
        of_gaps = gaps.get(_key(one), [None] * len(_GAPS))
        rows.append((one["data_type"], _key(one)[2], *at, *facts, *of_gaps, one["revisions"]))
    columns = (
        *(Column(name, "text") for name in ("data", "interval")),
        *(Column(name, "time") for name in ("first", "last")),
        *(Column(name, "count") for name in ("rows", "files", "bytes", "gaps", "missing rows", "open gaps")),
        Column("archives replaced", "count"),
    )
    return Table("coverage", "What is stored", columns, rows), every


def _key(one: Mapping[Any, Any]) -> tuple[str, str, str]:
    """Which series a row is of; its interval is no text where it has none."""
    return one["data_type"], one["symbol"], one["interval"] if isinstance(one["interval"], str) else ""


def _known(connection: Connection, source: Source) -> tuple[dict[Series, Coverage], list[Gap]]:
    asked = source.asked
    covers: dict[Series, Coverage] = {}
    gaps: list[Gap] = []
    for one in source.stored.itertuples(index=False):
        interval = one.interval if isinstance(one.interval, str) else None
        series = Series(asked.market, str(one.data_type), str(one.symbol), interval)
        covers |= coverage(connection, series)
        gaps += gaps_of(connection, series)
    return covers, gaps


def _calendar(covers: dict[Series, Coverage]) -> Picture:
    """A row for each series, and stretches of equal days in it."""
    names = [f"{one.dataset} {one.interval}" if one.interval else one.dataset for one in covers]
    stretches: dict[Cover, list[tuple[str, date, int]]] = {}
    for name, cover in zip(names, covers.values(), strict=True):
        for kind, first, days in _stretches(cover):
            stretches.setdefault(kind, []).append((name, first, days))
    traces: list[dict[str, Any]] = []
    for kind, (says, colour) in _COVERS.items():
        found = stretches.get(kind, [])
        if found:
            traces.append(
                {
                    "type": "bar",
                    "orientation": "h",
                    "name": says,
                    "y": [name for name, _, _ in found],
                    "base": [str(first) for _, first, _ in found],
                    "x": [days * 86_400_000 for _, _, days in found],
                    "customdata": [f"{first}, {days:,} days" if days > 1 else str(first) for _, first, days in found],
                    "hovertemplate": "%{y}: " + says + "<br>from %{customdata}<extra></extra>",
                    "marker": {"color": colour, "line": {"width": 0}},
                }
            )
    layout = {
        "barmode": "overlay",
        "bargap": 0.35,
        "xaxis": {"type": "date"},
        "yaxis": {"automargin": True, "autorange": "reversed", "categoryorder": "array", "categoryarray": names},
        "showlegend": True,
    }
    counts = {says: sum(days for _, _, days in stretches.get(kind, ())) for kind, (says, _) in _COVERS.items()}
    label = f"{len(names)} kinds of data: " + ", ".join(
        f"{count:,} days {says}" for says, count in counts.items() if count
    )
    text = (
        "Each UTC day of each kind of data, as the status database knows it; a month's archive counts for all of "
        "its days."
    )
    return Picture("coverage", "Which days are stored", text, label, traces, layout, 150 + 34 * len(names))


def _stretches(cover: Coverage) -> list[tuple[Cover, date, int]]:
    """Runs of days that are the same: what they are, the first, and how many."""
    first, months = cover.days()
    days = [
        (date((first + number) // 12, (first + number) % 12 + 1, at + 1), letter)
        for number, month in enumerate(months)
        for at, letter in enumerate(month)
    ]
    found = []
    for letter, run in groupby(days, key=lambda day: day[1]):
        of_run = list(run)
        if letter != Cover.OUTSIDE:
            found.append((Cover(letter), of_run[0][0], len(of_run)))
    return found


def _gaps(gaps: list[Gap]) -> Table:
    ordered = sorted(gaps, key=lambda gap: (gap.status not in HOLES, gap.span.start_us))
    rows = [
        (
            gap.series.dataset,
            *map(format_us, (gap.span.start_us, gap.span.end_us)),
            gap.rows,
            gap.status.value,
            gap.detail,
        )
        for gap in ordered[:SHOWN]
    ]
    more = f"; the first {SHOWN} of {len(gaps):,}" if len(gaps) > SHOWN else ""
    columns = (
        Column("data", "text"),
        *(Column(name, "time") for name in ("from", "to")),
        Column("rows", "count"),
        *(Column(name, "text") for name in ("what it is", "why")),
    )
    return Table("gaps", f"Gaps that were looked for, those without a cause first{more}", columns, rows)
