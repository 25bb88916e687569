"""A NautilusTrader catalog: its names, schemas and integers spelled out, and read by NautilusTrader itself."""

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from export_world import HOUR_MS, JANUARY_MS, candle, export, files_below, read_by, series, store, trade

from core.dates import INTERVAL_US
from core.errors import ConfigError, ContentError, StorageError
from core.export.nautilus import bar_type
from core.types import Span

KLINES, TRADES = series("klines", "BTCUSDT"), series("trades", "BTCUSDT")
BARS = "data/bar/BTCUSDT-PERP.BINANCE-1-HOUR-LAST-EXTERNAL"
TICKS = "data/trade_tick/BTCUSDT-PERP.BINANCE"
START = "1970-01-01T00-00-00-000000000Z_1970-01-01T00-00-00-000000000Z.parquet"
RAW = pa.binary(16)
NS = 1_000_000


def raw(text: str) -> bytes:
    return int(Decimal(text) * 10**16).to_bytes(16, "little")


def test_bars_are_stamped_with_their_close_and_hold_exact_integers(tmp_path: Path) -> None:
    lines = [
        candle(JANUARY_MS),
        candle(JANUARY_MS + 2 * HOUR_MS, "0.00000001,42100.5,0.00000001,3", volume="0"),  # an hour is missing
    ]
    storage = store(tmp_path, KLINES, "2024-01", lines)
    out = tmp_path / "out"
    written = export("nautilus", storage, [KLINES], out)
    name = f"{BARS}/2024-01-01T01-00-00-000000000Z_2024-01-01T03-00-00-000000000Z.parquet"
    assert files_below(out) == [name, f"data/crypto_perpetual/BTCUSDT-PERP.BINANCE/{START}"]
    assert [(file.path, file.rows, file.series, file.notes) for file in written] == [
        (out / "data/crypto_perpetual/BTCUSDT-PERP.BINANCE" / START, 1, (), ()),
        (out / name, 2, (KLINES,), ()),
    ]
    table = pq.read_table(out / name)
    assert [(field.name, field.type, field.nullable) for field in table.schema] == [
        *((column, RAW, False) for column in ("open", "high", "low", "close", "volume")),
        *((column, pa.uint64(), False) for column in ("ts_event", "ts_init")),
    ]
    assert table.schema.metadata == {
        b"bar_type": b"BTCUSDT-PERP.BINANCE-1-HOUR-LAST-EXTERNAL",
        b"instrument_id": b"BTCUSDT-PERP.BINANCE",
        b"price_precision": b"8",
        b"size_precision": b"1",
        b"written_by": b"tapevault",
    }
    first, second = ((JANUARY_MS + hours * HOUR_MS) * NS for hours in (1, 3))
    assert [list(row.values()) for row in table.to_pylist()] == [
        [*map(raw, ("42000.1", "42100.5", "41900", "42050.25", "12.5")), first, first],
        [*map(raw, ("0.00000001", "42100.5", "0.00000001", "3", "0")), second, second],
    ]


def test_ticks_keep_their_time_and_the_catalog_never_goes_back(tmp_path: Path) -> None:
    lines = [
        trade(7, JANUARY_MS + 1, "42000.1", "0.005", "true"),
        trade(8, JANUARY_MS + 5, "42000", "1", "false"),
        trade(9, JANUARY_MS + 3, "42000.25", "2", "true"),
        trade(10, JANUARY_MS + 6, qty="0"),
    ]
    storage = store(tmp_path, TRADES, "2024-01-01", lines)
    *_, ticks = export("nautilus", storage, [TRADES], tmp_path / "out")
    assert ticks.notes == (
        "trades without a quantity, which no TradeTick can hold, left out: 1",
        "trades older than one before them, with its time as ts_init: 1",
    )
    name = "2024-01-01T00-00-00-001000000Z_2024-01-01T00-00-00-005000000Z.parquet"
    assert ticks.path == tmp_path / "out" / TICKS / name
    table = pq.read_table(ticks.path)
    assert [(field.name, field.type, field.nullable) for field in table.schema] == [
        ("price", RAW, False),
        ("size", RAW, False),
        ("aggressor_side", pa.uint8(), False),
        ("trade_id", pa.string(), False),
        ("ts_event", pa.uint64(), False),
        ("ts_init", pa.uint64(), False),
    ]
    assert [list(row.values()) for row in table.to_pylist()] == [
        [raw("42000.1"), raw("0.005"), 2, "7", (JANUARY_MS + 1) * NS, (JANUARY_MS + 1) * NS],
        [raw("42000"), raw("1"), 1, "8", (JANUARY_MS + 5) * NS, (JANUARY_MS + 5) * NS],
        [raw("42000.25"), raw("2"), 2, "9", (JANUARY_MS + 3) * NS, (JANUARY_MS + 5) * NS],
    ]
    assert (table.schema.metadata[b"price_precision"], table.schema.metadata[b"size_precision"]) == (b"2", b"3")


