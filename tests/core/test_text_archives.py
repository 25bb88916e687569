"""Archives with times written out, words and empty cells: exact values, what is put right, what is refused."""

import hashlib
import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import real_folder, zip_bytes
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from core.errors import MalformedArchive
from core.exchanges.binance.urls import key_of, parse_key
from core.layout import Layout
from core.settings import QualitySettings, StorageSettings
from core.storage.manager import StorageManager
from core.types import ArchiveFile, FetchedFile, Market, Period, Proof, Series, Source

DAY = Period.day(date(2024, 1, 1))
METRICS = Series(Market.UM, "metrics", "BTCUSDT")
DEPTH = Series(Market.UM, "book_depth", "BTCUSDT")
TICKER = Series(Market.CM, "book_ticker", "BTCUSD_PERP")
LIQUIDATIONS = Series(Market.CM, "liquidation_snapshot", "BTCUSD_PERP")
FIRST_MS = 1_704_067_200_000


class World:
    def __init__(self, folder: Path) -> None:
        self.layout = Layout(folder)
        self.paths: dict[str, Path] = {}
        self.storage = StorageManager(self.layout, StorageSettings(csv_datasets=()), QualitySettings())

    def store_zip(self, series: Series, period: Period, content: bytes) -> Source:
        path = self.layout.raw(series, period)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        file = ArchiveFile(series, period, key_of(series, period), len(content), "e", None, "")
        digest = hashlib.sha256(content).hexdigest()
        stored = self.storage.store([FetchedFile(file, path, len(content), digest, Proof.SHA256_BY_ETAG)])
        if file.key in stored.refused:
            raise MalformedArchive(stored.refused[file.key])
        (partition,) = stored.partitions
        self.paths[file.key] = partition.path
        return stored.sources[file.key]

    def store(self, series: Series, rows: Sequence[str], period: Period = DAY) -> Source:
        name = f"{self.layout.raw(series, period).stem}.csv"
        return self.store_zip(series, period, zip_bytes({name: ("\n".join(rows) + "\n").encode()}))

    def table(self, source: Source) -> pa.Table:
        return pq.read_table(self.paths[source.key])

    def rows(self, source: Source) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = self.table(source).to_pylist()
        return rows


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def at(seconds: int) -> datetime:
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


def metrics_line(minute: int, interest: str = "77082.018", taker: str = "0.98", symbol: str = "BTCUSDT") -> str:
    return f"{at(60 * minute):%Y-%m-%d %H:%M:%S},{symbol},{interest},3300000000.5,1.21,1.42,1.61,{taker}"


# exact values


def test_metrics_of_um(world: World) -> None:
    header = (
        "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
        "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio"
    )
    rows = [
        header,
        "2024-01-01 00:10:00,BTCUSDT,81234.5670000000000000,4912345678.9012345600000000,1.85000000,,1.61,0.987",
        '2024-01-01 00:05:00,BTCUSDT,81235,"",1.85,1.42,1.61,""',
        "2024-01-02 00:00:00,BTCUSDT,81235.5,1,2,3,4,5",
    ]
    source = world.store(METRICS, rows)
    names = [
        *("timestamp", "open_interest", "open_interest_value", "top_trader_account_ratio"),
        *("top_trader_position_ratio", "account_ratio", "taker_volume_ratio"),
    ]
    assert [tuple(row.values()) for row in world.rows(source)] == [
        (at(300), 81235.0, None, 1.85, 1.42, 1.61, None),
        (at(600), 81234.567, 4912345678.90123456, 1.85, None, 1.61, 0.987),
        (at(86400), 81235.5, 1.0, 2.0, 3.0, 4.0, 5.0),
    ]
    assert list(world.rows(source)[0]) == names
    assert (source.unit, source.reordered, source.duplicates) == ("s", 2, 0)
    assert source.outside == 0, "the label of the day's last window is the next midnight"
    schema = world.table(source).schema
    assert [field.nullable for field in schema] == [False] + [True] * 6
    assert world.table(source)["open_interest_value"].null_count == 1


