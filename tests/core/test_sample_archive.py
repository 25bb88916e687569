"""The sample's folder is what the exchange would publish: keys, zips, checksums, texts and dates."""

import csv
import hashlib
import io
import json
import os
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.datasets import DATASETS
from core.errors import ConfigError
from core.layout import Layout
from core.sample.archive import DEMO_SHELVES, Shelf, files_of, key_of, whole_archive, write_archive
from core.sample.csv_text import csv_bytes, decimal_text, has_header
from core.sample.market import demo_market, small_market
from core.sample.values import Decimals
from core.settings import QualitySettings, StorageSettings
from core.storage.manager import StorageManager
from core.types import ArchiveFile, Cadence, FetchedFile, Market, Period, Proof, Series

REAL = Path(os.environ.get("TAPEVAULT_REAL", Path(__file__).resolve().parents[2].parent / "shared" / "real"))
MARKET = small_market(first=date(2024, 12, 20), last=date(2025, 1, 5))
SHELVES = whole_archive()
ROWS = re.compile(r"-(\d{4}-\d{2}(?:-\d{2})?)\.zip$")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    write_archive(MARKET, folder, SHELVES)
    return folder


def digests(folder: Path) -> dict[str, tuple[str, int]]:
    """SHA-256 and time of every archive and checksum."""
    files = sorted(path for path in (folder / "data").rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in files
    }


