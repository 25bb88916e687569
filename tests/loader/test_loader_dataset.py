"""Datasets: what is in them against literal twins, what they may not see, and that they are the same from disk."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from loader_world import Row, World, series, us

from core.errors import ConfigError, FilesChanged, NoData, SnapshotMismatch, StorageError
from core.learning.splits import PurgedKFold
from core.snapshot.take import take
from core.snapshot.text import save
from core.types import Cadence, Market, Span
from loader import (
    BacktestDataLoader,
    MLDataset,
    build_ml_dataset,
    dataset_of,
    open_ml_dataset,
    run_baseline,
    write_ml_dataset,
)

CHECKOUT = Path(__file__).resolve().parents[2]
DAYS = ("2024-03-01", "2024-03-04")


def rows_of(count: int = 4000, seed: int = 1, step: str = "1min") -> pd.DataFrame:
    """Rows of one's own: a price, and features of which some are not known at first or now and then."""
    random = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(random.normal(0, 1e-3, count)))
    frame = pd.DataFrame({"timestamp": pd.date_range("2024-01-01 22:00", periods=count, freq=step, tz="UTC")})
    frame["available_at"] = frame["timestamp"] + pd.Timedelta(step)
    frame["close"], frame["high"], frame["low"] = close, close * 1.0004, close * 0.9997
    frame["noise"] = random.normal(5, 3, count)
    frame["late"] = pd.Series(random.normal(0, 1, count)).rolling(50).mean()
    frame["often"] = np.where(random.random(count) < 0.1, np.nan, random.normal(-2, 9, count))
    frame["constant"] = 7.0
    return frame


def trades(start: str, days: int, a_day: int = 2500, seed: int = 3) -> list[Row]:
    random = np.random.default_rng(seed)
    count = days * a_day
    times = np.sort(random.integers(us(start), us(start) + days * 86_400_000_000, count))
    prices = np.round(100 * np.exp(np.cumsum(random.normal(0, 3e-4, count))), 2)
    amounts = np.round(random.exponential(1, count) + 0.001, 3)
    return [
        {
            "id": number + 1,
            "price": float(prices[number]),
            "qty": float(amounts[number]),
            "quote_qty": float(round(prices[number] * amounts[number], 5)),
            "timestamp": int(times[number]),
            "is_buyer_maker": bool(random.random() < 0.5),
        }
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("stored") / "data")
    world.put(series("trades", "BTCUSDT"), trades(DAYS[0], 4), Cadence.DAILY)
    return world


ASKED: dict[str, Any] = {"interval": "1m", "label_horizon": 10, "on_missing": "ignore", "test_share": 0.2}
FEW = ["close", "log_return", "volume", "volume_imbalance", "volatility_10", "vwap_deviation"]


@pytest.fixture(scope="module")
def built(stored: World) -> MLDataset:
    return build_ml_dataset("BTCUSDT", *DAYS, data_dir=stored.root, **ASKED)


def parts_of(dataset: MLDataset) -> Iterator[tuple[str, pd.DataFrame, pd.Series, pd.DataFrame]]:
    for name in dataset.times:
        yield (name, *dataset.part(name), dataset.times[name])


# what is in it


@pytest.mark.parametrize("folder", [False, True])
def test_every_sample_is_what_a_literal_twin_makes(folder: bool, tmp_path: Path) -> None:
    frame = rows_of()
    where = tmp_path / "made" if folder else None
    dataset = dataset_of(frame, 20, ["noise", "late", "often", "constant"], where, test_share=0.1, threshold=0.001)
    assert dataset.feature_cols == ("noise", "late", "often", "constant")
    labelled = range(49, 4000 - 20)
    bounds = [0, round(len(labelled) * 0.7), round(len(labelled) * 0.9), len(labelled)]
    close = frame["close"].to_list()
    for number, (name, values, labels, times) in enumerate(parts_of(dataset)):
        rows = [labelled[n] for n in range(bounds[number], bounds[number + 1])]
        if name != "test":
            rows = [row for row in rows if row + 20 + 20 < labelled[bounds[number + 1]]]
        assert times["row"].tolist() == rows
        assert times["end_row"].tolist() == [row + 20 for row in rows]
        changes = [close[row + 20] / close[row] - 1 for row in rows]
        assert times["label_return"].tolist() == changes
        assert labels.tolist() == [1 if one > 0.001 else -1 if one < -0.001 else 0 for one in changes]
        for column in ("timestamp", "available_at"):
            assert times[column].tolist() == frame[column].iloc[rows].tolist()
        assert times["label_end"].tolist() == frame["available_at"].iloc[[row + 20 for row in rows]].tolist()
        train = frame.iloc[dataset.times["train"]["row"]]
        for feature in dataset.feature_cols:
            mean, deviation = train[feature].mean(), train[feature].std(ddof=0) or 1.0
            expected = ((frame[feature].iloc[rows] - mean) / deviation).fillna(0.0)
            np.testing.assert_allclose(values[feature], expected, rtol=1e-9, atol=1e-11)
    assert dataset.X_train["constant"].eq(0).all()
    counts = dataset.meta["counts"]
    assert counts["warm_up"] == 49
    assert counts["unfinished"] == 20
    assert counts["purged"] == 80
    assert counts["rows"] == sum(count for name, count in counts.items() if name != "rows")
    used = pd.concat([frame["often"].iloc[times["row"]] for *_, times in parts_of(dataset)])
    assert dataset.meta["not_known"] == {"often": int(used.isna().sum())}


