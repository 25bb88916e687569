"""What the page shows, as documents: of the whole data folder, of one series, of the bars."""

import shutil
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, func, select

from core.download.coverage import coverage, gaps_of
from core.download.looking import look
from core.download.overview import HOLES, PastRun, SeriesOverview, failures, history, overview
from core.download.rows import series_named, to_download
from core.download.tables import FILES, REVISIONS
from core.download.tracker import is_alive
from core.layout import Layout, is_there
from core.types import FAULTS, Download, Gap, Series, State
from core.web.bars import BarsOverview

GAPS_SHOWN: Final = 500
FAULTS_SHOWN: Final = 500
REVISIONS_SHOWN: Final = 200
RUNS_SHOWN: Final = 50
SPEED_STEPS: Final = 60
SPEED_DAYS: Final = 90
_LEAST_STEP_US: Final = 100_000
_DAY_US: Final = 86_400_000_000
_FAULTS: Final = (State.FAILED, *FAULTS)
_FREE_STEP: Final = 10_000_000
"""Free room is told in steps, so that a page does not change with every log line."""

Document = dict[str, Any]


def status(layout: Layout) -> Document:
    """All of the data folder. Raises NoData, TrackerError."""
    return _base(layout) | look(layout.database, _status)


def nothing(layout: Layout, message: str) -> Document:
    """What can be said where the database tells nothing; `message` is why."""
    return _base(layout) | _of([], message=message)


def one_series(layout: Layout, one: Series) -> Document | None:
    """Day by day; None if the database does not know the series. Raises NoData, TrackerError."""

    def read(connection: Connection) -> Document | None:
        cover = coverage(connection, one).get(one)
        if cover is None:
            return None
        first, days = cover.days()
        faults = [_fault(row) for row in connection.execute(_faulty().where(*_is(one)).limit(FAULTS_SHOWN))]
        return _identity(one) | {
            "first": first,
            "days": days,
            "gaps": [_gap(gap) for gap in gaps_of(connection, one)],
            "faults": faults,
            "revisions": _revisions(connection, one),
        }

    return look(layout.database, read)


def bars(look_at: BarsOverview) -> Document:
    """All stored bars."""
    found = [asdict(each) | _identity(each.series) for each in look_at.look()]
    return {"bars": [{name: value for name, value in each.items() if name != "series"} for each in found]}


def _base(layout: Layout) -> Document:
    usage = shutil.disk_usage(_existing(layout.root))
    return {
        "folder": str(layout.root),
        "disk": {"free": usage.free - usage.free % _FREE_STEP, "size": usage.total},
    }


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if is_there(each))


def _status(connection: Connection) -> Document:
    covers = coverage(connection)
    known = {each.series: each for each in overview(connection)}
    rows: list[Document] = []
    for series, cover in covers.items():
        first, months = cover.months()
        rows.append(
            _identity(series) | {"first": first, "months": months} | _numbers(known.get(series, SeriesOverview(series)))
        )
    every = list(known.values())
    states = Counter[State]()
    for each in every:
        states.update(each.archives)
    runs = history(connection, RUNS_SHOWN, is_alive)
    missing = connection.execute(select(func.count()).where(FILES.c.state == State.MISSING.value)).scalar_one()
    found = [_failed(each.download, each.at_us) for each in failures(connection, FAULTS_SHOWN)]
    found += [_fault(row) for row in connection.execute(_faulty([State.MISSING]).limit(FAULTS_SHOWN))]
    return _of(
        every,
        series=rows,
        states={state.value: count for state, count in states.items()},
        gaps={"counts": _gap_counts(every), "shown": [_gap(gap) for gap in gaps_of(connection, most=GAPS_SHOWN)]},
        faults={"count": sum(states[each] for each in _FAULTS), "missing": missing, "shown": found[:FAULTS_SHOWN]},
        revisions={"count": sum(each.revisions for each in every), "shown": _revisions(connection)},
        runs=[_run(run) for run in runs],
        speed=_speed(connection, runs),
    )


def _of(every: Sequence[SeriesOverview], message: str | None = None, **more: Any) -> Document:
    """A document of these series; `more` takes the place of what is empty."""
    empty: Document = {
        "series": [],
        "states": {},
        "gaps": {"counts": {}, "shown": []},
        "faults": {"count": 0, "missing": 0, "shown": []},
        "revisions": {"count": 0, "shown": []},
        "runs": [],
        "speed": {"run": None, "start_us": 0, "step_us": 1, "bytes": [], "days": []},
    }
    totals = {
        "series": len(every),
        "archives": sum(each.files for each in every),
        "archive_bytes": sum(each.archive_bytes for each in every),
        "partitions": sum(each.partitions for each in every),
        "rows": sum(each.rows for each in every),
        "stored_bytes": sum(each.stored_bytes for each in every),
        "last_us": max((each.last_us for each in every if each.last_us is not None), default=None),
    }
    return {"message": message, "totals": totals} | empty | more