def text_of(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        (member,) = archive.infolist()
        return archive.read(member).decode()


def lines_of(path: Path) -> list[str]:
    """The rows, without a header."""
    return [line for line in text_of(path).splitlines() if not line[0].isalpha()]


def zips(folder: Path, pattern: str = "*.zip") -> Iterator[Path]:
    yield from sorted((folder / "data").rglob(pattern))


def test_the_same_seed_gives_the_same_bytes_and_dates_and_another_seed_others(archive: Path, tmp_path: Path) -> None:
    write_archive(MARKET, tmp_path / "again", SHELVES)
    write_archive(small_market(8, MARKET.first, MARKET.last), tmp_path / "other", SHELVES)
    first, again, other = digests(archive), digests(tmp_path / "again"), digests(tmp_path / "other")
    assert first == again
    assert first.keys() == other.keys()
    assert all(first[key][0] != other[key][0] for key in first)


def test_keys_are_those_of_the_archive(archive: Path) -> None:
    keys = {str(path.relative_to(archive)) for path in zips(archive)}
    assert {
        "data/futures/um/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-12.zip",
        "data/futures/um/daily/markPriceKlines/BTCUSDT/1h/BTCUSDT-1h-2025-01-05.zip",
        "data/futures/cm/monthly/indexPriceKlines/ETHUSD/1h/ETHUSD-1h-2024-12.zip",
        "data/futures/cm/daily/premiumIndexKlines/ETHUSD_PERP/1h/ETHUSD_PERP-1h-2024-12-20.zip",
        "data/futures/cm/monthly/fundingRate/ETHUSD_PERP/ETHUSD_PERP-fundingRate-2024-12.zip",
        "data/spot/daily/trades/ETHUSDT/ETHUSDT-trades-2024-12-31.zip",
        "data/spot/monthly/aggTrades/ETHUSDT/ETHUSDT-aggTrades-2024-12.zip",
        "data/futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-2025-01-05.zip",
        "data/futures/cm/daily/bookDepth/ETHUSD_PERP/ETHUSD_PERP-bookDepth-2024-12-20.zip",
        "data/futures/um/monthly/bookTicker/BTCUSDT/BTCUSDT-bookTicker-2024-12.zip",
        "data/futures/cm/daily/liquidationSnapshot/ETHUSD_PERP/ETHUSD_PERP-liquidationSnapshot-2024-12-21.zip",
    } <= keys
    assert not [key for key in keys if "2025-01.zip" in key], "a month that has not ended has no file"
    assert not [key for key in keys if "/daily/fundingRate/" in key]
    by_day = [key for key in keys if {"metrics", "bookDepth", "liquidationSnapshot"} & set(key.split("/"))]
    assert not [key for key in by_day if "/monthly/" in key]
    # 4 kinds with an index, quotes and trades in um and cm, 3 kinds in spot; 17 days and one month each; funding has
    # months only, three kinds have days only.
    assert len(keys) == (7 + 7 + 3) * (17 + 1) + 2 + 2 * 3 * 17


def test_every_zip_has_one_member_of_its_name_and_a_checksum_that_agrees(archive: Path) -> None:
    for path in zips(archive):
        with zipfile.ZipFile(path) as opened:
            (member,) = opened.infolist()
            assert opened.testzip() is None
        assert member.filename == f"{path.stem}.csv"
        assert member.compress_type == zipfile.ZIP_DEFLATED
        end = b"" if "/spot/" in str(path) else b"\n"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        checksum = path.with_name(f"{path.name}.CHECKSUM").read_bytes()
        assert checksum == f"{digest}  {path.name}".encode() + end
        assert "\r" not in text_of(path)
        assert text_of(path).endswith("\n")


def test_files_are_dated_when_the_exchange_would_have_published_them(archive: Path) -> None:
    for path in zips(archive):
        match = ROWS.search(path.name)
        assert match
        modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        if match[1] == "2024-12":
            assert modified == datetime(2025, 1, 1, 8, 6, tzinfo=UTC)
        else:
            day = date.fromisoformat(match[1])
            assert (modified.date() - day).days == 1
            assert (modified.hour, modified.minute) == (8, 35)


def test_a_month_holds_the_rows_of_its_days(archive: Path) -> None:
    months = [path for path in zips(archive, "*-2024-12.zip") if "fundingRate" not in str(path)]
    assert len(months) == 17
    for month in months:
        days = str(month.relative_to(archive)).replace("/monthly/", "/daily/").replace(".zip", "-*.zip")
        assert lines_of(month) == [line for day in sorted(archive.glob(days)) for line in lines_of(day)]


def test_the_archive_holds_the_truth(archive: Path) -> None:
    for series, period in files_of(MARKET, SHELVES):
        truth = MARKET.stored(series, MARKET.file_rows(series, period))
        dataset = DATASETS[series.dataset]
        columns = dataset.columns[series.market]
        rows = [
            {
                str(column.name): PARSE[column.kind.name](cell) if cell else None
                for column, cell in zip(columns, row, strict=False)
                if column.name
            }
            for row in csv.reader(lines_of(archive / key_of(series, period)))
        ]
        if series.dataset in UNTIDY:  # unsorted or doubled, so compared as what is in it
            unique = {tuple(row.items()) for row in rows}
            rows = sorted(map(dict, unique), key=lambda row: [row[name] for name in dataset.key])
        times = [field.name for field in truth.schema if str(field.type).startswith("timestamp")]
        for name in times:
            truth = truth.set_column(truth.column_names.index(name), name, truth[name].cast("int64"))
        assert rows == truth.select(list(rows[0])).to_pylist()


def micros(cell: str) -> int:
    return int(cell) if len(cell) == 16 else int(cell) * 1000


PARSE = {
    "TIME": micros,
    "TEXT_TIME": lambda cell: int(datetime.fromisoformat(f"{cell}+00:00").timestamp()) * 1_000_000,
    "DECIMAL": float,
    "INTEGER": int,
    "BOOLEAN": lambda cell: cell.lower() == "true",
    "TEXT": str,
    "SYMBOL": str,
}
UNTIDY = ("metrics", "liquidation_snapshot")


@pytest.mark.parametrize("name", ["metrics", "book_depth", "book_ticker", "liquidation_snapshot"])
def test_what_is_stored_of_untidy_files_is_what_the_market_knows(archive: Path, tmp_path: Path, name: str) -> None:
    seen = Counter[str]()
    for series, period in files_of(MARKET, (Shelf(name),)):
        layout = Layout(tmp_path / str(seen["files"]))
        storage = StorageManager(layout, StorageSettings(), QualitySettings())
        path = archive / key_of(series, period)
        file = ArchiveFile(series, period, key_of(series, period), path.stat().st_size, "e", None, "")
        stored = storage.store([FetchedFile(file, path, file.size, "5" * 64, Proof.SHA256_BY_ETAG)])
        source = stored.sources[file.key]
        rows = MARKET.file_rows(series, period)
        assert pa.concat_tables(pq.read_table(part.path) for part in stored.partitions).equals(
            MARKET.stored(series, rows)
        )
        in_file = len(lines_of(path))
        assert source.duplicates == in_file - source.rows
        assert source.duplicates == source.rows or name != "liquidation_snapshot"
        assert source.unit == ("s" if name in ("metrics", "book_depth") else "ms")
        assert source.outside == 0, "the last label of um metrics is the midnight that two files share"
        seen["reordered"] += source.reordered > 0
        seen["duplicates"] += source.duplicates > 0
        seen["files"] += 1
    files = seen["files"]
    assert files == {"book_ticker": 36}.get(name, 34)
    assert seen["reordered"] == (files if name == "metrics" else 0)
    if name == "metrics":
        assert 0 < seen["duplicates"] < files
    else:
        assert seen["duplicates"] == (files if name == "liquidation_snapshot" else 0)


TEXT_TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
RATIO = r"(\d+\.\d{8})?"
CM_RATIO = r"(\d+\.\d{8}|\"\")"
FORMS = [
    ("spot", "klines", "2024-12-21", r"\d{13},(\d+\.\d{8},){5}\d{8}99999,\d+\.\d{8},\d+,(\d+\.\d{8},){2}0"),
    ("spot", "klines", "2025-01-02", r"\d{16},(\d+\.\d{8},){5}\d{10}999999,\d+\.\d{8},\d+,(\d+\.\d{8},){2}0"),
    ("spot", "trades", "2024-12-21", r"\d+,(\d+\.\d{8},){3}\d{13},(True|False),True"),
    ("spot", "trades", "2025-01-02", r"\d+,(\d+\.\d{8},){3}\d{16},(True|False),True"),
    ("spot", "aggTrades", "2025-01-02", r"\d+,(\d+\.\d{8},){2}\d+,\d+,\d{16},(True|False),True"),
    ("um", "klines", "2024-12-21", r"\d{13},(\d+\.\d,){4}\d+\.\d{3},\d{8}99999,\d+\.\d{4},\d+,\d+\.\d{3},\d+\.\d{4},0"),
    ("um", "trades", "2024-12-21", r"\d+,\d+\.\d,\d+\.\d{3},\d+\.\d{4},\d{13},(true|false)"),
    ("um", "trades", "2025-01-02", r"\d+(,(0|[1-9]\d*)(\.\d*[1-9])?){3},\d{13},(true|false)"),
    ("cm", "trades", "2024-12-21", r"\d+,\d+\.\d\d,\d+,\d+\.\d{8},\d{13},(true|false)"),
    ("cm", "klines", "2024-12-21", r"\d{13},(\d+\.\d\d,){4}\d+,\d{8}99999,\d+\.\d{8},\d+,\d+,\d+\.\d{8},0"),
    ("um", "premiumIndexKlines", "2025-01-02", r"\d{13},(-?0\.\d{8},){4}0,\d{8}99999,0,3600,0,0,0"),
    ("cm", "markPriceKlines", "2025-01-02", r"\d{13},(\d+\.\d{8},){4}0,\d{8}99999,0,3600,0,0,0"),
    ("um", "fundingRate", "2024-12", r"\d{13},8,-?0\.\d{8}"),
    ("um", "metrics", "2024-12-21", rf"{TEXT_TIME},BTCUSDT,(\d+\.\d{{8}},){{2}}({RATIO},){{3}}{RATIO}"),
    ("um", "metrics", "2025-01-02", rf"{TEXT_TIME},BTCUSDT,(\d+\.\d{{16}},){{2}}({RATIO},){{3}}{RATIO}"),
    ("cm", "metrics", "2024-12-21", rf"{TEXT_TIME},ETHUSD_PERP,(\d+\.?\d*,){{2}}({CM_RATIO},){{3}}{CM_RATIO}"),
    ("um", "bookDepth", "2025-01-02", rf"{TEXT_TIME},-?[1-5],\d+\.\d{{8}},\d+\.\d{{8}}"),
    ("cm", "bookTicker", "2025-01-02", r"\d{13}(,\d+\.\d\d,\d+){2}(,\d{13}){2}"),
    (
        *("um", "liquidationSnapshot", "2025-01-02"),
        r"\d{13},(BUY|SELL),LIMIT,IOC,\d+\.\d{3},\d+\.\d,\d+\.\d,FILLED,\d+\.\d{3},\d+\.\d{3}",
    ),
]


@pytest.mark.parametrize(("market", "kind", "label", "form"), FORMS)
def test_rows_look_as_the_exchange_writes_them(archive: Path, market: str, kind: str, label: str, form: str) -> None:
    found = [path for path in zips(archive, f"*-{label}.zip") if {market, kind} <= set(path.parts)]
    assert len(found) == 1
    assert [line for line in lines_of(found[0]) if not re.fullmatch(form, line)] == []
    assert text_of(found[0])[0].isdigit() == (market == "spot")


HEADERS = [
    (Market.SPOT, "trades", "2026-01-01", False),
    (Market.SPOT, "klines", "2026-01", False),
    (Market.UM, "klines", "2022-05", False),
    (Market.UM, "klines", "2022-06", True),
    (Market.CM, "mark_price", "2022-05-31", False),
    (Market.UM, "trades", "2022-08-10", False),
    (Market.UM, "agg_trades", "2022-08-11", True),
    (Market.UM, "trades", "2022-08", True),
    (Market.UM, "funding_rate", "2020-01", True),
    (Market.UM, "metrics", "2021-12-01", True),
    (Market.CM, "liquidation_snapshot", "2023-06-25", True),
]


@pytest.mark.parametrize(("market", "dataset", "label", "expected"), HEADERS)
def test_who_has_a_header(market: Market, dataset: str, label: str, expected: bool) -> None:
    interval = "1h" if DATASETS[dataset].has_interval else None
    assert has_header(Series(market, dataset, "BTCUSDT", interval), Period.parse(label)) is expected


def test_files_of_2022_pass_from_no_header_to_one(tmp_path: Path) -> None:
    market = small_market(first=date(2022, 5, 30), last=date(2022, 6, 2))
    write_archive(market, tmp_path, (Shelf("klines", "1h"),))
    firsts = [text_of(path)[0] for path in zips(tmp_path) if "um" in path.parts and "daily" in path.parts]
    assert firsts == ["1", "1", "o", "o"]


def test_rows_of_a_period_are_written_exactly_as_the_real_files_are() -> None:
    folder = REAL / "data"
    if not folder.is_dir():
        pytest.skip(f"no real archive files at {REAL}")
    checked = 0
    for path in sorted(folder.rglob("*.zip")):
        series, period = series_of(path.relative_to(folder))
        if series is None or period.first.year < 2019:
            continue  # no dataset of ours, or numbers in a column that is to be ignored
        columns = DATASETS[series.dataset].columns[series.market]
        text = text_of(path)
        table = list(csv.reader(io.StringIO("\n".join(lines_of(path)))))
        rows = {
            column.source: values
            for column, values in zip(columns, map(column_of, columns, zip(*table, strict=True)), strict=False)
        }
        if series.dataset == "trades" and series.market is not Market.SPOT:
            continue  # these were rendered by a tool that drops zeros of values and keeps those of prices
        assert csv_bytes(series, period, rows).decode() == text, path
        checked += 1
    assert checked >= 70


def series_of(path: Path) -> tuple[Series | None, Period]:
    parts = path.parts
    market = Market.SPOT if parts[0] == "spot" else Market(parts[1])
    kind, symbol, *rest = parts[2 if market is Market.SPOT else 3 :]
    match = ROWS.search(path.name)
    assert match
    dataset = next((name for name, each in DATASETS.items() if each.remote == kind), None)
    interval = rest[0] if len(rest) == 2 else None
    return (Series(market, dataset, symbol, interval) if dataset else None), Period.parse(match[1])


def column_of(column, cells):  # type: ignore[no-untyped-def]
    """A column of texts as the sample's values."""
    if column.kind.name == "TIME":
        return np.array([int(cell) if len(cell) == 16 else int(cell) * 1000 for cell in cells])
    if column.kind.name == "BOOLEAN":
        return np.array([cell.lower() == "true" for cell in cells])
    if column.kind.name == "TEXT_TIME":
        return np.array([PARSE["TEXT_TIME"](cell) for cell in cells])
    if column.kind.name in ("TEXT", "SYMBOL"):
        return np.array(cells)
    if column.kind.name == "INTEGER" or set(cells) == {"0"}:
        return np.array([int(cell) for cell in cells])
    if column.source.startswith("sum_open_interest"):
        cells = [cell.rstrip("0").rstrip(".") for cell in cells]  # 16 decimals do not fit into 64 bits
    places = max(len(cell.partition(".")[2]) for cell in cells)
    return Decimals(np.array([int(Decimal(cell).scaleb(places)) for cell in cells]), places)


def test_small_decimals_are_never_written_with_an_exponent() -> None:
    values = Decimals(np.array([241, -31500, 0, 100_000_000, -5]), 8)
    assert decimal_text(values, 8).to_pylist() == [
        "0.00000241",
        "-0.00031500",
        "0.00000000",
        "1.00000000",
        "-0.00000005",
    ]
    assert decimal_text(Decimals(np.array([5, -7]), 0), 0).to_pylist() == ["5", "-7"]


def test_a_whole_folder_is_left_alone_and_a_broken_off_one_is_completed(tmp_path: Path) -> None:
    shelves = (Shelf("klines", "1h"),)
    counts = write_archive(MARKET, tmp_path, shelves)
    before = digests(tmp_path)
    victim = next(zips(tmp_path))
    victim.unlink()
    again = write_archive(MARKET, tmp_path, shelves)
    assert (again.is_new, again.zips, again.rows) == (False, counts.zips, counts.rows)
    assert not victim.exists(), "the stamp was believed"
    stamp = tmp_path / ".sample.json"
    broken_off = {name: value for name, value in json.loads(stamp.read_text()).items() if name in ("seed", "version")}
    stamp.write_text(json.dumps(broken_off))
    assert write_archive(MARKET, tmp_path, shelves) == counts
    assert digests(tmp_path) == before


def test_the_next_day_adds_its_files_and_leaves_the_others_as_they_were(tmp_path: Path) -> None:
    shelves = (Shelf("klines", "1h"), Shelf("funding_rate"))
    write_archive(small_market(first=MARKET.first, last=date(2024, 12, 30)), tmp_path, shelves)
    before = digests(tmp_path)
    write_archive(small_market(first=MARKET.first, last=date(2024, 12, 31)), tmp_path, shelves)
    after = digests(tmp_path)
    assert before.items() <= after.items()
    new = sorted(key.rsplit("/", 1)[1] for key in after.keys() - before.keys() if "/um/" in key and key.endswith("zip"))
    assert new == ["BTCUSDT-1h-2024-12-31.zip", "BTCUSDT-1h-2024-12.zip", "BTCUSDT-fundingRate-2024-12.zip"]


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine" / "data").mkdir(parents=True)
    with pytest.raises(ConfigError, match="folder of its own"):
        write_archive(MARKET, tmp_path / "mine", SHELVES)
    write_archive(MARKET, tmp_path / "seven", (Shelf("funding_rate"),))
    with pytest.raises(ConfigError, match="sample of seed 7"):
        write_archive(small_market(8), tmp_path / "seven", (Shelf("funding_rate"),))
    (tmp_path / "seven" / ".sample.json").write_text("{")
    with pytest.raises(ConfigError, match="damaged"):
        write_archive(MARKET, tmp_path / "seven", (Shelf("funding_rate"),))


def test_the_demo_is_covered_by_months_and_the_open_month_by_days() -> None:
    files = list(files_of(demo_market(), DEMO_SHELVES))
    assert 600 <= len(files) <= 1700
    assert len(set(files)) == len(files)
    hourly = [period for series, period in files if str(series) == "um/klines/ETHUSDT/1h"]
    months = {period.label for period in hourly if period.cadence is Cadence.MONTHLY}
    assert months == {"2023-12", "2025-01", *(f"2024-{month:02}" for month in range(1, 13))}
    days = [period.label for period in hourly if period.cadence is Cadence.DAILY]
    assert days[0] == "2023-12-10"
    assert set(days) >= {f"2025-02-{day:02}" for day in range(1, 18)}
    gone = {period.label for series, period in files if series.symbol == "LUNAUSDT"}
    assert "2024-08" in gone
    assert "2024-09" not in gone