def test_metrics_of_cm_as_they_were_written_in_2023(world: World) -> None:
    series, day = Series(Market.CM, "metrics", "BTCUSD_PERP"), Period.day(date(2023, 6, 25))
    line = '2023-06-25 00:05:00,BTCUSD_PERP,5578209.00000000,18261.90678854,"","","",1.19645130'
    (row,) = world.rows(world.store(series, [line], day))
    assert row == {
        "timestamp": datetime(2023, 6, 25, 0, 5, tzinfo=UTC),
        "open_interest": 5578209.0,
        "open_interest_base": 18261.90678854,
        "top_trader_account_ratio": None,
        "top_trader_position_ratio": None,
        "account_ratio": None,
        "taker_volume_ratio": 1.1964513,
    }


def test_metrics_that_lack_a_column_from_beginning_to_end(world: World) -> None:
    table = world.table(world.store(METRICS, [metrics_line(n, taker="") for n in range(9)]))
    assert table["taker_volume_ratio"].null_count == 9
    assert table.schema.field("taker_volume_ratio").type == pa.float64()


def test_book_depth_in_both_spellings_of_a_band(world: World) -> None:
    bands = ["-5", "-0.20", "0.2", "1.00"]
    rows = [f"2024-01-01 00:00:31,{band},7900.25000000,648000120.50000000" for band in bands]
    source = world.store(DEPTH, ["timestamp,percentage,depth,notional", *rows])
    assert [tuple(row.values()) for row in world.rows(source)] == [
        (at(31), band, 7900.25, 648000120.5) for band in (-5.0, -0.2, 0.2, 1.0)
    ]
    assert (source.unit, source.reordered) == ("s", 0)


def test_book_ticker(world: World) -> None:
    line = f"3840000000013,2500.10000000,5.00000000,2500.11000000,12.50000000,{FIRST_MS},{FIRST_MS + 5}"
    (row,) = world.rows(world.store(TICKER, [line]))
    assert row == {
        "timestamp": at(0),
        "update_id": 3840000000013,
        "best_bid_price": 2500.1,
        "best_bid_qty": 5.0,
        "best_ask_price": 2500.11,
        "best_ask_qty": 12.5,
        "event_time": at(0) + timedelta(milliseconds=5),
    }


def liquidation(
    ms: int = 926, side: str = "BUY", price: str = "30500.0", last: str = "4", status: str = "FILLED"
) -> str:
    return f"{FIRST_MS + ms},{side},LIMIT,IOC,9,{price},30450.2,{status},{last},9"


def test_every_liquidation_is_published_twice_and_stored_once(world: World) -> None:
    rows = [liquidation(), liquidation(), liquidation(side="SELL"), liquidation(side="SELL")]
    source = world.store(LIQUIDATIONS, rows)
    first, second = world.rows(source)
    assert first == {
        "timestamp": at(0) + timedelta(milliseconds=926),
        "side": "BUY",
        "order_type": "LIMIT",
        "time_in_force": "IOC",
        "original_quantity": 9.0,
        "price": 30500.0,
        "average_price": 30450.2,
        "order_status": "FILLED",
        "last_fill_quantity": 4.0,
        "accumulated_fill_quantity": 9.0,
    }
    assert second == first | {"side": "SELL"}, "another liquidation of the same millisecond"
    assert (source.rows, source.duplicates, source.reordered) == (2, 2, 0)


def test_liquidations_of_one_millisecond_that_differ_in_anything_all_stay(world: World) -> None:
    rows = [
        *(liquidation(), liquidation(side="SELL"), liquidation(price="30500.1"), liquidation(last="5")),
        *(liquidation(status="PARTIALLY_FILLED"), liquidation().replace("LIMIT", "MARKET")),
        *(liquidation().replace("IOC", "GTC"), liquidation().replace(",9,30500", ",10,30500")),
        *(liquidation().replace("30450.2", "30450.3"), liquidation().removesuffix("9") + "8"),
    ]
    source = world.store(LIQUIDATIONS, [row for row in rows for _ in range(2)])
    assert (source.rows, source.duplicates) == (10, 10)


