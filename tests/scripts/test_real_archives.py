"""Every real archive, served, downloaded, stored and loaded, equals the facts that plain Python found in it."""

import csv
import json
import zipfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from factories import Command, real_folder

from core.datasets import DATASETS
from core.exchanges.binance.urls import parse_key
from core.layout import Layout, home_of
from core.sample.server import running_server
from core.types import Period, Series
from loader import BacktestDataLoader

REMOTE = {dataset.remote for dataset in DATASETS.values()}


def archives() -> dict[str, dict[str, Any]]:
    """The facts of every real archive whose kind of data exists here."""
    truth = json.loads((real_folder() / "truth.json").read_text())
    return {key: facts for key, facts in truth.items() if facts["type"] in REMOTE}


@pytest.fixture(scope="module")
def downloaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data root after one command for each market, kind of data and interval."""
    data = tmp_path_factory.mktemp("real") / "data"
    wanted = {(series.market, series.dataset, series.interval or "1h") for series, _ in map(named, archives())}
    total = 0
    with running_server(real_folder()) as server:
        for market, dataset, interval in sorted(wanted):
            run = Command("scripts/download_all.py", ["--source", server.url, "--data-dir", str(data), "--json"])
            done = run.run("--market", market, "--data-types", dataset, "--interval", interval)
            assert (done.code, done.json["failed"], done.json["missing"]) == (0, 0, 0), done.err
            total += done.json["stored"]
    assert total == len(archives())
    return data


def named(key: str) -> tuple[Series, Period]:
    parsed = parse_key(key)
    assert parsed is not None, key
    return parsed


def published(key: str, source: str) -> list[str]:
    """One column of the published CSV as its text, read with the standard library."""
    with zipfile.ZipFile(real_folder() / key) as archive:
        lines = list(csv.reader(archive.read(archive.namelist()[0]).decode().splitlines()))
    series, _ = named(key)
    place = [column.source for column in DATASETS[series.dataset].columns[series.market]].index(source)
    return [line[place] for line in lines if line[0].isdigit()]


def assert_exact(key: str, values: pd.Series, source: str, total: str) -> None:
    """Every double is the one nearest to the published decimal, and those decimals sum to the recorded fact."""
    texts = published(key, source)
    assert values.tolist() == [float(text) for text in texts], (key, source)
    assert sum(map(Decimal, texts)) == Decimal(total), (key, source)


def rows_of(layout: Layout, series: Series, period: Period, key: str) -> pd.DataFrame:
    """The rows that one archive has in its partition, by the footer."""
    path = layout.processed(series, home_of(series, period))
    sources = json.loads(pq.read_metadata(path).metadata[b"tapevault.sources"])
    place = [source["key"] for source in sources].index(key)
    start = sum(source["rows"] for source in sources[:place])
    return pq.read_table(path).slice(start, sources[place]["rows"]).to_pandas()


def each_frame(data: Path, remotes: set[str]) -> Iterator[tuple[str, dict[str, Any], pd.DataFrame, pd.DataFrame]]:
    """Key, facts, the stored rows, and the rows that the loader gives for that period."""
    layout = Layout(data)
    with BacktestDataLoader(data_dir=data) as loader:
        for key, facts in archives().items():
            if facts["type"] not in remotes:
                continue
            series, period = named(key)
            stored = rows_of(layout, series, period, key)
            columns = [name for name in stored.columns if name != "timestamp"]
            loaded = loader.load_data(
                *(series.symbol, period.first, period.last, series.dataset),
                interval=series.interval or "1h",
                market=series.market.value,
                columns=columns,
            )[series.dataset]
            yield key, facts, stored, loaded


def milliseconds(times: pd.Series) -> list[int]:
    return (times.astype("int64") // 1000).tolist()


def assert_loaded_is_stored(key: str, stored: pd.DataFrame, loaded: pd.DataFrame) -> None:
    for column in stored.columns:
        assert loaded[column].tolist() == stored[column].tolist(), (key, column)


def test_candles(downloaded: Path) -> None:
    seen = 0
    for key, facts, rows, loaded in each_frame(downloaded, {"klines"}):
        assert_loaded_is_stored(key, rows, loaded)
        times = milliseconds(rows["timestamp"])
        assert (len(rows), times[0], times[-1]) == (facts["rows"], facts["first_open_ms"], facts["last_open_ms"]), key
        assert milliseconds(rows["close_time"])[-1] == int(facts["last_close_raw"])
        for column, source, fact in [
            *(("close", "close", "sum_close"), ("volume", "volume", "sum_volume")),
            ("quote_volume", "quote_volume", "sum_quote"),
            ("taker_buy_base", "taker_buy_volume", "sum_taker_base"),
            ("taker_buy_quote", "taker_buy_quote_volume", "sum_taker_quote"),
        ]:
            assert_exact(key, rows[column], source, facts[fact])
        assert int(rows["trades"].sum()) == facts["sum_count"]
        assert rows["high"].max() == float(facts["high"])
        assert rows["low"].min() == float(facts["low"])
        assert (rows["open"].iloc[0], rows["close"].iloc[-1]) == (float(facts["open"]), float(facts["close"]))
        zero = rows["volume"] == 0
        assert [at for at, empty in zip(times, zero, strict=True) if empty] == facts["zero_volume_opens"]
        seen += 1
    assert seen > 60


def test_prices_that_nobody_trades_at(downloaded: Path) -> None:
    seen = 0
    for key, facts, rows, loaded in each_frame(downloaded, {"markPriceKlines", "indexPriceKlines"}):
        assert_loaded_is_stored(key, rows, loaded)
        assert milliseconds(rows["timestamp"]) == [facts["first_open_ms"]]
        row = rows.iloc[0]
        assert [row[name] for name in ("open", "high", "low", "close")] == [
            float(facts[name]) for name in ("open", "high", "low", "close")
        ]
        assert "volume" not in rows.columns
        seen += 1
    assert seen == 6


def test_trades_of_three_markets(downloaded: Path) -> None:
    seen = 0
    for key, facts, rows, loaded in each_frame(downloaded, {"trades"}):
        assert_loaded_is_stored(key, rows, loaded)
        assert (len(rows), rows["id"].iloc[0], rows["id"].iloc[-1]) == (
            *(facts["rows"], facts["first_id"], facts["last_id"]),
        )
        times = milliseconds(rows["timestamp"])
        assert (times[0], times[-1]) == (facts["first_time_ms"], facts["last_time_ms"])
        assert (rows["price"].min(), rows["price"].max()) == (float(facts["min_price"]), float(facts["max_price"]))
        assert_exact(key, rows["qty"], "qty", facts["sum_qty"])
        value = "base_qty" if "base_qty" in rows else "quote_qty"
        assert_exact(key, rows[value], value, facts["sum_quote"])
        bought = rows[~rows["is_buyer_maker"]]
        assert len(bought) == facts["taker_buys"]
        assert sum(Decimal(repr(qty)) for qty in bought["qty"]) == Decimal(facts["taker_buy_qty"])
        seen += 1
    assert seen == 5


def test_aggregated_trades_in_both_time_units(downloaded: Path) -> None:
    units = set()
    for key, facts, rows, loaded in each_frame(downloaded, {"aggTrades"}):
        assert_loaded_is_stored(key, rows, loaded)
        raw = rows["timestamp"].astype("int64").tolist()
        scale = 1 if facts["time_unit"] == "us" else 1000
        assert (raw[0], raw[-1]) == (*(int(facts["first_time_raw"]) * scale, int(facts["last_time_raw"]) * scale),)
        assert rows["agg_trade_id"].iloc[0] == facts["first_id"]
        assert_exact(key, rows["quantity"], "quantity", facts["sum_qty"])
        assert int((~rows["is_buyer_maker"]).sum()) == facts["taker_buys"]
        units.add(facts["time_unit"])
    assert units == {"ms", "us"}


def test_open_interest_and_ratios(downloaded: Path) -> None:
    seen = 0
    for key, facts, rows, loaded in each_frame(downloaded, {"metrics"}):
        assert_loaded_is_stored(key, rows, loaded)
        assert len(rows) == facts["rows"]
        for place, cells in ((0, facts["first"]), (-1, facts["last"])):
            row = rows.iloc[place]
            assert str(row["timestamp"]) == f"{cells[0]}+00:00"
            assert row.tolist()[1:] == [float(cell) for cell in cells[2:]]
        seen += 1
    assert seen == 1


def test_funding_with_its_jitter(downloaded: Path) -> None:
    seen = 0
    for key, facts, rows, loaded in each_frame(downloaded, {"fundingRate"}):
        assert_loaded_is_stored(key, rows, loaded)
        times = milliseconds(rows["timestamp"])
        assert (len(rows), times[0], times[-1]) == (facts["rows"], facts["first_time_ms"], facts["last_time_ms"])
        assert max(at % 3_600_000 for at in times) == facts["max_jitter_ms"]
        assert_exact(key, rows["funding_rate"], "last_funding_rate", facts["sum_rate"])
        assert int((rows["funding_rate"] < 0).sum()) == facts["negative"]
        assert {str(hours) for hours in rows["funding_interval_hours"]} == set(facts["intervals_h"])
        seen += 1
    assert seen == 2
