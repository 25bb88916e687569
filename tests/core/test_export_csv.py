"""Plain CSV: bytes spelled out, every data type, compressed too."""

import gzip
from pathlib import Path

import duckdb
import pytest
from export_world import HOUR_MS, JANUARY_MS, candle, export, files_below, series, storage_at, store, trade

from core.errors import StorageError
from core.export import EXPORTS
from core.types import Span

KLINES, TRADES = series("klines", "BTCUSDT"), series("trades", "BTCUSDT")


def test_trades_byte_for_byte(tmp_path: Path) -> None:
    lines = [trade(1, JANUARY_MS + 7, "0.00000001", "0"), trade(2, JANUARY_MS + 5, "42000", "0.1", "false")]
    storage = store(tmp_path, TRADES, "2024-01-01", lines)
    (written,) = export("csv", storage, [TRADES], tmp_path / "out")
    assert (written.path, written.rows, written.series) == (tmp_path / "out/um/trades/BTCUSDT.csv", 2, (TRADES,))
    assert written.path.read_text() == (
        "timestamp,id,price,qty,quote_qty,is_buyer_maker\n"
        "2024-01-01 00:00:00.007000Z,1,1e-8,0,210.0005,true\n"
        "2024-01-01 00:00:00.005000Z,2,42000,0.1,210.0005,false\n"
    )


@pytest.mark.parametrize(
    ("dataset", "market", "symbol", "line", "name", "text"),
    [
        (
            *("klines", "cm", "BTCUSD_PERP", candle(JANUARY_MS), "cm/klines/BTCUSD_PERP-1h.csv"),
            "timestamp,open,high,low,close,volume,close_time,base_volume,trades,taker_buy_volume,taker_buy_base\n"
            "2024-01-01 00:00:00.000000Z,42000.1,42100.5,41900,42050.25,12.5,2024-01-01 00:59:59.999000Z,"
            "525000.125,101,6.25,262500\n",
        ),
        (
            *("mark_price", "um", "币安人生USDT", candle(JANUARY_MS), "um/mark_price/币安人生USDT-1h.csv"),
            "timestamp,open,high,low,close,close_time\n"
            "2024-01-01 00:00:00.000000Z,42000.1,42100.5,41900,42050.25,2024-01-01 00:59:59.999000Z\n",
        ),
        (
            *("funding_rate", "um", "1000SHIBUSDT", f"{JANUARY_MS + 3},8,-0.0001", "um/funding_rate/1000SHIBUSDT.csv"),
            "timestamp,funding_interval_hours,funding_rate\n2024-01-01 00:00:00.003000Z,8,-0.0001\n",
        ),
        (
            *("metrics", "um", "BTCUSDT", '2024-01-01 00:05:00,BTCUSDT,77082.018,33,"",1.42,1.61,'),
            "um/metrics/BTCUSDT.csv",
            "timestamp,open_interest,open_interest_value,top_trader_account_ratio,top_trader_position_ratio,"
            "account_ratio,taker_volume_ratio\n2024-01-01 00:05:00.000000Z,77082.018,33,,1.42,1.61,\n",
        ),
        (
            *("book_depth", "um", "BTCUSDT", "2024-01-01 00:00:31,-0.20,7900.25,648000120.5"),
            *(
                "um/book_depth/BTCUSDT.csv",
                "timestamp,percentage,depth,notional\n2024-01-01 00:00:31.000000Z,-0.2,7900.25,648000120.5\n",
            ),
        ),
        (
            *("book_ticker", "um", "BTCUSDT", f"38,2500.1,5,2500.11,12.5,{JANUARY_MS},{JANUARY_MS + 5}"),
            "um/book_ticker/BTCUSDT.csv",
            "timestamp,update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,event_time\n"
            "2024-01-01 00:00:00.000000Z,38,2500.1,5,2500.11,12.5,2024-01-01 00:00:00.005000Z\n",
        ),
        (
            *("liquidation_snapshot", "um", "BTCUSDT", f"{JANUARY_MS},BUY,LIMIT,IOC,9,30500,30450.2,FILLED,4,9"),
            "um/liquidation_snapshot/BTCUSDT.csv",
            "timestamp,side,order_type,time_in_force,original_quantity,price,average_price,order_status,"
            "last_fill_quantity,accumulated_fill_quantity\n"
            "2024-01-01 00:00:00.000000Z,BUY,LIMIT,IOC,9,30500,30450.2,FILLED,4,9\n",
        ),
    ],
)
def test_other_data_types(
    tmp_path: Path, dataset: str, market: str, symbol: str, line: str, name: str, text: str
) -> None:
    one = series(dataset, symbol, market)
    storage = store(tmp_path, one, "2024-01", [line])
    export("csv", storage, [one], tmp_path / "out")
    assert files_below(tmp_path / "out") == [name]
    assert (tmp_path / "out" / name).read_text() == text


