"""freqtrade's data folder: names and columns spelled out, and read by freqtrade's own data handler."""

from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pytest
from export_world import HOUR_MS, JANUARY_MS, candle, export, files_below, read_by, series, store

from core.errors import ContentError
from core.types import Span

KLINES, FUNDING = series("klines", "BTCUSDT"), series("funding_rate", "BTCUSDT")
PRICES = [42000.1, 42100.5, 41900.0, 42050.25]
MS = pa.timestamp("ms", tz="UTC")


def rows_of(path: Path) -> list[list[object]]:
    table = feather.read_table(path)
    dates = table["date"].cast(pa.int64()).to_pylist()
    return [[date, *list(row.values())[1:]] for date, row in zip(dates, table.to_pylist(), strict=True)]


def test_candles_at_their_open_with_gaps_kept(tmp_path: Path) -> None:
    lines = [candle(JANUARY_MS), candle(JANUARY_MS + 2 * HOUR_MS, "0.00000001,3,0.00000001,2", "0")]
    storage = store(tmp_path, KLINES, "2024-01", lines)
    (written,) = export("freqtrade", storage, [KLINES], tmp_path / "out")
    assert (written.path, written.rows) == (tmp_path / "out/futures/BTC_USDT_USDT-1h-futures.feather", 2)
    schema = feather.read_table(written.path).schema
    assert [(field.name, field.type) for field in schema] == [
        ("date", MS),
        *((name, pa.float64()) for name in ("open", "high", "low", "close", "volume")),
    ]
    assert rows_of(written.path) == [
        [JANUARY_MS, *PRICES, 12.5],
        [JANUARY_MS + 2 * HOUR_MS, 1e-8, 3.0, 1e-8, 2.0, 0.0],
    ]


def test_candles_of_files_that_overlap_are_sorted_and_each_there_once(tmp_path: Path) -> None:
    at = [JANUARY_MS + hour * HOUR_MS for hour in range(48)]
    store(tmp_path, KLINES, "2024-01-01", [candle(one) for one in [*at[:23], at[25]]])
    storage = store(tmp_path, KLINES, "2024-01-02", [candle(one) for one in at[22:]])
    (written,) = export("freqtrade", storage, [KLINES], tmp_path / "out")
    assert written.rows == 48
    assert [row[0] for row in rows_of(written.path)] == at


def test_funding_keeps_its_milliseconds(tmp_path: Path) -> None:
    lines = [f"{JANUARY_MS + 3},8,0.0001", f"{JANUARY_MS + 8 * HOUR_MS},8,-0.00012345"]
    storage = store(tmp_path, FUNDING, "2024-01", lines)
    (written,) = export("freqtrade", storage, [FUNDING], tmp_path / "out")
    assert written.path == tmp_path / "out/futures/BTC_USDT_USDT-1h-funding_rate.feather"
    assert feather.read_table(written.path).schema.names == ["date", "funding_rate"]
    assert rows_of(written.path) == [[JANUARY_MS + 3, 0.0001], [JANUARY_MS + 8 * HOUR_MS, -0.00012345]]


@pytest.mark.parametrize(
    ("dataset", "market", "symbol", "interval", "name"),
    [
        ("klines", "spot", "BTCUSDT", "1mo", "BTC_USDT-1Mo.feather"),
        ("klines", "spot", "ADAEUR", "1m", "ADA_EUR-1m.feather"),
        ("klines", "spot", "BTCAEUR", "1m", "BTC_AEUR-1m.feather"),
        ("klines", "spot", "BNBFDUSD", "1d", "BNB_FDUSD-1d.feather"),
        ("klines", "um", "1000SHIBUSDT", "1h", "futures/1000SHIB_USDT_USDT-1h-futures.feather"),
        ("klines", "um", "币安人生USDT", "1h", "futures/币安人生_USDT_USDT-1h-futures.feather"),
        ("klines", "um", "BTCUSDT_240329", "1h", "futures/BTC_USDT_USDT-240329-1h-futures.feather"),
        ("klines", "cm", "BTCUSD_PERP", "1h", "futures/BTC_USD_BTC-1h-futures.feather"),
        ("mark_price", "um", "BTCUSDT", "1h", "futures/BTC_USDT_USDT-1h-mark.feather"),
        ("index_price", "cm", "BTCUSD", "1h", "futures/BTC_USD_BTC-1h-index.feather"),
        ("premium_index", "um", "BTCUSDT", "1h", "futures/BTC_USDT_USDT-1h-premiumIndex.feather"),
    ],
)
def test_names(tmp_path: Path, dataset: str, market: str, symbol: str, interval: str, name: str) -> None:
    one = series(dataset, symbol, market, interval)
    storage = store(tmp_path, one, "2024-01", [candle(JANUARY_MS)])
    export("freqtrade", storage, [one], tmp_path / "out")
    assert files_below(tmp_path / "out") == [name]
    volume = {"klines": 525000.125 if market == "cm" else 12.5}.get(dataset, 0.0)  # of cm the base asset
    assert rows_of(tmp_path / "out" / name) == [[JANUARY_MS, *PRICES, volume]]


