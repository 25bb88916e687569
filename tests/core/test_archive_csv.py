"""A published CSV as rows: every rule about its form, each with what is said when it is broken."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from factories import kline_csv, zip_bytes
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from core.datasets import DATASETS, Kind
from core.errors import MalformedArchive
from core.settings import QualitySettings
from core.storage.archive_csv import ArchiveCsv
from core.storage.schema import schema_of
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


# the CSV


def test_header_or_none_is_decided_by_the_first_byte(tmp_path: Path) -> None:
    bare = "\n".join(ROWS)
    assert read(tmp_path, CSV).equals(read(tmp_path, bare))
    assert read(tmp_path, CSV).num_rows == 3
    assert read(tmp_path, CSV.replace(b"\n", b"\r\n")).equals(read(tmp_path, bare + "\n"))
    assert read(tmp_path, b"\xef\xbb\xbf" + CSV).equals(read(tmp_path, bare))


@pytest.mark.parametrize("market", list(Market))
@pytest.mark.parametrize("name", list(DATASETS))
def test_every_kind_of_data_is_read_by_the_words_of_its_header(tmp_path: Path, name: str, market: Market) -> None:
    columns = DATASETS[name].columns.get(market, ())
    cells = {Kind.TIME: "1704067200000", Kind.INTEGER: "7", Kind.DECIMAL: "-0.25", Kind.BOOLEAN: "true"}
    cells |= {Kind.TEXT_TIME: "2024-01-01 00:00:00", Kind.TEXT: "SELL", Kind.SYMBOL: "BTCUSDT"}
    row = ",".join(cells[column.kind] for column in columns)
    for words in ([column.source for column in columns], [[c.source, *c.aliases][-1] for c in columns]):
        table = read(tmp_path, f"{','.join(words)}\n{row}", name, market) if words else None
        if table is not None:
            assert table.schema == schema_of(DATASETS[name], market)
            assert table.to_pylist()[0]["timestamp"] == datetime(2024, 1, 1, tzinfo=UTC)
            assert table.equals(read(tmp_path, row, name, market))


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
        (
            "\n".join([HEADER, ROWS[0].replace(",100,", ",9223372036854775808,")]),
            "'9223372036854775808', beyond 64 bits",
        ),
        ("\n".join([HEADER, ROWS[0].replace(",100,", f",{'9' * 6000},")]), "line 2: "),
        ("\n".join([HEADER, ROWS[0], ROWS[1].replace(",", ";")]), "line 3: 1 columns instead of 12"),
        ("\n".join([HEADER, "", *ROWS]), "line 2: 1 columns instead of 12"),
        ("\n".join([HEADER, *ROWS, "", ""]), "line 5: 1 columns instead of 12"),
        ("\n".join([HEADER, ROWS[0], HEADER, ROWS[1]]), "line 3: open_time is 'open_time'"),
        ("\r".join([HEADER, *ROWS]), "line 1: the header is not"),
        ("\r".join(ROWS), "line 1: 34 columns instead of 12"),
        (f"{ROWS[0]}\n{ROWS[1]}\r{ROWS[2]}\n", "3 rows were read, but it has 2"),
        ("\ufeff" + ROWS[0], "line 1: the header is not open_time,open"),
        ("-1" + ROWS[0], "line 1: the header is not open_time,open"),
        (HEADER.rpartition(",")[0] + "\n" + ROWS[0], "line 1: the header is not"),
        (HEADER + "\r\n\r\n", "the CSV is empty"),
        (CSV + b"\xff\xfe\n", "line 5"),
        (CSV + b"\0\n", "line 5"),
        (CSV.replace(b"42050.25", b"42050.2\t"), "line 2: close is '42050.2\\t'"),
    ],
)
def test_a_line_that_cannot_be_trusted_is_named(tmp_path: Path, text: str | bytes, said: str) -> None:
    assert said in csv_refusal(tmp_path, text)


@pytest.mark.parametrize("text", [".5", "5.", "+5", "1e-8", "1E+5", "-0", "007.50", "1e-400", "0.1" + "0" * 400])
def test_every_spelling_of_a_decimal_is_a_decimal(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, ROWS[0].replace("42100.5", text))["high"].to_pylist() == [float(text)]
    said = csv_refusal(tmp_path, f"{ROWS[0].replace('42100.5', text)}\n{ROWS[1].replace('42100.5', '1.2.3')}")
    assert "line 2: high is '1.2.3'" in said


def test_a_column_that_nobody_keeps_may_hold_any_number(tmp_path: Path) -> None:
    assert read(tmp_path, ROWS[0] + "e999").num_rows == 1
    said = csv_refusal(tmp_path, f"{ROWS[0]}e999\n{ROWS[1].replace('42100.5', '1.2.3')}")
    assert "line 2: high is '1.2.3'" in said


def test_a_line_without_an_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    text = f"{ROWS[0]}\n{'1' * 5_000_000}"
    said = csv_refusal(tmp_path, text, quality=QualitySettings(max_compression_ratio=10_000))
    assert f"line 2: 1 columns instead of 12: {'1' * 120}" in said
    assert len(said) < 300


TRADE = "1,42000.1,0.005,210.0005,1704067200000,true"


def test_spot_trades_may_lack_their_last_column(tmp_path: Path) -> None:
    with_it = read(tmp_path, f"{TRADE},True\n", "trades", Market.SPOT)
    assert with_it.equals(read(tmp_path, TRADE, "trades", Market.SPOT))
    assert "is_best_match" not in with_it.column_names
    assert "line 1: 7 columns instead of 6" in csv_refusal(tmp_path, f"{TRADE},True", dataset="trades")
    header = "id,price,qty,quote_qty,time,is_buyer_maker"
    assert with_it.equals(read(tmp_path, f"{header}\n{TRADE}", "trades", Market.SPOT))
    assert with_it.equals(read(tmp_path, f"{header},is_best_match\n{TRADE},True", "trades", Market.SPOT))
    short = f"{header},is_best_match\n{TRADE}"
    assert "line 2: 6 columns instead of 7" in csv_refusal(tmp_path, short, dataset="trades", market=Market.SPOT)
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


@pytest.mark.parametrize("time", ["9223372036854775807", "1704067200000000000", "253402300800000000", "9" * 30])
def test_a_time_that_no_calendar_has_is_refused_with_the_line(tmp_path: Path, time: str) -> None:
    late = TRADE.replace("1704067200000", time)
    assert f"line 1: time is '{time}', beyond the calendar" in csv_refusal(tmp_path, late, dataset="trades")


@pytest.mark.parametrize("time", ["-5", "-9223372036854775807", "+1704067200000", "1.5"])
def test_a_time_is_digits_in_every_column_of_times(tmp_path: Path, time: str) -> None:
    text = f"{ROWS[0]}\n{ROWS[1].replace('1704074399999', time)}"
    assert f"line 2: close_time is '{time}'" in csv_refusal(tmp_path, text)


def test_two_units_in_one_file_are_refused_with_the_line(tmp_path: Path) -> None:
    late = TRADE.replace("1704067200000", "1704067200000001")
    text = "\n".join([TRADE] * 5 + [late, TRADE])
    assert "line 6: a time that is not in ms like the first: 1704067200000001" in csv_refusal(
        tmp_path, text, dataset="trades"
    )
    header = "id,price,qty,quote_qty,time,is_buyer_maker"
    text = "\n".join([header, late, TRADE])
    assert "line 3: a time that is not in us like the first" in csv_refusal(tmp_path, text, dataset="trades")


def at(moment_ms: int) -> str:
    return TRADE.replace("1704067200000", str(moment_ms))


JANUARY_MS = (1_704_067_200_000, 1_706_745_600_000)
HOUR_MS = 3_600_000


def test_a_file_of_another_time_is_refused(tmp_path: Path) -> None:
    said = csv_refusal(tmp_path, at(1_704_067_200), dataset="trades")
    assert "line 1: a row of 1970-01-20 17:21:07.200, but the name says 2024-01" in said
    said = csv_refusal(tmp_path, f"{TRADE}\n{at(JANUARY_MS[1] + 24 * HOUR_MS)}", dataset="trades")
    assert "line 2: a row of 2024-02-02 00:00:00, but" in said


@pytest.mark.parametrize("slack_hours", [0, 1, 24])
def test_rows_beside_the_period_are_counted_as_far_as_the_slack_goes(tmp_path: Path, slack_hours: int) -> None:
    start, end = JANUARY_MS
    near = [start - slack_hours * HOUR_MS, start, end - 1, end - 1 + slack_hours * HOUR_MS]
    quality = QualitySettings(period_slack_hours=slack_hours)
    text = "\n".join(map(at, near)).encode()
    found = archive(tmp_path, zip_bytes({f"{NAME}.csv": text}), "trades", quality=quality)
    assert sum(batch.num_rows for batch in found.batches()) == 4
    assert (found.outside_period, found.source_unit, found.has_header) == (2 if slack_hours else 0, "ms", False)
    for far in (near[0] - 1, near[-1] + 1):
        said = csv_refusal(tmp_path, "\n".join([TRADE, at(far)]), dataset="trades", quality=quality)
        assert "line 2: a row of" in said


def test_a_close_time_before_its_open_is_kept_as_published(tmp_path: Path) -> None:
    odd = ROWS[0].replace("1704070799999", "1704067000521")
    times = read(tmp_path, odd)["close_time"].cast(pa.int64()).to_pylist()
    assert times == [1_704_067_000_521_000]


# any cutting gives the same rows


@given(
    block_bytes=st.integers(160, 9000),
    rows=st.integers(1, 120),
    end=st.sampled_from(["\n", "\r\n"]),
    has_header=st.booleans(),
    is_ended=st.booleans(),
)
@hypothesis_settings(max_examples=100, deadline=None)
def test_any_block_size_gives_the_same_table(
    tmp_path_factory: pytest.TempPathFactory, block_bytes: int, rows: int, end: str, has_header: bool, is_ended: bool
) -> None:
    folder = tmp_path_factory.mktemp("blocks")
    lines = kline_csv(rows=rows).decode().splitlines()[0 if has_header else 1 :]
    text = end.join(lines) + (end if is_ended else "")
    assert read(folder, text, block_bytes=block_bytes).equals(read(folder, kline_csv(rows=rows)))


@given(line=st.integers(1, 300), block_bytes=st.sampled_from([200, 1000, 1 << 20]))
@hypothesis_settings(max_examples=20, deadline=None)
def test_the_line_that_is_named_does_not_depend_on_blocks(
    tmp_path_factory: pytest.TempPathFactory, line: int, block_bytes: int
) -> None:
    lines = [TRADE] * 300
    lines[line - 1] = TRADE.replace("42000.1", "42OOO.1")
    text = csv_refusal(tmp_path_factory.mktemp("named"), "\n".join(lines), dataset="trades", block_bytes=block_bytes)
    assert f"line {line}: price is '42OOO.1'" in text