@pytest.mark.parametrize("missing", ["keep", "drop"])
def test_values_that_are_not_known_are_kept_or_cost_their_row(missing: str) -> None:
    frame = rows_of()
    filled = dataset_of(frame, 20, ["noise", "often"])
    dataset = dataset_of(frame, 20, ["noise", "often"], missing=missing)
    for name, values, _, times in parts_of(dataset):
        whole = filled.part(name)[0]
        rows = filled.times[name]["row"]
        is_known = frame["often"].iloc[rows].notna().to_numpy()
        if missing == "keep":
            assert times["row"].tolist() == rows.tolist()
            assert values["often"].isna().tolist() == (~is_known).tolist()
            assert values["often"][is_known].tolist() == whole["often"][is_known].tolist()
        else:
            assert times["row"].tolist() == rows[is_known].tolist()
            assert not values.isna().any(axis=None)
    counts = dataset.meta["counts"]
    assert counts["rows"] == sum(count for name, count in counts.items() if name != "rows")


@pytest.mark.parametrize("scaler", ["robust", "none"])
def test_other_scalers(scaler: str) -> None:
    frame = rows_of()
    dataset = dataset_of(frame, 20, ["noise", "often"], scaler=scaler)
    train = frame.iloc[dataset.times["train"]["row"]]["often"]
    low, middle, high = train.quantile([0.25, 0.5, 0.75])
    expected = train if scaler == "none" else (train - middle) / (high - low)
    fill = train.mean() if scaler == "none" else 0.0
    np.testing.assert_allclose(dataset.X_train["often"], expected.fillna(fill), rtol=1e-12)


def test_barriers_events_and_weights_are_those_of_core_learning() -> None:
    from core.learning.events import cusum_events
    from core.learning.labels import triple_barrier, volatility
    from core.learning.weights import average_uniqueness as uniqueness
    from core.learning.weights import return_attribution, time_decay

    frame = rows_of()
    close = frame["close"].to_numpy()
    events = cusum_events(close, 0.004)
    width = volatility(close, 60) * np.sqrt(25)
    whole = triple_barrier(close, 25, width, 1.5, 0.5, events, high=frame["high"], low=frame["low"])
    how = {"label": "triple_barrier", "volatility_span": 60, "profit": 1.5, "loss": 0.5, "cusum": 0.004}
    dataset = dataset_of(frame, 25, ["noise"], weights="return", oldest_weight=0.3, **how)
    assert dataset.meta["counts"]["not_events"] == 4000 - len(events)
    by_row = {int(row): n for n, row in enumerate(whole.rows)}
    for name, _, labels, times in parts_of(dataset):
        chosen = [by_row[row] for row in times["row"]]
        assert labels.tolist() == whole.labels[chosen].tolist()
        assert times["end_row"].tolist() == whole.ends[chosen].tolist()
        rows, ends = times["row"].to_numpy(), times["end_row"].to_numpy()
        expected = return_attribution(close, rows, ends) * time_decay(uniqueness(rows, ends), 0.3)
        np.testing.assert_allclose(dataset.weights[name], expected / expected.mean(), rtol=1e-12)
        assert dataset.weights[name].mean() == pytest.approx(1, rel=1e-12)
    assert set(dataset.y_train) == {-1, 0, 1}


def test_the_parts_of_a_dataset_leak_nothing_to_each_other(built: MLDataset) -> None:
    found = list(parts_of(built))
    for (_, _, _, before), (_, _, _, after) in pairwise(found):
        assert before["end_row"].max() + 10 < after["row"].min()
        assert before["label_end"].max() < after["available_at"].min()
    times = built.times["train"]
    for train, test in PurgedKFold(times["row"], times["end_row"], 4, embargo=10).split(built.X_train):
        first, last = times["row"][test].min(), times["end_row"][test].max() + 10
        assert not ((times["row"][train] <= last) & (times["end_row"][train] >= first)).any()