def test_no_rows_write_nothing(tmp_path: Path) -> None:
    storage = store(tmp_path, KLINES, "2024-01", [candle(JANUARY_MS)])
    assert export("freqtrade", storage, [KLINES], tmp_path / "out", Span(0, 1)) == []
    assert not (tmp_path / "out").exists()


def test_a_symbol_that_cannot_be_split_is_refused(tmp_path: Path) -> None:
    one = series("klines", "BTCXYZ")
    storage = store(tmp_path, one, "2024-01", [candle(JANUARY_MS)])
    with pytest.raises(ContentError, match="um/BTCXYZ: cannot tell base from quote"):
        export("freqtrade", storage, [one], tmp_path / "out")


def test_freqtrade_reads_the_same_rows_at_the_same_times(tmp_path: Path) -> None:
    mark = series("mark_price", "BTCUSDT")
    monthly, chinese = series("klines", "BTCUSDT", "spot", "1mo"), series("klines", "币安人生USDT")
    coin = series("klines", "BTCUSD_PERP", "cm")
    store(tmp_path, KLINES, "2024-01", [candle(JANUARY_MS + hour * HOUR_MS, volume=str(hour)) for hour in (0, 1, 3)])
    store(tmp_path, mark, "2024-01", [candle(JANUARY_MS + hour * HOUR_MS) for hour in range(9)])
    for one in (monthly, chinese, coin):
        store(tmp_path, one, "2024-01", [candle(JANUARY_MS)])
    lines = [f"{JANUARY_MS + 3},8,0.0001", f"{JANUARY_MS + 8 * HOUR_MS},8,-0.00012345"]
    storage = store(tmp_path, FUNDING, "2024-01", lines)
    export("freqtrade", storage, [KLINES, mark, monthly, chinese, coin, FUNDING], tmp_path / "out")
    read = read_by("freqtrade", tmp_path / "out")
    found = {(each["pair"], each["timeframe"], each["type"]): each for each in read["found"]}
    once = [[JANUARY_MS, *PRICES, 12.5]]
    assert {name: each["rows"] for name, each in found.items()} == {
        ("BTC/USDT", "1M", "spot"): once,
        ("BTC/USDT:USDT", "1h", "futures"): [[JANUARY_MS + hour * HOUR_MS, *PRICES, float(hour)] for hour in (0, 1, 3)],
        ("BTC/USDT:USDT", "1h", "mark"): [[JANUARY_MS + hour * HOUR_MS, *PRICES, 0.0] for hour in range(9)],
        # freqtrade itself floors settlements to the second when it loads them
        ("BTC/USDT:USDT", "1h", "funding_rate"): [[JANUARY_MS, 0.0001], [JANUARY_MS + 8 * HOUR_MS, -0.00012345]],
        ("BTC/USD:BTC", "1h", "futures"): [[JANUARY_MS, *PRICES, 525000.125]],
        ("币安人生/USDT:USDT", "1h", "futures"): once,
    }
    assert found["BTC/USDT:USDT", "1h", "funding_rate"]["dates_on_disk"] == [JANUARY_MS + 3, JANUARY_MS + 8 * HOUR_MS]
    assert found["BTC/USDT:USDT", "1h", "futures"]["filled"] == 4
    assert read["fees"] == [[JANUARY_MS, 42000.1, 0.0001], [JANUARY_MS + 8 * HOUR_MS, 42000.1, -0.00012345]]
