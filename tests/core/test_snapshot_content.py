"""Digests of rows: the same however rows are cut, packed and filed; another one for any other cell."""

import hashlib
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from snapshot_world import FIRST, FUNDING, KLINES, LAST, METRICS, TRADES, Folder, days, market

from core.datasets import DATASETS
from core.errors import StorageError
from core.snapshot.content import contents_of, periods_in
from core.storage.schema import schema_of
from core.types import Market, Period, Series, Span

ALL = Span.of_days(FIRST, LAST)
LIQUIDATIONS = Series(Market.UM, "liquidation_snapshot", "BTCUSDT")


def cut(table: pa.Table, places: list[int]) -> Iterator[pa.RecordBatch]:
    bounds = [0, *sorted(place % (len(table) + 1) for place in places), len(table)]
    for start, end in pairwise(bounds):
        yield pa.RecordBatch.from_pylist(table.slice(start, end - start).to_pylist(), schema=table.schema)


@lru_cache
def truth(series: Series, rows: int = 600) -> pa.Table:
    table = market().truth(series, ALL)
    return table.slice(0, rows)


@pytest.mark.parametrize("series", [KLINES, FUNDING, METRICS, LIQUIDATIONS, TRADES], ids=str)
@hypothesis_settings(max_examples=30, deadline=None)
@given(places=st.lists(st.integers(0, 10**6), max_size=12))
def test_however_rows_are_cut_they_have_the_same_digests(series: Series, places: list[int]) -> None:
    table = truth(series, 500)
    whole = contents_of(series, table.combine_chunks().to_batches())
    assert contents_of(series, cut(table, places)) == whole
    assert sum(content.rows for content in whole) == len(table)


@pytest.mark.parametrize("series", [KLINES, METRICS, LIQUIDATIONS, TRADES], ids=str)
@hypothesis_settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_other_cell_is_another_digest_of_its_period_alone(series: Series, data: st.DataObject) -> None:
    table = truth(series)
    row = data.draw(st.integers(0, len(table) - 1))
    name = data.draw(st.sampled_from([name for name in table.column_names if name != "timestamp"]))
    old = table.column(name)[row].as_py()
    new = data.draw(_another(table.schema.field(name), old))
    values = table.column(name).to_pylist()
    values[row] = new
    place = table.column_names.index(name)
    other = table.set_column(place, table.schema.field(name), pa.array(values, table.schema.field(name).type))
    before = contents_of(series, table.to_batches())
    after = contents_of(series, other.to_batches())
    moment = table.column("timestamp")[row].as_py()
    changed = [one.period for one, another in zip(before, after, strict=True) if one != another]
    is_tape = series is TRADES
    label = moment.strftime("%Y-%m-%d" if is_tape else "%Y-%m")
    assert changed == [Period.parse(label)]


def _another(field: pa.Field, old: object) -> st.SearchStrategy[object]:
    """Another value; of a number the next one there is, or any; null where that is allowed."""
    kinds: list[st.SearchStrategy[object]] = [st.none()] if field.nullable and old is not None else []
    if pa.types.is_floating(field.type):
        near = [np.nextafter(old, np.inf), -old] if old is not None and old == old else [0.0]
        kinds += [st.sampled_from([float(n) for n in near]), st.floats(allow_nan=False)]
    elif pa.types.is_boolean(field.type):
        kinds.append(st.just(not old))
    elif pa.types.is_string(field.type):
        kinds.append(st.text("ABC_", max_size=9))
    elif pa.types.is_timestamp(field.type):
        kinds.append(st.just(datetime(2020, 1, 1, tzinfo=UTC)))
    else:
        kinds.append(st.integers(-(2**63), 2**63 - 1))
    return st.one_of(kinds).filter(lambda new: not (new == old and str(new) == str(old)))


def test_rows_in_another_order_and_words_cut_elsewhere_are_other_rows() -> None:
    schema = schema_of(DATASETS["liquidation_snapshot"], Market.UM)
    rows = truth(LIQUIDATIONS, 2).to_pylist()
    assert len(rows) == 2
    one = [rows[0] | {"side": "AB", "order_type": "C"}, rows[1] | {"side": "D", "order_type": "E"}]
    two = [rows[0] | {"side": "A", "order_type": "C"}, rows[1] | {"side": "BD", "order_type": "E"}]
    found = [
        contents_of(LIQUIDATIONS, [pa.RecordBatch.from_pylist(each, schema=schema)])[0].digest
        for each in (one, two, one[::-1])
    ]
    assert len(set(found)) == 3


