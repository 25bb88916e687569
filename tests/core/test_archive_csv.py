"""A published zip as rows: every rule about its form, each with what is said when it is broken."""

import struct
import zipfile
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pytest
from factories import kline_csv, zip_bytes
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from core.datasets import DATASETS
from core.errors import MalformedArchive
from core.settings import QualitySettings
from core.storage.archive_csv import ArchiveCsv
from core.types import Market, Period

JANUARY = Period.month(2024, 1)
NAME = "BTCUSDT-1h-2024-01"
CSV = kline_csv(rows=3)
HEADER, *ROWS = CSV.decode().splitlines()


def archive(
    folder: Path,
    content: bytes,
    dataset: str = "klines",
    market: Market = Market.UM,
    quality: QualitySettings | None = None,
    block_bytes: int = 1 << 20,
) -> ArchiveCsv:
    path = folder / f"{NAME}.zip"
    path.write_bytes(content)
    return ArchiveCsv(path, DATASETS[dataset], market, JANUARY, quality or QualitySettings(), block_bytes)


def read(folder: Path, text: bytes | str, dataset: str = "klines", market: Market = Market.UM, **options) -> pa.Table:  # type: ignore[no-untyped-def]
    raw = text.encode() if isinstance(text, str) else text
    return pa.Table.from_batches(archive(folder, zip_bytes({f"{NAME}.csv": raw}), dataset, market, **options).batches())


def refusal(folder: Path, content: bytes, **options) -> str:  # type: ignore[no-untyped-def]
    with pytest.raises(MalformedArchive) as caught:
        list(archive(folder, content, **options).batches())
    assert NAME in str(caught.value)
    return str(caught.value)


def csv_refusal(folder: Path, text: bytes | str, **options) -> str:  # type: ignore[no-untyped-def]
    raw = text.encode() if isinstance(text, str) else text
    return refusal(folder, zip_bytes({f"{NAME}.csv": raw}), **options)


# the zip

GOOD = zip_bytes({f"{NAME}.csv": CSV})


def patched(content: bytes, local_at: int, central_at: int, layout: str, value: int) -> bytes:
    """A zip with one field of its local and its central header replaced."""
    changed = bytearray(content)
    struct.pack_into(layout, changed, content.index(b"PK\3\4") + local_at, value)
    struct.pack_into(layout, changed, content.index(b"PK\1\2") + central_at, value)
    return bytes(changed)