def test_gzip_holds_the_same_text_and_is_the_same_every_time(tmp_path: Path) -> None:
    lines = [candle(JANUARY_MS + hour * HOUR_MS, volume=str(hour)) for hour in range(300)]
    storage = store(tmp_path, KLINES, "2024-01", lines)
    (plain,) = export("csv", storage, [KLINES], tmp_path / "plain")
    (first,), (second,) = (export("csv", storage, [KLINES], tmp_path / name, gzip=True) for name in "ab")
    assert first.path == tmp_path / "a/um/klines/BTCUSDT-1h.csv.gz"
    assert gzip.decompress(first.path.read_bytes()) == plain.path.read_bytes()
    assert first.path.read_bytes() == second.path.read_bytes()
    assert plain.path.read_text().count("timestamp") == 1
    assert duckdb.sql(f"select count(*), sum(volume) from '{first.path}'").fetchall() == [(300, sum(range(300)))]


def test_only_the_rows_of_the_span_and_nothing_for_none(tmp_path: Path) -> None:
    storage = store(tmp_path, KLINES, "2024-01", [candle(JANUARY_MS + hour * HOUR_MS) for hour in range(5)])
    span = Span((JANUARY_MS + HOUR_MS) * 1000, (JANUARY_MS + 3 * HOUR_MS) * 1000)
    assert [file.rows for file in export("csv", storage, [KLINES, TRADES], tmp_path / "out", span)] == [2]
    assert export("csv", storage_at(tmp_path / "empty"), [KLINES], tmp_path / "none") == []
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", EXPORTS)
def test_a_failure_leaves_the_old_file_and_nothing_half_written(tmp_path: Path, name: str) -> None:
    class Breaking:
        broken = False

        def scan(self, one, span, columns=None):  # type: ignore[no-untyped-def]
            for number, batch in enumerate(storage.scan(one, span, columns)):
                if self.broken and number == 2:
                    raise StorageError("the disk is gone")
                yield batch

    one = TRADES if name == "hftbacktest" else KLINES
    line = trade if one is TRADES else None
    lines = [line(n, JANUARY_MS + n) if line else candle(JANUARY_MS + n * HOUR_MS) for n in range(300)]
    storage = store(tmp_path, one, "2024-01", lines)
    rows = Breaking()
    export(name, rows, [one], tmp_path / "out")  # type: ignore[arg-type]
    before = {path: (tmp_path / "out" / path).read_bytes() for path in files_below(tmp_path / "out")}
    rows.broken = True
    with pytest.raises(StorageError, match="the disk is gone"):
        export(name, rows, [one], tmp_path / "out", **BOTH.get(name, {}))  # type: ignore[arg-type]
    assert {path: (tmp_path / "out" / path).read_bytes() for path in files_below(tmp_path / "out")} == before


BOTH = {"nautilus": {"price_precision": 2, "size_precision": 1}}
"""So that the failure comes while it writes, not while it looks for the decimals."""