def test_the_real_metrics(world: World) -> None:
    key = "data/futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-2026-09-15.zip"
    parsed = parse_key(key)
    assert parsed is not None
    source = world.store_zip(*parsed, (real_folder() / key).read_bytes())
    assert [tuple(row.values()) for row in world.rows(source)] == [
        (
            *(datetime(2026, 9, 15, 0, 0, tzinfo=UTC), 103513.561, 8088539305.1839),
            *(1.2179119, 2.069134, 1.17124703, 1.126549),
        ),
        (
            *(datetime(2026, 9, 15, 0, 25, tzinfo=UTC), 103351.079, 8059947582.0019),
            *(1.2279813, 2.085938, 1.18010094, 0.7309),
        ),
    ]
    assert (source.duplicates, source.reordered, source.outside) == (0, 0, 0)


# order and duplicates


@given(minutes=st.lists(st.integers(0, 30), min_size=1, max_size=60), seed=st.integers())
@hypothesis_settings(max_examples=40, deadline=None)
def test_metrics_in_any_order_with_any_duplicates_and_paddings_give_one_table(
    tmp_path_factory: pytest.TempPathFactory, minutes: list[int], seed: int
) -> None:
    """What is empty in a row is empty in its duplicate; the number of decimals may differ."""
    world, chance = World(tmp_path_factory.mktemp("metrics")), random.Random(seed)

    def line(minute: int) -> str:
        taker = "" if minute % 3 == 0 else f"0.{minute:02}5" + "0" * chance.randint(0, 12)
        return metrics_line(minute, f"{70_000 + minute}.018" + "0" * chance.randint(0, 13), taker)

    def plain(minute: int) -> str:
        return metrics_line(minute, f"{70_000 + minute}.018", "" if minute % 3 == 0 else f"0.{minute:02}5")

    source = world.store(METRICS, [line(minute) for minute in minutes])
    table = world.table(source)
    clean = world.store(METRICS, [plain(minute) for minute in sorted(set(minutes))])
    assert table.equals(world.table(clean))
    stable = sorted(range(len(minutes)), key=lambda place: (minutes[place], place))
    assert (source.rows, source.duplicates) == (len(set(minutes)), len(minutes) - len(set(minutes)))
    assert source.reordered == sum(place != origin for place, origin in enumerate(stable))
    assert (clean.duplicates, clean.reordered) == (0, 0)
    assert [row["open_interest"] for row in world.rows(clean)] == [70_000.018 + m for m in sorted(set(minutes))]


@given(rows=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["-5", "-1.00", "-0.2", "0.20", "1", "5.0"]))))
@hypothesis_settings(max_examples=60, deadline=None)
def test_depth_is_ordered_by_time_and_band_as_a_number(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str]]
) -> None:
    rows = [*rows, (0, "1.0")]
    world = World(tmp_path_factory.mktemp("depth"))
    source = world.store(DEPTH, [f"2024-01-01 00:00:0{second},{band},1.5,2.5" for second, band in rows])
    unique = sorted({(second, float(band)) for second, band in rows})
    assert [(row["timestamp"], row["percentage"]) for row in world.rows(source)] == [(at(s), b) for s, b in unique]
    assert (source.rows, source.duplicates) == (len(unique), len(rows) - len(unique))


LIQUIDATION = st.tuples(st.integers(0, 2), st.sampled_from(["BUY", "SELL"]), st.sampled_from(["1.5", "1.50", "2"]))


@given(rows=st.lists(LIQUIDATION, min_size=1, max_size=30), seed=st.integers())
@hypothesis_settings(max_examples=60, deadline=None)
def test_liquidations_in_any_order_and_number_give_each_once(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str, str]], seed: int
) -> None:
    world = World(tmp_path_factory.mktemp("liquidations"))
    doubled = rows * 2
    random.Random(seed).shuffle(doubled)
    source = world.store(LIQUIDATIONS, [liquidation(*row) for row in doubled])
    unique = sorted({(ms, side, float(price)) for ms, side, price in rows})
    found = [(row["timestamp"], row["side"], row["price"]) for row in world.rows(source)]
    assert found == [(at(0) + timedelta(milliseconds=ms), side, price) for ms, side, price in unique]
    assert source.duplicates == len(doubled) - len(unique)


