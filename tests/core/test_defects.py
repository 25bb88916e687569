"""Each defect of the archive, D1 to D40: planted into the sample, and read back by csv, zipfile and hashlib alone."""

import hashlib
import io
import os
import re
import shutil
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import httpx
import numpy as np
import pytest

from core.dates import DAY_US, HOUR_US
from core.errors import ConfigError
from core.sample.archive import Shelf, write_archive
from core.sample.defects import DEFECTS
from core.sample.defects.plan import Plan, Planted, Truth, Verdict, rest_holes, rest_overrides
from core.sample.defects.planting import default_kinds, one_of_each, plant, random_plans, story_of
from core.sample.defects.site import Site, restore
from core.sample.instruments import Instrument, moment
from core.sample.market import SampleMarket, times_of
from core.sample.server import running_server
from core.sample.values import Decimals
from core.types import GapStatus, Period, Series, Span
from tests.core.defect_world import (
    AGG_TRADES,
    BOOK,
    CM,
    CM_KLINES,
    FUNDING,
    GONE,
    HALT,
    KLINES,
    LIFE,
    MARK,
    MARKET,
    METRICS,
    NOON,
    SHELVES,
    SPOT,
    SPOT_AGG_TRADES,
    SPOT_KLINES,
    TRADES,
    UM,
    File,
    Files,
    World,
    assert_untouched,
    both,
    files_in,
    key,
    parsed,
    planted_in,
    us,
)

Plantation = Callable[..., World]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("sample")
    yield folder
    assert_untouched(folder)


@pytest.fixture
def planted(pristine: Path, tmp_path: Path) -> Plantation:
    def make(defect: str, series: Series, label: str, seed: int = 0) -> World:
        return planted_in(pristine, tmp_path / f"{defect}-{seed}", defect, series, label, seed)

    return make


def day_span(label: str) -> Span:
    return Period.parse(label).span


def lacking(old: File, new: File) -> list[list[str]]:
    """The rows that are gone; all others are there, as they were and where they were."""
    gone = Counter(map(tuple, old.rows)) - Counter(map(tuple, new.rows))
    assert [row for row in old.rows if tuple(row) not in gone] == new.rows
    assert old.header == new.header
    return [row for row in old.rows if tuple(row) in gone]


def differing(old: File, new: File) -> dict[int, list[int]]:
    """Of equally many rows: the number of each that differs, and the places of the cells."""
    assert len(old.rows) == len(new.rows)
    assert old.header == new.header
    pairs = enumerate(zip(old.rows, new.rows, strict=True))
    found = {n: [p for p, (x, y) in enumerate(zip(a, b, strict=True)) if x != y] for n, (a, b) in pairs}
    return {number: places for number, places in found.items() if places}


def test_every_number_has_its_entry_and_its_test() -> None:
    assert list(DEFECTS) == [f"D{number}" for number in range(1, 41)]
    assert all(each.name == name for name, each in DEFECTS.items())
    tests = {name[5:8] for name in globals() if name.startswith("test_d") and name[6:8].isdigit()}
    assert tests == {f"d{number:02}" for number in range(1, 41)}


# Missing or late


def test_d01_a_day_is_absent(planted: Plantation) -> None:
    world = planted("D1", KLINES, "2025-02-02")
    assert world.changed == both(KLINES, "2025-02-02")
    assert not world.changed & world.after.keys()
    said = world.planted
    assert (said.kind, said.span, said.rows) == ("missing file", day_span("2025-02-02"), 24)
    assert (said.in_archive, said.in_rest, said.truth, said.gap) == (False, True, Truth.MARKET, GapStatus.FILLED)
    assert planted("D1", KLINES, "2025-01-10", 1).planted.in_archive  # the month has it
    lost = planted("D1", TRADES, "2025-02-02", 2).planted
    assert (lost.truth, lost.gap) == (Truth.HOLE, GapStatus.CONFIRMED)


def test_d02_a_feed_is_frozen_and_then_filled(planted: Plantation) -> None:
    world = planted("D2", KLINES, "2025-01-10")
    said = world.planted
    (release_us,) = said.changes_us
    last = datetime.fromtimestamp(said.span.end_us / 1e6, UTC)
    assert datetime.fromtimestamp(release_us / 1e6, UTC) == last.replace(hour=11)
    late = {name for name in world.changed if name.endswith(".zip")}
    labels = {name[-14:-4] for name in late}
    assert labels == {f"2025-01-{day:02}" for day in range(10, last.day)}
    every = {n for n in world.before if "futures/um/daily" in n and n[-14:-4] in labels and n.endswith(".zip")}
    assert late == every
    assert said.rows == len(every)
    for name in world.changed:
        assert world.before[name][0] == world.after[name][0]
        assert world.after[name][1] == release_us * 1000
    now = [release_us - 1]
    with running_server(world.folder, clock=lambda: now[0]) as server:
        url = f"{server.url}/{key(KLINES, '2025-01-10')}"
        assert httpx.get(url, trust_env=False).status_code == 404
        assert httpx.get(f"{server.url}/{key(SPOT_KLINES, '2025-01-10')}", trust_env=False).status_code == 200
        now[0] = release_us
        assert httpx.get(url, trust_env=False).status_code == 200
        server.bucket.listing_until_us = release_us - 1  # and the listing does not know yet
        page = httpx.get(f"{server.url}/?prefix={key(KLINES, '2025-01-10')}", trust_env=False).text
        assert "<Contents>" not in page
        assert httpx.get(url, trust_env=False).status_code == 200


@pytest.mark.parametrize("series", [KLINES, TRADES, BOOK], ids=lambda series: series.dataset)
def test_d03_a_day_is_truncated_and_its_checksum_is_good(planted: Plantation, series: Series) -> None:
    world = planted("D3", series, "2025-02-02")
    assert world.changed == both(series, "2025-02-02")
    old, new = world.old(series, "2025-02-02"), world.new(series, "2025-02-02")
    assert new.rows == old.rows[: len(new.rows)]
    assert 0 < len(new.rows) == len(old.rows) - world.planted.rows
    if series is not BOOK:
        times = old.column(0 if series is KLINES else 4)
        assert us(times[len(new.rows)]) == world.planted.span.start_us