def test_features_are_those_that_the_loader_gives(stored: World, built: MLDataset) -> None:
    with stored.loader() as loader:
        frame = loader.load_features("BTCUSDT", *DAYS, interval="1m", on_missing="ignore")
    assert built.meta["left_out"] == ["funding_rate", "premium", "basis", "open_interest"]
    assert list(built.feature_cols) == [n for n in frame.columns[2:] if n not in built.meta["left_out"]]
    assert built.meta["counts"]["rows"] == len(frame)
    for _, values, _, times in parts_of(built):
        rows = frame.iloc[times["row"]].reset_index(drop=True)
        assert rows["timestamp"].tolist() == times["timestamp"].tolist()
        expected = rows[list(built.feature_cols)].to_numpy()
        expected = np.where(np.isnan(expected), built.scaler.centers, expected)
        assert np.array_equal(values.to_numpy(), (expected - built.scaler.centers) / built.scaler.scales)


# what it may not see


def test_the_train_part_knows_nothing_of_what_comes_later() -> None:
    """Everything from the validation part on is another world; the train part is the same, bit for bit."""
    frame = rows_of()
    how = {"label": "triple_barrier", "weights": "return", "oldest_weight": 0.5, "test_share": 0.1, "scaler": "robust"}
    for options in ({}, how):
        before = dataset_of(frame, 20, **options)
        first = int(before.times["val"]["row"].min())
        assert before.times["train"]["end_row"].max() < first
        other = frame.copy()
        random = np.random.default_rng(99)
        for name in ("noise", "late", "often", "constant"):
            other.loc[first:, name] = random.normal(1e6, 1e5, len(frame) - first)
        for name in ("close", "high", "low"):
            other.loc[first:, name] = frame.loc[first:, name] * np.linspace(1, 50, len(frame) - first)
        after = dataset_of(other, 20, **options)
        pd.testing.assert_frame_equal(before.X_train, after.X_train, check_exact=True)
        pd.testing.assert_series_equal(before.y_train, after.y_train)
        pd.testing.assert_frame_equal(before.times["train"], after.times["train"], check_exact=True)
        pd.testing.assert_series_equal(before.weights["train"], after.weights["train"], check_exact=True)
        assert before.scaler.centers.tobytes() == after.scaler.centers.tobytes()
        assert before.scaler.scales.tobytes() == after.scaler.scales.tobytes()
        assert not before.X_val.equals(after.X_val)


def test_a_feature_that_comes_too_late_is_left_out_by_the_train_part_alone() -> None:
    frame = rows_of()
    frame["new"] = np.where(np.arange(len(frame)) < 3000, np.nan, 1.0)
    frame["never"] = np.nan
    dataset = dataset_of(frame, 20)
    assert dataset.meta["left_out"] == ["new", "never"]
    assert "new" not in dataset.X_train


def test_a_late_feature_does_not_cost_the_samples_of_all_others() -> None:
    frame = rows_of()
    frame["soon"] = np.where(np.arange(len(frame)) < 159, np.nan, 1.0)
    frame["late_by_half"] = np.where(np.arange(len(frame)) < 200, np.nan, 1.0)
    frame["vpin"] = np.where(np.arange(len(frame)) < 240, np.nan, 1.0)  # its warm-up are four hours
    dataset = dataset_of(frame, 20)
    assert dataset.meta["left_out"] == ["late_by_half"]
    assert dataset.meta["slowest"] == {"vpin": 240}
    assert dataset.meta["counts"]["warm_up"] == 240 == dataset.times["train"]["row"].iloc[0]


def test_a_day_without_a_file_is_in_no_sample(tmp_path: Path) -> None:
    world = World(tmp_path / "data")
    missing = us("2024-03-02"), us("2024-03-03")
    rows = [row for row in trades("2024-03-01", 4) if not missing[0] <= row["timestamp"] < missing[1]]
    world.put(series("trades", "BTCUSDT"), rows, Cadence.DAILY)
    how = {"interval": "1m", "label_horizon": 10, "features": ["log_return", "volume"], "on_missing": "ignore"}
    dataset = build_ml_dataset("BTCUSDT", "2024-03-01", "2024-03-04", data_dir=world.root, **how)
    assert dataset.meta["source"]["no_file"] == ["2024-03-02 00:00:00 to 2024-03-03 00:00:00"]
    assert dataset.meta["counts"]["no_file"] == 1440 + 10
    start, end = pd.Timestamp("2024-03-02", tz="UTC"), pd.Timestamp("2024-03-03", tz="UTC")
    for _, _, _, times in parts_of(dataset):
        assert ((times["label_end"] <= start) | (times["timestamp"] >= end)).all()
    counts = dataset.meta["counts"]
    assert counts["rows"] == sum(count for name, count in counts.items() if name != "rows")
    part = build_ml_dataset("BTCUSDT", "2024-03-02", "2024-03-03", data_dir=world.root, **how)
    assert part.times["train"]["timestamp"].min() >= end