@pytest.mark.parametrize(
    ("series", "one", "other"),
    [
        (METRICS, metrics_line(5), metrics_line(5, taker="0.99")),
        (METRICS, metrics_line(5), metrics_line(5, taker="")),
        (METRICS, metrics_line(5, taker=""), metrics_line(5, taker="0")),
        (DEPTH, "2024-01-01 00:00:31,-5,1,2", "2024-01-01 00:00:31,-5.00,1,3"),
        (TICKER, f"7,1,1,2,1,{FIRST_MS},{FIRST_MS}", f"7,1,1,2,2,{FIRST_MS},{FIRST_MS}"),
    ],
)
def test_two_rows_with_one_key_and_different_content_refuse_the_file(
    world: World, series: Series, one: str, other: str
) -> None:
    with pytest.raises(MalformedArchive, match="two different rows with one key"):
        world.store(series, [one, other])


def test_a_ticker_with_two_days_interleaved_is_sorted_by_its_ids(world: World) -> None:
    rows = [f"{number},1,1,2,1,{FIRST_MS + number},{FIRST_MS + number}" for number in (1, 101, 2, 102, 3, 103)]
    source = world.store(TICKER, rows)
    assert [row["update_id"] for row in world.rows(source)] == [1, 2, 3, 101, 102, 103]
    assert source.reordered == 4


@pytest.mark.parametrize(("minute", "outside"), [(-5, 1), (0, 0), (1440, 0), (1445, 1)])
def test_the_midnight_that_two_files_share_lies_in_both(world: World, minute: int, outside: int) -> None:
    assert world.store(METRICS, [metrics_line(minute)]).outside == outside
    depth = [f"{at(60 * minute):%Y-%m-%d %H:%M:%S},-5,1,2"]
    assert world.store(DEPTH, depth).outside == (outside or int(minute == 1440)), "others share none"


# what is refused, by file, line and column


GOOD = metrics_line(5)


@pytest.mark.parametrize(
    ("series", "line", "said"),
    [
        (METRICS, GOOD.replace("2024-01-01 00:05:00", time), f"create_time is '{time}'")
        for time in [
            *("2024-1-1 00:05:00", "2024-01-01T00:05:00", "2024-01-01", "2024-01-01 00:05", "2024-01-01 00:05:00.5"),
            *("2024-01-01 00:05:00Z", "2024-01-01 00+05:00", "01-01-2024 00:05:00", "", '""', "1704067500000", "BTC"),
            *("2024-01-01  00:05:00", " 2024-01-01 00:05:00", "2024-01-01 00:05:00 ", "2024/01/01 00:05:00"),
        ]
    ]
    + [
        (METRICS, GOOD.replace("2024-01-01 00:05:00", time), f"create_time is '{time}', beyond the calendar")
        for time in [
            *("2024-02-30 00:05:00", "2024-13-01 00:05:00", "2024-01-01 24:00:00", "2024-01-01 00:60:00"),
            *("2024-01-01 00:05:60", "0000-01-01 00:05:00", "1969-12-31 23:59:59", "2023-02-29 00:00:00"),
        ]
    ]
    + [
        (METRICS, GOOD.replace("BTCUSDT", symbol), f"symbol is {symbol!r}, but the name says BTCUSDT")
        for symbol in ("ETHUSDT", "btcusdt", "BTCUSDT ", "", "BTCUSD", '""')
    ]
    + [
        (METRICS, GOOD.replace("77082.018", "7708Z.018"), "sum_open_interest is '7708Z.018'"),
        (METRICS, GOOD.replace("77082.018", "null"), "sum_open_interest is 'null'"),
        (METRICS, GOOD.replace("77082.018", "nan"), "sum_open_interest is 'nan'"),
        (METRICS, GOOD.replace("77082.018", '"'), "sum_open_interest is '\"'"),
        (METRICS, GOOD.replace("77082.018", '"77082.018"'), "sum_open_interest is '\"77082.018\"'"),
        (METRICS, GOOD.replace("77082.018", "1e999"), "sum_open_interest is '1e999', beyond any double"),
        (METRICS, GOOD + ",1", "9 columns instead of 8"),
        (METRICS, GOOD.rpartition(",")[0], "7 columns instead of 8"),
        (
            METRICS,
            GOOD.replace("2024-01-01", "2024-01-04"),
            "a row of 2024-01-04 00:05:00, but the name says 2024-01-01",
        ),
        (DEPTH, "2024-01-01 00:00:31,-5,,2", "depth is ''"),
        (DEPTH, '2024-01-01 00:00:31,-5,"",2', "depth is '\"\"'"),
        (DEPTH, "2024-01-01 00:00:31,,1,2", "percentage is ''"),
        (DEPTH, "2024-01-01 00:00:31,-5%,1,2", "percentage is '-5%'"),
        (TICKER, f",1,1,2,1,{FIRST_MS},{FIRST_MS}", "update_id is ''"),
        (TICKER, f"1.5,1,1,2,1,{FIRST_MS},{FIRST_MS}", "update_id is '1.5'"),
        (TICKER, f"1,1,1,2,1,{FIRST_MS},2024-01-01 00:00:00", "event_time is '2024-01-01 00:00:00'"),
        (LIQUIDATIONS, liquidation(side="sell"), "side is 'sell'"),
        (LIQUIDATIONS, liquidation(side=""), "side is ''"),
        (LIQUIDATIONS, liquidation(side="BUY "), "side is 'BUY '"),
        (LIQUIDATIONS, liquidation(side="BÜY"), "side is 'BÜY'"),
        (LIQUIDATIONS, liquidation(price=""), "price is ''"),
        (LIQUIDATIONS, liquidation(price="FILLED"), "price is 'FILLED'"),
    ],
)
@pytest.mark.parametrize("before", [1, 3])
def test_what_cannot_be_trusted_is_named_with_file_line_and_column(
    world: World, series: Series, line: str, said: str, before: int
) -> None:
    good = {
        "metrics": [metrics_line(n) for n in range(3)],
        "book_depth": [f"2024-01-01 00:00:0{n},-5,1,2" for n in range(3)],
        "book_ticker": [f"{n},1,1,2,1,{FIRST_MS},{FIRST_MS}" for n in range(3)],
        "liquidation_snapshot": [liquidation(n) for n in range(3)],
    }[series.dataset]
    with pytest.raises(MalformedArchive) as caught:
        world.store(series, [*good[:before], line, good[0]])
    name = world.layout.raw(series, DAY).name
    assert str(caught.value).startswith(f"{name}, line {before + 1}: {said}"), caught.value
    assert not list((world.layout.root / "processed").rglob("*.*"))


