"""Small archives that are read as one text give what they give one by one."""

import hashlib
from pathlib import Path

import pytest
from factories import kline_csv, zip_bytes
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from core.datasets import DATASETS
from core.layout import Layout
from core.settings import QualitySettings, StorageSettings
from core.storage.archive_csv import ArchiveCsv
from core.storage.manager import StorageManager
from core.storage.parser import Parser
from core.storage.together import read_together
from core.types import ArchiveFile, FetchedFile, Market, Period, Proof, Series

SERIES = Series(Market.UM, "klines", "BTCUSDT", "1h")
YEAR = Period.parse("2024")


def lines_of(month: int, rows: int = 5) -> list[str]:
    """A header and the first candles of a month of 2024."""
    start_ms = Period.month(2024, month).span.start_us // 1000
    header, *found = kline_csv(rows=rows).decode().splitlines()
    first = int(found[0].split(",")[0])
    moved = []
    for line in found:
        cells = line.split(",")
        cells[0], cells[6] = (str(int(cells[place]) - first + start_ms) for place in (0, 6))
        moved.append(",".join(cells))
    return [header, *moved]


def without_header(lines: list[str]) -> list[str]:
    return lines[1:]


def with_a_row_twice(lines: list[str]) -> list[str]:
    return [*lines, lines[-1]]


def out_of_order(lines: list[str]) -> list[str]:
    return [lines[0], *reversed(lines[1:])]


def with_a_bad_line(lines: list[str]) -> list[str]:
    return [*lines[:3], "what is this", *lines[3:]]


def with_a_number_that_needs_the_other_parser(lines: list[str]) -> list[str]:
    return [lines[0], lines[1].replace("42000.1", "4.20001e4"), *lines[2:]]


def with_the_end_of_the_month_before(lines: list[str]) -> list[str]:
    cells = lines[1].split(",")
    cells[0] = str(int(cells[0]) - 3_600_000)
    return [lines[0], ",".join(cells), *lines[2:]]


def in_microseconds(lines: list[str]) -> list[str]:
    cells = [line.split(",") for line in lines[1:]]
    return [lines[0], *(",".join([f"{row[0]}000", *row[1:6], f"{row[6]}999", *row[7:]]) for row in cells)]


def with_two_candles_of_one_time(lines: list[str]) -> list[str]:
    return [*lines, lines[-1].replace("42000.1", "42000.2")]


def empty(lines: list[str]) -> list[str]:
    return lines[:1]


FORMS = (
    *(list, list, without_header, with_a_row_twice, out_of_order, with_a_bad_line),
    *(with_a_number_that_needs_the_other_parser, with_the_end_of_the_month_before, in_microseconds),
    *(with_two_candles_of_one_time, empty),
)


def fetched(folder: Path, month: int, lines: list[str], end: str = "\n") -> FetchedFile:
    period = Period.month(2024, month)
    path = folder / f"BTCUSDT-1h-{period.label}.zip"
    path.write_bytes(zip_bytes({f"{path.stem}.csv": ("\n".join(lines) + end).encode()}))
    file = ArchiveFile(SERIES, period, path.name, path.stat().st_size, "", None, "")
    return FetchedFile(file, path, file.size, hashlib.sha256(path.read_bytes()).hexdigest(), Proof.UNVERIFIED)


@given(
    forms=st.lists(st.tuples(st.sampled_from(FORMS), st.sampled_from(["\n", ""])), min_size=2, max_size=7),
    parser=st.sampled_from(["arrow", "compiled"]),
    salvage=st.booleans(),
)
@hypothesis_settings(max_examples=60, deadline=None)
def test_together_and_one_by_one_give_the_same_bytes_facts_and_refusals(
    tmp_path_factory: pytest.TempPathFactory, forms: list[tuple[object, str]], parser: str, salvage: bool
) -> None:
    folder = tmp_path_factory.mktemp("together")
    files = [
        fetched(folder, month, form(lines_of(month)), end)  # type: ignore[operator]
        for month, (form, end) in enumerate(forms, start=1)
    ]
    settings = StorageSettings(csv_datasets=("klines",), parser=parser)
    quality = QualitySettings(salvage=salvage)
    joined = StorageManager(Layout(folder / "joined"), settings, quality).store(files)
    single = StorageManager(Layout(folder / "single"), settings, quality)
    sources, refused = {}, {}
    for each in files:
        stored = single.store([each])
        sources |= stored.sources
        refused |= stored.refused
    assert (joined.sources, joined.refused) == (sources, refused)
    assert len(sources) + len(refused) == len(files)
    assert tree(folder / "joined") == tree(folder / "single")


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock"
    }


def pairs_of(files: list[FetchedFile]) -> list[tuple[FetchedFile, ArchiveCsv]]:
    klines = DATASETS["klines"]
    return [
        (each, ArchiveCsv(each.path, klines, Market.UM, each.file.period, QualitySettings(), parser=Parser("compiled")))
        for each in files
    ]


def test_regular_archives_are_read_together_with_or_without_header(tmp_path: Path) -> None:
    files = [
        fetched(tmp_path, month, lines_of(month)[month % 2 :], "" if month == 3 else "\n") for month in range(1, 7)
    ]
    pieces = read_together(pairs_of(files), YEAR, DATASETS["klines"])
    assert list(pieces) == [each.file.key for each in files]
    for each in files:
        source = pieces[each.file.key].source
        start_us = each.file.period.span.start_us
        assert (source.rows, source.unit) == (5, "ms")
        assert (source.first_us, source.last_us) == (start_us, start_us + 4 * 3_600_000_000)
        (batch,) = pieces[each.file.key].batches or ()
        assert batch["timestamp"].cast("int64").to_pylist() == [start_us + n * 3_600_000_000 for n in range(5)]


@pytest.mark.parametrize("form", [form for form in FORMS if form not in (list, without_header)])
def test_what_is_not_regular_is_left_to_the_reading_one_by_one(tmp_path: Path, form: object) -> None:
    files = [fetched(tmp_path, month, lines_of(month)) for month in (1, 2)]
    odd = fetched(tmp_path, 3, form(lines_of(3)))  # type: ignore[operator]
    assert read_together(pairs_of([*files, odd]), YEAR, DATASETS["klines"]) == {}
    assert len(read_together(pairs_of(files), YEAR, DATASETS["klines"])) == 2


def test_one_alone_and_large_ones_are_not_read_together(tmp_path: Path) -> None:
    files = [fetched(tmp_path, month, lines_of(month)) for month in (1, 2)]
    assert read_together(pairs_of(files[:1]), YEAR, DATASETS["klines"]) == {}
    large = fetched(tmp_path, 3, lines_of(3) + [lines_of(3)[-1]] * 80_000)
    assert read_together(pairs_of([*files, large]), YEAR, DATASETS["klines"]) == {}
