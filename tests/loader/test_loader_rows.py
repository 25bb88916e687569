"""Rows are put in order, whatever order an engine returns them in, and a repeated key never gets through."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import StorageError
from loader.rows import in_order

FILES = ((Path("a1"), Path("a2")), (), (Path("c1"),))
SYMBOL_OF_FILE = (0, 0, 2)
rows = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 2)), max_size=20)


def table(found: list[tuple[int, int, int]]) -> pa.Table:
    columns = zip(*found, strict=True) if found else ((), (), ())
    return pa.table([pa.array(column, pa.int64()) for column in columns], ["file_index", "id", "part"])


@given(rows)
def test_rows_come_by_symbol_and_key_or_not_at_all(found: list[tuple[int, int, int]]) -> None:
    keys = sorted((SYMBOL_OF_FILE[file], number, part) for file, number, part in found)
    if len(set(keys)) < len(keys):
        with pytest.raises(StorageError, match=f"{len(keys) - len(set(keys))} rows repeat"):
            in_order(table(found), ("id", "part"), FILES)
        return
    ordered = in_order(table(found), ("id", "part"), FILES)
    assert ordered.counts.tolist() == [sum(key[0] == symbol for key in keys) for symbol in range(3)]
    assert list(zip(*(ordered.table[name].to_pylist() for name in ("id", "part")), strict=True)) == [
        key[1:] for key in keys
    ]


@given(rows)
def test_where_files_share_a_midnight_the_later_file_has_its_rows(found: list[tuple[int, int, int]]) -> None:
    places = sorted((SYMBOL_OF_FILE[file], number, part, file) for file, number, part in found)
    latest = {place[:3]: place[3] for place in places}
    ordered = in_order(table(found), ("id", "part"), FILES, shares_midnight=True)
    assert ordered.counts.tolist() == [sum(key[0] == symbol for key in latest) for symbol in range(3)]
    names = ("id", "part", "file_index")
    assert list(zip(*(ordered.table[name].to_pylist() for name in names), strict=True)) == [
        (number, part, file) for (_, number, part), file in latest.items()
    ]