def test_a_header_of_other_words_is_refused(world: World) -> None:
    with pytest.raises(MalformedArchive, match="line 1: the header is not timestamp,percentage,depth,notional"):
        world.store(DEPTH, ["timestamp,percent,depth,notional", "2024-01-01 00:00:31,-5,1,2"])


@pytest.mark.parametrize(
    ("symbol", "cell"),
    [
        *(("币安人生USDT", "币安人生USDT"), ("1000SHIBUSDT", "1000SHIBUSDT"), ("BTCUSDT_240329", "BTCUSDT_240329")),
        *(("ICPUSDT_SETTLED", "ICPUSDT"), ("ICPUSDT_SETTLED1", "ICPUSDT_SETTLED1"), ("BNXUSDTSETTLED", "BNXUSDT")),
    ],
)
def test_any_symbol_may_say_its_name_and_a_settled_one_its_old_one(world: World, symbol: str, cell: str) -> None:
    assert world.store(Series(Market.UM, "metrics", symbol), [metrics_line(5, symbol=cell)]).rows == 1
    with pytest.raises(MalformedArchive, match="line 1: symbol is 'LTCUSDT', but the name says"):
        world.store(Series(Market.UM, "metrics", symbol), [metrics_line(5, symbol="LTCUSDT")])


def test_numbers_still_stand_alone_where_there_are_no_words(world: World) -> None:
    """The letters that words need are allowed only in archives that have words."""
    trades = Series(Market.UM, "trades", "BTCUSDT")
    with pytest.raises(MalformedArchive, match="line 1: price is 'SELL'"):
        world.store(trades, [f"1,SELL,1,1,{FIRST_MS},true"])
    with pytest.raises(MalformedArchive, match="line 2: price is '\"1\"'"):
        world.store(trades, [f"1,1,1,1,{FIRST_MS},true", f'2,"1",1,1,{FIRST_MS},true'])
