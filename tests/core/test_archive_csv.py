"""A published CSV as rows: every rule about its form, each with what is said when it is broken."""

import hashlib
import io
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pyarrow as pa
import pytest
from factories import ROOT, kline_csv, zip_bytes
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from core.datasets import DATASETS, Kind
from core.errors import MalformedArchive
from core.settings import QualitySettings
from core.storage.archive_csv import ArchiveCsv
from core.storage.csv_arrow import BLOCK_BYTES, ArrowReader
from core.storage.csv_compiled import CompiledReader
from core.storage.member import MemberStream, open_member
from core.storage.parser import Irregular, Parser
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
    rows_at_once: int = 131_072,
    parser: str = "compiled",
) -> ArchiveCsv:
    path = folder / f"{NAME}.zip"
    path.write_bytes(content)
    kind, limits = DATASETS[dataset], quality or QualitySettings()
    return ArchiveCsv(path, kind, market, JANUARY, limits, block_bytes, Parser(parser), rows_at_once)


def read(folder: Path, text: bytes | str, dataset: str = "klines", market: Market = Market.UM, **options) -> pa.Table:  # type: ignore[no-untyped-def]
    """The rows, which both parsers give alike."""
    raw = text.encode() if isinstance(text, str) else text
    found = []
    for parser in ("arrow", "compiled"):
        one = archive(folder, zip_bytes({f"{NAME}.csv": raw}), dataset, market, parser=parser, **options)
        found.append((pa.Table.from_batches(one.batches()), one.rows, one.source_unit, one.outside_period))
    assert found[0] == found[1]
    return found[0][0]


def refusal(folder: Path, content: bytes, **options) -> str:  # type: ignore[no-untyped-def]
    """What is said of a file that is refused, by either parser the same."""
    said = set()
    for parser in ("arrow", "compiled"):
        with pytest.raises(MalformedArchive) as caught:
            list(archive(folder, content, parser=parser, **options).batches())
        said.add(str(caught.value))
    (one,) = said
    assert NAME in one
    return one


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
    rows_at_once=st.integers(1, 130),
)
@hypothesis_settings(max_examples=100, deadline=None)
def test_any_block_size_gives_the_same_table(
    tmp_path_factory: pytest.TempPathFactory,
    block_bytes: int,
    rows: int,
    end: str,
    has_header: bool,
    is_ended: bool,
    rows_at_once: int,
) -> None:
    folder = tmp_path_factory.mktemp("blocks")
    lines = kline_csv(rows=rows).decode().splitlines()[0 if has_header else 1 :]
    text = end.join(lines) + (end if is_ended else "")
    assert read(folder, text, block_bytes=block_bytes, rows_at_once=rows_at_once).equals(
        read(folder, kline_csv(rows=rows))
    )


@given(line=st.integers(1, 300), block_bytes=st.sampled_from([200, 1000, 1 << 20]))
@hypothesis_settings(max_examples=20, deadline=None)
def test_the_line_that_is_named_does_not_depend_on_blocks(
    tmp_path_factory: pytest.TempPathFactory, line: int, block_bytes: int
) -> None:
    lines = [TRADE] * 300
    lines[line - 1] = TRADE.replace("42000.1", "42OOO.1")
    text = csv_refusal(tmp_path_factory.mktemp("named"), "\n".join(lines), dataset="trades", block_bytes=block_bytes)
    assert f"line {line}: price is '42OOO.1'" in text


@pytest.mark.parametrize("block_bytes", [22, 33])
def test_blocks_that_end_no_line_are_no_rows(tmp_path: Path, block_bytes: int) -> None:
    text = "\n".join(f"{n},42000.1,0.005,210.0005,1704067200000,true" for n in range(1, 5))
    table = read(tmp_path, text, "trades", block_bytes=block_bytes)
    assert table["id"].to_pylist() == [1, 2, 3, 4]


# the compiled parser


def doubles(folder: Path, texts: list[str]) -> list[float]:
    """What the compiled parser alone makes of these decimals, as the price and quantity of trades."""
    lines = "\n".join(f"{n},{text},{text},1,1704067200000,true" for n, text in enumerate(texts))
    path = folder / f"{NAME}.zip"
    path.write_bytes(zip_bytes({f"{NAME}.csv": lines.encode()}))
    reader = CompiledReader(DATASETS["trades"].columns[Market.UM], 1000)
    with open_member(path, QualitySettings(max_compression_ratio=10_000)) as member:
        table = pa.Table.from_batches(reader.batches([member.read()]))
    assert (table.num_rows, reader.lines) == (len(texts), len(texts))
    assert table["price"].to_pylist() == table["qty"].to_pylist()
    return list(table["price"].to_pylist())


