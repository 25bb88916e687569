"""Files the exchange published, stored and loaded, agree with facts computed from them by plain `csv` and `Decimal`."""

import json
import math
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from factories import REAL
from loader_world import World, us

from core.datasets import DATASETS
from core.types import ArchiveFile, FetchedFile, Market, Period, Proof, Series

pytestmark = pytest.mark.skipif(
    not (REAL / "truth.json").exists(), reason=f"no real archives at {REAL} (TAPEVAULT_REAL)"
)
BY_REMOTE = {dataset.remote: dataset for dataset in DATASETS.values()}
Truth = dict[str, Any]


def archive(key: str) -> ArchiveFile:
    """`data/futures/um/monthly/klines/BTCUSDT/5m/BTCUSDT-5m-2022-04.zip` in our nouns."""
    parts = key.split("/")
    market = Market.SPOT if parts[1] == "spot" else Market(parts[2])
    _, remote, symbol, *interval = parts[2 if market is Market.SPOT else 3 : -1]
    stem = parts[-1].removesuffix(".zip")
    period = Period.parse(stem.split(f"{interval[0] if interval else remote}-", 1)[1])
    one = Series(market, BY_REMOTE[remote].name, symbol, interval[0] if interval else None)
    return ArchiveFile(one, period, key, (REAL / key).stat().st_size, "", None, "")


def store(world: World, folder: str) -> list[Truth]:
    """Stores every real file of a folder and says what is true of them, in order of time."""
    known: dict[str, Truth] = json.loads((REAL / "truth.json").read_text())
    keys = sorted(key for key in known if key.startswith(f"data/{folder}/"))
    for key in keys:
        file = archive(key)
        path = world.layout.raw(file.series, file.period)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((REAL / key).read_bytes())
        world.storage.store([FetchedFile(file, path, file.size, known[key]["sha256"], Proof.SHA256_BY_CHECKSUM)])
    assert keys
    return [known[key] for key in keys]


def load(world: World, folder: str) -> pd.DataFrame:
    """Everything stored of a folder, by one call."""
    one = archive(next(path.relative_to(REAL).as_posix() for path in (REAL / "data" / folder).glob("*.zip"))).series
    with world.loader() as loader:
        interval = one.interval or "1h"
        always = ("2010-01-01", "2030-01-01")
        frames = loader.load_data(one.symbol, *always, one.dataset, interval, one.market, on_missing="ignore")
        return frames[one.dataset]


def total(truths: list[Truth], name: str) -> float:
    return float(sum(Decimal(truth[name]) for truth in truths))


def same_sum(values: "pd.Series[Any]", truths: list[Truth], name: str) -> bool:
    return math.isclose(math.fsum(values), total(truths, name), rel_tol=1e-12, abs_tol=1e-12)


def first_and_last_us(frame: pd.DataFrame) -> tuple[int, int]:
    times = frame["timestamp"].astype("int64")
    return int(times.iloc[0]), int(times.iloc[-1])


def exact_us(truth: Truth, name: str) -> int:
    """A time as published, in milliseconds or microseconds."""
    return int(truth[name]) * (1000 if truth["time_unit"] == "ms" else 1)


@pytest.mark.parametrize(
    "folder",
    [
        "spot/monthly/klines/BTCUSDT/1h",
        "spot/daily/klines/ADABTC/1m",
        "futures/um/monthly/klines/BTCUSDT/5m",
        "futures/um/daily/klines/BTCUSDT/1m",
    ],
)
def test_candles(world: World, folder: str) -> None:
    truths = store(world, folder)
    frame = load(world, folder)
    assert len(frame) == sum(truth["rows"] for truth in truths)
    assert first_and_last_us(frame) == (truths[0]["first_open_ms"] * 1000, truths[-1]["last_open_ms"] * 1000)
    assert (frame["open"].iloc[0], frame["close"].iloc[-1]) == (float(truths[0]["open"]), float(truths[-1]["close"]))
    assert frame["high"].max() == max(float(truth["high"]) for truth in truths)
    assert frame["low"].min() == min(float(truth["low"]) for truth in truths)
    assert int(frame["trades"].sum()) == sum(truth["sum_count"] for truth in truths)
    sums = {"close": "close", "volume": "volume", "quote_volume": "quote", "taker_buy_base": "taker_base"}
    for column, name in (sums | {"taker_buy_quote": "taker_quote"}).items():
        assert same_sum(frame[column], truths, f"sum_{name}"), column


def test_index_prices_of_a_pair_for_its_contract(world: World) -> None:
    truths = store(world, "futures/cm/monthly/indexPriceKlines/BTCUSD/1mo")
    with world.loader() as loader:
        frame = loader.load_data("BTCUSD_PERP", "2020-06-01", "2020-07-31", "index_price", "1mo", "cm")["index_price"]
    assert frame["symbol"].tolist() == ["BTCUSD_PERP"] * 2
    for name in ("open", "high", "low", "close"):
        assert frame[name].tolist() == [float(truth[name]) for truth in truths]


def test_funding_keeps_its_milliseconds(world: World) -> None:
    truths = store(world, "futures/um/monthly/fundingRate/BTCUSDT")
    frame = load(world, "futures/um/monthly/fundingRate/BTCUSDT")
    assert len(frame) == sum(truth["rows"] for truth in truths)
    assert first_and_last_us(frame) == (truths[0]["first_time_ms"] * 1000, truths[-1]["last_time_ms"] * 1000)
    assert same_sum(frame["funding_rate"], truths, "sum_rate")
    assert set(frame["funding_interval_hours"]) == {8}
    late_us = frame["timestamp"].astype("int64") % us("1970-01-01T01:00")
    assert late_us.max() == max(truth["max_jitter_ms"] for truth in truths) * 1000


@pytest.mark.parametrize(
    ("folder", "number", "quantity"),
    [
        ("futures/um/daily/trades/BTCUSDT", "id", "qty"),
        ("futures/cm/daily/trades/ETHUSD_PERP", "id", "qty"),
        ("spot/daily/trades/ETHUSDT", "id", "qty"),
        ("spot/daily/aggTrades/BTCUSDT", "agg_trade_id", "quantity"),
    ],
)
def test_trades(world: World, folder: str, number: str, quantity: str) -> None:
    truths = store(world, folder)
    frame = load(world, folder)
    assert len(frame) == sum(truth["rows"] for truth in truths)
    assert (frame[number].iloc[0], frame[number].iloc[-1]) == (truths[0]["first_id"], truths[-1]["last_id"])
    assert first_and_last_us(frame) == (exact_us(truths[0], "first_time_raw"), exact_us(truths[-1], "last_time_raw"))
    assert (frame["price"].iloc[0], frame["price"].iloc[-1]) == (
        float(truths[0]["first_price"]),
        float(truths[-1]["last_price"]),
    )
    assert (~frame["is_buyer_maker"]).sum() == sum(truth["taker_buys"] for truth in truths)
    assert same_sum(frame[quantity], truths, "sum_qty")
    assert same_sum(frame[quantity][~frame["is_buyer_maker"]], truths, "taker_buy_qty")