def test_zero_and_minus_zero_and_nothing_are_three_things() -> None:
    schema = schema_of(DATASETS["metrics"], Market.UM)
    row = truth(METRICS, 1).to_pylist()[0]
    name = next(field.name for field in schema if field.nullable)
    found = {
        contents_of(METRICS, [pa.RecordBatch.from_pylist([row | {name: value}], schema=schema)])[0].digest
        for value in (0.0, -0.0, None, float("nan"))
    }
    assert len(found) == 4


def test_the_digest_is_what_the_documentation_says() -> None:
    """The same number by plain Python: `docs/snapshots.md` defines it for anybody."""
    rows = truth(FUNDING, 3)
    (content,) = contents_of(FUNDING, rows.to_batches())
    digest = hashlib.blake2b(b"tapevault rows 1 3\n", digest_size=16)
    nothing = hashlib.blake2b(digest_size=16).hexdigest()
    for name in rows.column_names:
        values = rows.column(name).to_pylist()
        if isinstance(values[0], datetime):
            values = [int(value.timestamp()) * 1_000_000 + value.microsecond for value in values]
        packed = b"".join(struct.pack("<d" if isinstance(value, float) else "<q", value) for value in values)
        column = hashlib.blake2b(packed, digest_size=16).hexdigest()
        digest.update(f"{name} {column} {nothing} {nothing}\n".encode())
    assert content.digest == digest.hexdigest()
    assert (content.period, content.rows) == (Period.parse("2024-12"), 3)


def test_other_columns_are_refused() -> None:
    with pytest.raises(StorageError, match="um/klines/BTCUSDT/1h: its rows have other columns"):
        contents_of(KLINES, [truth(KLINES).to_batches()[0].drop_columns(["close"])])


def test_words_that_are_packed_as_a_dictionary_are_the_same_words() -> None:
    table = truth(LIQUIDATIONS)
    place = table.column_names.index("side")
    packed = table.set_column(place, "side", table.column("side").dictionary_encode())
    assert contents_of(LIQUIDATIONS, packed.to_batches()) == contents_of(LIQUIDATIONS, table.to_batches())


@pytest.mark.parametrize(
    ("series", "span", "labels"),
    [
        (KLINES, Span.of_days(FIRST, LAST), ["2024-12", "2025-01"]),
        (KLINES, Span(0, 1), ["1970-01"]),
        (KLINES, Span(5, 5), []),
        (TRADES, Span(0, 86_400_000_001), ["1970-01-01", "1970-01-02"]),
        (Series(Market.SPOT, "klines", "BTCUSDT", "1s"), Span(0, 1), ["1970-01"]),
    ],
)
def test_the_periods_of_a_span(series: Series, span: Span, labels: list[str]) -> None:
    assert [period.label for period in periods_in(series, span)] == labels


def test_trades_that_go_back_over_midnight_are_digested_by_their_own_day() -> None:
    table = truth(TRADES, 4)
    midnight = 1_735_689_600_000_000
    times = pa.array([midnight - 2, midnight + 1, midnight - 1, midnight + 2]).cast(pa.timestamp("us", tz="UTC"))
    table = table.set_column(0, table.schema.field(0), times)
    before, after = contents_of(TRADES, table.to_batches())
    assert (before.period.label, before.rows, before.first_us, before.last_us) == (
        "2024-12-31",
        2,
        midnight - 2,
        midnight - 1,
    )
    assert (after.period.label, after.rows) == ("2025-01-01", 2)
    alone = contents_of(TRADES, table.take([0, 2]).to_batches())
    assert alone == (before,)


@pytest.mark.parametrize("series", [KLINES, TRADES], ids=str)
def test_files_of_any_shape_have_the_digests_of_the_truth(tmp_path: Path, series: Series) -> None:
    """Days, months, merged, other row groups, other compression: what scan gives, and so its digests, are the same."""
    by_day, by_month, packed = Folder(tmp_path / "a", 7), Folder(tmp_path / "b"), Folder(tmp_path / "c")
    for folder in (by_day, packed):
        folder.put(series, days(10, 31, "2024-12"))
    by_month.put(series, ["2024-12"])
    if series is TRADES:
        by_day.merge(series, "2024-12")
    packed.repack(series, 11, compression="gzip")
    span = Span.of_days(FIRST, Period.parse("2024-12").last)
    wanted = contents_of(series, market().truth(series, span).to_batches())
    shapes = set()
    for folder in (by_day, by_month, packed):
        assert contents_of(series, folder.storage.scan(series, span)) == wanted
        shapes.add(tuple(sorted((one.period.label, one.path.stat().st_size) for one in folder.partitions(series))))
    assert len(shapes) == 3
