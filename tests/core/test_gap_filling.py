"""Gaps of real stored series, filled from a served archive and its API; and what is said of those that stay."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY

import pyarrow as pa
import pytest
from defect_world import AGG_TRADES, FUNDING, KLINES, MARK, MARKET, SHELVES, SPOT_AGG_TRADES, SPOT_KLINES, TRADES
from gap_world import MORNING, World

from core.datasets import DATASETS
from core.dates import DAY_US
from core.jobs.filled import Filled
from core.sample.archive import key_of, write_archive
from core.sample.defects.plan import Plan, Planted, Truth
from core.sample.defects.planting import plant, random_plans
from core.sample.faults import on, status
from core.types import GapStatus, Period, Proof, Series


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
    assert (filled.status, filled.confirmed) == ({"confirmed-hole": 1}, (gap,))
    assert here.findings == ["confirmed-hole"]
    assert here.rows(MARK).equals(before), "nothing is interpolated"
    for days, asked in ((1, 0), (6, 0), (7, 7)):  # the days of the market are over: only this gap counts
        here.now_us = MORNING + days * DAY_US
        here.fill(MARK)
        assert here.gaps(MARK)[0] == replace(gap, checked_us=MORNING + asked * DAY_US, detail=ANY)


def test_lost_trades_of_futures_cannot_be_had_again(world: Callable[..., World]) -> None:
    here = world(("D6", TRADES, "2025-02-01")).begin(TRADES)
    here.fill(TRADES)
    (gap,) = here.gaps(TRADES)
    assert (gap.status, gap.rows) == (GapStatus.CONFIRMED, here.planted[0].rows)
    assert "API: " in gap.detail


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
    between, behind = here.gaps(KLINES)  # two days, and the 22 since
    assert (filled.status, filled.archives, here.api_calls) == ({"open": 2}, 0, 0)
    assert [gap.detail.rpartition("; ")[2] for gap in (between, behind)] == ["longer than 1 days"] * 2
    assert (between.rows, behind.rows) == (48, 22 * 24)
    filled = here.fill(KLINES, most_days=2)
    assert (filled.status, filled.archives, here.api_calls) == ({"filled": 1, "open": 1}, 2, 0)
    assert here.rows(KLINES).num_rows == 96


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


@pytest.mark.parametrize("seed", [1, 2])
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
    assert (again.rows, again.archives, again.confirmed) == (0, 0, ())


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
