"""What each format writes is what it reads back, and what other programs see."""

import csv
import math
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from core.datasets import DATASETS, Kind
from core.storage.formats import FORMATS
from core.storage.schema import schema_of
from core.types import Market

EVERY = [(name, market) for name, dataset in DATASETS.items() for market in dataset.markets]
DOUBLES = st.floats(allow_nan=False, allow_infinity=False)


def made_up(name: str, market: Market, count: int) -> pa.RecordBatch:
    """Rows with other values in every cell."""
    made = {
        Kind.TIME: lambda n: datetime.fromtimestamp(1_704_067_200 + n, UTC).replace(microsecond=n),
        Kind.DECIMAL: lambda n: -n / 7,
        Kind.INTEGER: lambda n: 2**62 - n,
        Kind.BOOLEAN: lambda n: n % 3 == 0,
        Kind.TEXT_TIME: lambda n: datetime.fromtimestamp(1_704_067_200 + n, UTC),
        Kind.TEXT: lambda n: f"WORD_{n % 3}",
    }
    columns = DATASETS[name].stored_columns(market)
    rows = [
        {
            str(c.name): None if c.nullable and (n + place) % 5 == 0 else made[c.kind](n * 31 + place)
            for place, c in enumerate(columns)
        }
        for n in range(count)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=schema_of(DATASETS[name], market))


def written(path: Path, form: str, name: str, market: Market, batches: list[pa.RecordBatch]) -> Path:
    writer = FORMATS[form].Writer(path, DATASETS[name], market, 1000)
    for batch in batches:
        writer.write(batch)
    writer.close({"tapevault.rows": str(sum(batch.num_rows for batch in batches))})
    return path


def prices(values: list[float]) -> pa.RecordBatch:
    """Funding rates with these values."""
    times = pa.array(range(len(values)), pa.timestamp("us", tz="UTC"))
    columns = [times, pa.array([8] * len(values), pa.int64()), pa.array(values, pa.float64())]
    return pa.RecordBatch.from_arrays(columns, schema=schema_of(DATASETS["funding_rate"], Market.UM))


def bits(values: list[float]) -> list[str]:
    """Told apart by sign too: 0.0 is not -0.0."""
    return [value.hex() for value in values]


@pytest.mark.parametrize("form", list(FORMATS))
def test_an_ending_says_the_format(form: str) -> None:
    assert f".{form}" == FORMATS[form].SUFFIX


@pytest.mark.parametrize("form", list(FORMATS))
@pytest.mark.parametrize(("name", "market"), EVERY)
def test_every_kind_of_data_comes_back_as_it_was(tmp_path: Path, form: str, name: str, market: Market) -> None:
    batches = [made_up(name, market, 50), made_up(name, market, 3)]
    found = FORMATS[form].read(written(tmp_path / "rows", form, name, market, batches))
    assert found.column_names == schema_of(DATASETS[name], market).names
    assert found.cast(schema_of(DATASETS[name], market)).equals(pa.Table.from_batches(batches))


@pytest.mark.parametrize("form", list(FORMATS))
@given(values=st.lists(DOUBLES, min_size=1, max_size=50))
@example(values=[0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 1e21, 123456789012345680.0, 0.30000000000000004])
@hypothesis_settings(max_examples=60, deadline=None)
def test_every_double_comes_back_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, form: str, values: list[float]
) -> None:
    batch = prices([*values, 0.5])
    path = written(tmp_path_factory.mktemp("bits") / "rows", form, "funding_rate", Market.UM, [batch])
    assert bits(FORMATS[form].read(path)["funding_rate"].to_pylist()) == bits([*values, 0.5])


@given(values=st.lists(DOUBLES, min_size=1, max_size=30))
@hypothesis_settings(max_examples=40, deadline=None)
def test_a_csv_reader_of_any_make_finds_the_doubles(
    tmp_path_factory: pytest.TempPathFactory, values: list[float]
) -> None:
    path = tmp_path_factory.mktemp("plain") / "rows.csv"
    written(path, "csv", "funding_rate", Market.UM, [prices(values)])
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert bits([float(row["funding_rate"]) for row in rows]) == bits(values)


def test_csv_spells_times_and_booleans_so_that_anything_reads_them(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.csv", "csv", "trades", Market.UM, [made_up("trades", Market.UM, 2)])
    header, first, second = path.read_text().splitlines()
    assert header == "timestamp,id,price,qty,quote_qty,is_buyer_maker"
    assert first.split(",")[0] == "2024-01-01 00:00:00.000000Z"
    assert first.split(",")[-1] == "false"
    assert datetime.fromisoformat(second.split(",")[0]) == datetime(2024, 1, 1, 0, 0, 31, 31, tzinfo=UTC)
    assert second.split(",")[-1] == "true"


@pytest.mark.parametrize(("name", "market"), EVERY)
def test_parquet_is_encoded_for_speed_and_says_its_facts(tmp_path: Path, name: str, market: Market) -> None:
    metadata = pq.read_metadata(written(tmp_path / "rows", "parquet", name, market, [made_up(name, market, 2500)]))
    assert metadata.metadata[b"tapevault.rows"] == b"2500"
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [1000, 1000, 500]
    kinds = {str(column.name): column.kind for column in DATASETS[name].stored_columns(market)}
    group = metadata.row_group(0)
    for place in range(group.num_columns):
        column = group.column(place)
        is_packed = DATASETS[name].key != ("timestamp",) and "BYTE_STREAM_SPLIT" not in column.encodings
        assert column.compression == ("ZSTD" if is_packed else "LZ4")
        is_real = kinds[column.path_in_schema] is Kind.DECIMAL
        assert column.has_dictionary_page or ("BYTE_STREAM_SPLIT" in column.encodings) == is_real
        if kinds[column.path_in_schema] is Kind.TEXT:
            assert column.has_dictionary_page
        if kinds[column.path_in_schema] in (Kind.TIME, Kind.TEXT_TIME, Kind.INTEGER):
            assert "DELTA_BINARY_PACKED" in column.encodings
            assert column.statistics.has_min_max


@pytest.mark.parametrize("form", list(FORMATS))
def test_an_abandoned_file_can_be_closed_and_removed(tmp_path: Path, form: str) -> None:
    writer = FORMATS[form].Writer(tmp_path / "rows", DATASETS["funding_rate"], Market.UM, 1000)
    writer.write(prices([math.pi]))
    writer.abandon()
    (tmp_path / "rows").unlink()
    assert list(tmp_path.iterdir()) == []