def test_trades_of_which_none_can_be_held_are_an_error(tmp_path: Path) -> None:
    storage = store(tmp_path, TRADES, "2024-01-01", [trade(1, JANUARY_MS, qty="0")])
    with pytest.raises(ContentError, match=r"nothing left to write; trades without a quantity.*: 1"):
        export("nautilus", storage, [TRADES], tmp_path / "out")


def test_a_month_ends_where_the_calendar_says(tmp_path: Path) -> None:
    monthly = series("klines", "BTCUSDT", "spot", "1mo")
    storage = store(tmp_path, monthly, "2024-02", [candle(JANUARY_MS + 31 * 24 * HOUR_MS)])
    written = export("nautilus", storage, [monthly], tmp_path / "out")
    assert written[1].path.parent.name == "BTCUSDT.BINANCE-1-MONTH-LAST-EXTERNAL"
    assert written[1].path.name.startswith("2024-03-01T00-00-00-000000000Z_")


def test_one_file_a_year_of_bars_and_a_month_of_ticks(tmp_path: Path) -> None:
    december = JANUARY_MS - 2 * HOUR_MS
    store(tmp_path, KLINES, "2023-12", [candle(december), candle(december + HOUR_MS)])
    storage = store(tmp_path, TRADES, "2023-12-31", [trade(1, december), trade(2, JANUARY_MS + 1)])
    written = export("nautilus", storage, [KLINES, TRADES], tmp_path / "out")
    assert [(file.path.parent.parent.name, file.path.name[:19], file.rows) for file in written[1:]] == [
        ("bar", "2023-12-31T23-00-00", 1),  # closes at 23:00
        ("bar", "2024-01-01T00-00-00", 1),  # opens in December and closes in January
        ("trade_tick", "2023-12-31T22-00-00", 1),
        ("trade_tick", "2024-01-01T00-00-00", 1),
    ]


def test_every_interval_has_its_bar_type() -> None:
    names = [bar_type(series("klines", "BTCUSDT", "spot", interval)) for interval in INTERVAL_US]
    assert [name.removeprefix("BTCUSDT.BINANCE-").removesuffix("-LAST-EXTERNAL") for name in names] == [
        *("1-SECOND", "1-MINUTE", "3-MINUTE", "5-MINUTE", "15-MINUTE", "30-MINUTE"),
        *("1-HOUR", "2-HOUR", "4-HOUR", "6-HOUR", "8-HOUR", "12-HOUR", "1-DAY", "3-DAY", "1-WEEK", "1-MONTH"),
    ]


def test_no_rows_write_nothing(tmp_path: Path) -> None:
    storage = store(tmp_path, KLINES, "2024-01", [candle(JANUARY_MS)])
    assert export("nautilus", storage, [KLINES, TRADES], tmp_path / "out", Span(0, 1)) == []
    assert files_below(tmp_path / "out") == []


def test_the_precision_of_options_holds_and_a_smaller_one_is_refused(tmp_path: Path) -> None:
    storage = store(tmp_path, KLINES, "2024-01", [candle(JANUARY_MS)])
    written = export("nautilus", storage, [KLINES], tmp_path / "out", price_precision=5, size_precision=4)
    assert pq.read_schema(written[1].path).metadata[b"price_precision"] == b"5"
    assert pq.read_table(written[0].path)["size_increment"].to_pylist() == ["0.0001"]
    with pytest.raises(ConfigError, match="--price-precision 1: BTCUSDT has values of 2 decimals"):
        export("nautilus", storage, [KLINES], tmp_path / "other", price_precision=1)