def _identity(series: Series) -> Document:
    return {
        "market": series.market.value,
        "type": series.dataset,
        "symbol": series.symbol,
        "interval": series.interval or "",
    }


def _is(one: Series) -> list[Any]:
    interval = FILES.c.interval.is_(None) if one.interval is None else FILES.c.interval == one.interval
    return [FILES.c.market == one.market.value, FILES.c.dataset == one.dataset, FILES.c.symbol == one.symbol, interval]


def _numbers(each: SeriesOverview) -> Document:
    return {
        "files": each.files,
        "stored": each.archives.get(State.STORED, 0),
        "rows": each.rows,
        "first_us": each.first_us,
        "last_us": each.last_us,
        "bytes": each.stored_bytes,
        "holes": each.holes,
        "revisions": each.revisions,
    }


def _gap_counts(every: Iterable[SeriesOverview]) -> Document:
    counts = Counter[str]()
    for each in every:
        counts.update({status.value: number for status, number in (each.gaps or {}).items()})
    return dict(counts)


def _gap(gap: Gap) -> Document:
    return _identity(gap.series) | {
        "start_us": gap.span.start_us,
        "end_us": gap.span.end_us,
        "rows": gap.rows,
        "status": gap.status.value,
        "hole": gap.status in HOLES,
        "detail": gap.detail,
        "checked_us": gap.checked_us,
    }


def _faulty(states: Sequence[State] = _FAULTS) -> Any:
    return select(FILES).where(FILES.c.state.in_([each.value for each in states])).order_by(FILES.c.changed_us.desc())


def _fault(row: Any) -> Document:
    return _failed(to_download(row), row.changed_us)


def _failed(download: Download, at_us: int) -> Document:
    return _identity(download.file.series) | {
        "key": download.file.key,
        "period": download.file.period.label,
        "state": download.state.value,
        "reason": download.error or "",
        "asks": download.asks,
        "attempts": download.attempts,
        "at_us": at_us,
    }


def _revisions(connection: Connection, one: Series | None = None) -> list[Document]:
    names = ("noticed_us", "replaced_us", "old_etag", "new_etag", "old_sha256", "new_sha256")
    chosen = (
        select(
            *(FILES.c[name] for name in ("key", "market", "dataset", "symbol", "interval")),
            *(REVISIONS.c[name] for name in names),
        )
        .join(FILES, FILES.c.id == REVISIONS.c.file_id)
        .order_by(REVISIONS.c.id.desc())
        .limit(REVISIONS_SHOWN)
    )
    if one is not None:
        chosen = chosen.where(*_is(one))
    return [
        _identity(series_named(row.market, row.dataset, row.symbol, row.interval))
        | {name: getattr(row, name) for name in ("key", *names)}
        for row in connection.execute(chosen)
    ]


def _run(run: PastRun) -> Document:
    return {
        "run": run.run,
        "command": run.line or run.command,
        "started_us": run.started_us,
        "finished_us": run.finished_us,
        "ended": run.ended.value,
        "files": run.files,
        "bytes": run.bytes,
        "rows": run.rows,
        "failures": run.failures,
        "seconds": run.seconds,
    }


def _speed(connection: Connection, runs: Sequence[PastRun]) -> Document:
    """Bytes of the archives that were stored in each step of the newest run that stored any, and on each day."""
    now_us = time.time_ns() // 1000
    stored = FILES.c.state == State.STORED.value
    day = FILES.c.changed_us // _DAY_US
    days = connection.execute(
        select(day.label("day"), func.sum(FILES.c.size).label("bytes"))
        .where(stored, FILES.c.changed_us > now_us - SPEED_DAYS * _DAY_US)
        .group_by(day)
        .order_by(day)
    )
    found: Document = {"days": [[row.day, row.bytes] for row in days]}
    for run in runs:
        if run.files == 0 and run.rows == 0:
            continue
        start_us, end_us = run.started_us, run.finished_us or now_us
        step_us = max(_LEAST_STEP_US, -(-(end_us - start_us + 1) // SPEED_STEPS))
        at = (FILES.c.changed_us - start_us) // step_us
        of_run = connection.execute(
            select(at.label("at"), func.sum(FILES.c.size).label("bytes"))
            .where(stored, FILES.c.changed_us.between(start_us, end_us))
            .group_by(at)
        )
        sizes = {row.at: row.bytes for row in of_run}
        if sizes:
            steps = (end_us - start_us) // step_us + 1
            sums = [sizes.get(number, 0) for number in range(steps)]
            return found | {"run": run.run, "start_us": start_us, "step_us": step_us, "bytes": sums}
    return found | {"run": None, "start_us": 0, "step_us": 1, "bytes": []}