HARD = [
    "9007199254740992",
    "9007199254740993",
    "9007199254740993.0",
    "9007199254740994.99",
    "9007199254740995.000000000",
    "0.30000000000000004",
    "0.1000000000000000055",
    "123456789012.12345678",
    "9999999999999999999",
    "999999999999999999.9",
    "0.0000000000000000001",
    "1.00000000000000011102230246251565",
    "4503599627370496.5",
    "4503599627370497.5",
    "0.000000000000000000000000",
    "-0.0",
    "-9007199254740993",
    "00000000000000000000000007.5000000000000000000000000",
    "1000000000000000000.000",
    "8.41",
]


def test_the_hard_decimals_become_the_nearest_doubles(tmp_path: Path) -> None:
    left = ("1.00000000000000011102230246251565", "0.1000000000000000055", "123456789012.12345678")
    regular = [text for text in HARD if text not in left]
    assert [x.hex() for x in doubles(tmp_path, regular)] == [float(text).hex() for text in regular]
    for text in HARD:  # one that the compiled parser leaves is read by the other
        assert read(tmp_path, TRADE.replace("42000.1", text), "trades")["price"].to_pylist() == [float(text)]


@given(
    digits=st.lists(
        st.tuples(st.integers(0, 10**19 - 1), st.integers(0, 18), st.integers(0, 5), st.booleans()),
        min_size=1,
        max_size=200,
    )
)
@hypothesis_settings(max_examples=200, deadline=None)
def test_decimals_of_up_to_nineteen_digits_become_the_nearest_doubles(
    tmp_path_factory: pytest.TempPathFactory, digits: list[tuple[int, int, int, bool]]
) -> None:
    texts = []
    for number, places, zeros, is_negative in digits:
        text = f"{number:0{places + 1}d}"
        cut = len(text) - places
        tail = f".{text[cut:]}{'0' * zeros}" if places else ""
        texts.append(f"{'-' if is_negative else ''}{text[:cut]}{tail}")
    found = doubles(tmp_path_factory.mktemp("digits"), texts)
    assert [x.hex() for x in found] == [float(text).hex() for text in texts]


def test_halves_between_two_doubles_go_to_the_even_one(tmp_path: Path) -> None:
    texts = [str(2**53 + odd) for odd in range(1, 400, 2)] + [f"{2**52 + n}.5" for n in range(200)]
    assert doubles(tmp_path, texts) == [float(text) for text in texts]


def test_a_file_that_turns_odd_halfway_is_read_to_its_end_by_the_other_parser(tmp_path: Path) -> None:
    lines = [f"{n},{n}.5,1,1,1704067200000,true" for n in range(100)]
    lines[70] = "70,7.05e1,1,1,1704067200000,true"
    table = read(tmp_path, "\n".join(lines), "trades", rows_at_once=16, block_bytes=300)
    assert table["id"].to_pylist() == list(range(100))
    assert table["price"].to_pylist() == [n + 0.5 for n in range(100)]


@given(
    edits=st.lists(
        st.tuples(
            st.integers(0, 2), st.integers(0, 300), st.sampled_from(b"0123456789.,-+eE \n\r\ttruefalsTRUE/:\x00\xff")
        ),
        max_size=4,
    ),
    name=st.sampled_from(["trades", "agg_trades", "klines"]),
    rows_at_once=st.integers(1, 9),
    cut=st.integers(1, 400),
)
@hypothesis_settings(max_examples=600, deadline=None)
def test_what_the_compiled_parser_takes_the_other_one_takes_too(
    edits: list[tuple[int, int, int]], name: str, rows_at_once: int, cut: int
) -> None:
    """Bytes changed, added and taken out at random: it either leaves the text, or reads the same rows and lines."""
    columns = DATASETS[name].columns[Market.SPOT]
    cells = {Kind.TIME: "170406720{}000", Kind.INTEGER: "{}7", Kind.DECIMAL: "{}.25", Kind.BOOLEAN: "true"}
    text = bytearray("".join(",".join(cells[c.kind].format(n) for c in columns) + "\n" for n in range(6)).encode())
    for kind, place, byte in edits:
        place %= len(text)
        text[place : place + (kind != 1)] = bytes([byte]) if kind else b""
    reader = CompiledReader(columns, rows_at_once)
    try:
        taken = pa.Table.from_batches(reader.batches([bytes(text[:cut]), bytes(text[cut:])]))
    except Irregular:
        return
    other = ArrowReader(columns, BLOCK_BYTES, "")
    rows = pa.Table.from_batches(other.batches(cast(MemberStream, io.BytesIO(text)), 0))
    assert taken.equals(rows.select(taken.column_names))
    assert (reader.lines, other.lines) == (rows.num_rows, rows.num_rows)