def test_the_quarantine_counts_from_the_end_of_what_is_stored(tmp_path: Path) -> None:
    world = World(tmp_path / "data")
    world.put(series("trades", "BTCUSDT"), trades("2024-03-01", 34, 60), Cadence.MONTHLY)
    how = {"interval": "30m", "label_horizon": 4, "features": ["log_return", "volume"], "data_dir": world.root}
    dataset = build_ml_dataset("BTCUSDT", "2024-03-01", "2024-04-30", quarantine=True, on_missing="ignore", **how)
    assert dataset.meta["source"]["end"] == "2024-03-05 00:00:00"  # the last stored day is 3 April
    whole = build_ml_dataset("BTCUSDT", "2024-03-01", "2024-04-30", on_missing="ignore", **how)
    assert max(times["label_end"].max() for times in whole.times.values()) > pd.Timestamp("2024-04-03", tz="UTC")
    assert max(times["label_end"].max() for times in dataset.times.values()) <= pd.Timestamp("2024-03-05", tz="UTC")
    with pytest.raises(NoData, match="the quarantine keeps out everything from 2024-03-05 00:00:00 on"):
        build_ml_dataset("BTCUSDT", "2024-03-05", "2024-03-09", quarantine=True, **how)


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("has_available", [False, True])
def test_the_quarantine_of_rows_of_ones_own_is_their_last_thirty_days(
    folder: bool, has_available: bool, tmp_path: Path
) -> None:
    frame = rows_of(4000, step="20min")  # 2024-01-01 22:00 to 2024-02-26 11:00
    if not has_available:
        frame = frame.drop(columns="available_at")
    where = tmp_path / "made" if folder else None
    cut = pd.Timestamp("2024-01-28", tz="UTC")
    how = {"known_at_timestamp": not has_available}
    dataset = dataset_of(frame, 20, quarantine=True, folder=where, **how)
    known = frame["available_at" if has_available else "timestamp"]
    expected = dataset_of(frame[known <= cut], 20, **how)
    for name, values, labels, times in parts_of(dataset):
        pd.testing.assert_frame_equal(values, expected.part(name)[0], check_exact=True)
        pd.testing.assert_series_equal(labels, expected.part(name)[1])
        pd.testing.assert_frame_equal(times, expected.times[name], check_exact=True)
        assert times["label_end"].max() <= cut
    counts = dataset.meta["counts"]
    assert counts["quarantined"] == int((known > cut).sum()) > 0
    assert counts["rows"] == 4000 == sum(count for name, count in counts.items() if name != "rows")
    with pytest.raises(NoData, match="the quarantine keeps out everything from 2023-12-05 00:00:00 on"):
        dataset_of(rows_of(3000), 20, quarantine=True)


# from disk


def test_saved_streamed_and_loaded_again_it_is_the_same_to_the_bit(
    stored: World, built: MLDataset, tmp_path: Path
) -> None:
    saved = built.save(tmp_path / "saved")
    streamed = write_ml_dataset(tmp_path / "streamed", "BTCUSDT", *DAYS, data_dir=stored.root, **ASKED)
    for one in (saved, streamed, open_ml_dataset(tmp_path / "saved")):
        loaded = one.load()
        assert loaded.equals(built)
        assert loaded.meta == built.meta
        for name, values, labels, times in parts_of(built):
            pd.testing.assert_frame_equal(loaded.part(name)[0], values, check_exact=True)
            pd.testing.assert_series_equal(loaded.part(name)[1], labels)
            pd.testing.assert_frame_equal(loaded.times[name], times, check_exact=True)
            pd.testing.assert_series_equal(loaded.weights[name], built.weights[name], check_exact=True)
    files = {path.relative_to(tmp_path / "saved") for path in (tmp_path / "saved").rglob("*") if path.is_file()}
    assert {str(path) for path in files} >= {"dataset.json", "data.lock", "train/2024-03-02.parquet"}
    for path in files - {Path("data.lock")}:  # which says when it was made
        assert (tmp_path / "saved" / path).read_bytes() == (tmp_path / "streamed" / path).read_bytes(), path
    assert sorted(path.name for path in tmp_path.iterdir()) == ["saved", "streamed"]


def test_batches_are_the_days_of_a_part(built: MLDataset, tmp_path: Path) -> None:
    saved = built.save(tmp_path / "saved")
    batches = list(saved.batches("train"))
    assert len(batches) > 1
    assert all(times["timestamp"].dt.date.nunique() == 1 for *_, times in batches)
    joined = pd.concat([values for values, *_ in batches], ignore_index=True)
    pd.testing.assert_frame_equal(joined, built.X_train, check_exact=True)
    assert [label for _, labels, *_ in batches for label in labels] == built.y_train.tolist()
    with pytest.raises(ConfigError, match="has no part 'tst'; it has train, val, test"):
        list(saved.batches("tst"))