def test_a_longer_export_replaces_ours_and_nothing_else_is_overlapped(tmp_path: Path) -> None:
    out = tmp_path / "out"
    storage = store(tmp_path, KLINES, "2024-01", [candle(JANUARY_MS + hour * HOUR_MS) for hour in range(4)])
    two = Span(JANUARY_MS * 1000, (JANUARY_MS + 2 * HOUR_MS) * 1000)
    export("nautilus", storage, [KLINES], out, two)
    (written,) = export("nautilus", storage, [KLINES], out)[1:]
    assert [path.name for path in (out / BARS).iterdir()] == [written.path.name]
    with pytest.raises(StorageError, match="rows would be in the catalog twice"):
        export("nautilus", storage, [KLINES], out, two)
    foreign = out / BARS / "2024-01-01T01-30-00-000000000Z_2024-01-01T02-00-00-000000000Z.parquet"
    written.path.unlink()
    pq.write_table(pa.table({"open": [1]}), foreign)
    with pytest.raises(StorageError, match="overlaps"):
        export("nautilus", storage, [KLINES], out)
    assert [path.name for path in (out / BARS).iterdir()] == [foreign.name]


def test_more_decimals_than_the_instrument_there_has_are_refused(tmp_path: Path) -> None:
    storage = store(tmp_path, KLINES, "2024-01", [candle(JANUARY_MS, "1.5,1.5,1.5,1.5")])
    export("nautilus", storage, [KLINES], tmp_path / "out")
    store(tmp_path, KLINES, "2024-02", [candle(JANUARY_MS + 31 * 24 * HOUR_MS, "1.25,1.25,1.25,1.25")])
    february = Span((JANUARY_MS + 31 * 24 * HOUR_MS) * 1000, 4_000_000_000_000_000)
    with pytest.raises(StorageError, match="with 1 decimals of price and 1 of size, and 2 and 1 are needed"):
        export("nautilus", storage, [KLINES], tmp_path / "out", february)


def test_what_is_too_large_for_a_catalog_is_refused(tmp_path: Path) -> None:
    storage = store(tmp_path, KLINES, "2024-01", [candle(JANUARY_MS, volume="99999999999999")])
    with pytest.raises(ContentError, match=r"um/klines/BTCUSDT/1h: volume: .* more than the largest size"):
        export("nautilus", storage, [KLINES], tmp_path / "out")
    assert not (tmp_path / "out" / BARS).exists() or files_below(tmp_path / "out" / BARS) == []


@pytest.mark.parametrize(
    ("market", "symbol", "folder", "facts"),
    [
        ("spot", "BTCUSDT", "currency_pair/BTCUSDT.BINANCE", {"base_currency": "BTC", "lot_size": None}),
        (
            *("um", "1000SHIBUSDT", "crypto_perpetual/1000SHIBUSDT-PERP.BINANCE"),
            {"base_currency": "1000SHIB", "quote_currency": "USDT", "settlement_currency": "USDT", "multiplier": "1"},
        ),
        (
            *("cm", "BTCUSD_PERP", "crypto_perpetual/BTCUSD-PERP.BINANCE"),
            {"quote_currency": "USD", "settlement_currency": "BTC", "is_inverse": True, "multiplier": "100"},
        ),
        ("cm", "ETHUSD_PERP", "crypto_perpetual/ETHUSD-PERP.BINANCE", {"multiplier": "10"}),
    ],
)
def test_the_instrument(tmp_path: Path, market: str, symbol: str, folder: str, facts: dict[str, object]) -> None:
    one = series("klines", symbol, market)
    storage = store(tmp_path, one, "2024-01", [candle(JANUARY_MS)])
    path = export("nautilus", storage, [one], tmp_path / "out")[0].path
    assert path == tmp_path / "out" / "data" / folder / START
    row = pq.read_table(path).to_pylist()[0]
    expected = {"raw_symbol": symbol, "price_precision": 2, "price_increment": "0.01", "size_increment": "0.1", **facts}
    assert {name: row[name] for name in expected} == expected


@pytest.mark.parametrize("symbol", ["BTCUSDT_240329", "BTCXYZ"])
def test_a_symbol_without_an_instrument_says_so(tmp_path: Path, symbol: str) -> None:
    one = series("klines", symbol)
    storage = store(tmp_path, one, "2024-01", [candle(JANUARY_MS)])
    (bars,) = export("nautilus", storage, [one], tmp_path / "out")
    assert bars.notes[0].startswith("no instrument for ")


