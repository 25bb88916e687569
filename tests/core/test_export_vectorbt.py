"""Wide frames for vectorbt: cells spelled out, read by our pandas, and by vectorbt's own Python."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from export_world import HOUR_MS, JANUARY_MS, candle, export, files_below, read_by, series, store

from core.errors import StorageError
from core.storage.manager import StorageManager
from core.types import Span

BTC, CHINESE, SHIB = (series("klines", symbol) for symbol in ("BTCUSDT", "币安人生USDT", "1000SHIBUSDT"))
FIELDS = ["close", "high", "low", "open", "quote_volume", "taker_buy_base", "taker_buy_quote", "trades", "volume"]


def stored(root: Path) -> StorageManager:
    """BTC lacks hour 1, the others have only hours 1 and 2."""
    store(root, BTC, "2024-01", [candle(JANUARY_MS + hour * HOUR_MS, volume=str(hour)) for hour in (0, 2, 3)])
    store(root, SHIB, "2024-01", [candle(JANUARY_MS + hour * HOUR_MS, "1,3,0.00000001,2") for hour in (1, 2)])
    return store(root, CHINESE, "2024-01", [candle(JANUARY_MS + hour * HOUR_MS, "1,3,1,2.5") for hour in (1, 2)])


def test_a_field_a_file_a_symbol_a_column(tmp_path: Path) -> None:
    written = export("vectorbt", stored(tmp_path), [CHINESE, BTC, SHIB], tmp_path / "out")
    assert files_below(tmp_path / "out") == [f"um/klines/1h/{field}.parquet" for field in FIELDS]
    assert {file.rows for file in written} == {4}
    assert {file.notes for file in written} == {("cells without a row of that time, NaN: 5 of 12",)}
    assert {file.series for file in written} == {(SHIB, BTC, CHINESE)}
    close = pd.read_parquet(tmp_path / "out/um/klines/1h/close.parquet")
    nan = np.nan
    expected = pd.DataFrame(
        {
            "1000SHIBUSDT": [nan, 2.0, 2.0, nan],
            "BTCUSDT": [42050.25, nan, 42050.25, 42050.25],
            "币安人生USDT": [nan, 2.5, 2.5, nan],
        },
        index=pd.DatetimeIndex(
            ["2024-01-01 00:00", "2024-01-01 01:00", "2024-01-01 02:00", "2024-01-01 03:00"],
            dtype="datetime64[us, UTC]",
            name="timestamp",
        ),
    )
    pd.testing.assert_frame_equal(close, expected, check_freq=False)
    low = pd.read_parquet(tmp_path / "out/um/klines/1h/low.parquet")
    assert low["1000SHIBUSDT"].tolist()[1:3] == [1e-8, 1e-8]
    trades = pd.read_parquet(tmp_path / "out/um/klines/1h/trades.parquet")
    assert (trades.dtypes == np.float64).all()
    assert trades["BTCUSDT"].dropna().tolist() == [101.0, 101.0, 101.0]


def test_funding_keeps_its_milliseconds(tmp_path: Path) -> None:
    one, two = series("funding_rate", "BTCUSDT"), series("funding_rate", "ETHUSDT")
    store(tmp_path, one, "2024-01", [f"{JANUARY_MS + 3},8,0.0001"])
    storage = store(tmp_path, two, "2024-01", [f"{JANUARY_MS},8,-0.0002"])
    export("vectorbt", storage, [one, two], tmp_path / "out")
    frame = pd.read_parquet(tmp_path / "out/um/funding_rate/funding_rate.parquet")
    assert frame.index.as_unit("ms").astype("int64").tolist() == [JANUARY_MS, JANUARY_MS + 3]
    assert frame["BTCUSDT"].isna().tolist() == [True, False]


def test_no_rows_write_nothing_and_a_symbol_without_rows_has_no_column(tmp_path: Path) -> None:
    storage = stored(tmp_path)
    assert export("vectorbt", storage, [BTC], tmp_path / "out", Span(0, 1)) == []
    assert not (tmp_path / "out").exists()
    first_hour = Span(JANUARY_MS * 1000, (JANUARY_MS + HOUR_MS) * 1000)
    written = export("vectorbt", storage, [BTC, SHIB], tmp_path / "out", first_hour)
    assert {file.series for file in written} == {(BTC,)}
    assert pd.read_parquet(written[0].path).columns.tolist() == ["BTCUSDT"]


def test_rows_that_change_between_two_fields_are_refused(tmp_path: Path) -> None:
    class Growing:
        def __init__(self) -> None:
            self.reads = 0

        def scan(self, one, span, columns=None):  # type: ignore[no-untyped-def]
            self.reads += 1
            end_us = span.end_us if self.reads > 1 else (JANUARY_MS + HOUR_MS) * 1000
            return storage.scan(one, Span(span.start_us, end_us), columns)

    storage = stored(tmp_path)
    with pytest.raises(StorageError, match="um/klines/BTCUSDT/1h changed while it was read"):
        export("vectorbt", Growing(), [BTC], tmp_path / "out")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_vectorbt_reads_the_same_cells_at_the_same_times(tmp_path: Path) -> None:
    export("vectorbt", stored(tmp_path), [BTC, CHINESE, SHIB], tmp_path / "out")
    read = read_by("vectorbt", tmp_path / "out", "1h")
    assert sorted(read["frames"]) == [f"um/klines/1h/{field}.parquet" for field in FIELDS]
    index = ["timestamp", "UTC", [(JANUARY_MS + hour * HOUR_MS) * 1_000_000 for hour in range(4)]]
    for frame in read["frames"].values():
        assert frame["index"] == index
        assert frame["columns"] == ["1000SHIBUSDT", "BTCUSDT", "币安人生USDT"]
    volume = read["frames"]["um/klines/1h/volume.parquet"]["rows"]
    assert volume == [[None, 0.0, None], [12.5, None, 12.5], [12.5, 2.0, 12.5], [None, 3.0, None]]
    assert read["returns"] == [0.0, 0.0, 0.0]
    assert read["averages"][1] == 42050.25