def test_d04_a_month_lacks_days_that_the_days_have(planted: Plantation) -> None:
    for seed in range(4):
        world = planted("D4", KLINES, "2025-01", seed)
        assert world.changed == both(KLINES, "2025-01")
        said = world.planted
        lost = lacking(world.old(KLINES, "2025-01"), world.new(KLINES, "2025-01"))
        assert len(lost) == said.rows == (said.span.end_us - said.span.start_us) // HOUR_US
        assert {us(row[0]) // DAY_US * DAY_US for row in lost} == set(
            range(said.span.start_us, said.span.end_us, DAY_US)
        )
        assert (said.in_archive, said.truth, said.gap) == (True, Truth.MARKET, GapStatus.FILLED)


def test_d05_the_first_day_is_partial(planted: Plantation) -> None:
    world = planted("D5", SPOT_KLINES, "2024-12-28")
    assert not world.changed
    first = world.old(SPOT_KLINES, "2024-12-28")
    assert us(first.rows[0][0]) == NOON // HOUR_US * HOUR_US == world.planted.span.end_us
    assert len(first.rows) == world.planted.rows == 12
    assert world.planted.verdict is Verdict.NOTHING
    ended = planted("D5", LIFE, "2025-01-20", 1)
    assert us(ended.old(LIFE, "2025-01-20").rows[-1][0]) + HOUR_US == ended.planted.span.start_us == GONE


def test_d06_trades_are_lost_and_ids_jump(planted: Plantation) -> None:
    world = planted("D6", TRADES, "2025-01-08")
    assert world.changed == both(TRADES, "2025-01-08", "2025-01")
    said = world.planted
    for label in ("2025-01-08", "2025-01"):
        old, new = world.old(TRADES, label), world.new(TRADES, label)
        lost = lacking(old, new)
        assert len(lost) == said.rows >= 3
        ids = [int(row[0]) for row in lost]
        assert ids == list(range(ids[0], ids[0] + len(ids)))
        assert (us(lost[0][4]), us(lost[-1][4]) + 1) == (said.span.start_us, said.span.end_us)
        kept = [int(row[0]) for row in new.rows]
        place = kept.index(ids[0] - 1)
        assert kept[place + 1] == ids[-1] + 1
        assert us(new.rows[place + 1][4]) - us(new.rows[place][4]) >= 5 * 60_000_000
    assert (said.in_archive, said.in_rest, said.truth) == (False, False, Truth.HOLE)
    assert {AGG_TRADES, KLINES} <= set(said.echoes)
    spot = planted("D6", SPOT_AGG_TRADES, "2025-02-02", 1).planted
    assert (spot.in_rest, spot.truth, spot.gap) == (True, Truth.MARKET, GapStatus.FILLED)


def test_d07_prices_are_missing_everywhere(planted: Plantation) -> None:
    world = planted("D7", MARK, "2025-01-08")
    assert world.changed == both(MARK, "2025-01-08", "2025-01")
    said = world.planted
    for label in ("2025-01-08", "2025-01"):
        lost = lacking(world.old(MARK, label), world.new(MARK, label))
        assert [us(row[0]) for row in lost] == list(range(said.span.start_us, said.span.end_us, HOUR_US))
        assert len(lost) == said.rows
    assert (said.in_rest, said.truth, said.gap) == (False, Truth.HOLE, GapStatus.CONFIRMED)
    assert rest_holes((said,)) == {MARK: (said.span,)}


