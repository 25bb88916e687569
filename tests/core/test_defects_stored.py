"""What storing makes of planted archives today: docs/defects.md says it, this shows it."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.datasets import DATASETS
from core.layout import Layout
from core.sample.archive import Shelf, key_of, write_archive
from core.sample.defects.plan import Plan, Planted
from core.sample.defects.planting import plant
from core.settings import QualitySettings, StorageSettings
from core.storage.manager import StorageManager
from core.types import ArchiveFile, FetchedFile, Period, Proof, Series, Source, Stored
from tests.core.defect_world import (
    AGG_TRADES,
    BOOK,
    CM_KLINES,
    FUNDING,
    KLINES,
    MARK,
    MARKET,
    METRICS,
    SPOT_AGG_TRADES,
    SPOT_KLINES,
    TRADES,
)

DAY, MONTH = "2025-01-08", "2025-01"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def planted_and_stored(archive: Path, defect: str, series: Series, label: str, seed: int = 0) -> tuple[Planted, Stored]:
    """Plant into the archives of one series, and store the archive of the plan."""
    write_archive(
        MARKET, archive, (Shelf(series.dataset, series.interval, symbols=(f"{series.market}/{series.symbol}",)),)
    )
    period = Period.parse(label)
    (planted,) = plant(MARKET, archive, [Plan(defect, series, period, seed)])
    return planted, stored_from(archive, series, label)


def stored_from(archive: Path, series: Series, label: str) -> Stored:
    key = key_of(series, Period.parse(label))
    path = archive / key
    file = ArchiveFile(series, Period.parse(label), key, path.stat().st_size, "e", None, "")
    storage = StorageManager(Layout(archive.with_name("home")), StorageSettings(), QualitySettings())
    return storage.store([FetchedFile(file, path, file.size, "5" * 64, Proof.SHA256_BY_ETAG)])


def table_of(series: Series, stored: Stored) -> pa.Table:
    """The rows, in the order of the dataset's key."""
    table = pa.concat_tables(pq.read_table(part.path) for part in stored.partitions)
    return table.sort_by([(name, "ascending") for name in DATASETS[series.dataset].key])


def truth(series: Series, label: str) -> pa.Table:
    return MARKET.stored(series, MARKET.file_rows(series, Period.parse(label)))


def source(stored: Stored) -> Source:
    (found,) = stored.sources.values()
    return found


@pytest.mark.parametrize(
    ("defect", "series", "label"),
    [
        ("D16", TRADES, DAY),
        ("D16", METRICS, DAY),
        ("D17", Series(SPOT_KLINES.market, "trades", "ETHUSDT"), "2024-12-30"),
        ("D18", CM_KLINES, DAY),
        ("D20", SPOT_AGG_TRADES, DAY),
        ("D20", BOOK, DAY),
        ("D20", KLINES, DAY),
    ],
)
def test_another_form_gives_the_same_rows(archive: Path, defect: str, series: Series, label: str) -> None:
    planted, stored = planted_and_stored(archive, defect, series, label)
    assert table_of(series, stored).equals(truth(series, label))
    assert (
        planted.rows == len(MARKET.stored(series, MARKET.file_rows(series, Period.parse(label)))) or series == METRICS
    )


@pytest.mark.parametrize(
    ("series", "label"), [(KLINES, DAY), (AGG_TRADES, DAY), (BOOK, DAY), (MARK, MONTH), (FUNDING, MONTH)]
)
def test_duplicates_are_dropped_and_counted(archive: Path, series: Series, label: str) -> None:
    planted, stored = planted_and_stored(archive, "D25", series, label)
    assert source(stored).duplicates == planted.rows
    assert table_of(series, stored).equals(truth(series, label))


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_rows_out_of_order_are_sorted_and_counted(archive: Path, seed: int) -> None:
    planted, stored = planted_and_stored(archive, "D28", TRADES, DAY, seed)
    assert (source(stored).reordered, source(stored).duplicates) == (planted.rows, 0)
    assert table_of(TRADES, stored).equals(truth(TRADES, DAY))


def test_blank_cells_of_metrics_are_null(archive: Path) -> None:
    planted, stored = planted_and_stored(archive, "D26", METRICS, DAY)
    table, whole = table_of(METRICS, stored), truth(METRICS, DAY)
    assert table["timestamp"].equals(whole["timestamp"])
    assert table["account_ratio"].null_count > whole["account_ratio"].null_count
    assert source(stored).duplicates >= planted.rows
    assert table["open_interest"].equals(whole["open_interest"])


def test_two_rows_of_one_id_at_a_day_border_are_both_stored(archive: Path) -> None:
    planted, second = planted_and_stored(archive, "D27", SPOT_AGG_TRADES, DAY)
    first = stored_from(archive, SPOT_AGG_TRADES, "2025-01-07")
    before, after = table_of(SPOT_AGG_TRADES, first), table_of(SPOT_AGG_TRADES, second)
    assert after.num_rows == truth(SPOT_AGG_TRADES, DAY).num_rows
    assert before["agg_trade_id"][-1] == after["agg_trade_id"][0]
    storage = StorageManager(Layout(archive.with_name("home")), StorageSettings(), QualitySettings())
    read = pa.Table.from_batches(storage.scan(SPOT_AGG_TRADES, planted.span))
    last = before["agg_trade_id"][-1].as_py()
    assert [row["agg_trade_id"] for row in read.to_pylist()] == [last, last, last + 2]


@pytest.mark.parametrize("seed", range(6))
def test_a_broken_zip_is_refused(archive: Path, seed: int) -> None:
    _, stored = planted_and_stored(archive, "D22", KLINES, DAY, seed)
    assert not stored.partitions
    (why,) = stored.refused.values()
    assert "broken" in why or "damaged" in why


@pytest.mark.parametrize(
    ("defect", "series"), [("D14", TRADES), ("D15", SPOT_KLINES), ("D29", SPOT_AGG_TRADES), ("D33", AGG_TRADES)]
)
def test_what_may_be_as_it_is_is_stored_as_published(archive: Path, defect: str, series: Series) -> None:
    planted, stored = planted_and_stored(archive, defect, series, DAY)
    table, whole = table_of(series, stored), truth(series, DAY)
    if defect == "D14":
        assert len(table) == len(whole) - planted.rows
        assert set(table["id"].to_pylist()) < set(whole["id"].to_pylist())
        return
    changed = {"D15": "timestamp", "D29": "timestamp", "D33": "quantity"}[defect]
    rows = [
        i for i, (a, b) in enumerate(zip(table[changed].to_pylist(), whole[changed].to_pylist(), strict=True)) if a != b
    ]
    assert len(rows) == {"D15": 1, "D29": 2, "D33": planted.rows}[defect]
    assert (source(stored).reordered, source(stored).duplicates) == (0, 0)
