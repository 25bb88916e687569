"""Nights at a small exchange, with a clock of our own: what is fetched, what it costs, and what is said."""

from pathlib import Path

import pytest
from factories import publish, zip_bytes
from update_world import World, every_day, klines, text_of

from core.errors import NoData
from core.exchanges.binance.urls import key_of
from core.jobs.selection import Selection
from core.sample.bucket import Bucket, ListingQuery
from core.sample.faults import Fault, RequestInfo, Rule, garbage, not_found, on
from core.types import Market, Period, Series, State

BTC, ETH, SOL = klines("BTCUSDT"), klines("ETHUSDT"), klines("SOLUSDT")
THREE = (BTC, ETH, SOL)
FUNDING = Series(Market.UM, "funding_rate", "BTCUSDT")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Three symbols, known until 10 January; the first update was on the 11th."""
    world = World(tmp_path)
    for one in THREE:
        world.publish_days(one, "2024-01-01", "2024-01-10")
    world.begin(*THREE, last="2024-01-10")
    assert world.night("2024-01-11").is_well
    return world


def test_nothing_known_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoData, match=r"download_all\.py begins them"):
        World(tmp_path).night("2024-01-11")


def test_a_night_fetches_what_is_new_and_nothing_else(world: World) -> None:
    for one in THREE:
        world.publish(one, "2024-01-11")
    done = world.night("2024-01-12")
    assert (done.sync.downloaded, done.sync.stored, done.sync.planned, done.is_well) == (3, 3, 3, True)
    assert world.zips == [f"{one.symbol}-1h-2024-01-11.zip" for one in THREE]
    assert (world.probes, world.findings) == (0, [])
    # A page a series; on one night in seven its months too; and the folders of symbols, by days and by months.
    assert 3 + 2 <= world.listings == done.asked <= 3 + 3 + 2
    assert world.days(BTC) == every_day("2024-01-01", "2024-01-11")
    again = world.night("2024-01-12")
    assert (again.sync.planned, again.sync.downloaded, again.sync.stored, again.is_idle) == (0, 0, 0, True)
    assert (world.zips, world.probes) == ([], 0)


def test_nights_without_the_network_are_caught_up_with(world: World) -> None:
    for one in THREE:
        world.publish_days(one, "2024-01-11", "2024-01-14")
    done = world.night("2024-01-15")
    assert (done.sync.stored, done.behind) == (12, ())
    assert world.days(SOL) == every_day("2024-01-01", "2024-01-14")


def test_a_longer_absence_is_caught_up_with(world: World) -> None:
    """Days since the last night, whole months by the month, and the days of the month that was open then."""
    for one in THREE:
        world.publish_days(one, "2024-01-11", "2024-03-09")
        world.publish(one, "2024-01", "2024-02")
    done = world.night("2024-03-10", days_back=5)
    assert (done.behind, done.late, done.missing_new, world.findings) == ((), 0, (), [])
    assert done.sync.stored == 3 * (21 + 2 + 9)
    assert not [name for name in world.zips if "-2024-02-" in name]
    for one in THREE:
        assert world.days(one) == every_day("2024-01-01", "2024-03-09")
    assert world.night("2024-03-10", days_back=5).is_idle


def test_what_is_missing_since_a_longer_absence_is_said(world: World) -> None:
    for one in THREE:
        world.publish_days(one, "2024-01-11", "2024-01-29")
    world.withdraw(ETH, "2024-01-13")
    done = world.night("2024-01-30", days_back=5)
    assert [Path(key).name for key in done.missing_new] == ["ETHUSDT-1h-2024-01-13.zip"]
    assert world.findings == [("missing", 1)]
    assert world.days(ETH) == every_day("2024-01-01", "2024-01-29", without=["2024-01-13"])


def test_a_symbol_that_was_delisted_during_a_longer_absence(world: World) -> None:
    for one in (BTC, ETH):
        world.publish_days(one, "2024-01-11", "2024-03-09")
        world.publish(one, "2024-01", "2024-02")
    world.publish_days(SOL, "2024-01-11", "2024-01-17")
    world.publish(SOL, "2024-01")
    done = world.night("2024-03-10")
    assert (done.over, done.late, done.probed, done.missing_new, done.is_well) == (1, 0, 0, (), True)
    assert world.state(SOL, "2024-01") is State.STORED
    assert world.days(ETH) == every_day("2024-01-01", "2024-03-09")


def test_funding_of_a_longer_absence(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.publish(FUNDING, "2023-12")
    world.begin(FUNDING, last="2024-01-01", first="2023-12-01")
    world.night("2024-01-02")
    world.publish(FUNDING, *(f"2024-{month:02d}" for month in range(1, 6)))
    done = world.night("2024-06-20")
    assert (done.sync.stored, done.behind, done.probed) == (5, (), 0)
    assert world.days(FUNDING) == every_day("2023-12-01", "2024-05-31")


def test_funding_of_a_delisted_symbol_is_not_expected_for_ever(tmp_path: Path) -> None:
    world = World(tmp_path)
    gone = Series(Market.UM, "funding_rate", "OLDUSDT")
    world.publish(gone, "2023-12", "2024-01")
    world.publish(FUNDING, "2023-12", "2024-01")
    world.begin(FUNDING, gone, last="2024-02-01", first="2023-12-01")
    world.night("2024-02-02")
    world.publish(FUNDING, "2024-02")
    late = world.night("2024-03-01")
    assert (late.late, late.probed) == (1, 1)
    missing = world.night("2024-03-17")
    assert [Path(key).name for key in missing.missing_new] == ["OLDUSDT-fundingRate-2024-02.zip"]
    world.publish(FUNDING, "2024-03", "2024-04")
    for night in ("2024-04-01", "2024-04-02", "2024-04-17", "2024-05-01", "2024-05-20"):
        done = world.night(night)
        assert (done.over, done.late, done.probed, done.missing_new) == (1, 0, 0, ())


def test_what_was_wanted_of_long_ago_is_not_carried_on_in_full(tmp_path: Path) -> None:
    """The first night: nobody has kept this up to date so far. It leaves a hole, which is said once."""
    world = World(tmp_path)
    for one in THREE:
        world.publish_days(one, "2024-01-01", "2024-01-25")
    world.begin(*THREE, last="2024-01-10")
    done = world.night("2024-01-25", days_back=5)
    assert len(done.behind) == 3
    assert world.findings == [("behind", 3)]
    assert world.days(BTC) == every_day("2024-01-01", "2024-01-10") + every_day("2024-01-20", "2024-01-24")
    assert world.night("2024-01-26", days_back=5).behind == ()


def test_a_day_is_late_then_missing_then_asked_for_ever_more_rarely(world: World) -> None:
    for one in (BTC, ETH):
        world.publish_days(one, "2024-01-11", "2024-01-31")
    world.publish_days(SOL, "2024-01-12", "2024-01-31")
    seen = []
    for night in range(12, 31):
        done = world.night(f"2024-01-{night}")
        asked = sum(count for name, count in world.hits.items() if "SOLUSDT-1h-2024-01-11.zip" in name)
        seen.append((night, done.late, len(done.missing_new), asked))
        assert done.is_well is (night != 14)
        assert world.findings == ([("missing", 1)] if night == 14 else [])
        assert world.state(SOL, "2024-01-11") is (State.MISSING if night >= 14 else None)
    asked_on = [night for night, _, _, asked in seen if asked]
    assert [night for night, late, _, _ in seen if late] == [12, 13]
    assert asked_on == [12, 13, 14, 15, 17, 21, 28]  # one, two, four, and seven days later
    world.publish(SOL, "2024-01-11")
    world.nights("2024-01-31", "2024-02-01", "2024-02-02", "2024-02-03", "2024-02-04")
    assert world.state(SOL, "2024-01-11") is State.STORED
    assert world.days(SOL) == every_day("2024-01-01", "2024-01-31")


def test_a_feed_that_stands_still_costs_few_probes(tmp_path: Path) -> None:
    world = World(tmp_path)
    many = [klines(f"A{number:02d}USDT") for number in range(30)]
    for one in many:
        world.publish_days(one, "2024-01-05", "2024-01-10")
    world.begin(*many, last="2024-01-10")
    assert world.night("2024-01-11").is_well
    late = world.night("2024-01-12")
    assert (late.late, late.missing_new, late.probed, world.probes) == (30, (), 5, 5)
    late = world.night("2024-01-13")
    assert (late.late, late.probed) == (60, 10)
    missing = world.night("2024-01-14")
    assert (missing.late, len(missing.missing_new), missing.probed) == (60, 30, 15)
    assert world.findings == [("missing", 30)]
    again = world.night("2024-01-15")  # another day is missing now, and that is news; the first one is due again
    assert (len(again.missing_new), again.sync.missing, again.probed, again.is_well) == (30, 30, 15, False)
    for one in many:
        world.publish_days(one, "2024-01-11", "2024-01-15")
    back = world.night("2024-01-16")
    assert (back.sync.stored, back.late, back.probed) == (150, 0, 0)


def test_a_stale_listing_does_not_hide_what_is_there(world: World) -> None:
    """The listing stands still on the 10th, while the archive goes on."""
    listings = frozen_listing(world)
    for one in THREE:
        world.publish_days(one, "2024-01-11", "2024-01-12")
    done = world.night("2024-01-13", faults=listings)
    assert (done.sync.stored, done.late, done.missing_new, done.is_well) == (6, 0, (), True)
    assert world.days(ETH) == every_day("2024-01-01", "2024-01-12")
    assert done.probed == 6
    again = world.night("2024-01-13", faults=listings)
    assert (again.probed, again.sync.planned) == (0, 0)
    caught_up = world.night("2024-01-13")  # the listing is right again: the same archives, not fetched twice
    assert (caught_up.sync.replaced, world.zips) == (0, [])


def frozen_listing(world: World) -> Rule:
    """A rule by which listings of days know nothing newer than now."""
    pages: dict[tuple[str, str], bytes] = {}
    bucket = Bucket(world.served)
    known = {path.name for path in world.served.rglob("*.zip*")}

    def rule(request: RequestInfo) -> Fault | None:
        if not request.name.startswith("?data/futures/um/daily/klines/") or not request.name.endswith("/1h/"):
            return None
        query = ListingQuery(request.query["prefix"], "/", request.query.get("marker", ""))
        key = (query.prefix, query.marker)
        if key not in pages:
            page = bucket.page(query)
            text = page.xml()
            for found in page.objects:
                if found.key.rsplit("/", 1)[-1] not in known:
                    start = text.index("  <Contents>\n    <Key>" + found.key + "</Key>")
                    text = text[:start] + text[text.index("</Contents>", start) + len("</Contents>\n") :]
            pages[key] = text.encode()
        return garbage(pages[key])

    return rule


def test_the_month_takes_over_when_it_appears(world: World) -> None:
    for one in THREE:
        world.publish_days(one, "2024-01-11", "2024-02-02")
    world.nights("2024-01-18", "2024-01-25", "2024-02-01", "2024-02-02")
    assert world.days(BTC) == every_day("2024-01-01", "2024-02-01")
    for one in THREE:
        world.publish(one, "2024-01")
    done = world.night("2024-02-03")
    assert (done.sync.stored, world.zips[0]) == (6, "BTCUSDT-1h-2024-01.zip")
    assert world.days(BTC) == every_day("2024-01-01", "2024-02-02")
    names = sorted(path.name for path in world.layout.processed_folder(BTC).glob("*.parquet"))
    assert names == ["BTCUSDT-1h-2024-02.parquet", "BTCUSDT-1h-2024.parquet"]
    again = world.night("2024-02-03")
    assert (again.sync.planned, world.zips) == (0, [])


def test_a_month_is_late_until_the_fifteenth_and_missing_after(world: World) -> None:
    for one in THREE:
        world.publish_days(one, "2024-01-11", "2024-02-20")
    for one in (BTC, ETH):
        world.publish(one, "2024-01")
    world.nights("2024-01-18", "2024-01-25", "2024-01-31", "2024-02-05", "2024-02-10")
    late = world.night("2024-02-15")
    assert (late.late, late.missing_new, late.is_well) == (1, (), True)
    missing = world.night("2024-02-16")
    assert [Path(key).name for key in missing.missing_new] == ["SOLUSDT-1h-2024-01.zip"]
    assert world.findings == [("missing", 1)]
    assert world.night("2024-02-16").is_well


def test_funding_comes_by_the_month(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.publish(FUNDING, "2023-12", "2024-01")
    world.begin(FUNDING, last="2024-02-01", first="2023-12-01")
    world.nights("2024-02-02", "2024-02-20")
    quiet = world.night("2024-02-21")
    assert (quiet.late, quiet.probed, quiet.sync.planned) == (0, 0, 0)
    early = world.night("2024-03-01")
    assert (early.late, early.is_well) == (1, True)
    world.publish(FUNDING, "2024-02")
    assert world.night("2024-03-02").sync.stored == 1
    assert world.days(FUNDING) == every_day("2023-12-01", "2024-02-29")


def test_a_new_listing_is_followed_from_its_first_day(world: World) -> None:
    new = klines("NEWUSDT")
    for one in THREE:
        world.publish_days(one, "2024-01-11", "2024-01-12")
    world.publish(new, "2024-01-12")
    done = world.night("2024-01-13")
    assert (done.new_series, done.sync.stored) == (1, 7)
    assert world.days(new) == ["2024-01-12"]
    world.publish_days(new, "2024-01-13", "2024-01-13")
    assert world.night("2024-01-14").new_series == 0
    assert world.days(new) == ["2024-01-12", "2024-01-13"]


def test_symbols_that_nobody_chose_are_not_new(tmp_path: Path) -> None:
    world = World(tmp_path)
    for one in THREE:
        world.publish_days(one, "2024-01-01", "2024-01-11")
    world.publish_days(klines("NEWUSDT"), "2024-01-11", "2024-01-11")
    world.publish(klines("OLDUSDT"), "2021-03")  # and gone before there were days
    world.begin(BTC, last="2024-01-10")
    done = world.night("2024-01-12")
    assert (done.new_series, world.zips) == (1, ["BTCUSDT-1h-2024-01-11.zip", "NEWUSDT-1h-2024-01-11.zip"])
    world.publish(ETH, "2024-01-12")
    world.night("2024-01-13")
    assert not [name for name in world.zips if "ETH" in name]
    assert world.night("2024-01-13", selection=Selection(symbols=("BTCUSDT",))).new_series == 0


def test_a_delisted_symbol_is_not_expected_for_ever(world: World) -> None:
    for one in (BTC, ETH):
        world.publish_days(one, "2024-01-11", "2024-02-29")
        world.publish(one, "2024-01")
    world.publish(SOL, "2024-01")
    said = []
    for night in range(12, 31):
        done = world.night(f"2024-01-{night}")
        said += [night] if world.findings else []
    assert said == [14]  # and not each night again
    assert (done.over, done.late, done.probed) == (1, 0, 0)
    for night in range(2, 10):
        done = world.night(f"2024-02-{night:02d}")
        assert (done.over, done.late, done.waiting, done.is_well) == (1, 0, 0, True)
        assert not [name for name in world.zips if "SOL" in name and "2024-01-" in name]
    assert world.state(SOL, "2024-01") is State.STORED


def test_a_type_that_ended_is_not_expected(tmp_path: Path) -> None:
    world = World(tmp_path)
    ended = Series(Market.UM, "book_ticker", "BTCUSDT")
    text = b"1,2,3,4,5,1711756800000,1711756800000\n"
    name = "BTCUSDT-bookTicker-2024-03-30"
    publish(world.served, key_of(ended, Period.parse("2024-03-30")), zip_bytes({f"{name}.csv": text}))
    world.begin(ended, last="2024-03-31", first="2024-03-01")
    for night in ("2024-04-01", "2024-04-02", "2024-04-10", "2024-05-20"):
        done = world.night(night)
        assert (done.late, done.probed, done.missing_new, done.over) == (0, 0, (), 1)


def test_what_was_published_anew_is_noticed_within_a_week(world: World) -> None:
    for one in THREE:
        world.publish_days(one, "2024-01-11", "2024-01-20")
    world.nights("2024-01-17")
    path = world.publish(ETH, "2024-01-05")
    changed = text_of(ETH, Period.parse("2024-01-05")).replace(b"42050.25", b"42050.75")
    publish(world.served, str(path.relative_to(world.served)), zip_bytes({"ETHUSDT-1h-2024-01-05.csv": changed}))
    replaced = [done.sync.replaced for done in world.nights(*every_day("2024-01-18", "2024-01-24"))]
    assert sum(replaced) == 1


def test_a_listed_archive_that_is_not_there_is_news_once(world: World) -> None:
    for one in THREE:
        world.publish(one, "2024-01-11")
    gone = on("ETHUSDT-1h-2024-01-11.zip", not_found())
    done = world.night("2024-01-12", faults=gone)
    assert (done.sync.missing, len(done.sync.faults), done.is_well) == (1, 1, False)
    assert world.findings == [("missing", 1)]
    again = world.night("2024-01-12", faults=gone)
    assert (again.sync.planned, again.waiting, again.is_well) == (0, 1, True)
    assert world.night("2024-01-13").sync.stored == 1
