"""hftbacktest's event arrays: every field spelled out, and read, validated and replayed by hftbacktest itself."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from export_world import HOUR_MS, JANUARY_MS, export, files_below, read_by, series, store, trade

from core.errors import ContentError
from core.types import Span

TRADES = series("trades", "BTCUSDT")
BUY, SELL = 0xE0000002, 0xD0000002
"""Exchange, local, side, trade."""
DAY_MS = 24 * HOUR_MS
NS = 1_000_000


def row(event: int, at_ms: int, price: float, quantity: float) -> tuple[int | float, ...]:
    return (event, at_ms * NS, at_ms * NS, price, quantity, 0, 0, 0.0)


def test_one_file_a_day_with_every_field(tmp_path: Path) -> None:
    lines = [
        trade(1, JANUARY_MS, "42000.1", "0.005", "true"),
        trade(2, JANUARY_MS + 9, "0.00000001", "0", "false"),
        trade(3, JANUARY_MS + 4, "42000.2", "1"),  # an older trade with a newer id
        trade(4, JANUARY_MS + 9, "3", "2"),
    ]
    store(tmp_path, TRADES, "2024-01-01", lines)
    storage = store(tmp_path, TRADES, "2024-01-02", [trade(5, JANUARY_MS + DAY_MS)])
    written = export("hftbacktest", storage, [TRADES], tmp_path / "out")
    names = [f"um/BTCUSDT/BTCUSDT-trades-2024-01-0{day}.npz" for day in (1, 2)]
    assert files_below(tmp_path / "out") == names
    assert [(file.path, file.rows, file.series) for file in written] == [
        (tmp_path / "out" / name, rows, (TRADES,)) for name, rows in zip(names, (4, 1), strict=True)
    ]
    assert written[0].notes == ("trades older than the one before them, put where their time says: 1",)
    with np.load(written[0].path) as archive:
        assert archive.files == ["data"]
        data = archive["data"]
    assert data.dtype.itemsize == 64
    fields = ["ev", "exch_ts", "local_ts", "px", "qty", "order_id", "ival", "fval"]
    kinds = ["u8", "i8", "i8", "f8", "f8", "u8", "i8", "f8"]
    assert [(name, data.dtype[name].str[1:]) for name in data.dtype.names] == list(zip(fields, kinds, strict=True))
    assert data.tolist() == [
        row(SELL, JANUARY_MS, 42000.1, 0.005),
        row(SELL, JANUARY_MS + 4, 42000.2, 1.0),
        row(BUY, JANUARY_MS + 9, 1e-8, 0.0),
        row(SELL, JANUARY_MS + 9, 3.0, 2.0),
    ]


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    storage = store(tmp_path, TRADES, "2024-01-01", [trade(number, JANUARY_MS + number) for number in range(500)])
    one, two = (export("hftbacktest", storage, [TRADES], tmp_path / name)[0].path for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(one) as archive:
        assert archive.testzip() is None


def test_a_trade_of_yesterday_after_midnight_is_put_into_yesterday(tmp_path: Path) -> None:
    midnight = JANUARY_MS + DAY_MS
    lines = [trade(1, midnight - 5), trade(2, midnight + 1), trade(3, midnight - 1)]
    storage = store(tmp_path, TRADES, "2024-01", lines)
    written = export("hftbacktest", storage, [TRADES], tmp_path / "out")
    assert [(file.path.stem[-10:], file.rows) for file in written] == [("2024-01-01", 2), ("2024-01-02", 1)]


def test_a_trade_that_goes_back_further_is_refused(tmp_path: Path) -> None:
    lines = [trade(number, JANUARY_MS + number * HOUR_MS) for number in range(200)]
    storage = store(tmp_path, TRADES, "2024-01", [*lines, trade(300, JANUARY_MS + 1)])
    with pytest.raises(
        ContentError, match="um/trades/BTCUSDT: a trade of 2024-01-01 comes after trades of a later day"
    ):
        export("hftbacktest", storage, [TRADES], tmp_path / "out")


def test_no_rows_write_nothing(tmp_path: Path) -> None:
    storage = store(tmp_path, TRADES, "2024-01-01", [trade(1, JANUARY_MS)])
    assert export("hftbacktest", storage, [TRADES], tmp_path / "out", Span(0, 1)) == []
    assert not (tmp_path / "out").exists()


def test_aggregated_trades_and_microseconds_of_spot(tmp_path: Path) -> None:
    one = series("agg_trades", "1000SHIBUSDT", "spot")
    micro = (JANUARY_MS + 366 * DAY_MS) * 1000 + 7
    storage = store(tmp_path, one, "2025-01-01", [f"1,0.5,3,1,2,{micro},false,true"])
    (written,) = export("hftbacktest", storage, [one], tmp_path / "out")
    assert written.path == tmp_path / "out/spot/1000SHIBUSDT/1000SHIBUSDT-agg_trades-2025-01-01.npz"
    assert np.load(written.path)["data"].tolist() == [(BUY, micro * 1000, micro * 1000, 0.5, 3.0, 0, 0, 0.0)]


def test_hftbacktest_sees_the_same_trades_at_the_same_times(tmp_path: Path) -> None:
    one = series("trades", "币安人生USDT")
    lines = [
        trade(number, JANUARY_MS + 3 * number - 10 * (number % 7 == 0), f"{100 + number % 9}.5", "0.25", maker)
        for number, maker in zip(range(1, 900), ["true", "false"] * 450, strict=False)
    ]
    storage = store(tmp_path, one, "2024-01-01", lines)
    (written,) = export("hftbacktest", storage, [one], tmp_path / "out")
    expected = sorted(
        (
            row(SELL if number % 2 else BUY, JANUARY_MS + 3 * number - 10 * (number % 7 == 0), 100.5 + number % 9, 0.25)
            for number in range(1, 900)
        ),
        key=lambda each: each[1],
    )
    read = read_by("hftbacktest", written.path, "0.5")
    assert read["rows"] == read["seen"] == [list(each) for each in expected]