def test_bad_zips_are_refused_by_name(tmp_path: Path) -> None:
    assert "zero bytes" in refusal(tmp_path, b"")
    assert "no readable zip" in refusal(tmp_path, b"<html>502 Bad Gateway</html>")
    assert "no readable zip" in refusal(tmp_path, GOOD[: len(GOOD) // 2])
    assert "2 members" in refusal(tmp_path, zip_bytes({f"{NAME}.csv": CSV, "more.csv": CSV}))
    assert "0 members" in refusal(tmp_path, zip_bytes({}))
    assert "holds 'other.csv' instead of" in refusal(tmp_path, zip_bytes({"other.csv": CSV}))
    assert f"holds '../{NAME}.csv'" in refusal(tmp_path, zip_bytes({f"../{NAME}.csv": CSV}))
    assert f"holds '/tmp/{NAME}.csv'" in refusal(tmp_path, zip_bytes({f"/tmp/{NAME}.csv": CSV}))
    assert "encrypted" in refusal(tmp_path, patched(GOOD, 6, 8, "<H", 1))
    assert "zip" in refusal(tmp_path, patched(GOOD, 8, 10, "<H", 99))


def test_a_wrong_crc_is_found(tmp_path: Path) -> None:
    assert "damaged" in refusal(tmp_path, patched(GOOD, 14, 16, "<I", 12345))


def test_a_broken_stream_is_found(tmp_path: Path) -> None:
    broken = bytearray(GOOD)
    middle = len(NAME) + 34 + 60
    broken[middle : middle + 20] = b"\xff" * 20
    assert "damaged" in refusal(tmp_path, bytes(broken))


def test_a_header_that_lies_about_the_size_is_found(tmp_path: Path) -> None:
    assert "damaged" in refusal(tmp_path, patched(GOOD, 22, 24, "<I", len(CSV) - 40))
    assert "it declares" in refusal(tmp_path, patched(GOOD, 22, 24, "<I", len(CSV) + 40))


def test_bombs_are_refused_before_they_unpack(tmp_path: Path) -> None:
    bomb = zip_bytes({f"{NAME}.csv": b"1" * 50_000_000})
    assert "times its size; quality.max_compression_ratio is 200" in refusal(tmp_path, bomb)
    small = QualitySettings(max_csv_bytes=1000)
    text = refusal(tmp_path, zip_bytes({f"{NAME}.csv": kline_csv(rows=100)}), quality=small)
    assert "quality.max_csv_bytes is 1,000" in text


def test_a_stored_member_is_read_too(tmp_path: Path) -> None:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as stored:
        stored.writestr(f"{NAME}.csv", CSV)
    batches = list(archive(tmp_path, buffer.getvalue()).batches())
    assert sum(batch.num_rows for batch in batches) == 3


# the CSV


def test_header_or_none_is_decided_by_the_first_byte(tmp_path: Path) -> None:
    bare = "\n".join(ROWS)
    assert read(tmp_path, CSV).equals(read(tmp_path, bare))
    assert read(tmp_path, CSV).num_rows == 3
    assert read(tmp_path, CSV.replace(b"\n", b"\r\n")).equals(read(tmp_path, bare + "\n"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the CSV is empty"),
        (HEADER + "\n", "the CSV is empty"),
        (HEADER, "the CSV is empty"),
        ("\n".join([HEADER.replace("close_time", "shut_time"), *ROWS]), "line 1: the header is not open_time,open"),
        ("\n".join([HEADER + ",more", *ROWS]), "line 1: the header is not"),
        ("\n".join([HEADER, "1,2,3"]), "line 2: 3 columns instead of 12: 1,2,3"),
        ("\n".join([ROWS[0], ROWS[1] + ",9"]), "line 2: 13 columns instead of 12"),
        ("\n".join([HEADER, ROWS[0], "", ROWS[1]]), "line 3: 1 columns instead of 12"),
        ("\n".join([HEADER, ROWS[0], ROWS[1].replace("42100.5", "421O0.5")]), "line 3: high is '421O0.5'"),
        ("\n".join([HEADER, ROWS[0].replace("42100.5", "")]), "line 2: high is ''"),
        ("\n".join([HEADER, ROWS[0].replace("42100.5", "nan")]), "line 2: high is 'nan'"),
        ("\n".join([HEADER, ROWS[0].replace("42100.5", "inf")]), "line 2: high is 'inf'"),
        ("\n".join([HEADER, ROWS[0].replace("42100.5", "1e999")]), "line 2: high is '1e999', beyond any double"),
        ("\n".join([HEADER, ROWS[0].replace(",100,", ",0x64,")]), "line 2: count is '0x64'"),
        ("\n".join([HEADER, ROWS[0].replace(",100,", ", 100,")]), "line 2: count is ' 100'"),
        ("\n".join([HEADER, ROWS[0].replace("42100.5", '"42100.5"')]), "line 2: high is '\"42100.5\"'"),
        ("\n".join([HEADER, ROWS[0].replace(",100,", ",99999999999999999999,")]), "99999999999999999999"),
        ("\n".join([HEADER, ROWS[0].replace(",100,", ",1.5,")]), "line 2: count is '1.5'"),
        (CSV + b"\xff\xfe\n", "line 5"),
    ],
)
def test_a_line_that_cannot_be_trusted_is_named(tmp_path: Path, text: str | bytes, said: str) -> None:
    assert said in csv_refusal(tmp_path, text)


TRADE = "1,42000.1,0.005,210.0005,1704067200000,true"


def test_spot_trades_may_lack_their_last_column(tmp_path: Path) -> None:
    with_it = read(tmp_path, f"{TRADE},True\n", "trades", Market.SPOT)
    assert with_it.equals(read(tmp_path, TRADE, "trades", Market.SPOT))
    assert "is_best_match" not in with_it.column_names
    assert "line 1: 7 columns instead of 6" in csv_refusal(tmp_path, f"{TRADE},True", dataset="trades")
    mixed = f"{TRADE}\n{TRADE},True\n"
    assert "line 2: 7 columns instead of 6" in csv_refusal(tmp_path, mixed, dataset="trades", market=Market.SPOT)


@pytest.mark.parametrize("word", ["quote_qty", "base_qty"])
def test_coin_margined_trades_go_by_either_header(tmp_path: Path, word: str) -> None:
    header = f"id,price,qty,{word},time,is_buyer_maker\n"
    table = read(tmp_path, header + TRADE, "trades", Market.CM)
    assert table["base_qty"].to_pylist() == [210.0005]


@pytest.mark.parametrize(("word", "value"), [("true", True), ("True", True), ("FALSE", False), ("false", False)])
def test_booleans_are_read_in_any_case(tmp_path: Path, word: str, value: bool) -> None:
    table = read(tmp_path, TRADE.replace("true", word), "trades")
    assert table["is_buyer_maker"].to_pylist() == [value]


@pytest.mark.parametrize("word", ["1", "0", "yes", "tRUE", ""])
def test_what_is_no_boolean_is_refused(tmp_path: Path, word: str) -> None:
    text = f"{TRADE}\n{TRADE.replace('true', word)}"
    assert f"line 2: is_buyer_maker is {word!r}" in csv_refusal(tmp_path, text, dataset="trades")


# time


def test_milliseconds_and_microseconds_become_the_same(tmp_path: Path) -> None:
    in_ms = read(tmp_path, TRADE, "trades", Market.SPOT)
    in_us = read(tmp_path, TRADE.replace("1704067200000", "1704067200000000"), "trades", Market.SPOT)
    assert in_ms.equals(in_us)
    assert in_ms["timestamp"].cast(pa.int64()).to_pylist() == [1_704_067_200_000_000]


def test_two_units_in_one_file_are_refused_with_the_line(tmp_path: Path) -> None:
    late = TRADE.replace("1704067200000", "1704067200000001")
    text = "\n".join([TRADE] * 5 + [late, TRADE])
    assert "line 6: a time that is not in ms like the first: 1704067200000001" in csv_refusal(
        tmp_path, text, dataset="trades"
    )
    header = "id,price,qty,quote_qty,time,is_buyer_maker"
    text = "\n".join([header, late, TRADE])
    assert "line 3: a time that is not in us like the first" in csv_refusal(tmp_path, text, dataset="trades")


def test_rows_of_another_month_refuse_the_file_and_a_few_hours_are_counted(tmp_path: Path) -> None:
    far = TRADE.replace("1704067200000", "1704067200")
    assert "a row of 1970-01-20 17:21:07.200, but the name says 2024-01" in csv_refusal(tmp_path, far, dataset="trades")
    before = TRADE.replace("1704067200000", str(1_704_067_200_000 - 3_600_000))
    near = archive(tmp_path, zip_bytes({f"{NAME}.csv": f"{before}\n{TRADE}\n".encode()}), "trades")
    assert sum(batch.num_rows for batch in near.batches()) == 2
    assert (near.outside_period, near.source_unit, near.has_header) == (1, "ms", False)


def test_a_close_time_before_its_open_is_kept_as_published(tmp_path: Path) -> None:
    odd = ROWS[0].replace("1704070799999", "1704067000521")
    times = read(tmp_path, odd)["close_time"].cast(pa.int64()).to_pylist()
    assert times == [1_704_067_000_521_000]


# any cutting gives the same rows


@given(block_bytes=st.integers(150, 9000), rows=st.integers(1, 120))
@hypothesis_settings(max_examples=40, deadline=None)
def test_any_block_size_gives_the_same_table(
    tmp_path_factory: pytest.TempPathFactory, block_bytes: int, rows: int
) -> None:
    folder = tmp_path_factory.mktemp("blocks")
    text = kline_csv(rows=rows)
    assert read(folder, text, block_bytes=block_bytes).equals(read(folder, text))


@given(line=st.integers(1, 300), block_bytes=st.sampled_from([200, 1000, 1 << 20]))
@hypothesis_settings(max_examples=20, deadline=None)
def test_the_line_that_is_named_does_not_depend_on_blocks(
    tmp_path_factory: pytest.TempPathFactory, line: int, block_bytes: int
) -> None:
    lines = [TRADE] * 300
    lines[line - 1] = TRADE.replace("42000.1", "42OOO.1")
    text = csv_refusal(tmp_path_factory.mktemp("named"), "\n".join(lines), dataset="trades", block_bytes=block_bytes)
    assert f"line {line}: price is '42OOO.1'" in text
