"""What the database says of all that is here, summed up."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from core.dates import DAY_US
from core.download.gaps import Known
from core.download.overview import SeriesOverview
from core.download.tracker import Change, DownloadTracker
from core.types import (
    ArchiveFile,
    FetchedFile,
    Gap,
    GapStatus,
    Market,
    Partition,
    Period,
    Proof,
    Series,
    Source,
    Span,
    Stamp,
    State,
    Stored,
)

CANDLES = Series(Market.UM, "klines", "BTCUSDT", "1h")
FUNDING = Series(Market.UM, "funding_rate", "BTCUSDT")
JAN, FEB = Period.month(2024, 1), Period.month(2024, 2)


@pytest.fixture
def tracker(tmp_path: Path):
    with DownloadTracker(tmp_path / "metadata" / "status.db") as tracker:
        yield tracker


def listed(series: Series, period: Period, size: int = 100) -> ArchiveFile:
    return ArchiveFile(series, period, f"data/{series}/{period.label}.zip", size, f"e{period.label}", "c", "m")


def source(file: ArchiveFile, rows: int, first_us: int, last_us: int) -> Source:
    return Source(file.key, file.period, "5" * 64, Proof.SHA256_BY_ETAG, "ms", rows, first_us, last_us)


def store(tracker: DownloadTracker, files: list[ArchiveFile], *partitions: Partition) -> None:
    run = tracker.begin_run("test")
    claimed = tracker.claim(run, tracker.plan(files).fetch)
    stored = Stored(partitions, (), {}, {})
    for download in claimed:
        bytes_here = FetchedFile(download.file, Path("x"), download.file.size, "5" * 64, Proof.SHA256_BY_ETAG)
        tracker.advance(run, [Change(download, State.FETCHED, fetched=bytes_here)])
    tracker.advance(run, [Change(download, State.STORED, stored=stored) for download in claimed])
    tracker.finish_run(run)


def test_a_series_is_one_line_of_archives_rows_times_and_sizes(tracker: DownloadTracker) -> None:
    january, february = listed(CANDLES, JAN, 300), listed(CANDLES, FEB, 500)
    partition = Partition(
        CANDLES,
        Period.parse("2024"),
        Path("x"),
        (source(january, 744, 10, 20), source(february, 696, 30, 40)),
        stamp=Stamp(9_000, 1),
    )
    store(tracker, [january, february], partition)
    waiting = listed(FUNDING, JAN, 70)
    tracker.plan([waiting, listed(CANDLES, Period.month(2024, 3), 11)])
    candles, funding = sorted(tracker.overview(), key=lambda one: one.series.dataset, reverse=True)
    assert candles == SeriesOverview(
        CANDLES,
        {State.STORED: 2, State.PLANNED: 1},
        archive_bytes=811,
        partitions=1,
        rows=1440,
        first_us=10,
        last_us=40,
        stored_bytes=9_000,
        changed_us=candles.changed_us,
    )
    assert (candles.files, candles.holes) == (3, None)
    assert (funding.series, funding.archives, funding.rows, funding.first_us) == (FUNDING, {State.PLANNED: 1}, 0, None)


def test_a_row_that_a_longer_archive_has_too_is_counted_once(tracker: DownloadTracker) -> None:
    january = listed(CANDLES, JAN)
    day = listed(CANDLES, Period.day(date(2024, 1, 5)))
    month = Partition(CANDLES, Period.parse("2024"), Path("x"), (source(january, 743, 10, 20),))
    beside = Partition(CANDLES, JAN, Path("y"), (replace(source(day, 24, 12, 14), added=1),))
    store(tracker, [january, day], month, beside)
    (one,) = tracker.overview()
    assert (one.rows, one.partitions, one.stored_bytes) == (744, 2, 0)


def test_gaps_are_counted_by_how_they_ended_where_somebody_looked(tracker: DownloadTracker) -> None:
    january = listed(CANDLES, JAN)
    store(tracker, [january], Partition(CANDLES, JAN, Path("x"), (source(january, 700, 10, 20),)))
    ends = [(GapStatus.OPEN, 3), (GapStatus.HALT, 5), (GapStatus.CONFIRMED, 7), (GapStatus.FILLED, 11)]
    gaps = tuple(
        Gap(CANDLES, Span(number * DAY_US, (number + 1) * DAY_US), rows, status)
        for number, (status, rows) in enumerate(ends)
    )
    tracker.record_gaps({CANDLES: Known(gaps, {JAN: Stamp(1, 2)})}, {})
    (one,) = tracker.overview()
    assert one.gaps == dict.fromkeys((status for status, _ in ends), 1)
    assert (one.holes, one.gap_rows) == (2, 10)