def test_d08_metrics_are_missing(planted: Plantation) -> None:
    kinds = {}
    for seed in range(6):
        world = planted("D8", METRICS, "2025-01-08", seed)
        assert world.changed == both(METRICS, "2025-01-08")
        kinds[world.planted.kind] = world
    assert not kinds["missing file"].changed & kinds["missing file"].after.keys()
    assert kinds["missing file"].planted.rows == 288
    world = kinds["missing rows"]
    lost = lacking(world.old(METRICS, "2025-01-08"), world.new(METRICS, "2025-01-08"))
    assert len(lost) == world.planted.rows
    start = datetime.fromtimestamp(world.planted.span.start_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")
    assert min(row[0] for row in lost) == start
    assert all(row[0] < start for row in world.new(METRICS, "2025-01-08").rows)


def test_d09_a_type_has_ended(planted: Plantation) -> None:
    ticker = Series(UM, "book_ticker", "BTCUSDT")
    world = planted("D9", ticker, "2025-01-20")
    said = world.planted
    assert all("futures/um/" in name and "bookTicker" in name for name in world.changed)
    left = [n for n in world.after if "futures/um/daily/bookTicker" in n]
    assert max(name.partition(".zip")[0][-10:] for name in left) == "2025-01-19"
    lost = lacking(world.old(ticker, "2025-01"), world.new(ticker, "2025-01"))  # the month holds some days
    assert min(us(row[5]) for row in lost) >= said.span.start_us == day_span("2025-01-20").start_us
    absent = [n for n in world.before if n.endswith(".zip") and "/daily/bookTicker/BTCUSDT/" in n and n not in left]
    assert sum(len(parsed(world.before[name][0]).rows) for name in absent) == said.rows
    assert (said.gap, said.verdict) == (GapStatus.ENDED, Verdict.EXPLAINED)


# No trade


def test_d10_a_halt_leaves_ids_contiguous(planted: Plantation) -> None:
    for series in (TRADES, Series(SPOT, "trades", "ETHUSDT")):
        world = planted("D10", series, "2025-01-15", seed=series.market == SPOT)
        assert not world.changed
        file = world.old(series, "2025-01-15")
        ids, times = [int(cell) for cell in file.column(0)], [us(cell) for cell in file.column(4)]
        assert ids == list(range(ids[0], ids[0] + len(ids)))
        assert not [at for at in times if HALT.start_us <= at < HALT.end_us]
        assert max(np.diff(times)) > HALT.end_us - HALT.start_us
        assert (world.planted.span, world.planted.gap) == (HALT, GapStatus.HALT)


def test_d11_spot_has_no_candles_in_a_halt_and_futures_have_flat_ones(planted: Plantation) -> None:
    hours = list(range(HALT.start_us, HALT.end_us - HOUR_US + 1, HOUR_US))
    spot = planted("D11", SPOT_KLINES, "2025-01-15")
    opens = [us(cell) for cell in spot.old(SPOT_KLINES, "2025-01-15").column(0)]
    assert not set(hours) & set(opens)
    assert spot.planted.span == Span(hours[0], hours[-1] + HOUR_US)
    assert (spot.planted.rows, spot.planted.gap) == (4, GapStatus.HALT)
    futures = planted("D11", KLINES, "2025-01-15", 1)
    flat = [row for row in futures.old(KLINES, "2025-01-15").rows if us(row[0]) in hours]
    assert [(len(set(row[1:5])), Decimal(row[5]), row[8]) for row in flat] == [(1, 0, "0")] * 4
    assert not spot.changed | futures.changed


def test_d12_flat_candles_that_are_wrong(planted: Plantation) -> None:
    world = planted("D12", KLINES, "2025-01-08")
    assert world.changed == both(KLINES, "2025-01-08", "2025-01")
    said = world.planted
    for label in ("2025-01-08", "2025-01"):
        old, new = world.old(KLINES, label), world.new(KLINES, label)
        changed = differing(old, new)
        assert [us(new.rows[n][0]) for n in changed] == list(range(said.span.start_us, said.span.end_us, HOUR_US))
        assert len(changed) == said.rows >= 2
        before = new.rows[min(changed) - 1][4]
        for number in changed:
            row = new.rows[number]
            assert {Decimal(cell) for cell in row[1:5]} == {Decimal(before)}
            assert [Decimal(row[place]) for place in (5, 7, 8, 9, 10)] == [0] * 5
            assert int(old.rows[number][8]) > 0
            assert old.rows[number][6] == row[6]
    assert (said.in_archive, said.in_rest, said.truth) == (False, True, Truth.MARKET)


def test_d13_candles_go_on_after_delisting(planted: Plantation) -> None:
    world = planted("D13", LIFE, "2025-01-20")
    assert world.changed == both(LIFE, "2025-01-20", "2025-01")
    old, new = world.old(LIFE, "2025-01-20"), world.new(LIFE, "2025-01-20")
    assert new.rows[: len(old.rows)] == old.rows
    added = new.rows[len(old.rows) :]
    assert [us(row[0]) for row in added] == list(range(GONE, day_span("2025-01-20").end_us, HOUR_US))
    assert [us(row[6]) for row in added] == [us(row[0]) + HOUR_US - 1000 for row in added]
    assert len(added) == world.planted.rows == 15
    for row in added:
        assert {Decimal(cell) for cell in row[1:5]} == {Decimal(old.rows[-1][4])}
        assert [Decimal(row[place]) for place in (5, 7, 8, 9, 10)] == [0] * 5
    month = world.new(LIFE, "2025-01").rows
    assert (us(month[-1][0]), int(month[-1][8])) == (day_span("2025-01").end_us - HOUR_US, 0)


def test_d14_single_ids_are_absent(planted: Plantation) -> None:
    world = planted("D14", TRADES, "2025-01-08")
    assert world.changed == both(TRADES, "2025-01-08", "2025-01")
    lost = lacking(world.old(TRADES, "2025-01-08"), world.new(TRADES, "2025-01-08"))
    ids = [int(row[0]) for row in lost]
    assert len(ids) == world.planted.rows
    assert min(np.diff(ids)) >= 2
    assert lacking(world.old(TRADES, "2025-01"), world.new(TRADES, "2025-01")) == lost
    assert (world.planted.verdict, world.planted.truth) == (Verdict.EXPLAINED, Truth.AS_PUBLISHED)
    aggregates = planted("D14", AGG_TRADES, "2025-01-08", 1)
    _assert_last_trades_left_out(aggregates, "2025-01-08")


def _assert_last_trades_left_out(world: World, label: str) -> None:
    """`last + 2 = next first` in as many aggregates as were planted, and their quantities are smaller by that trade."""
    old, new = world.old(AGG_TRADES, label), world.new(AGG_TRADES, label)
    sizes = {row[0]: Decimal(row[2]) for row in world.old(TRADES, label).rows}
    changed = differing(old, new)
    assert len(changed) == world.planted.rows
    assert set(map(tuple, changed.values())) == {(2, 4)}
    for number in changed:
        before, after = old.rows[number], new.rows[number]
        assert int(after[4]) == int(before[4]) - 1 >= int(after[3])
        assert Decimal(after[2]) == Decimal(before[2]) - sizes[before[4]] > 0
        if number + 1 < len(new.rows) and number + 1 not in changed:
            assert int(after[4]) + 2 == int(new.rows[number + 1][3])


def test_d15_spot_candles_off_the_grid(planted: Plantation) -> None:
    for label, unit in (("2024-12-30", 1000), ("2025-01-08", 1)):
        world = planted("D15", SPOT_KLINES, label, unit)
        assert world.changed == both(SPOT_KLINES, label, label[:7])
        old, new = world.old(SPOT_KLINES, label), world.new(SPOT_KLINES, label)
        (before, closes), (after, opens) = differing(old, new).items()
        assert (after, closes, opens) == (before + 1, [6], [0])
        assert us(new.rows[after][0]) % HOUR_US
        assert us(old.rows[after][0]) < us(new.rows[after][0]) < us(old.rows[after][0]) + HOUR_US
        assert us(new.rows[before][0]) < us(new.rows[before][6]) < us(old.rows[before][6])
        assert world.planted.span == Span(us(old.rows[before][0]), us(old.rows[after][0]) + HOUR_US)


# Form


def test_d16_a_header_or_none(planted: Plantation) -> None:
    world = planted("D16", TRADES, "2025-01-08")
    assert world.changed == both(TRADES, "2025-01-08")
    old, new = world.old(TRADES, "2025-01-08"), world.new(TRADES, "2025-01-08")
    assert (old.header is not None, new.header, new.rows) == (True, None, old.rows)
    assert world.planted.verdict is Verdict.NOTHING


def test_d16_a_header_where_files_of_that_age_have_none(tmp_path: Path) -> None:
    first = date(2022, 1, 1)
    market = SampleMarket(
        7, (Instrument(UM, "A", "A", 9.0, 2, 2, 10, 5, moment("2022-01-01")),), first, date(2022, 1, 2)
    )
    write_archive(market, tmp_path, (Shelf("trades"),))
    series = Series(UM, "trades", "A")
    path = tmp_path / key(series, "2022-01-01")
    old = parsed(path.read_bytes())
    plant(market, tmp_path, [Plan("D16", series, Period.day(first))])
    new = parsed(path.read_bytes())
    assert (old.header, new.rows) == (None, old.rows)
    assert new.header == ["id", "price", "qty", "quote_qty", "time", "is_buyer_maker"]


def test_d17_milliseconds_or_microseconds(planted: Plantation) -> None:
    spot_trades = Series(SPOT, "trades", "ETHUSDT")
    world = planted("D17", spot_trades, "2024-12-30")
    assert world.changed == both(spot_trades, "2024-12-30")
    old, new = world.old(spot_trades, "2024-12-30"), world.new(spot_trades, "2024-12-30")
    assert set(map(tuple, differing(old, new).values())) == {(4,)}
    assert [int(cell) for cell in new.column(4)] == [int(cell) * 1000 for cell in old.column(4)]
    candles = planted("D17", SPOT_KLINES, "2025-02-02", 1)
    old, new = candles.old(SPOT_KLINES, "2025-02-02"), candles.new(SPOT_KLINES, "2025-02-02")
    assert [int(cell) * 1000 for cell in new.column(0)] == [int(cell) for cell in old.column(0)]
    assert [int(cell) * 1000 + 999 for cell in new.column(6)] == [int(cell) for cell in old.column(6)]
    # and by itself spot goes over to microseconds
    digits = [len(world.old(spot_trades, label).rows[0][4]) for label in ("2024-12-31", "2025-01-01")]
    assert digits == [13, 16]


def test_d18_the_header_of_cm_says_quote_volume(planted: Plantation) -> None:
    world = planted("D18", CM_KLINES, "2025-01-08")
    assert world.changed == both(CM_KLINES, "2025-01-08")
    old, new = world.old(CM_KLINES, "2025-01-08"), world.new(CM_KLINES, "2025-01-08")
    assert old.header is not None
    assert new.header is not None
    assert (old.header[7], old.header[10]) == ("quote_volume", "taker_buy_quote_volume")
    assert (new.header[7], new.header[10]) == ("base_volume", "taker_buy_base_volume")
    assert new.rows == old.rows
    # what either word means: base asset, contracts * 10 USD / price
    row = max(old.rows, key=lambda each: int(each[8]))
    assert Decimal(row[5]) * 10 / Decimal(row[2]) <= Decimal(row[7]) <= Decimal(row[5]) * 10 / Decimal(row[3])


def test_d19_count_of_prices_is_a_placeholder(planted: Plantation) -> None:
    world = planted("D19", MARK, "2025-01-08")
    assert not world.changed
    assert set(world.old(MARK, "2025-01-08").column(8)) == {"3600"}
    assert world.planted.verdict is Verdict.NOTHING


def test_d20_the_same_values_otherwise_written(planted: Plantation) -> None:
    for seed, (series, boolean) in enumerate([(SPOT_AGG_TRADES, 6), (AGG_TRADES, 6), (BOOK, None), (KLINES, None)]):
        world = planted("D20", series, "2025-02-02", seed)
        assert world.changed == both(series, "2025-02-02")
        old, new = world.old(series, "2025-02-02"), world.new(series, "2025-02-02")
        changed = differing(old, new)
        assert len(changed) == len(old.rows) == world.planted.rows
        for number, places in changed.items():
            for place in places:
                before, after = old.rows[number][place], new.rows[number][place]
                assert (
                    before.lower() == after.lower()
                    if place in (6, 7) and boolean
                    else Decimal(before) == Decimal(after)
                )
        if boolean:
            assert {old.rows[0][boolean][0].isupper(), new.rows[0][boolean][0].isupper()} == {True, False}
    bands = planted("D20", BOOK, "2025-01-08", 9)
    assert {bands.old(BOOK, "2025-01-08").rows[0][1], bands.new(BOOK, "2025-01-08").rows[0][1]} == {"-5", "-5.00000000"}
    assert bands.old(BOOK, "2025-01-20").rows[0][1] == "-5.00"  # and by itself from some day on


def test_d21_no_checksum_or_an_odd_name(planted: Plantation) -> None:
    worlds = {(world := planted("D21", KLINES, "2025-01", seed)).planted.kind: world for seed in range(6)}
    bare, odd = worlds["no checksum"], worlds["odd name"]
    assert bare.changed == {f"{key(KLINES, '2025-01')}.CHECKSUM"}
    assert not bare.changed & bare.after.keys()
    new = key(KLINES, "2025-01").replace("2025-01.zip", "2025-1.zip")
    assert odd.changed == both(KLINES, "2025-01") | {new}
    assert odd.changed & odd.after.keys() == {new}
    assert parsed(odd.after[new][0]) == odd.old(KLINES, "2025-01")
    with zipfile.ZipFile(io.BytesIO(odd.after[new][0])) as archive:
        assert archive.namelist() == ["BTCUSDT-1h-2025-1.csv"]
    assert (odd.planted.rows, odd.planted.in_archive) == (744, True)
    assert planted("D21", KLINES, "2025-02-02", 9).planted.kind == "no checksum"  # days have no odd names


def test_d22_a_broken_zip_with_a_checksum_that_agrees(planted: Plantation) -> None:
    ways = {}
    for seed in range(9):
        world = planted("D22", TRADES, "2025-02-02", seed)  # which proves the checksum
        assert world.changed == both(TRADES, "2025-02-02")
        content = world.after[key(TRADES, "2025-02-02")][0]
        with pytest.raises((zipfile.BadZipFile, zlib.error)):
            parsed(content)
        ways[world.planted.detail] = len(content)
        assert world.planted.rows == len(world.old(TRADES, "2025-02-02").rows)
    whole = len(world.before[key(TRADES, "2025-02-02")][0])
    assert sorted(ways.values()) == [0, whole // 2, whole]


def test_d23_a_wrong_checksum_for_good_data(planted: Plantation) -> None:
    world = planted("D23", METRICS, "2025-01-08")
    sidecar = f"{key(METRICS, '2025-01-08')}.CHECKSUM"
    assert world.changed == {sidecar}
    before, after = world.before[sidecar][0], world.after[sidecar][0]
    assert before[64:] == after[64:]
    digest = hashlib.sha256(world.after[key(METRICS, "2025-01-08")][0]).hexdigest().encode()
    assert before[:64] == digest != after[:64]
    assert set(after[:64]) <= set(b"0123456789abcdef")
    assert (world.planted.in_archive, world.planted.truth) == (False, Truth.MARKET)
    assert planted("D23", TRADES, "2025-01-08", 1).planted.in_archive  # the month has it


def test_d24_a_symbol_that_is_not_ascii(planted: Plantation) -> None:
    world = planted("D24", LIFE, "2025-01-08")
    assert not world.changed
    assert "/币安人生USDT/1h/币安人生USDT-1h-2025-01-08.zip" in key(LIFE, "2025-01-08")
    assert len(world.old(LIFE, "2025-01-08").rows) == world.planted.rows == 24
    with running_server(world.folder) as server:
        url = f"{server.url}/{key(LIFE, '2025-01-08')}"
        assert httpx.get(url, trust_env=False).content == world.before[key(LIFE, "2025-01-08")][0]


# Content


@pytest.mark.parametrize("series", [KLINES, AGG_TRADES, FUNDING], ids=lambda series: series.dataset)
def test_d25_exact_duplicates(planted: Plantation, series: Series) -> None:
    label = "2025-01" if series is FUNDING else "2025-02-02"
    world = planted("D25", series, label)
    assert world.changed == both(series, label)
    old, new = world.old(series, label), world.new(series, label)
    twice = Counter(map(tuple, new.rows)) - Counter(map(tuple, old.rows))
    assert sum(twice.values()) == len(twice) == world.planted.rows == len(new.rows) - len(old.rows)
    assert list(dict.fromkeys(map(tuple, new.rows))) == list(map(tuple, old.rows))
    time = {KLINES: 0, AGG_TRADES: 5, FUNDING: 0}[series]
    assert min(us(row[time]) for row in twice) == world.planted.span.start_us


@pytest.mark.parametrize("market", [UM, CM])
def test_d26_untidy_metrics(planted: Plantation, market: str) -> None:
    series = METRICS if market == UM else Series(CM, "metrics", "ETHUSD_PERP")
    world = planted("D26", series, "2025-01-08")
    assert world.changed == both(series, "2025-01-08")
    old, new = world.old(series, "2025-01-08"), world.new(series, "2025-01-08")
    assert len(new.rows) == len(old.rows) + world.planted.rows
    times = new.column(0)
    assert times != sorted(times)
    assert sorted(set(times)) == sorted(set(old.column(0)))
    before = {row[0]: row for row in old.rows}
    blanked = {row[0] for row in new.rows if row != before[row[0]]}
    assert blanked
    for row in new.rows:
        if row[0] in blanked:
            assert (row[:4], row[4:7], row[7]) == (before[row[0]][:4], ["", "", ""], before[row[0]][7])
    text = zipfile.ZipFile(io.BytesIO(world.after[key(series, "2025-01-08")][0])).read(
        f"{series.symbol}-metrics-2025-01-08.csv"
    )
    assert (b'"","",""' in text) == (market == CM)


def test_d27_one_id_two_rows_at_a_day_border(planted: Plantation) -> None:
    world = planted("D27", SPOT_AGG_TRADES, "2025-02-03")
    assert world.changed == both(SPOT_AGG_TRADES, "2025-02-03")
    last = world.old(SPOT_AGG_TRADES, "2025-02-02").rows[-1]
    old, new = world.old(SPOT_AGG_TRADES, "2025-02-03"), world.new(SPOT_AGG_TRADES, "2025-02-03")
    assert differing(old, new) == {0: [0]}
    assert new.rows[0][0] == last[0]
    assert new.rows[0][3] != last[3]
    assert world.planted.span == Span(us(last[5]), us(new.rows[1][5]) + 1)


def test_d28_rows_out_of_order(planted: Plantation) -> None:
    said = set()
    for seed in range(6):
        world = planted("D28", TRADES, "2025-02-02", seed)
        assert world.changed == both(TRADES, "2025-02-02")
        old, new = world.old(TRADES, "2025-02-02"), world.new(TRADES, "2025-02-02")
        assert sorted(new.rows, key=lambda row: int(row[0])) == old.rows
        assert len(differing(old, new)) == world.planted.rows > 0
        said.add(world.planted.detail.split(" ", 1)[0])
    assert len(said) == 2  # blocks exchanged, halves interleaved


def test_d29_time_goes_back_while_ids_rise(planted: Plantation) -> None:
    world = planted("D29", SPOT_AGG_TRADES, "2025-01-08")
    assert world.changed == both(SPOT_AGG_TRADES, "2025-01-08", "2025-01")
    for label in ("2025-01-08", "2025-01"):
        old, new = world.old(SPOT_AGG_TRADES, label), world.new(SPOT_AGG_TRADES, label)
        (one, other), times = differing(old, new), [us(cell) for cell in new.column(5)]
        assert other == one + 1
        assert (new.rows[one][5], new.rows[other][5]) == (old.rows[other][5], old.rows[one][5])
        assert [int(place) for place in np.flatnonzero(np.diff(times) < 0)] == [one]
        assert new.column(0) == sorted(old.column(0), key=int)
        assert times[one] // 60_000_000 == times[other] // 60_000_000  # so candles still agree


def test_d30_month_and_days_disagree(planted: Plantation) -> None:
    for series, place in ((KLINES, 5), (MARK, 2)):
        world = planted("D30", series, "2025-01", place)
        assert world.changed == both(series, "2025-01")
        old, new = world.old(series, "2025-01"), world.new(series, "2025-01")
        changed = differing(old, new)
        assert set(map(tuple, changed.values())) == {(place,)}
        assert list(changed) == list(range(min(changed), min(changed) + world.planted.rows))
        assert us(new.rows[min(changed)][0]) == world.planted.span.start_us
        label = datetime.fromtimestamp(world.planted.span.start_us / 1e6, UTC).strftime("%Y-%m-%d")
        day = {row[0]: row for row in world.new(series, label).rows}
        for number in changed:
            assert Decimal(new.rows[number][place]) > Decimal(day[new.rows[number][0]][place])
        assert (world.planted.in_archive, world.planted.truth) == (True, Truth.MARKET)


def test_d31_intervals_disagree(planted: Plantation) -> None:
    world = planted("D31", KLINES, "2025-01-08")
    assert world.changed == both(KLINES, "2025-01-08", "2025-01")
    old, new = world.old(KLINES, "2025-01-08"), world.new(KLINES, "2025-01-08")
    ((row, places),) = differing(old, new).items()
    assert places == [5]
    minutes = world.new(Series(UM, "klines", "BTCUSDT", "1m"), "2025-01-08").rows[row * 60 : row * 60 + 60]
    total = sum(Decimal(minute[5]) for minute in minutes)
    assert Decimal(old.rows[row][5]) == total < Decimal(new.rows[row][5])
    assert world.planted.span.start_us == us(new.rows[row][0])
    with pytest.raises(ConfigError, match=r"D31 .* has no place in spot/klines/ETHUSDT/1h 2025-01-08"):
        planted("D31", SPOT_KLINES, "2025-01-08", 1)


def test_d32_archive_and_api_disagree(planted: Plantation) -> None:
    world = planted("D32", SPOT_KLINES, "2025-02-02")
    assert not world.changed
    said = world.planted
    ((series, ((span, rows),)),) = rest_overrides((said,)).items()
    assert (series, span) == (SPOT_KLINES, said.span)
    archive = {us(row[0]): row for row in world.old(SPOT_KLINES, "2025-02-02").rows}
    volumes, opens = rows["volume"], rows["open_time"]
    assert isinstance(volumes, Decimals)
    assert not isinstance(opens, Decimals)
    assert [int(each) for each in opens] == list(range(span.start_us, span.end_us, HOUR_US))
    for at, units in zip(opens, volumes.units, strict=True):
        assert int(units) == int(Decimal(archive[int(at)][5]).scaleb(volumes.places)) + 1
    assert len(opens) == said.rows


def test_d33_quantities_of_zero(planted: Plantation) -> None:
    world = planted("D33", AGG_TRADES, "2025-01-08")
    assert world.changed == both(AGG_TRADES, "2025-01-08", "2025-01")
    for label in ("2025-01-08", "2025-01"):
        old, new = world.old(AGG_TRADES, label), world.new(AGG_TRADES, label)
        changed = differing(old, new)
        assert set(map(tuple, changed.values())) == {(2,)}
        assert len(changed) == world.planted.rows
        assert {Decimal(new.rows[number][2]) for number in changed} == {0}
        assert us(new.rows[min(changed)][5]) == world.planted.span.start_us
    sizes = {int(row[0]): Decimal(row[2]) for row in world.new(TRADES, "2025-01").rows}
    for number in changed:  # trades still say how much it was
        ids = range(int(new.rows[number][3]), int(new.rows[number][4]) + 1)
        assert sum(sizes[each] for each in ids) == Decimal(old.rows[number][2])


def test_d34_a_silent_replacement(planted: Plantation) -> None:
    world = planted("D34", KLINES, "2025-01-08")
    name = key(KLINES, "2025-01-08")
    (replaced_us,) = world.planted.changes_us
    assert world.new(KLINES, "2025-01-08") == world.old(KLINES, "2025-01-08")  # the truth, under a new date
    assert world.after[name][0] != world.before[name][0]
    assert world.after[name][1] == replaced_us * 1000 > world.before[name][1]
    now = [replaced_us - 1]
    with running_server(world.folder, clock=lambda: now[0]) as server, httpx.Client(trust_env=False) as client:
        early = client.get(f"{server.url}/{name}")
        sidecar = client.get(f"{server.url}/{name}.CHECKSUM").text
        now[0] = replaced_us
        late = client.get(f"{server.url}/{name}")
    assert sidecar.split()[0] == hashlib.sha256(early.content).hexdigest()
    assert late.content == world.after[name][0]
    assert early.headers["ETag"] != late.headers["ETag"]
    lost = lacking(parsed(late.content), parsed(early.content))
    assert len(lost) == world.planted.rows
    assert (us(lost[0][0]), us(lost[-1][0]) + HOUR_US) == (world.planted.span.start_us, world.planted.span.end_us)


def test_d35_aggregates_cannot_rebuild_candles(planted: Plantation) -> None:
    world = planted("D35", AGG_TRADES, "2025-01-08")
    assert world.changed == both(AGG_TRADES, "2025-01-08", "2025-01")
    _assert_last_trades_left_out(world, "2025-01-08")

    def volumes(file: File, size: int, time: int) -> dict[int, Decimal]:
        sums: dict[int, Decimal] = {}
        for row in file.rows:
            minute = us(row[time]) // 60_000_000
            sums[minute] = sums.get(minute, Decimal()) + Decimal(row[size])
        return sums

    minutes = Series(UM, "klines", "BTCUSDT", "1m")
    candles = {us(row[0]) // 60_000_000: Decimal(row[5]) for row in world.new(minutes, "2025-01-08").rows}
    by_trades = volumes(world.new(TRADES, "2025-01-08"), 2, 4)
    by_aggregates = volumes(world.new(AGG_TRADES, "2025-01-08"), 2, 5)
    assert all(candles[minute] == volume for minute, volume in by_trades.items())
    assert sum(candles[minute] != volume for minute, volume in by_aggregates.items()) == world.planted.rows


def test_d36_the_label_of_metrics_moves(tmp_path: Path) -> None:
    market = SampleMarket(
        7,
        (Instrument(UM, "A", "A", 9.0, 2, 2, 10, 5, moment("2026-06-23")),),
        date(2026, 6, 23),
        date(2026, 6, 26),
    )
    series = Series(UM, "metrics", "A")
    write_archive(market, tmp_path, (Shelf("metrics"),))
    before = files_in(tmp_path)
    (said,) = plant(market, tmp_path, [Plan("D36", series, Period.parse("2026-06-25"))])
    assert files_in(tmp_path) == before
    times = {label: sorted(parsed(before[key(series, label)][0]).column(0)) for label in ("2026-06-24", "2026-06-25")}
    assert (times["2026-06-24"][0], times["2026-06-24"][-1]) == ("2026-06-24 00:05:00", "2026-06-25 00:00:00")
    assert (times["2026-06-25"][0], times["2026-06-25"][-1]) == ("2026-06-25 00:00:00", "2026-06-25 23:55:00")
    assert (said.span.start_us, said.rows) == (moment("2026-06-25"), 1)
    with pytest.raises(ConfigError, match="has no place"):
        plant(market, tmp_path, [Plan("D36", series, Period.parse("2026-06-24"))])


def test_d37_the_book_is_wrong(planted: Plantation) -> None:
    worlds = {(world := planted("D37", BOOK, "2025-01-20", seed)).planted.kind: world for seed in range(6)}
    for kind, world in worlds.items():
        assert world.changed == both(BOOK, "2025-01-20")
        old, new = world.old(BOOK, "2025-01-20"), world.new(BOOK, "2025-01-20")
        changed = differing(old, new)
        assert len(changed) == world.planted.rows
        since = datetime.fromtimestamp(world.planted.span.start_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")
        assert min(old.rows[number][0] for number in changed) >= since
        if kind == "frozen book":
            assert all(Decimal(old.rows[number][1]) > 0 for number in changed)
            asks = {
                row[1]: {tuple(each[2:]) for each in new.rows if each[1] == row[1] and each[0] >= since}
                for row in new.rows
            }
            assert {len(seen) for band, seen in asks.items() if Decimal(band) > 0} == {1}
        else:
            assert set(map(tuple, changed.values())) == {(3,)}
            for number in changed:
                assert Decimal(new.rows[number][3]) == Decimal(old.rows[number][3]) * Decimal("1.03")
    assert set(worlds) == {"frozen book", "book off the price"}


def test_d38_the_funding_interval_changes(planted: Plantation) -> None:
    world = planted("D38", FUNDING, "2025-01")
    assert world.changed == both(FUNDING, "2025-01")
    said = world.planted
    old, new = world.old(FUNDING, "2025-01"), world.new(FUNDING, "2025-01")
    assert set(old.column(1)) == {"8"}
    assert len(new.rows) - len(old.rows) == said.rows > 0
    hours = [us(row[0]) // HOUR_US for row in new.rows]
    steps = dict(zip(hours[1:], np.diff(hours), strict=True))
    assert all(steps[hour] == int(row[1]) for hour, row in zip(hours[1:], new.rows[1:], strict=True))
    assert [row for row in new.rows if row[1] == "8"] == [
        row for row in old.rows if not said.span.start_us <= us(row[0]) < said.span.end_us
    ]
    fast = [row for row in new.rows if row[1] == "4"]
    assert all(said.span.start_us <= us(row[0]) < said.span.end_us for row in fast)
    late_ms = {us(row[0]) % HOUR_US // 1000 for row in new.rows}
    assert late_ms <= set(range(46))  # the jitter, by itself
    assert len(late_ms) > 1
    assert rest_overrides((said,))[FUNDING][0][0] == said.span


def test_d39_prices_older_than_the_market(planted: Plantation) -> None:
    series = Series(UM, "index_price", "币安人生USDT", "1h")
    world = planted("D39", series, "2024-12-28")
    assert world.changed == both(series, "2024-12-28", "2024-12")
    for label in ("2024-12-28", "2024-12"):
        old, new = world.old(series, label), world.new(series, label)
        added = new.rows[: world.planted.rows]
        assert new.rows[world.planted.rows :] == old.rows
        assert new.header == old.header
        assert [us(row[0]) for row in added] == list(range(moment("2024-12-28"), NOON // HOUR_US * HOUR_US, HOUR_US))
        assert all(Decimal(row[3]) <= min(Decimal(row[1]), Decimal(row[4])) for row in added)
    assert world.planted.verdict is Verdict.NOTHING


def test_d40_one_name_two_lives(planted: Plantation) -> None:
    world = planted("D40", SPOT_KLINES, "2025-01-08")
    said = world.planted
    assert {Series(SPOT, name, "ETHUSDT") for name in ("trades", "agg_trades")} == set(said.echoes)
    assert all("data/spot/" in name for name in world.changed)
    days = (said.span.end_us - said.span.start_us) // DAY_US
    assert days >= 7
    gone = [name for name in world.before.keys() - world.after.keys() if "klines" in name and name.endswith(".zip")]
    assert len(gone) == days
    assert sum(len(parsed(world.before[name][0]).rows) for name in gone) == said.rows
    lost = lacking(world.old(SPOT_KLINES, "2025-01"), world.new(SPOT_KLINES, "2025-01"))
    inside = [at for at in (us(row[0]) for row in lost) if said.span.start_us <= at < said.span.end_us]
    assert len(inside) == len(lost) > 0
    assert set(rest_holes((said,))) == {SPOT_KLINES, *said.echoes}


# Plans


@pytest.fixture(scope="module")
def sample(pristine: Path) -> Path:
    write_archive(MARKET, pristine, SHELVES)
    return pristine


@pytest.mark.parametrize("seed", [1, 2])
def test_random_plans_never_meet(sample: Path, tmp_path: Path, seed: int) -> None:
    plans = random_plans(MARKET, sample, seed, 40)
    assert len(plans) == 40
    assert {plan.defect for plan in plans} <= set(default_kinds())
    assert len({plan.defect for plan in plans}) > 20
    folder = tmp_path / "sample"
    shutil.copytree(sample, folder, copy_function=os.link)
    before = files_in(folder)
    planted = plant(MARKET, folder, plans)
    after = files_in(folder)
    touched = [name for each in planted for name in each.files]
    assert len(touched) == len(set(touched))
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert changed == set(touched)
    for number, one in enumerate(planted):
        for other in planted[:number]:
            shared = {each.symbol for each in MARKET.instruments_of(one.series)} & {
                each.symbol for each in MARKET.instruments_of(other.series)
            }
            same = one.series.market == other.series.market and shared
            if same and story_of(one.series.dataset) == story_of(other.series.dataset):
                assert not one.span.overlaps(other.span), (one, other)
    for each in planted:
        _assert_sources_are_as_said(each, after)
    restore(folder)
    assert files_in(folder) == before


TIME_PLACES = {"trades": 4, "agg_trades": 5, "book_ticker": 5}


def _times(content: bytes, dataset: str) -> set[int]:
    """When the rows of an archive are; none if it cannot be read."""
    try:
        cells = parsed(content).column(TIME_PLACES.get(dataset, 0))
    except (zipfile.BadZipFile, zlib.error):
        return set()
    if dataset in ("metrics", "book_depth"):
        return {int(datetime.fromisoformat(f"{cell}+00:00").timestamp()) * 1_000_000 for cell in cells}
    return {us(cell) for cell in cells}


def _assert_sources_are_as_said(planted: Planted, files: Files) -> None:
    """Of a gap: rows that are a hole are in no archive, those of which `in_archive` is true in another one."""
    if planted.gap is None:
        return
    series, span = planted.series, planted.span
    truth = set(times_of(series, MARKET.rows(series, span)).tolist())
    folder = key(series, planted.period.label).rpartition("/")[0]
    folders = {folder.replace(f"/{planted.period.cadence}/", f"/{cadence}/") for cadence in ("daily", "monthly")}
    strict = re.compile(r"-\d{4}-\d\d(-\d\d)?\.zip")
    zips = [name for name in files if name.rpartition("/")[0] in folders and strict.search(name)]
    published = {at for name in zips for at in _times(files[name][0], series.dataset)}
    assert (truth <= published) == planted.in_archive, planted
    if not planted.in_archive and planted.kind in ("missing rows", "missing file", "long hole", "type ended"):
        assert not truth & published, planted
        assert planted.rows == len(times_of(series, MARKET.rows(series, span))) or series.dataset == "metrics"
    assert planted.truth is (Truth.MARKET if planted.in_archive or planted.in_rest else Truth.HOLE)


def test_everything_that_was_planted_is_taken_back(sample: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    shutil.copytree(sample, folder, copy_function=os.link)
    before = files_in(folder)
    odd_name = next(seed for seed in range(9) if _is_odd(sample, seed))
    plans = [
        Plan("D34", KLINES, Period.parse("2025-01-08")),
        Plan("D21", MARK, Period.parse("2025-01"), odd_name),
        Plan("D2", SPOT_KLINES, Period.parse("2025-01-10")),
        Plan("D40", SPOT_KLINES, Period.parse("2025-01-11")),  # on some of the same files
    ]
    plant(MARKET, folder, plans)
    assert files_in(folder).keys() != before.keys()
    assert restore(folder) > len(plans)
    assert files_in(folder) == before
    assert restore(folder) == 0


def test_a_broken_archive_holds_no_second_defect(sample: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    shutil.copytree(sample, folder, copy_function=os.link)
    month = Period.parse("2025-01")
    with pytest.raises(ConfigError, match=r"D25: .*BTCUSDT-1h-2025-01.zip is broken already"):
        plant(MARKET, folder, [Plan("D22", KLINES, month), Plan("D25", KLINES, month)])


def _is_odd(sample: Path, seed: int) -> bool:
    site = Site(MARKET, sample, Plan("D21", MARK, Period.parse("2025-01"), seed))
    planted = DEFECTS["D21"].plant(site)
    return planted is not None and planted.kind == "odd name"


def test_equal_seeds_give_equal_plans_and_others_others(sample: Path) -> None:
    kinds = ("D1", "D6", "D22", "D25")
    plans = random_plans(MARKET, sample, 1, 12, kinds)
    assert plans == random_plans(MARKET, sample, 1, 12, kinds)
    assert {plan.defect for plan in plans} == set(kinds)
    assert plans != random_plans(MARKET, sample, 2, 12, kinds)


def test_more_plans_than_there_is_room_for_are_refused(sample: Path) -> None:
    with pytest.raises(ConfigError, match=r"room for \d+ of 1000 defects"):
        random_plans(MARKET, sample, 1, 1000, ["D4", "D38"])


def test_one_of_each_says_where_there_is_no_place(sample: Path) -> None:
    found = one_of_each(MARKET, sample, 7, list(DEFECTS))
    assert list(found) == list(DEFECTS)
    assert found["D36"] is None  # which is of 2026
    chosen = [plan for plan in found.values() if plan is not None]
    assert all(plan.defect == name for name, plan in found.items() if plan is not None)
    assert len(chosen) > 25  # the rest would lie where others do


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan("D41", KLINES, Period.parse("2025-01")), "unknown defect 'D41'.*; they are D1 to D40"),
        (Plan("D4", KLINES, Period.parse("2023-01")), "D4: the folder has no archive um/klines/BTCUSDT/1h 2023-01"),
        (Plan("D4", KLINES, Period.parse("2025-01-08")), "D4 .* has no place in um/klines/BTCUSDT/1h 2025-01-08"),
    ],
)
def test_plans_without_a_place_are_refused(sample: Path, plan: Plan, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plant(MARKET, sample, [plan])
