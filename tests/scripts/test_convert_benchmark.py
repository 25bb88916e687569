"""What `benchmarks/convert.py` stands on: text that is the exchange's, peers that read it, a proof that can fail."""

import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import ROOT

sys.path.append(str(ROOT / "benchmarks"))

import convert
import convert_input
from same_rows import difference

from core.types import Market

UM_LINE = re.compile(
    rb"\d{10},\d{5}(\.[1-9])?,(0|[1-9]\d*)(\.\d{0,2}[1-9])?,[1-9]\d*(\.\d{0,3}[1-9])?,\d{13},(true|false)"
)
SPOT_LINE = re.compile(rb"\d{10},\d{5}\.\d{8},\d+\.\d{8},\d+\.\d{8},\d{16},(True|False),True")


def lines_of(path: Path) -> list[bytes]:
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [f"{path.stem}.csv"]
        text = archive.read(f"{path.stem}.csv")
    assert text.endswith(b"\n")
    return text.splitlines()


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert_input, "CHUNK_ROWS", 400)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(("market", "line"), [(Market.UM, UM_LINE), (Market.SPOT, SPOT_LINE)])
def test_trades_are_written_as_the_exchange_writes_them(
    tmp_path: Path, market: Market, line: re.Pattern[bytes]
) -> None:
    made = convert_input.trades(tmp_path, 1000, market)
    assert made.path.name == "BTCUSDT-trades-2025-08-08.zip"
    lines = lines_of(made.path)
    assert made.csv_bytes == sum(len(each) + 1 for each in lines)
    if market is Market.UM:
        assert lines.pop(0) == b"id,price,qty,quote_qty,time,is_buyer_maker"
    assert len(lines) == 1000
    assert [each for each in lines if not line.fullmatch(each)] == []
    ids, times = ([int(each.split(b",")[place]) for each in lines] for place in (0, 4))
    assert ids == sorted(set(ids))
    assert times == sorted(times)
    assert len(set(times)) < 700
    unit = 1000 if market is Market.UM else 1
    assert made.period.span.start_us <= times[0] * unit <= times[-1] * unit < made.period.span.end_us


@pytest.mark.usefixtures("small_chunks")
def test_the_reference_is_what_the_text_says(tmp_path: Path) -> None:
    made = convert_input.trades(tmp_path, 1000)
    rows = pq.read_table(made.reference)
    cells = [line.decode().split(",") for line in lines_of(made.path)[1:]]
    for place, name in [(1, "price"), (2, "qty"), (3, "quote_qty")]:
        assert rows[name].to_pylist() == [float(each[place]) for each in cells]
    assert rows["id"].to_pylist() == [int(each[0]) for each in cells]
    assert rows["timestamp"].cast(pa.int64()).to_pylist() == [int(each[4]) * 1000 for each in cells]
    assert rows["is_buyer_maker"].to_pylist() == [each[5] == "true" for each in cells]


def test_more_than_a_day_holds_is_a_month(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert_input, "A_DAY_HAS", 99)
    assert convert_input.trades(tmp_path, 100).path.name == "BTCUSDT-trades-2025-08.zip"


def test_candles_fill_their_months_and_have_a_header_only_late(tmp_path: Path) -> None:
    made = convert_input.candles(tmp_path, 72)
    first, leap, last = (lines_of(made[number].path) for number in (0, 13, 71))
    assert (made[13].path.name, made[71].path.name) == ("S0000USDT-1h-2020-02.zip", "S0000USDT-1h-2024-12.zip")
    assert (len(first), len(leap), len(last)) == (744, 696, 745)
    assert last[0].startswith(b"open_time,open,high,low,close,volume,close_time,")
    assert first[0].startswith(b"1546300800000,")


@pytest.mark.usefixtures("small_chunks")
def test_every_contender_that_is_here_gives_the_rows_of_the_reference(tmp_path: Path) -> None:
    task = convert.task_of([convert_input.trades(tmp_path, 1000)])
    found = convert.race(task, convert.present(convert.TRADES, None), tmp_path, rounds=1, uncounted=0)
    assert {"tapevault", "duckdb COPY, zstd", "pandas, snappy (default)"} <= found.keys()
    assert all(outcome.out_mb > 0.005 and outcome.median("peak_mb") > 20 for outcome in found.values())


