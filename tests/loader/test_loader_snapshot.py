"""`BacktestDataLoader(snapshot=...)`: the same frames bit for bit from any folder that has the locked rows."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from snapshot_world import (
    FUNDING,
    INDEX,
    KLINES,
    MARK,
    METRICS,
    OTHER,
    PREMIUM,
    TRADES,
    WIDE,
    Folder,
    day,
    days,
    market,
    one_cell,
    span_of_days,
)

from core.errors import ConfigError, NoData, SnapshotMismatch, StorageError
from core.snapshot.text import save
from core.storage.manager import StorageManager
from core.types import Series, Span
from loader import BacktestDataLoader, MissingDataWarning

EVERY = (*WIDE, TRADES, METRICS)
DECEMBER = ("2024-12-10", "2024-12-31")


def locked(folder: Folder, series: Sequence[Series], span: Span | None = None) -> Path:
    path = folder.root.parent / "data.lock"
    save(folder.lock(series, span), path, force=True)
    return path


def fingerprint(frame: pd.DataFrame) -> str:
    """Every bit of a frame: names, types, index, values, categories, and which are missing."""
    parts = [str(list(frame.columns)), str(list(frame.dtypes)), str(frame.index)]
    digest = hashlib.sha256("|".join(parts).encode())
    for name in frame.columns:
        column = frame[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            digest.update(str(list(column.cat.categories)).encode())
            digest.update(column.cat.codes.to_numpy().tobytes())
        else:
            is_time = isinstance(column.dtype, pd.DatetimeTZDtype)
            values = column.to_numpy("datetime64[us]") if is_time else column.to_numpy()
            assert values.dtype.kind in "Mfib"
            digest.update(values.tobytes())
    return digest.hexdigest()


def opens(loader: BacktestDataLoader, start: str = "2025-01-01", end: str = "2025-01-31") -> list[float]:
    return list(loader.load_data("BTCUSDT", start, end)["klines"]["open"])


def truth(first: str, last: str) -> list[float]:
    return list(market().truth(KLINES, span_of_days(first, last)).to_pandas()["open"])


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "data")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Folder]:
    """The same rows of December: days; months; days, merged and packed otherwise, in small row groups."""
    root = tmp_path_factory.mktemp("shapes")
    by_day, by_month, packed = Folder(root / "a" / "data"), Folder(root / "b" / "data"), Folder(root / "c" / "data", 9)
    for series in (*WIDE[:-1], TRADES, METRICS):
        labels = days(29 if series in (TRADES, METRICS) else 10, 31, "2024-12")
        for one in (by_day, packed):
            one.put(series, labels)
        by_month.put(series, labels if series in (TRADES, METRICS) else ["2024-12"])
    for one in (by_day, by_month, packed):
        one.put(FUNDING, ["2024-12"])
    by_month.merge(TRADES, "2024-12")
    for series in EVERY:
        packed.repack(series, 13, compression="gzip", use_dictionary=True)
    return {"days": by_day, "months": by_month, "packed": packed}


def test_folders_of_any_shape_load_identical_frames_with_one_lock(shapes: dict[str, Folder]) -> None:
    path = locked(shapes["days"], EVERY)
    kinds = [series.dataset for series in EVERY]
    files, frames = set(), []
    for folder in shapes.values():
        files.add(tuple(sorted(one.name for one in (folder.root / "processed").rglob("*.parquet"))))
        with folder.loader(path) as loader:
            loaded = loader.load_data("BTCUSDT", *DECEMBER, kinds)
            wide = loader.load_aligned_data("BTCUSDT", *DECEMBER)
        assert all(len(frame) > 60 for frame in (*loaded.values(), wide))
        frames.append([fingerprint(frame) for frame in (*loaded.values(), wide)])
    assert frames[0] == frames[1] == frames[2]
    assert len(files) == 2  # the third has the files of the first, written otherwise
    assert len({part.sha256 for folder in shapes.values() for part in folder.lock([KLINES]).series[0].partitions}) == 3


def test_with_a_lock_of_all_that_is_stored_frames_are_those_without(shapes: dict[str, Folder]) -> None:
    path = locked(shapes["months"], EVERY, span_of_days(*DECEMBER))
    kinds = [series.dataset for series in EVERY]
    found = []
    for lock in (None, path):
        with shapes["months"].loader(lock) as loader:
            loaded = loader.load_data("BTCUSDT", *DECEMBER, kinds)
            found.append(
                [*map(fingerprint, loaded.values()), fingerprint(loader.load_aligned_data("BTCUSDT", *DECEMBER))]
            )
    assert found[0] == found[1]


def test_what_was_known_at_the_ends_of_a_span_is_locked_too(shapes: dict[str, Folder]) -> None:
    """The first candle needs the settlement before it, the last one that of the midnight at its close."""
    folder = shapes["months"]
    path = locked(folder, WIDE, span_of_days("2024-12-15", "2024-12-20"))
    frames = []
    for lock in (None, path):
        with folder.loader(lock) as loader:
            frames.append(loader.load_aligned_data("BTCUSDT", "2024-12-15", "2024-12-20"))
    assert fingerprint(frames[0]) == fingerprint(frames[1])
    assert frames[1]["funding_time"].iloc[0] <= pd.Timestamp("2024-12-15 01:00", tz="UTC")
    assert frames[1]["funding_rate"].notna().all()


def test_days_that_came_later_are_not_seen(folder: Folder) -> None:
    folder.put(KLINES, days(1, 10))
    folder.put(FUNDING, ["2024-12"])
    path = locked(folder, [KLINES, FUNDING])
    with folder.loader(path) as loader:
        before = loader.load_data("BTCUSDT", "2025-01-01", "2025-01-31")["klines"]
        folder.put(KLINES, days(11, 15))
        after = loader.load_data("BTCUSDT", "2025-01-01", "2025-01-31")["klines"]
        assert fingerprint(before) == fingerprint(after)
        assert list(after["open"]) == truth("2025-01-01", "2025-01-10")
    with folder.loader() as loader:
        assert opens(loader) == truth("2025-01-01", "2025-01-15")


def test_every_way_to_rows_keeps_to_the_lock(folder: Folder) -> None:
    for one in (KLINES, OTHER):
        folder.put(one, days(1, 6))
    folder.put(TRADES, days(3, 4))
    path = locked(folder, [KLINES, OTHER, TRADES])

    def everything(loader: BacktestDataLoader) -> list[str]:
        january = ("2025-01-01", "2025-01-06")
        both = ["BTCUSDT", "ETHUSDT"]
        frames = [
            loader.sql("SELECT * FROM klines_1h ORDER BY symbol, timestamp"),
            loader.load_data(both, *january, output="relation")["klines"].to_arrow_table().to_pandas(),
            loader.universe(*january, 1000)[["symbol", "member", "days", "mean_quote_volume"]],
            loader.load_universe(*january, 1000)["klines"],
            loader.resample(both, *january, "1d"),
            loader.load_bars("BTCUSDT", "2025-01-01", "2025-01-06", "tick", 50),
            loader.load_features("BTCUSDT", "2025-01-04", "2025-01-06", "10m", ["close", "vpin", "cvd", "log_return"]),
            pd.concat([each["klines"] for each in loader.iter_data(both, *january)], ignore_index=True),
            loader.coverage()[["symbol", "first", "last", "gaps"]],
        ]
        return [hashlib.sha256(frame.to_csv().encode()).hexdigest() for frame in frames]

    with folder.loader(path) as loader:
        before = everything(loader)
        for one in (KLINES, OTHER):
            folder.put(one, days(7, 9))
        folder.put(TRADES, days(5, 6))
        assert everything(loader) == before
        with pytest.raises(ConfigError, match="outside the snapshot"):
            loader.universe("2025-01-01", "2025-03-09")
        with pytest.raises(ConfigError, match="outside the snapshot"):
            loader.resample("XRPUSDT", "2025-01-01", "2025-01-03", "1d", source="1h")
    folder.put(OTHER, [day(2)], one_cell(5, 4, "1.5"))
    with folder.loader(path) as loader, pytest.raises(SnapshotMismatch):
        loader.sql("SELECT * FROM klines_1h")


def test_each_symbol_and_kind_ends_with_its_own_last_row(folder: Folder) -> None:
    """What was locked until different days, all read at once."""
    folder.put(KLINES, days(1, 5))
    folder.put(OTHER, days(1, 3))
    folder.put(MARK, days(1, 4))
    path = locked(folder, [KLINES, OTHER, MARK, replace(MARK, symbol="ETHUSDT")])
    folder.put(KLINES, days(6, 8))
    folder.put(OTHER, days(4, 8))
    folder.put(MARK, days(5, 8))
    folder.put(replace(MARK, symbol="ETHUSDT"), days(1, 8))
    missing = pytest.warns(MissingDataWarning, match="um/mark_price/ETHUSDT/1h is not stored")
    with folder.loader(path) as loader, missing:
        frames = loader.load_data(["ETHUSDT", "BTCUSDT"], day(2), day(31), ["klines", "mark_price"])
    klines, marks = frames["klines"], frames["mark_price"]
    assert klines.groupby("symbol", observed=True).size().to_dict() == {"BTCUSDT": 96, "ETHUSDT": 48}
    assert list(klines["open"]) == truth(day(2), day(5)) + truth(day(2), day(3))
    assert marks.groupby("symbol", observed=True).size().to_dict() == {"BTCUSDT": 72}


def test_a_month_in_the_place_of_its_days_is_pinned_to_the_locked_rows(folder: Folder) -> None:
    folder.put(KLINES, days(10, 20, "2024-12"))
    path = locked(folder, [KLINES])
    with folder.loader(path) as loader:
        before = opens(loader, "2024-12-01", "2024-12-31")
        folder.put(KLINES, ["2024-12"])
        assert opens(loader, "2024-12-01", "2024-12-31") == before == truth("2024-12-10", "2024-12-20")


def test_a_revised_archive_is_refused_with_what_changed(folder: Folder) -> None:
    folder.put(KLINES, ["2024-12", *days(1, 3)])
    path = locked(folder, [KLINES])
    folder.put(KLINES, [day(2)], edit=one_cell(5, 4, "12345.6"))
    key = "data/futures/um/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2025-01-02.zip"
    with folder.loader(path) as loader:
        with pytest.raises(SnapshotMismatch) as caught:
            opens(loader)
        text = str(caught.value)
        assert text.startswith(f"what is stored is not what {path} locked: um/klines/BTCUSDT/1h 2025-01: ")
        assert f"{key} was revised: sha256 " in text
        assert f"python scripts/snapshot.py diff {path}" in text
        assert caught.value.exit_code == 1
        # A month that is still as it was can be used.
        assert opens(loader, *DECEMBER) == truth(*DECEMBER)
        folder.put(KLINES, [day(2)])
        assert opens(loader) == truth("2025-01-01", "2025-01-03")


@pytest.mark.parametrize("rest", [False, True])
def test_a_filled_gap_is_refused(folder: Folder, rest: bool) -> None:
    folder.put(KLINES, [day(1), day(3)])
    path = locked(folder, [KLINES])
    folder.put(KLINES, [day(2)], rest=rest)
    said = "an answer of the exchange's API was added: rest/" if rest else "an archive was added: data/futures"
    with (
        folder.loader(path) as loader,
        pytest.raises(SnapshotMismatch, match=f"24 rows more, a gap was filled.*{said}"),
    ):
        opens(loader)


def test_a_gap_of_whole_days_that_was_filled_is_refused_where_it_is_read(folder: Folder) -> None:
    folder.put(TRADES, [day(20), day(22)])
    path = locked(folder, [TRADES])
    folder.put(TRADES, [day(21)])
    with folder.loader(path) as loader:
        with pytest.raises(SnapshotMismatch, match=r"um/trades/BTCUSDT 2025-01-21: .* rows more, a gap was filled"):
            loader.load_data("BTCUSDT", day(20), day(22), "trades")
        assert len(loader.load_data("BTCUSDT", day(22), day(22), "trades")["trades"]) > 60


def test_a_lost_partition_is_refused(folder: Folder) -> None:
    folder.put(KLINES, ["2024-12", *days(1, 3)])
    path = locked(folder, [KLINES])
    folder.storage.remove(folder.partitions(KLINES)[0])
    with folder.loader(path) as loader, pytest.raises(SnapshotMismatch, match="2024-12: 528 rows gone"):
        opens(loader, *DECEMBER)


def test_one_cell_that_was_edited_on_disk_is_refused_also_if_it_is_not_asked_for(folder: Folder) -> None:
    folder.put(KLINES, days(1, 3))
    path = locked(folder, [KLINES])
    folder.rewrite(KLINES, lambda number, row: row | {"trades": 1} if number == 50 else row)
    with folder.loader(path) as loader, pytest.raises(SnapshotMismatch, match="the partition was edited or damaged"):
        loader.load_data("BTCUSDT", "2025-01-03", "2025-01-03", columns=["open"])


def test_an_edit_after_the_proof_is_found_by_the_stamp_of_the_file(folder: Folder) -> None:
    folder.put(KLINES, days(1, 3))
    path = locked(folder, [KLINES])
    with folder.loader(path) as loader:
        assert opens(loader) == truth("2025-01-01", "2025-01-03")
        folder.rewrite(KLINES, lambda number, row: row | {"open": 1.0} if number == 50 else row)
        with pytest.raises(SnapshotMismatch):
            opens(loader)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda it: it.load_data("BTCUSDT", "2025-01-02", "2025-01-31"), "it covers 2025-01-02 00:00:00 to 2025-01-09"),
        (lambda it: it.load_data("BTCUSDT", "2025-01-01", "2025-01-03"), "and 2025-01-01 00:00:00 to 2025-01-04 00:00"),
        (lambda it: it.load_data("BTCUSDT", "2025-01-02", "2025-01-03", market="spot"), "the market um, not spot"),
        (
            lambda it: it.load_data("BTCUSD", "2025-01-02", "2025-01-03"),
            "um/klines/BTCUSD/1h; did you mean 'um/klines/BTC",
        ),
        (
            lambda it: it.load_data("BTCUSDT", "2025-01-02", "2025-01-03", interval="1m"),
            "not cover um/klines/BTCUSDT/1m",
        ),
        (lambda it: it.load_aligned_data("BTCUSDT", "2025-01-02", "2025-01-03"), "not cover um/index_price/BTCUSDT/1h"),
    ],
)
def test_a_request_outside_the_lock_is_refused(
    folder: Folder, ask: Callable[[BacktestDataLoader], object], message: str
) -> None:
    for series in (KLINES, MARK):
        folder.put(series, days(1, 9))
    path = locked(folder, [KLINES, MARK, PREMIUM, FUNDING], span_of_days("2025-01-02", "2025-01-08"))
    with folder.loader(path) as loader, pytest.raises(ConfigError) as caught:
        ask(loader)
    assert str(caught.value).startswith(f"outside the snapshot {path}: ")
    assert message in str(caught.value)


def test_candles_that_close_after_the_end_of_the_lock_need_funding_that_it_has_not(folder: Folder) -> None:
    weekly = [Series(one.market, one.dataset, one.symbol, "1w" if one.interval else None) for one in WIDE]
    for one in weekly:
        folder.put(one, ["2024-12"])
    path = locked(folder, weekly, span_of_days("2024-12-10", "2024-12-31"))
    with folder.loader(path) as loader, pytest.raises(ConfigError, match="um/funding_rate/BTCUSDT is needed until"):
        loader.load_aligned_data("BTCUSDT", *DECEMBER, interval="1w")


def test_what_is_locked_as_missing_stays_missing(folder: Folder) -> None:
    folder.put(KLINES, days(1, 3))
    path = locked(folder, [KLINES, MARK])
    folder.put(MARK, days(1, 3))
    with folder.loader(path) as loader:
        with pytest.warns(MissingDataWarning, match="um/mark_price/BTCUSDT/1h is not stored.*No more is locked"):
            frames = loader.load_data("BTCUSDT", "2025-01-01", "2025-01-31", ["klines", "mark_price"])
        assert [len(frame) for frame in frames.values()] == [72, 0]
        assert loader.symbols() == ["BTCUSDT"]
        assert loader.symbols(data_type="mark_price") == []
        folder.put(KLINES, [day(4)])
        with pytest.raises(NoData, match="stored is 2025-01-01 00:00:00 to 2025-01-03 23:00:00"):
            loader.load_data("BTCUSDT", "2025-01-04", "2025-01-05")


def test_a_lock_that_cannot_be_trusted_is_refused_at_once(folder: Folder) -> None:
    folder.put(KLINES, days(1, 3))
    path = locked(folder, [KLINES])
    with pytest.raises(ConfigError, match="there is no lock"):
        folder.loader(path.with_name("other.lock"))
    path.write_text(path.read_text().replace('"rows": 72', '"rows": 71'))
    with pytest.raises(ConfigError, match="its checksum is not that of its content"):
        folder.loader(path)
    path.write_text(json.dumps({"version": 99}))
    with pytest.raises(ConfigError, match="newer version"):
        folder.loader(path)


class _Counting(StorageManager):
    """Counts what is scanned, and lets something happen behind each scan."""

    scans: list[Series]
    then: Callable[[], None]

    def scan(self, series: Series, span: Span, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        self.scans.append(series)
        yield from super().scan(series, span, columns)
        self.then()


def counting(folder: Folder, loader: BacktestDataLoader) -> _Counting:
    """In the place of the storage by which the loader proves rows."""
    storage = _Counting(folder.layout, folder.settings.storage, folder.settings.quality)
    storage.scans, storage.then = [], lambda: None
    assert loader._pins is not None
    loader._pins._storage = storage
    return storage


def test_rows_are_proved_once_and_again_where_files_have_changed(folder: Folder) -> None:
    folder.put(KLINES, ["2024-12", *days(1, 3)])
    folder.put(MARK, days(1, 3))
    path = locked(folder, [KLINES, MARK])
    kinds = ["klines", "mark_price"]
    with folder.loader(path) as loader:
        storage = counting(folder, loader)
        for _ in range(3):
            loader.load_data("BTCUSDT", "2025-01-01", "2025-01-31", kinds)
        assert storage.scans == [KLINES, MARK]
        folder.put(MARK, [day(4)])
        loader.load_data("BTCUSDT", "2025-01-01", "2025-01-31", kinds)
        assert storage.scans == [KLINES, MARK, MARK]
        loader.load_data("BTCUSDT", "2024-12-01", "2025-01-31")  # December was not proved yet
        loader.load_data("BTCUSDT", "2024-12-01", "2024-12-31")
        assert storage.scans == [KLINES, MARK, MARK, KLINES]


def test_only_what_lies_near_a_file_that_has_another_stamp_is_proved_again(folder: Folder) -> None:
    folder.put(TRADES, days(20, 25))
    path = locked(folder, [TRADES])
    with folder.loader(path) as loader:
        storage = counting(folder, loader)
        loader.load_data("BTCUSDT", day(20), day(25), "trades")
        assert len(storage.scans) == 1
        newest = folder.partitions(TRADES)[-1].path
        os.utime(newest, ns=(1, newest.stat().st_mtime_ns + 1))
        loader.load_data("BTCUSDT", day(20), day(23), "trades")
        assert len(storage.scans) == 1
        loader.load_data("BTCUSDT", day(20), day(24), "trades")  # rows may lie a day outside their file
        assert len(storage.scans) == 2


def test_an_update_between_proof_and_reading_is_noticed(folder: Folder) -> None:
    """Behind the proof an archive is revised: what is then read is proved anew, and refused."""
    folder.put(KLINES, days(1, 3))
    path = locked(folder, [KLINES])
    with folder.loader(path) as loader:
        assert loader._pins is not None
        prove, calls = loader._pins.prove, []

        def prove_and_update(wanted: Sequence[Series], span: Span) -> object:
            proof = prove(wanted, span)
            calls.append(len(wanted))
            if len(calls) == 1:
                folder.put(KLINES, [day(2)], edit=one_cell(5, 4, "12345.6"))
            return proof

        loader._pins.prove = prove_and_update  # type: ignore[method-assign]
        with pytest.raises(SnapshotMismatch, match="was revised"):
            opens(loader)
        assert len(calls) == 1


def test_days_that_come_while_rows_are_proved_are_not_seen(folder: Folder) -> None:
    folder.put(KLINES, days(1, 3))
    path = locked(folder, [KLINES])
    coming = days(4, 6)
    with folder.loader(path) as loader:
        storage = counting(folder, loader)
        storage.then = lambda: folder.put(KLINES, [coming.pop(0)]) if coming else None
        assert opens(loader) == truth("2025-01-01", "2025-01-03")
    assert (coming, len(storage.scans)) == ([], 4)


def test_updates_without_end_are_an_error(folder: Folder) -> None:
    folder.put(KLINES, days(1, 2))
    path = locked(folder, [KLINES])
    coming = days(3, 25)
    with folder.loader(path) as loader:
        storage = counting(folder, loader)
        storage.then = lambda: folder.put(KLINES, [coming.pop(0)])
        with pytest.raises(StorageError, match="keep changing while they are read"):
            opens(loader)


def test_threads_share_a_loader_with_a_lock(folder: Folder) -> None:
    for series in (KLINES, MARK, INDEX):
        folder.put(series, days(1, 3))
    path = locked(folder, [KLINES, MARK, INDEX])
    with folder.loader(path) as loader, ThreadPoolExecutor(4) as pool:
        kinds = ["klines", "mark_price", "index_price"] * 6
        frames = pool.map(lambda kind: loader.load_data("BTCUSDT", day(1), day(3), kind)[kind], kinds)
        prints = {kind: fingerprint(frame) for kind, frame in zip(kinds, frames, strict=True)}
        again = {kind: fingerprint(loader.load_data("BTCUSDT", day(1), day(3), kind)[kind]) for kind in kinds}
    assert prints == again