def test_equals_sees_every_difference(built: MLDataset, tmp_path: Path) -> None:
    from dataclasses import replace

    assert built.equals(built)
    assert not built.equals(replace(built, X_train=built.X_train + 1e-16 + built.X_train * 1e-15))
    assert not built.equals(replace(built, lock=None))
    assert not built.equals(replace(built, meta={}))
    assert not built.equals(replace(built, weights={**built.weights, "val": built.weights["val"] * 2}))


def test_the_lock_of_a_dataset_gives_the_same_dataset_whatever_is_stored_later(
    stored: World, built: MLDataset, tmp_path: Path
) -> None:
    world = World(tmp_path / "data")
    one = series("trades", "BTCUSDT")
    world.put(one, trades(DAYS[0], 4), Cadence.DAILY)
    saved = built.save(tmp_path / "saved")
    assert saved.lock is not None
    assert saved.lock.content == built.meta["content"]
    with BacktestDataLoader(data_dir=world.root, snapshot=tmp_path / "saved" / "data.lock") as loader:
        assert build_ml_dataset("BTCUSDT", *DAYS, loader=loader, **ASKED).equals(built)
    changed = trades(DAYS[0], 4)
    changed[3000]["qty"] += 1.0
    world.put(one, changed, Cadence.DAILY)
    with (
        BacktestDataLoader(data_dir=world.root, snapshot=tmp_path / "saved" / "data.lock") as loader,
        pytest.raises(SnapshotMismatch, match=r"is not what .*data\.lock locked"),
    ):
        build_ml_dataset("BTCUSDT", *DAYS, loader=loader, **ASKED)
    assert build_ml_dataset("BTCUSDT", *DAYS, data_dir=world.root, **ASKED).meta["content"] != built.meta["content"]


def test_the_lock_holds_what_is_carried_from_days_before(tmp_path: Path) -> None:
    """The price of a trade of four days before, and the candle of the half day before."""
    world = World(tmp_path / "data")
    quiet = us("2024-03-02"), us("2024-03-05T10:00")
    rows = [row for row in trades("2024-03-01", 6, 300) if not quiet[0] <= row["timestamp"] < quiet[1]]
    world.put(series("trades", "BTCUSDT"), rows, Cadence.DAILY)
    world.fill("premium_index", "BTCUSDT", [us("2024-03-01") + n * 43_200_000_000 for n in range(12)], interval="12h")
    how = {"interval": "10m", "label_horizon": 5, "features": ["close", "premium", "volume"], "on_missing": "ignore"}
    asked = ("BTCUSDT", "2024-03-05", "2024-03-06")
    built = build_ml_dataset(*asked, data_dir=world.root, **how)
    first = min(row["timestamp"] for row in rows if row["timestamp"] >= quiet[1])
    assert built.times["train"]["timestamp"].iloc[0] == pd.Timestamp("2024-03-05", tz="UTC")
    assert built.times["train"]["timestamp"].iloc[0] < pd.Timestamp(first * 1000, tz="UTC")
    built.save(tmp_path / "saved")
    with BacktestDataLoader(data_dir=world.root, snapshot=tmp_path / "saved" / "data.lock") as loader:
        world.fill("premium_index", "BTCUSDT", [us("2024-03-05")], interval="1h")  # what is not locked is not there
        assert build_ml_dataset(*asked, loader=loader, **how).equals(built)


def test_a_snapshot_without_what_features_are_made_of_is_told(stored: World, tmp_path: Path) -> None:
    lock = take(stored.storage, Market.UM, Span(us("2024-02-29"), us("2024-03-06")), [series("trades", "BTCUSDT")])
    save(lock, tmp_path / "data.lock")
    with BacktestDataLoader(data_dir=stored.root, snapshot=tmp_path / "data.lock") as loader:
        with pytest.raises(ConfigError, match="it does not cover um/funding_rate/BTCUSDT"):
            build_ml_dataset("BTCUSDT", *DAYS, loader=loader, **ASKED)
        dataset = build_ml_dataset("BTCUSDT", *DAYS, loader=loader, features=FEW, **ASKED)
    assert dataset.lock == lock


def test_data_that_changes_while_it_is_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from loader import dataset_source

    world = World(tmp_path / "data")
    one = series("trades", "BTCUSDT")
    world.put(one, trades(DAYS[0], 1), Cadence.DAILY)
    take = dataset_source.take

    def meanwhile(*arguments: Any) -> Any:
        world.put(one, trades(DAYS[0], 1, seed=8), Cadence.DAILY)
        return take(*arguments)

    monkeypatch.setattr(dataset_source, "take", meanwhile)
    with pytest.raises(FilesChanged, match="an update replaced files of the dataset while it was built"):
        build_ml_dataset("BTCUSDT", DAYS[0], DAYS[0], "1m", 5, features=FEW, data_dir=world.root)