def test_spot_trades_too(tmp_path: Path) -> None:
    task = convert.task_of([convert_input.trades(tmp_path, 1000, Market.SPOT)])
    by_program = {each.peer: each for each in convert.present(convert.TRADES, None)}
    found = convert.race(task, list(by_program.values()), tmp_path, rounds=1, uncounted=0)
    assert len(found) == len(by_program) >= 4


def test_loops_over_candles_give_the_rows_of_the_reference(tmp_path: Path) -> None:
    task = convert.task_of(convert_input.candles(tmp_path, 80)[40:])
    assert {archive["has_header"] for archive in task.archives} == {False, True}
    assert convert.race(task, convert.CANDLES, tmp_path, rounds=1, uncounted=0).keys() == {
        each.name for each in convert.CANDLES
    }


def test_a_wrong_row_ends_the_race(tmp_path: Path) -> None:
    made = convert_input.trades(tmp_path, 500)
    rows = pq.read_table(made.reference)
    pq.write_table(rows.slice(0, 499), made.reference)
    with pytest.raises(SystemExit, match="tapevault differs from the reference: more rows than the 499"):
        convert.race(convert.task_of([made]), convert.TRADES[:1], tmp_path, rounds=1, uncounted=0)


ROWS = pa.table(
    {
        "id": pa.array(range(5000), pa.int64()),
        "price": pa.array(np.arange(5000) / 10),
        "is_buyer_maker": pa.array([n % 3 == 0 for n in range(5000)]),
    }
)


def written(path: Path, rows: pa.Table, group: int = 700) -> Path:
    pq.write_table(rows, path, row_group_size=group)
    return path


def test_the_same_rows_in_other_files_and_groups_are_the_same(tmp_path: Path) -> None:
    wanted = written(tmp_path / "wanted", ROWS)
    parts = [written(tmp_path / "a", ROWS.slice(0, 1234)), written(tmp_path / "b", ROWS.slice(1234), 100)]
    assert difference(parts, [wanted]) is None
    assert difference([wanted], parts) is None


def changed(column: str, row: int, value: object) -> pa.Table:
    values = ROWS[column].to_pylist()
    values[row] = value
    place = ROWS.schema.get_field_index(column)
    return ROWS.set_column(place, column, pa.array(values, ROWS.schema.field(column).type))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (changed("price", 4321, float(np.nextafter(432.1, 1000))), "row 4,321, price: 432.1"),
        (changed("price", 0, -0.0), "row 0, price: -0.0 instead of 0.0"),
        (changed("price", 0, None), "row 0, price: None instead of 0.0"),
        (changed("id", 4999, 0), "row 4,999, id: 0 instead of 4999"),
        (changed("is_buyer_maker", 1, True), "row 1, is_buyer_maker: True instead of False"),
        (ROWS.slice(0, 4999), "fewer rows than the 4,999"),
        (pa.concat_tables([ROWS, ROWS.slice(0, 1)]), "more rows than the 5,000"),
        (ROWS.take([1, 0, *range(2, 5000)]), "row 0, id: 1 instead of 0"),
        (ROWS.select(["price", "id", "is_buyer_maker"]), "has the columns"),
        (
            ROWS.cast(pa.schema({**dict(zip(ROWS.column_names, ROWS.schema.types, strict=True)), "id": pa.int32()})),
            "int32",
        ),
    ],
)
def test_the_least_difference_is_found(tmp_path: Path, rows: pa.Table, said: str) -> None:
    found = difference([written(tmp_path / "found", rows)], [written(tmp_path / "wanted", ROWS)])
    assert found is not None
    assert said in found


def test_other_bytes_from_another_way_of_ours_end_the_race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = convert.task_of([convert_input.trades(tmp_path, 300)])
    ways = [convert.Contender("tapevault", parser="compiled"), convert.Contender("another way", parser="arrow")]
    found = convert.race(task, ways, tmp_path, rounds=1, uncounted=0)
    assert found["tapevault"].digest == found["another way"].digest != ""
    digests = iter("ab")
    monkeypatch.setattr(convert, "digest_of", lambda paths: next(digests))
    with pytest.raises(SystemExit, match="are not the same bytes"):
        convert.race(task, ways, tmp_path, rounds=1, uncounted=0)