def test_an_instrument_of_the_user_is_left_alone_and_its_precision_holds(tmp_path: Path) -> None:
    out = tmp_path / "out"
    storage = store(tmp_path, KLINES, "2024-01", [candle(JANUARY_MS)])
    instrument, _ = export("nautilus", storage, [KLINES], out)
    table = pq.read_table(instrument.path)
    fee = table.schema.get_field_index("taker_fee")
    own = table.set_column(fee, "taker_fee", pa.array(["0.0004"])).replace_schema_metadata({"class": "CryptoPerpetual"})
    places = own.schema.get_field_index("price_precision")
    own = own.set_column(places, "price_precision", pa.array([4], pa.uint8()))
    pq.write_table(own, instrument.path)
    (out / BARS / "2024-01-01T01-00-00-000000000Z_2024-01-01T01-00-00-000000000Z.parquet").unlink()
    (bars,) = export("nautilus", storage, [KLINES], out)
    assert bars.notes == ("the instrument BTCUSDT-PERP.BINANCE that is there is not of an export; it is left as it is",)
    assert pq.read_schema(bars.path).metadata[b"price_precision"] == b"4"
    assert pq.read_table(instrument.path)["taker_fee"].to_pylist() == ["0.0004"]


def test_nautilus_reads_the_same_rows_at_the_same_times(tmp_path: Path) -> None:
    out = tmp_path / "out"
    store(tmp_path, KLINES, "2024-01", [candle(JANUARY_MS + hour * HOUR_MS, volume=str(hour)) for hour in (0, 1, 3)])
    prices = ["0.00001234", "0.00001234", "0.00001233", "0.00001234"]
    ticks = [
        trade(1 + number, JANUARY_MS + 7 * number, f"{42000 + number % 13}.{number % 10}", f"0.{number:05d}", "false")
        for number in range(1, 3000)
    ]
    store(tmp_path, TRADES, "2024-01-01", ticks)
    shib, chinese = series("klines", "1000SHIBUSDT"), series("klines", "币安人生USDT")
    coin, spot = series("klines", "BTCUSD_PERP", "cm"), series("klines", "BTCUSDT", "spot", "1mo")
    for one in (shib, chinese, coin):
        store(tmp_path, one, "2024-01", [candle(JANUARY_MS, ",".join(prices), "123456")])
    storage = store(tmp_path, spot, "2024-01", [candle(JANUARY_MS)])
    for group in ([KLINES, TRADES], [shib], [chinese], [coin], [spot]):
        export("nautilus", storage, group, out)
    read = read_by("nautilus", out, "--run")

    by_type: dict[str, list[list[object]]] = {}
    for name, *values in read["bars"]:
        by_type.setdefault(name.removesuffix("-LAST-EXTERNAL"), []).append(values)
    at = [(JANUARY_MS + (hour + 1) * HOUR_MS) * NS for hour in (0, 1, 3)]
    whole = ["42000.10", "42100.50", "41900.00", "42050.25"]
    month = 1_706_745_600_000_000_000
    assert by_type == {
        "BTCUSDT-PERP.BINANCE-1-HOUR": [
            [*whole, f"{hour}.00000", time, time] for hour, time in zip((0, 1, 3), at, strict=True)
        ],
        **{
            f"{name}-PERP.BINANCE-1-HOUR": [[*prices, "123456", at[0], at[0]]]
            for name in ("1000SHIBUSDT", "币安人生USDT", "BTCUSD")
        },
        "BTCUSDT.BINANCE-1-MONTH": [[*whole, "12.5", month, month]],
    }
    assert read["ticks"] == [
        [
            *("BTCUSDT-PERP.BINANCE", f"{42000 + number % 13}.{number % 10}0", f"0.{number:05d}", "BUYER"),
            *(str(1 + number), (JANUARY_MS + 7 * number) * NS, (JANUARY_MS + 7 * number) * NS),
        ]
        for number in range(1, 3000)
    ]
    assert sorted((each["id"], each["type"], each["price_precision"]) for each in read["instruments"]) == [
        ("1000SHIBUSDT-PERP.BINANCE", "CryptoPerpetual", 8),
        ("BTCUSD-PERP.BINANCE", "CryptoPerpetual", 8),
        ("BTCUSDT-PERP.BINANCE", "CryptoPerpetual", 2),
        ("BTCUSDT.BINANCE", "CurrencyPair", 2),
        ("币安人生USDT-PERP.BINANCE", "CryptoPerpetual", 8),
    ]
    heard = [time for kind, time, _ in read["heard"] if kind == "tick"]
    assert heard == [(JANUARY_MS + 7 * number) * NS for number in range(1, 3000)]
    assert sorted(time for kind, time, _ in read["heard"] if kind == "bar") == sorted([*at, at[0], at[0], at[0], month])