@pytest.mark.parametrize("name", ["dataset.json", "data.lock", "train/2024-03-02.parquet"])
def test_a_damaged_file_is_named(built: MLDataset, tmp_path: Path, name: str) -> None:
    built.save(tmp_path / "saved")
    path = tmp_path / "saved" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises((ConfigError, StorageError), match=path.name):
        open_ml_dataset(tmp_path / "saved").load()


def test_nothing_is_left_of_a_dataset_that_failed(tmp_path: Path) -> None:
    frame = rows_of()
    frame.loc[3500, "close"] = -1.0
    with pytest.raises(ConfigError, match=r"close: row 3500 is -1\.0"):
        dataset_of(frame, 20, folder=tmp_path / "made")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".made.999999999.tmp" / "rows").mkdir(parents=True)  # of a process that was killed
    dataset_of(rows_of(), 20, folder=tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".made.999999999.tmp", "whole"]
    dataset_of(rows_of(), 20, folder=tmp_path / "made")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "whole"]
    with pytest.raises(ConfigError, match="made is there already; name another folder"):
        dataset_of(rows_of(), 20, folder=tmp_path / "made")


def test_frames_may_be_cut_anywhere_and_stay_as_they_are() -> None:
    frame = rows_of()
    frame.loc[77, "noise"] = math.inf
    given = frame.copy()
    whole = dataset_of(frame, 20)
    pd.testing.assert_frame_equal(frame, given, check_exact=True)
    assert whole.meta["not_known"]["noise"] == 1
    cuts = [0, 1, 7, 119, 120, 121, 1500, 1501, 3999, 4000]
    pieces = [frame.iloc[a:b] for a, b in pairwise(cuts)]
    assert dataset_of(iter(pieces), 20).equals(whole)


def test_rows_before_the_first_price_do_not_count() -> None:
    frame = rows_of()
    frame.loc[:99, ["close", "high", "low"]] = math.nan
    dataset = dataset_of(frame, 20, ["noise"])
    assert dataset.meta["counts"]["without_price"] == 100
    assert dataset.times["train"]["row"].iloc[0] == 100
    assert dataset.times["train"]["timestamp"].iloc[0] == frame["timestamp"][100]


def test_bars_may_be_the_rows(stored: World) -> None:
    how = {"features": ["log_return", "volume"], "data_dir": stored.root, "on_missing": "ignore"}
    dataset = build_ml_dataset("BTCUSDT", *DAYS, "tick-10", 5, **how)
    with stored.loader() as loader:
        bars = loader.load_bars("BTCUSDT", *DAYS, "tick-10")
    rows = dataset.times["train"]["row"]
    assert dataset.meta["counts"]["rows"] == len(bars) == 1000
    assert dataset.times["train"]["timestamp"].tolist() == bars["time_open"].iloc[rows].tolist()


