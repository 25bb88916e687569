"""Real archives, exported, hold the very decimals and times that the exchange published as text."""

import csv
import io
import zipfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from export_world import export, read_by, store
from factories import real_folder

from core.datasets import DATASETS
from core.exchanges.binance.urls import parse_key
from core.storage.manager import StorageManager
from core.types import Series

CANDLES = [
    "data/spot/daily/klines/ADABTC/1m/ADABTC-1m-2021-11-28.zip",
    "data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2017-08.zip",
    "data/spot/monthly/klines/ETHBTC/1d/ETHBTC-1d-2019-03.zip",
    "data/futures/um/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2022-05-04.zip",
    "data/futures/um/monthly/klines/BTCUSDT/5m/BTCUSDT-5m-2022-04.zip",
]
TRADES = [
    "data/futures/cm/daily/trades/ETHUSD_PERP/ETHUSD_PERP-trades-2024-08-08.zip",
    "data/futures/um/daily/trades/BTCUSDT/BTCUSDT-trades-2024-08-08.zip",
    "data/spot/daily/trades/ETHUSDT/ETHUSDT-trades-2024-08-08.zip",
]
Text = dict[str, list[str]]


def stored(root: Path, key: str) -> tuple[StorageManager, Series, Text]:
    """The archive stored, and its columns as the text that was published."""
    with zipfile.ZipFile(real_folder() / key) as archive:
        lines = archive.read(archive.namelist()[0]).decode().splitlines()
    parsed = parse_key(key)
    assert parsed is not None
    one, period = parsed
    rows = [row for row in csv.reader(io.StringIO("\n".join(lines))) if row[0].isdigit()]
    names = [column.source for column in DATASETS[one.dataset].columns[one.market]]
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=False))
    return store(root, one, period.label, lines), one, columns


def integers(path: Path, name: str) -> list[int]:
    return [int.from_bytes(value, "little") for value in pq.read_table(path)[name].to_pylist()]


def scaled(texts: list[str]) -> list[int]:
    return [int(Decimal(text).scaleb(16)) for text in texts]


@pytest.mark.parametrize("key", CANDLES, ids=lambda key: key.rsplit("/", 1)[-1])
def test_candles_of_a_catalog_are_the_published_decimals(tmp_path: Path, key: str) -> None:
    storage, one, text = stored(tmp_path, key)
    _, bars = export("nautilus", storage, [one], tmp_path / "out")
    for name in ("open", "high", "low", "close", "volume"):
        assert integers(bars.path, name) == scaled(text[name]), name
    closes = [(int(time) + 1) * 1_000_000 for time in text["close_time"]]  # published as ….999
    assert pq.read_table(bars.path)["ts_event"].to_pylist() == closes


@pytest.mark.parametrize("key", TRADES, ids=lambda key: key.rsplit("/", 1)[-1])
def test_trades_are_the_published_ones(tmp_path: Path, key: str) -> None:
    storage, one, text = stored(tmp_path, key)
    _, ticks = export("nautilus", storage, [one], tmp_path / "catalog")
    assert integers(ticks.path, "price") == scaled(text["price"])
    assert integers(ticks.path, "size") == scaled(text["qty"])
    table = pq.read_table(ticks.path, columns=["trade_id", "ts_event", "aggressor_side"])
    times = [int(time) * 1_000_000 for time in text["time"]]
    assert (table["trade_id"].to_pylist(), table["ts_event"].to_pylist()) == (text["id"], times)
    makers = [word.lower() == "true" for word in text["is_buyer_maker"]]
    assert table["aggressor_side"].to_pylist() == [2 if maker else 1 for maker in makers]
    (day,) = export("hftbacktest", storage, [one], tmp_path / "events")
    data = np.load(day.path)["data"]
    order = np.argsort(np.array(times), kind="stable")
    assert data["exch_ts"].tolist() == data["local_ts"].tolist() == np.array(times)[order].tolist()
    assert data["px"].tolist() == np.array([float(price) for price in text["price"]])[order].tolist()
    assert data["qty"].tolist() == np.array([float(size) for size in text["qty"]])[order].tolist()


def test_nautilus_prints_what_was_published(tmp_path: Path) -> None:
    storage, one, text = stored(tmp_path, CANDLES[0])
    export("nautilus", storage, [one], tmp_path / "out")
    read = read_by("nautilus", tmp_path / "out", "--run")
    names = ("open", "high", "low", "close", "volume")
    published = [tuple(map(Decimal, row)) for row in zip(*(text[name] for name in names), strict=True)]
    assert [tuple(map(Decimal, bar[1:6])) for bar in read["bars"]] == published
    assert [time for _, time, _ in read["heard"]] == [(int(each) + 1) * 1_000_000 for each in text["close_time"]]
