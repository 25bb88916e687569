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
    columns = zip(*found, strict=True) if found else ([], [], [])
    file_index, ids, parts = (pa.array(column, pa.int64()) for column in columns)
    return pa.table({"file_index": file_index, "timestamp": ids, "id": ids, "part": parts})


def never(symbol: int, earliest_us: int) -> pa.Table:
    raise AssertionError((symbol, earliest_us))


@given(rows)
def test_rows_come_by_symbol_and_key_and_what_repeats_is_read_again(found: list[tuple[int, int, int]]) -> None:
    """Times are here as the ids; what is read again is without what repeats, and has 50 more rows."""
    keys = sorted((SYMBOL_OF_FILE[file], number, part) for file, number, part in found)
    repeating = {key[0] for key in keys if keys.count(key) > 1}
    asked: list[tuple[int, int]] = []

    def again(symbol: int, earliest_us: int) -> pa.Table:
        asked.append((symbol, earliest_us))
        return table([(0, *key) for key in extended[symbol]])

    extended = {
        one: sorted({key[1:] for key in keys if key[0] == one}) + [(n, 0) for n in range(50, 100)] for one in (0, 2)
    }
    wanted = [(one, *key) for one in repeating for key in extended[one]]
    wanted = sorted([*wanted, *(key for key in keys if key[0] not in repeating)])
    ordered = in_order(table(found), ("id", "part"), FILES, again)
    assert ordered.counts.tolist() == [sum(key[0] == symbol for key in wanted) for symbol in range(3)]
    columns = (ordered.table[name].to_pylist() for name in ("id", "part"))
    assert list(zip(*columns, strict=True)) == [key[1:] for key in wanted]
    assert asked == [(one, min(key[1] for key in keys if key[0] == one)) for one in sorted(repeating)]


def test_rows_that_still_repeat_are_refused_with_their_files() -> None:
    found = [(0, 1, 1), (1, 1, 1), (2, 3, 0)]
    with pytest.raises(StorageError) as caught:
        in_order(table(found), ("id", "part"), FILES, lambda *_: table(found[:2]))
    assert str(caught.value) == (
        "1 rows repeat within one archive, the first at id 1, part 1 in a1 or a2, which was not stored so; "
        "delete the file and run the download again"
    )


def test_rows_in_order_are_not_read_again() -> None:
    assert len(in_order(table([(0, 1, 1), (1, 1, 2), (2, 1, 1)]), ("id", "part"), FILES, never)) == 3