def test_the_plain_features_alone(stored: World) -> None:
    dataset = build_ml_dataset("BTCUSDT", *DAYS, "5m", 5, False, data_dir=stored.root, on_missing="ignore")
    assert {"open", "volume", "volume_imbalance", "log_return"} <= set(dataset.feature_cols)
    assert not {"vpin", "kyle_lambda_60", "volatility_10", "hour_sin"} & set(dataset.feature_cols)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"label_horizn": 3}, ConfigError, "a dataset has no option 'label_horizn'; did you mean 'label_horizon'?"),
        ({"label_horizon": 0}, ConfigError, "label_horizon: 0 is not a whole number of rows from 1 on"),
        ({"label": "tripple_barrier"}, ConfigError, "label: 'tripple_barrier'; did you mean 'triple_barrier'?"),
        ({"scaler": "standart"}, ConfigError, "scaler: 'standart'; did you mean 'standard'?"),
        ({"missing": "x"}, ConfigError, "missing: 'x'"),
        ({"weights": "x"}, ConfigError, "weights: 'x'"),
        ({"val_share": 0}, ConfigError, "val_share 0 and test_share 0.0: parts of 1"),
        ({"val_share": 0.6, "test_share": 0.4}, ConfigError, "parts of 1 that leave some to train on"),
        ({"threshold": "1"}, ConfigError, "threshold: '1' is not a number"),
        ({"quarantine": 30}, ConfigError, "quarantine is yes or no, not 30"),
        ({"side": "noise"}, ConfigError, "side: meta-labels are made of barriers; give label='triple_barrier', too"),
        ({"side": 5, "label": "triple_barrier"}, ConfigError, "side: 5 is no name of a column"),
        ({"ties": "los"}, ConfigError, "ties: 'los'; did you mean 'loss'?"),
        ({"vertical": "sin"}, ConfigError, "vertical: 'sin'; did you mean 'sign'?"),
        ({"embargo": -5}, ConfigError, "embargo: -5 is not a whole number of rows from 0 on"),
        ({"embargo": 2.5}, ConfigError, "embargo: 2.5 is not a whole number of rows from 0 on"),
        ({"embargo": True}, ConfigError, "embargo: True is not a whole number of rows from 0 on"),
        ({"cusum": -1}, ConfigError, "cusum: -1 is not a change of the log price above 0"),
        ({"width": 0.0}, ConfigError, "width: 0.0 is not a fraction of the price above 0"),
        ({"profit": -1}, ConfigError, "profit: -1 is not a multiple of the width from 0 on"),
        ({"threshold": math.nan}, ConfigError, "threshold: nan is not a fraction of the price from 0 on"),
        ({"cusum": math.inf}, ConfigError, "cusum: inf is not a change of the log price above 0"),
        ({"volatility_span": 1}, ConfigError, "volatility_span: 1 is not a whole number of rows from 2 on"),
        ({"oldest_weight": 3}, ConfigError, "oldest_weight: 3 is not above -1 and up to 1"),
        ({"features": ["noise", "nois"]}, ConfigError, "there is no feature 'nois'"),
        ({"label_horizon": 5000}, NoData, "none of 4000 rows has a label: 4000 reach beyond the last row"),
        ({"label_horizon": 3600}, ConfigError, "too few samples for the parts train, val: part 1 of 2 is empty"),
        ({"cusum": 10.0}, NoData, "none of 4000 rows has a label"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        dataset_of(rows_of(), **options)
    assert message in str(caught.value)


def test_frames_that_are_no_rows_of_features_are_refused() -> None:
    frame = rows_of(200)
    for wrong, message in (
        (frame.drop(columns="close"), "need the columns timestamp and close"),
        (frame.iloc[::-1], "have to be in order of time"),
        (frame.rename(columns={"noise": "weight"}), "a feature cannot be called weight"),
        (frame.assign(close=math.nan), "there is no row with a price"),
        (frame.assign(close="1.5"), "close: its values are str, not numbers"),
        (
            frame.drop(columns="available_at"),
            "timestamp, which is its open. If your rows were known at their timestamp",
        ),
        (frame.assign(available_at=frame["timestamp"] - pd.Timedelta("1s")), "22:00:00.* was known before that"),
        (
            frame.assign(symbol=np.where(np.arange(200) % 2, "BTC", "ETH")),
            "of one symbol, and these are of ETH and BTC",
        ),
    ):
        with pytest.raises((ConfigError, NoData), match=message):
            dataset_of(wrong, 5)
    with pytest.raises(ConfigError, match="rows have available_at, so known_at_timestamp cannot be true"):
        dataset_of(frame, 5, known_at_timestamp=True)
    halves = [frame[:120].assign(symbol="BTC"), frame[120:].assign(symbol="ETH")]
    with pytest.raises(ConfigError, match="these are of BTC and ETH"):
        dataset_of(halves, 5)
    with pytest.raises(ConfigError, match="note: its values are str, not numbers; give it as numbers, or leave it out"):
        dataset_of(frame.assign(note="x"), 5, ["noise", "note"])
    with pytest.raises(ConfigError, match=r"noise: its values are datetime64\[us\], not numbers"):
        dataset_of([frame[:120], frame[120:].assign(noise=np.datetime64("2024-01-01", "us"))], 5)
    with pytest.raises(ConfigError, match="have no late, and earlier ones have"):
        dataset_of([frame[:120], frame[120:].drop(columns="late")], 5)
    with pytest.raises(ConfigError, match="the dataset has no part 'test'"):
        dataset_of(rows_of(), 5).part("test")


@pytest.mark.parametrize("folder", [False, True])
def test_columns_of_numbers_are_features_and_others_are_named(folder: bool, tmp_path: Path) -> None:
    frame = rows_of(1000).drop(columns=["late", "constant"])
    close_time = frame["available_at"] - pd.Timedelta("1ms")
    given = frame.assign(close_time=close_time, note="x", symbol="BTC", took=pd.Timedelta("1s"))
    given["flag"] = np.arange(1000) % 3 == 0
    given["whole"] = pd.array([None if n % 7 == 0 else n % 5 for n in range(1000)], "Int64")
    dataset = dataset_of(given, 20, folder=tmp_path / "made" if folder else None, scaler="none", missing="keep")
    assert dataset.feature_cols == ("close", "high", "low", "noise", "often", "flag", "whole")
    assert dataset.meta["not_features"] == ["close_time", "note", "took"]
    rows = dataset.times["train"]["row"]
    assert dataset.X_train["flag"].tolist() == given["flag"].iloc[rows].astype(float).tolist()
    assert dataset.X_train["whole"].isna().tolist() == (rows % 7 == 0).tolist()


def test_a_row_that_touches_both_barriers_is_neutral_and_counted() -> None:
    """Of barriers so near that nearly every row touches both; without a count and with the worse one, most were -1."""
    frame = rows_of(2000)
    frame["high"], frame["low"] = frame["close"] * 1.01, frame["close"] * 0.99
    how: dict[str, Any] = {"label": "triple_barrier", "width": 0.001, "val_share": 0.3}
    dataset = dataset_of(frame, 20, ["noise"], **how)
    assert dataset.meta["ties"] == {name: len(times) for name, times in dataset.times.items()}
    assert set(dataset.y_train) == set(dataset.y_val) == {0}
    close = frame["close"].to_numpy()
    rows = dataset.times["train"]["row"].to_numpy()
    assert dataset.times["train"]["label_return"].tolist() == (close[rows + 1] / close[rows] - 1).tolist()
    for ties, label in (("loss", -1), ("profit", 1), ("neutral", 0)):
        assert set(dataset_of(frame, 20, ["noise"], ties=ties, **how).y_train) == {label}
    assert dataset_of(rows_of(2000), 20, ["noise"]).meta["ties"] == {"train": 0, "val": 0}


@pytest.mark.parametrize("vertical", ["zero", "sign"])
def test_meta_labels_say_whether_following_the_side_gained(vertical: str, tmp_path: Path) -> None:
    from core.learning.labels import triple_barrier

    frame = rows_of(3000)
    random = np.random.default_rng(2)
    frame["view"] = np.where(random.random(3000) < 0.2, np.nan, random.choice([-2.5, 0.0, 0.1], 3000))
    close = frame["close"].to_numpy()
    side = np.sign(frame["view"].to_numpy())
    events = np.flatnonzero(np.abs(side) == 1)
    expected = triple_barrier(
        close, 20, 0.002, 1.5, 1.0, events, side=side, high=frame["high"], low=frame["low"], vertical=vertical
    )
    how: dict[str, Any] = {"label": "triple_barrier", "width": 0.002, "profit": 1.5, "side": "view"}
    made = dataset_of(frame, 20, ["noise", "often"], tmp_path / "made", vertical=vertical, **how)
    assert "view" not in made.feature_cols
    assert made.meta["counts"]["not_events"] == 3000 - len(events)
    by_row = dict(zip(expected.rows.tolist(), expected.labels.tolist(), strict=True))
    for _, _, labels, times in parts_of(made):
        assert labels.tolist() == [by_row[row] for row in times["row"]]
    assert set(made.y_train) == {0, 1}
    assert run_baseline(made, ["logistic"], folds=2, repeats=0).classes == ("0", "1")
    with pytest.raises(ConfigError, match="side: there is no column 'veiw'; did you mean 'view'"):
        dataset_of(frame, 20, ["noise"], **{**how, "side": "veiw"})


def test_a_feature_may_be_the_side_without_being_learned_from(stored: World) -> None:
    how: dict[str, Any] = {"label": "triple_barrier", "width": 0.001, **ASKED, "data_dir": stored.root}
    meta = build_ml_dataset("BTCUSDT", *DAYS, features=["volume"], side="momentum_10", **how)
    assert meta.feature_cols == ("volume",)
    assert meta.meta["recipe"]["side"] == "momentum_10"
    with stored.loader() as loader:
        frame = loader.load_features("BTCUSDT", *DAYS, "1m", ["momentum_10"], on_missing="ignore")
    assert (frame["momentum_10"].iloc[meta.times["train"]["row"]] != 0).all()
    assert set(meta.y_train) == {0, 1}
    with pytest.raises(ConfigError, match="unknown 'momentum_11'; did you mean 'momentum_10'"):
        build_ml_dataset("BTCUSDT", *DAYS, features=["volume"], side="momentum_11", **how)


def test_what_is_not_stored_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoData, match="download_all"):
        build_ml_dataset("BTCUSDT", "2024-01-01", "2024-01-02", data_dir=tmp_path)
    with pytest.raises(ConfigError, match="data_dir: the loader that is given has one"):
        build_ml_dataset("A", "2024-01-01", "2024-01-02", loader=BacktestDataLoader(data_dir=tmp_path), data_dir=".")
    with pytest.raises(ConfigError, match=r"unknown 'log_retrun'; did you mean 'log_return'\?"):
        build_ml_dataset("BTCUSDT", "2024-01-01", "2024-01-02", features=["log_retrun"], data_dir=tmp_path)
    with pytest.raises(ConfigError, match=r"is no dataset: it has no dataset\.json"):
        open_ml_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({"version": 9}))
    with pytest.raises(ConfigError, match="is of another version, or was changed"):
        open_ml_dataset(tmp_path)


def test_importing_the_loader_or_a_dataset_brings_no_scikit_learn() -> None:
    program = "import sys, loader; loader.build_ml_dataset; loader.run_baseline; print('sklearn' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "False"
