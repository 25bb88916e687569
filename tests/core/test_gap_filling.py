"""Gaps of real stored series, filled from a served archive and its API; and what is said of those that stay."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from defect_world import (
    AGG_TRADES,
    FUNDING,
    KLINES,
    MARK,
    MARKET,
    METRICS,
    SHELVES,
    SPOT_AGG_TRADES,
    SPOT_KLINES,
    TRADES,
)
from factories import publish, zip_bytes
from gap_world import MORNING, World

from core.datasets import DATASETS
from core.dates import DAY_US, day_of
from core.download.tracker import DownloadTracker
from core.jobs.cleanup import Cleaner
from core.jobs.filled import Filled
from core.sample.archive import Shelf, key_of, write_archive
from core.sample.defects.plan import Plan, Planted, Truth
from core.sample.defects.planting import plant, random_plans
from core.sample.faults import on, status
from core.sample.instruments import Instrument, moment
from core.sample.market import SampleMarket
from core.settings import Settings
from core.types import GapStatus, Market, Period, Proof, Series


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    write_archive(MARKET, folder, SHELVES)
    return folder


@pytest.fixture
def world(tmp_path: Path, published: Path) -> Callable[..., World]:
    def made(*plans: tuple[str, Series, str]) -> World:
        served = tmp_path / "served"
        shutil.copytree(published, served)
        planted = plant(MARKET, served, [Plan(name, series, Period.parse(label)) for name, series, label in plans])
        return World(tmp_path, served, planted)

    return made


def test_nothing_is_missing_and_nothing_is_asked(world: Callable[..., World]) -> None:
    here = world().begin(KLINES, MARK, TRADES)
    assert here.fill(KLINES, MARK, TRADES) == Filled()
    assert (here.hits, here.findings) == ({}, [])
    assert all(here.is_true(series) for series in (KLINES, MARK, TRADES))


def test_days_that_a_month_lacks_come_from_the_days(world: Callable[..., World]) -> None:
    here = world(("D4", KLINES, "2025-01")).begin(KLINES)
    assert not here.is_true(KLINES)
    filled = here.fill(KLINES)
    assert filled.status == {"filled": filled.looked_at}
    assert (filled.rows, here.api_calls, filled.failures) == (0, 0, ())
    assert set(here.findings) == {"month-differs"}
    assert here.is_true(KLINES)
    days = [source for source in here.sources(KLINES) if source.is_beside]
    assert sum(source.added for source in days) == here.planted[0].rows
    assert {gap.status for gap in here.gaps(KLINES)} == {GapStatus.FILLED}


@pytest.mark.parametrize("defect", ["D1", "D3"])
def test_a_day_that_the_archive_has_not_or_not_whole_comes_from_the_api(
    world: Callable[..., World], defect: str
) -> None:
    here = world((defect, KLINES, "2025-02-02")).begin(KLINES)
    assert not here.is_true(KLINES)
    filled = here.fill(KLINES)
    assert filled.status == {"filled": 1}
    assert here.is_true(KLINES)
    (rest,) = [source for source in here.sources(KLINES) if source.proof is Proof.REST]
    assert (rest.rows, rest.added) == (here.planted[0].rows, here.planted[0].rows)
    assert filled.rows == rest.rows
    assert here.fill(KLINES) == Filled()


def test_the_open_month_of_funding_comes_from_the_api(world: Callable[..., World]) -> None:
    here = world().begin(FUNDING)
    assert not here.is_true(FUNDING)
    filled = here.fill(FUNDING)
    assert filled.status == {"filled": 1}
    assert here.is_true(FUNDING)


def test_a_hole_that_every_source_has_is_confirmed_and_asked_about_once_a_week(world: Callable[..., World]) -> None:
    here = world(("D7", MARK, "2025-02-02")).begin(MARK)
    before = here.rows(MARK)
    filled = here.fill(MARK)
    (gap,) = here.gaps(MARK)
    assert (gap.status, gap.rows, gap.checked_us) == (GapStatus.CONFIRMED, here.planted[0].rows, MORNING)
    assert (filled.status, filled.news) == ({"confirmed-hole": 1}, (gap,))
    assert here.findings == ["confirmed-hole"]
    assert here.rows(MARK).equals(before), "nothing is interpolated"
    for days, asked in ((1, 0), (6, 0), (7, 7), (14, 14)):  # the days of the market are over: only this gap counts
        here.now_us = MORNING + days * DAY_US
        here.fill(MARK)
        said = gap.detail.replace("2025-02-05", str(day_of(MORNING + asked * DAY_US)))
        assert here.gaps(MARK)[0] == replace(gap, checked_us=MORNING + asked * DAY_US, detail=said)


def test_a_day_that_was_removed_behind_its_month_is_not_fetched_for_a_hole_that_both_have(
    world: Callable[..., World],
) -> None:
    here = world(("D7", MARK, "2025-01-15")).begin(MARK)
    here.fill(MARK)
    (key,) = [name for name in here.hits if name.endswith("2025-01-15.zip")]
    with DownloadTracker(here.layout.database) as tracker:
        cleaner = Cleaner(here.layout, Settings(), here.storage, tracker, ("days",), True, here.now_us)
        assert [one.path.name for one in cleaner.remove().removed] == [key.rpartition("/")[2]]
    here.now_us += 7 * DAY_US
    before = here.rows(MARK)
    here.fill(MARK)
    assert here.gaps(MARK)[0].checked_us == here.now_us
    assert not [name for name in here.hits if "-01-" in name and name.endswith(".zip")]
    assert here.rows(MARK).equals(before)


def test_lost_trades_of_futures_cannot_be_had_again(world: Callable[..., World]) -> None:
    here = world(("D6", TRADES, "2025-02-01")).begin(TRADES)
    here.fill(TRADES)
    (gap,) = here.gaps(TRADES)
    assert (gap.status, gap.rows) == (GapStatus.CONFIRMED, here.planted[0].rows)
    assert "[asked: API, 2025-02-05: " in gap.detail


def test_a_halt_is_none_of_ours_to_fill(world: Callable[..., World]) -> None:
    here = world().begin(SPOT_AGG_TRADES, SPOT_KLINES)
    here.fill(SPOT_AGG_TRADES, SPOT_KLINES)
    assert {gap.status for one in (SPOT_AGG_TRADES, SPOT_KLINES) for gap in here.gaps(one)} <= {GapStatus.HALT}
    assert here.gaps(SPOT_KLINES) != ()
    assert here.api_calls == 0


def test_an_api_that_fails_leaves_the_gap_open(world: Callable[..., World]) -> None:
    here = world(("D1", KLINES, "2025-02-01")).begin(KLINES)
    here.faults = on("api/v1", status(403))
    filled = here.fill(KLINES)
    assert (filled.status, len(filled.failures)) == ({"open": 1}, 1)
    (gap,) = here.gaps(KLINES)
    assert (gap.status, gap.checked_us) == (GapStatus.OPEN, None)
    here.faults = None
    assert here.fill(KLINES).status == {"filled": 1}
    assert here.is_true(KLINES)


def test_without_an_api_nothing_is_confirmed(world: Callable[..., World]) -> None:
    here = world(("D1", KLINES, "2025-02-01")).begin(KLINES)
    here.has_api = False
    assert here.fill(KLINES).status == {"open": 1}


def test_a_gap_that_is_longer_than_allowed_is_left_alone(world: Callable[..., World]) -> None:
    here = world()
    for one in ("2025-01-10", "2025-01-13"):
        here.begin(KLINES, days=(one, one))
    filled = here.fill(KLINES, most_days=1)
    between, behind, late = here.gaps(KLINES)  # two days; those since that are missing, and those that may still come
    assert (filled.status, filled.archives, filled.rows) == ({"filled": 1, "open": 2}, 0, 48)
    said = [gap.detail.partition("[asked: ")[2] for gap in (between, behind)]
    assert said == ["no, it is longer than 1 days]"] * 2
    assert [gap.rows for gap in (between, behind, late)] == [48, 20 * 24, 48]
    assert late.status is GapStatus.FILLED, "what is late is asked for, however long it is"
    filled = here.fill(KLINES, most_days=2)
    assert (filled.status, filled.archives) == ({"filled": 1, "open": 1}, 2)
    assert here.rows(KLINES).num_rows == 96 + 48


def test_yesterday_that_is_late_is_had_from_the_api_and_later_from_the_archive(world: Callable[..., World]) -> None:
    here = world()
    late = here.served / key_of(KLINES, Period.parse("2025-02-04"))
    aside = here.folder / late.name
    late.rename(aside)
    here.begin(KLINES)
    assert here.fill(KLINES).status == {"filled": 1}
    assert here.is_true(KLINES)
    assert [source.rows for source in here.sources(KLINES) if source.proof is Proof.REST] == [24]
    aside.rename(late)
    here.begin(KLINES)
    assert here.is_true(KLINES)
    assert Proof.REST not in {source.proof for source in here.sources(KLINES)}


def test_aggregates_of_spot_come_from_the_api_and_of_old_futures_not(world: Callable[..., World]) -> None:
    here = world(("D3", SPOT_AGG_TRADES, "2025-02-02"), ("D3", AGG_TRADES, "2025-02-01"))
    here.begin(SPOT_AGG_TRADES, AGG_TRADES)
    here.fill(SPOT_AGG_TRADES, AGG_TRADES)
    assert here.is_true(SPOT_AGG_TRADES)
    assert {gap.status for gap in here.gaps(SPOT_AGG_TRADES)} == {GapStatus.FILLED}
    assert {gap.status for gap in here.gaps(AGG_TRADES)} == {GapStatus.CONFIRMED}


@pytest.mark.parametrize("seed", [1])
def test_what_any_source_can_answer_is_repaired_and_the_rest_confirmed(
    tmp_path: Path, published: Path, seed: int
) -> None:
    """Missing days, halves of days and months, lost trades, holes at every source: twenty at a time, over all kinds."""
    served = tmp_path / "served"
    shutil.copytree(published, served)
    kinds = ("D1", "D3", "D4", "D6", "D7", "D8")
    planted = plant(MARKET, served, random_plans(MARKET, served, seed, 20, kinds=kinds))
    assert len(planted) == 20
    series = sorted({each.series for each in planted})
    here = World(tmp_path, served, planted, MORNING + 20 * DAY_US).begin(*series)  # when nothing is late any more
    filled = here.fill(*series)
    assert filled.failures == ()
    for each in planted:
        _assert_repaired_or_confirmed(here, each)
    again = here.fill(*series)
    assert (again.rows, again.archives, again.news) == (0, 0, ())


def _assert_repaired_or_confirmed(here: World, planted: Planted) -> None:
    rows, truth = here.between(planted.series, planted.span), MARKET.truth(planted.series, planted.span)
    if planted.truth is Truth.MARKET:
        assert rows.equals(truth), planted
        return
    keys = DATASETS[planted.series.dataset].key
    here_keys = set(zip(*(rows.column(name).to_pylist() for name in keys), strict=True))
    all_keys = list(zip(*(truth.column(name).to_pylist() for name in keys), strict=True))
    assert rows.equals(truth.filter(pa.array([key in here_keys for key in all_keys]))), "nothing is made up"
    assert rows.num_rows < truth.num_rows
    standing = {gap.status for gap in here.gaps(planted.series) if gap.span.overlaps(planted.span)}
    assert planted.gap in standing, planted


def test_a_series_that_cannot_be_read_keeps_no_other_from_being_filled(world: Callable[..., World]) -> None:
    here = world(("D1", KLINES, "2025-02-01")).begin(KLINES, MARK)
    for part in here.storage.partitions(MARK):
        part.path.write_bytes(part.path.read_bytes()[:100])
    filled = here.fill(KLINES, MARK)
    assert filled.status == {"filled": 1}
    assert here.is_true(KLINES)
    (said,) = filled.failures
    assert said.startswith(f"{MARK}: ")
    assert "is no partition of ours" in said


def test_an_archive_that_fails_leaves_its_gap_open_and_is_said(world: Callable[..., World]) -> None:
    here = world().begin(TRADES, days=("2025-01-10", "2025-01-10")).begin(TRADES, days=("2025-01-12", "2025-01-12"))
    here.faults = on("trades-2025-01-11.zip", status(500))
    filled = here.fill(TRADES)
    assert any("BTCUSDT-trades-2025-01-11.zip" in failure for failure in filled.failures)
    assert {gap.status for gap in here.gaps(TRADES) if gap.rows} <= {GapStatus.OPEN, GapStatus.FILLED}


def test_trades_lost_within_one_instant_are_a_gap_like_any_other(world: Callable[..., World]) -> None:
    """Many ids are missing between two trades of one millisecond, twice."""
    here = world()
    start = Period.parse("2025-02-02").span.start_us // 1000
    ids = [*range(1, 40), *range(100, 140), *range(200, 240)]
    text = "".join(f"{n},42000.1,0.005,210.0005,{start + 5},true\n" for n in ids).encode()
    publish(here.served, key_of(TRADES, Period.parse("2025-02-02")), zip_bytes({"BTCUSDT-trades-2025-02-02.csv": text}))
    here.begin(TRADES, days=("2025-02-02", "2025-02-02"))
    for _ in range(2):
        filled = here.fill(TRADES)
        assert filled.failures == ()
    gaps = [gap for gap in here.gaps(TRADES) if gap.rows]
    assert sum(gap.rows for gap in gaps) == 60 + 60
    assert all(gap.span.end_us > gap.span.start_us for gap in gaps)


def test_a_feed_that_died_is_late_then_a_hole_and_news_once(world: Callable[..., World]) -> None:
    here = world().begin(METRICS)
    path = here.served / key_of(METRICS, Period.parse("2025-02-04"))
    assert path.exists()
    seen = []
    for days in range(12):
        here.now_us = MORNING + days * DAY_US
        filled = here.fill(METRICS)
        seen.append((dict(filled.status), len(filled.news), len(here.gaps(METRICS))))
    assert seen[0] == ({}, 0, 0)
    assert seen[1][0] == {"late": 1}
    assert seen[2][0] == {"late": 1}
    assert seen[3][0] == {"confirmed-hole": 1, "late": 1}
    assert [news for _, news, _ in seen] == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert max(len(gap.detail) for gap in here.gaps(METRICS)) < 200, "what was said is not said again and again"


MANY = SampleMarket(
    3,
    tuple(
        Instrument(Market.UM, f"{name}USDT", name, 5.0, 3, 0, 120, 4, moment("2024-12-28"), funding_hours=hours)
        for name, hours in (("AA", 8), ("BB", 4), ("CC", 8), ("DD", 8), ("EE", 1))
    ),
    date(2024, 12, 28),
    date(2025, 2, 4),
)


def test_settlements_of_many_symbols_are_one_question(tmp_path: Path) -> None:
    served = tmp_path / "served"
    write_archive(MANY, served, (Shelf("funding_rate"),))
    series = MANY.series("funding_rate")
    here = World(tmp_path, served, (), market=MANY).begin(*series)
    filled = here.fill(*series)
    assert filled.status == {"filled": 5}
    assert all(here.is_true(one) for one in series)
    calls = {name.rpartition("/")[2]: count for name, count in here.hits.items() if "api/v" in name}
    assert calls["fundingRate"] <= 2