def test_the_kernels_say_of_which_vectors_they_are_made() -> None:
    """numba compiles a kernel anew when its own file changes, and does not look at the files of what it calls."""
    folder = ROOT / "core" / "storage"
    digest = hashlib.sha256((folder / "csv_vectors.py").read_bytes()).hexdigest()[:16]
    assert f'VECTORS: Final = "{digest}"' in (folder / "csv_kernels.py").read_text(encoding="utf-8"), (
        f"csv_vectors.py has changed: write VECTORS = {digest!r} into csv_kernels.py"
    )


def test_a_line_that_is_as_much_too_long_as_the_one_before_is_too_short_is_found(tmp_path: Path) -> None:
    cells = ROWS[0].split(",")
    text = "\n".join([",".join(cells[:-1]), ",".join([cells[-1], *cells]), ROWS[1]])
    assert "line 2: 11 columns instead of 12" in csv_refusal(tmp_path, f"{HEADER}\n{text}")
    with pytest.raises(Irregular):
        list(CompiledReader(DATASETS["klines"].columns[Market.UM], 9).batches([f"{text}\n".encode()]))


@pytest.mark.parametrize("name", ["trades", "agg_trades", "klines"])
@pytest.mark.parametrize("market", list(Market))
def test_the_compiled_parser_refuses_what_the_other_one_refuses(tmp_path: Path, name: str, market: Market) -> None:
    columns = DATASETS[name].columns[market]
    cells = {Kind.TIME: "1704067200000", Kind.INTEGER: "7", Kind.DECIMAL: "0.25", Kind.BOOLEAN: "true"}
    good = [cells[column.kind] for column in columns]
    wrong = {Kind.TIME: "1x", Kind.INTEGER: "", Kind.DECIMAL: "0.2.5", Kind.BOOLEAN: "tru"}
    for place, column in enumerate(columns):
        bad = [*good[:place], wrong[column.kind], *good[place + 1 :]]
        said = csv_refusal(tmp_path, ",".join(good) + "\n" + ",".join(bad), dataset=name, market=market)
        assert f"line 2: {column.source} is {wrong[column.kind]!r}" in said
        assert "line 2: " in csv_refusal(tmp_path, ",".join(good) + "\n" + ";".join(good), dataset=name, market=market)


def test_a_large_file_is_read_in_threads_and_an_early_end_stops_them(tmp_path: Path) -> None:
    count = 260_000
    text = "\n".join(f"{n},42000.1,0.005,210.0005,1704067200000,true" for n in range(count))
    table = read(tmp_path, text, "trades", quality=QualitySettings(max_compression_ratio=10_000))
    assert table["id"].to_pylist() == list(range(count))
    before = threading.active_count()
    one = archive(tmp_path, (tmp_path / f"{NAME}.zip").read_bytes(), "trades", parser="compiled")
    batches = one.batches()
    next(batches)
    assert threading.active_count() > before
    batches.close()
    assert threading.active_count() == before
    said = csv_refusal(tmp_path, text + "\nx", dataset="trades", quality=QualitySettings(max_compression_ratio=10_000))
    assert f"line {count + 1}: 1 columns instead of 6: x" in said


class HeldMember(io.BytesIO):
    """From the fourth read on it answers when it is let go; says how many reads are under way."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.count = self.under_way = 0
        self.is_waiting, self.is_let_go = threading.Event(), threading.Event()

    def read(self, size: int | None = -1) -> bytes:
        self.count += 1
        if self.count > 3:
            self.under_way += 1
            self.is_waiting.set()
            self.is_let_go.wait(20)
            self.under_way -= 1
        return super().read(size)


def test_rows_that_nobody_wants_any_more_are_not_read_on() -> None:
    """Arrow reads ahead in a thread of its own; at the end of the process that would be a crash."""
    member = HeldMember(b"".join(b"%d,1.5,2.5,3.75,%d,true\n" % (n, 1_700_000_000_000 + n) for n in range(20_000)))
    batches = ArrowReader(DATASETS["trades"].columns[Market.UM], 4096, "BTCUSDT").batches(member, 0)
    next(batches)
    assert member.is_waiting.wait(20)
    threading.Timer(0.2, member.is_let_go.set).start()
    batches.close()  # type: ignore[attr-defined]
    assert member.under_way == 0


def test_what_is_wrong_with_rows_that_nobody_wants_is_not_said() -> None:
    lines = [b"%d,1.5,2.5,3.75,%d,true\n" % (n, 1_700_000_000_000 + n) for n in range(20_000)]
    member = HeldMember(b"".join([*lines[:300], b"odd\x00bytes\n", *lines[300:]]))
    batches = ArrowReader(DATASETS["trades"].columns[Market.UM], 4096, "BTCUSDT").batches(member, 0)
    next(batches)
    member.is_let_go.set()
    batches.close()  # type: ignore[attr-defined]
