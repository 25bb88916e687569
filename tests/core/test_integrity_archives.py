"""What footers, catalog, status database and disk say of archives, and what real archives and known gaps come to."""

import ast
import json
import os
import signal
from dataclasses import replace
from datetime import date
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from factories import ROOT, real_folder
from integrity_world import Stored, all_of, altered, days, without
from storage_world import CANDLES, JANUARY, Archive, Vault

from core.errors import ConfigError, TrackerError, WorkersLost
from core.exchanges.binance.urls import key_of, parse_key
from core.integrity.archives import REPAIRED, age, catalog, labels, repairs, revisions, unstored
from core.integrity.causes import Causes
from core.integrity.checker import IntegrityChecker
from core.integrity.many import Task, examine_all
from core.jobs import told
from core.layout import Layout, home_of
from core.sample.archive import Shelf
from core.sample.csv_text import csv_bytes
from core.sample.instruments import moment
from core.sample.market import small_market
from core.settings import KnownGap, Settings, load_known_gaps
from core.storage.manager import StorageManager
from core.types import (
    ArchiveFile,
    FetchedFile,
    Finding,
    GapStatus,
    Market,
    Period,
    Proof,
    Revision,
    Series,
    Source,
    Span,
    State,
)
from core.types import Stored as Stored_

MARKET = small_market(first=date(2024, 12, 28), last=date(2025, 1, 3))
UM = Series(Market.UM, "klines", "BTCUSDT", "1h")
METRICS = Series(Market.UM, "metrics", "BTCUSDT")
DAY = Period.parse("2025-01-02")
ALL = days("2024-12-28", 7)


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    stored = Stored(tmp_path, MARKET)
    stored.store(UM, *ALL)
    return stored


def kinds(found: list[Finding]) -> list[tuple[str, int, bool]]:
    return [(finding.kind, finding.count, finding.cause is None) for finding in found]


def source(**changes: object) -> Source:
    plain = Source("k", DAY, "a" * 64, Proof.SHA256_BY_ETAG, "ms", 24, DAY.span.start_us, DAY.span.end_us - 1)
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_duplicates_and_disorder_of_a_file_are_counted(tmp_path: Path) -> None:
    """D25, D28: put right while storing, and said."""
    stored = Stored(tmp_path, MARKET)

    def doubled(columns):  # type: ignore[no-untyped-def]
        order = np.array([*range(10), 4, 5, *range(11, 24), 10])
        return {name: values[order] for name, values in columns.items()}

    stored.store(UM, *ALL[:-1])
    stored.store(UM, ALL[-1], change=doubled)
    found = {finding.kind: finding for finding in stored.found(UM)}
    assert found["duplicate-rows"].count == 2
    assert found["duplicate-rows"].cause == found["unsorted-rows"].cause == REPAIRED
    (source_of,) = [each for part in stored.storage.partitions(UM) for each in part.sources if each.duplicates]
    said = told.repairs(stored.layout, UM, source_of)  # when it was stored
    assert {finding.kind: finding for finding in said} == found
    usual = told.repairs(stored.layout, METRICS, source_of)
    assert [finding.kind for finding in usual] == []
    assert {finding.span for finding in found.values()} == {ALL[-1].span}


def test_quarantined_lines_have_no_excuse() -> None:
    found = list(repairs(Layout(Path("/lake")), UM, [source(quarantined=3), source(outside=2)]))
    assert kinds(found) == [("quarantined-lines", 3, True), ("outside-period", 2, True)]


def test_archives_without_a_checksum_of_the_exchange(tmp_path: Path) -> None:
    """D21, D23."""
    stored = Stored(tmp_path, MARKET)
    for day, proof in zip(ALL, (Proof.UNVERIFIED, Proof.DISPUTED, *[Proof.SHA256_BY_ETAG] * 5), strict=True):
        fetched = stored.put(UM, day, csv_bytes(UM, day, MARKET.file_rows(UM, day)), proof)
        assert stored.storage.store([fetched]).refused == {}
    assert kinds(stored.found(UM)) == [("unverified", 1, False), ("disputed", 1, True)]


def test_labels_of_metrics_follow_market_and_day() -> None:
    """D36: the end of the five minutes in um before 2026-06-25, else their start."""
    start, step = DAY.span.start_us, 300_000_000
    by_start = source(first_us=start, last_us=DAY.span.end_us - step)
    by_end = source(first_us=start + step, last_us=DAY.span.end_us)
    assert kinds(list(labels(METRICS, [by_start, by_end]))) == [("label", 24, True)]
    coin = Series(Market.CM, "metrics", "BTCUSD_PERP")
    assert kinds(list(labels(coin, [by_start, by_end]))) == [("label", 24, True)]
    late = Period.parse("2026-07-01")
    moved = source(period=late, first_us=late.span.start_us, last_us=late.span.end_us - step)
    assert list(labels(METRICS, [moved])) == []
    assert list(labels(UM, [by_start])) == []


def test_a_partition_that_is_cut_off_is_unreadable_and_the_others_are_checked(stored: Stored) -> None:
    last = stored.storage.partitions(UM)[-1]
    last.path.write_bytes(last.path.read_bytes()[:-10])
    (found,) = stored.found(UM)
    assert (found.kind, found.span) == ("unreadable", last.period.span)
    assert stored.checker().examine(UM).rows == 4 * 24


def test_rows_that_are_not_those_of_the_footer(stored: Stored) -> None:
    """A page that was damaged, or a file that somebody else wrote."""
    last = stored.storage.partitions(UM)[-1]
    table = pq.read_table(last.path)
    pq.write_table(table.slice(0, table.num_rows - 1), last.path)
    assert [finding.kind for finding in stored.found(UM)] == ["unreadable"]


def test_archives_that_contradict_each_other_are_told_and_the_rest_is_checked(tmp_path: Path) -> None:
    trades = Series(Market.UM, "trades", "BTCUSDT")
    stored = Stored(tmp_path, MARKET)
    stored.store(trades, *ALL[:3], *ALL[4:])

    def with_yesterdays_last(columns):  # type: ignore[no-untyped-def]
        rows = np.append(0, np.arange(len(columns["id"])))
        moved = {name: values[rows] for name, values in columns.items()}
        moved["id"][0] -= 1
        return moved

    stored.store(trades, ALL[3], change=with_yesterdays_last)
    found = [finding for finding in stored.found(trades) if finding.cause is None]
    assert kinds(found) == [("contradiction", 1, True)]
    assert "contradict each other" in found[0].detail


def test_the_catalog_is_held_against_the_footers(tmp_path: Path) -> None:
    with Vault(tmp_path) as vault:
        vault.put(CANDLES, [Archive(JANUARY, 7)])
        checker = IntegrityChecker(vault.layout, vault.storage, vault.tracker)
        assert [f.kind for f in checker.check(CANDLES) if f.kind in ("catalog", "partition-missing")] == []
        (partition,) = vault.storage.partitions(CANDLES)
        entry = replace(partition, sources=(replace(partition.sources[0], rows=30),))
        assert kinds(list(catalog(CANDLES, [partition], [entry]))) == [("catalog", 1, True)]
        assert kinds(list(catalog(CANDLES, [partition], []))) == [("catalog", 1, False)]
        partition.path.unlink()
        assert kinds([*checker.check(CANDLES)]) == [("partition-missing", 31, True)]


def test_rows_beside_a_month_and_rows_of_the_api_are_told(tmp_path: Path) -> None:
    """D4, D30: the day is given. Rows that only the API has are named, and the rows that are read are those counted."""
    stored = Stored(tmp_path, MARKET)
    month, ninth, tenth = Period.month(2024, 12), Period.parse("2024-12-30"), Period.parse("2024-12-31")
    stored.store(UM, month, change=all_of(altered("volume", slice(50, 53), by=1), without(slice(72, 80))))
    stored.store(UM, ninth, tenth)
    whole = [f for f in stored.found(UM) if f.kind != "gap"]
    assert kinds(whole) == [("month-differs", 3, False), ("month-differs", 8, False)]
    assert [f.span for f in whole] == [ninth.span, tenth.span]
    assert {f.cause for f in whole} == {"the day's own archive is given"}
    deep = [f for f in stored.found(UM, deep=True) if f.kind == "month-differs"]
    assert kinds(deep) == kinds(whole)
    assert "volume" in deep[0].detail
    assert "in the day" in deep[0].detail

    keys = [key_of(UM, day) for day in (ninth, tenth)]
    files = [ArchiveFile(UM, day, key, 1, "e", None, "") for day, key in zip((ninth, tenth), keys, strict=True)]
    parts = stored.storage.partitions(UM)
    assert list(told.beside(Stored_(parts, (), {}, {}), files)) == whole  # as was said when they were stored
    assert list(told.beside(Stored_(parts, (), {}, {}), files[1:])) == whole[1:]

    missing = DAY.span
    stored.store(UM, Period.parse("2025-01-03"))
    stored.storage.store_answer(UM, DAY, MARKET.truth(UM, missing))
    (found,) = [f for f in stored.found(UM, deep=True) if f.kind == "from-rest"]
    assert (found.count, found.cause) == (24, "rows the archives lack")
    assert missing.contains(found.span)
    (gap,) = [f for f in stored.found(UM, deep=True) if f.cause is None]
    assert (gap.kind, gap.span) == ("gap", Period.parse("2025-01-01").span)  # and no rows too few, nor a wrong digest


def test_an_archive_at_fault_for_which_the_api_answered_is_no_loss() -> None:
    file = ArchiveFile(UM, DAY, "data/x.zip", 1, "e", None, "")
    answer = source(key="rest/x", proof=Proof.REST, added=24)
    (found,) = unstored(UM, [(State.CORRUPT, file)], {"rest/x": answer})
    assert found.cause == "rows of the exchange's API stand for it"


def test_archives_that_are_not_stored_are_told_with_their_state() -> None:
    """D22: one a longer archive has the rows of is no loss."""
    file = ArchiveFile(UM, DAY, "data/x.zip", 1, "e", None, "")
    (found,) = unstored(UM, [(State.CORRUPT, file)], {})
    assert (found.kind, found.cause) == ("archive-corrupt-upstream", None)
    month = source(key="m", period=Period.month(2025, 1))
    (found,) = unstored(UM, [(State.FAILED, file)], {"m": month})
    assert found.cause is not None
    assert list(unstored(UM, [(State.FAILED, file)], {"data/x.zip": month})) == []


def test_an_archive_that_was_replaced_and_not_stored_again() -> None:
    """D34."""
    new = Revision("k", "e1", "a" * 64, "e2", "b" * 64)
    assert kinds(list(revisions(UM, [new], {"k": source()}))) == [("revised", 1, True)]
    assert kinds(list(revisions(UM, [new], {"k": source(sha256="b" * 64)}))) == [("revised", 1, False)]
    assert list(revisions(UM, [new], {})) == []


def test_the_age_of_the_newest_row() -> None:
    last = moment("2025-01-02 23:00")
    assert list(age(UM, last, moment("2025-01-05 12:00"))) == []
    (found,) = age(UM, last, moment("2025-01-12 12:00"))
    assert (found.kind, found.count, found.cause is None) == ("old", 9, False)
    ended = Series(Market.UM, "book_ticker", "BTCUSDT")
    assert list(age(ended, last, moment("2026-01-12"))) == []


def test_many_series_are_the_same_in_one_process_and_in_two(tmp_path: Path) -> None:
    shelves = [Shelf("klines", "1h", months=None), Shelf("trades", months=None), Shelf("mark_price", "1h", months=None)]
    stored = Stored(tmp_path, MARKET, shelves)
    task = Task(Settings().replace(paths={"data": tmp_path}), deep=True, now_us=moment("2026-01-01"))
    wanted = stored.storage.series()
    one = list(examine_all(task, wanted, processes=1))
    assert list(examine_all(task, wanted, processes=2)) == one
    assert [each.series for each in one] == list(wanted)
    assert all(each.rows for each in one)


def test_processes_that_are_killed_are_said_with_what_they_looked_at(tmp_path: Path) -> None:
    """Of 200 rounds only the first few are given out when all that could examine the others are gone."""
    Stored(tmp_path, MARKET, [Shelf("klines", "1h", months=None)])
    found = examine_all(Task(Settings().replace(paths={"data": tmp_path})), [UM] * 200, processes=2)
    assert next(found).rows
    workers = [child for child in active_children() if child.pid is not None]
    for child in workers:
        os.kill(child.pid or 0, signal.SIGKILL)
    assert len(workers) == 2
    with pytest.raises(WorkersLost, match=f"ended from outside.* looked at: {UM}.*--symbols"):
        list(found)


def test_an_error_in_another_process_is_that_error(tmp_path: Path) -> None:
    stored = Stored(tmp_path, MARKET, [Shelf("klines", "1h", months=None)])
    stored.layout.database.parent.mkdir(parents=True, exist_ok=True)
    stored.layout.database.write_bytes(b"no database" * 1000)
    task = Task(Settings().replace(paths={"data": tmp_path}))
    with pytest.raises(TrackerError):
        list(examine_all(task, [UM] * 4, processes=2))


# real archives


def real_keys() -> list[str]:
    folder = real_folder()
    return sorted(str(path.relative_to(folder)) for path in (folder / "data").rglob("*.zip"))


def stored_real(root: Path, key: str) -> tuple[IntegrityChecker, Series]:
    parsed = parse_key(key)
    assert parsed is not None
    series, period = parsed
    layout, settings = Layout(root), Settings()
    storage = StorageManager(layout, replace(settings.storage, csv_datasets=()), settings.quality)
    path = real_folder() / key
    file = ArchiveFile(series, period, key, path.stat().st_size, "e", None, "")
    fetched = FetchedFile(file, path, path.stat().st_size, "0" * 64, Proof.SHA256_BY_ETAG)
    assert storage.store([fetched]).refused == {}
    assert home_of(series, period)
    return IntegrityChecker(layout, storage, known_gaps=load_known_gaps()), series


def test_real_archives_give_no_false_findings(tmp_path: Path) -> None:
    """Rows that are missing by plain Python (truth.json) are gaps, and no more than those; nothing else is found."""
    truth = json.loads((real_folder() / "truth.json").read_text())
    seen = 0
    for number, key in enumerate(real_keys()):
        checker, series = stored_real(tmp_path / str(number), key)
        facts = truth[key]
        found = checker.examine(series)
        missing = facts.get("missing_open_ms", [])
        inside = [ms for ms in missing if facts["first_open_ms"] < ms < facts["last_open_ms"]]
        lacking = 4 if series.dataset == "metrics" else len(inside)  # the first lines of an unsorted file: 00:00, 00:25
        assert sum(gap.rows for gap in found.gaps) == lacking, key
        for gap in found.gaps if inside else ():
            assert gap.span.start_us // 1000 in inside, key
        other = [f for f in found.findings if f.cause is None and f.kind != "gap"]
        assert other == [], (key, other)
        odd = sum(f.count for f in found.findings if f.kind == "close-time")
        assert odd == len(facts.get("odd_close", [])), key
        seen += 1
    assert seen > 50


# known gaps


def written(folder: Path, text: str) -> Path:
    path = folder / "known_gaps.yaml"
    path.write_text(text, encoding="utf-8")
    return path


ENTRY = (
    "- {market: spot, types: [klines], symbols: all, from: 2021-04-25 04:00, to: 2021-04-26, cause: halt, source: x}\n"
)


def test_known_gaps_are_read_with_days_and_moments(tmp_path: Path) -> None:
    (gap,) = load_known_gaps(written(tmp_path, ENTRY))
    span = Span(moment("2021-04-25 04:00"), moment("2021-04-27"))
    assert gap == KnownGap(Market.SPOT, ("klines",), (), span, "halt", "x", GapStatus.OPEN)
    assert load_known_gaps(written(tmp_path, "")) == ()


def test_the_shipped_gaps_are_those_of_the_exchange() -> None:
    known = load_known_gaps()
    assert len(known) > 15
    assert all(gap.source.startswith("#") for gap in known)
    series = Series(Market.SPOT, "klines", "BTCUSDT", "1m")
    hour = Span(moment("2021-04-25 05:00"), moment("2021-04-25 06:00"))
    inside = [gap for gap in known if gap.concerns(series) and gap.span.contains(hour)]
    assert [(gap.status, gap.cause) for gap in inside] == [(GapStatus.HALT, "halt of trading")]


@pytest.mark.parametrize(
    ("market", "dataset", "symbol", "interval"),
    [
        ("spot", "klines", "BTCUSDT", "1h"),
        ("um", "klines", "BTCUSDT", "1m"),
        ("um", "mark_price", "BTCUSDT", "1h"),
        ("um", "trades", "BTCUSDT", None),
        ("um", "metrics", "BTCUSDT", None),
    ],
)
def test_the_shipped_gaps_excuse_no_whole_day_of_a_symbol_they_do_not_name(
    tmp_path: Path, market: str, dataset: str, symbol: str, interval: str | None
) -> None:
    """But the day of 2018 of which spot traded 28 minutes."""
    series = Series(Market(market), dataset, symbol, interval)
    causes = Causes(Stored(tmp_path, MARKET).storage, load_known_gaps())
    first = date(2017, 8, 17).toordinal()
    every = [Period.day(date.fromordinal(first + n)) for n in range(3500)]
    excused = [day.label for day in every if causes.known_for(series, day.span)]
    assert excused == (["2018-02-08"] if market == "spot" else [])


def test_the_shipped_halts_are_to_the_second(tmp_path: Path) -> None:
    causes = Causes(Stored(tmp_path, MARKET).storage, load_known_gaps())
    series = Series(Market.SPOT, "klines", "BTCUSDT", "1h")

    def status(first: str, end: str) -> GapStatus | None:
        known = causes.known_for(series, Span(moment(first), moment(end)))
        return known.status if known else None

    assert status("2018-02-08 01:00", "2018-02-09 09:00") is GapStatus.HALT
    assert status("2018-01-04 04:00", "2018-01-04 05:00") is GapStatus.HALT
    assert status("2018-02-09 12:00", "2018-02-09 14:00") is None
    assert status("2017-12-10", "2017-12-11") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("market: spot\n", ":1: expected a list"),
        (ENTRY.replace("spot", "sopt"), ":1: 'sopt' is none of spot, um, cm; did you mean 'spot'?"),
        (ENTRY + ENTRY.replace("[klines]", "[kilnes]"), ":2: 'kilnes' is none of"),
        (ENTRY.replace("[klines]", "[metrics]"), ":1: 'metrics' is none of"),
        (ENTRY.replace(", cause: halt", ""), ":1: an entry needs 'cause'"),
        (ENTRY.replace("to: 2021-04-26", "to: soon"), ":1: to should be a time like"),
        (ENTRY.replace("to: 2021-04-26", "to: 2021-04-20"), ":1: the time ends before it begins"),
        (ENTRY.replace("source", "sauce"), ":1: unknown key 'sauce'; did you mean 'source'?"),
        (ENTRY.replace("source: x", "source: x, status: hold"), ":1: 'hold' is none of open, halt, confirmed-hole"),
        (ENTRY.replace("symbols: all", "symbols: [a/b]"), ":1: 'a/b' is not a symbol"),
        (ENTRY.replace("source: x", "source: x, minutes: some"), ":1: minutes "),
        (ENTRY.replace("source: x", "source: x, minutes: 0"), ":1: minutes should be 1 or more"),
        ("- [\n", "not YAML"),
    ],
)
def test_a_mistake_in_known_gaps_names_file_and_line(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load_known_gaps(path)
    assert str(error.value).startswith(str(path))
    assert said in str(error.value)


def test_every_kind_of_finding_is_explained_in_the_docs() -> None:
    """Kinds are the words that stand in the code where a finding, a fault or a jump is made."""
    makers = {"Finding", "faults", "pairs", "Jump", "Differences"}
    kinds = set()
    for path in (ROOT / "core" / "integrity").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if name in makers:
                    words = [each.value for each in node.args[:3] if isinstance(each, ast.Constant)]
                    kinds |= {word for word in words if isinstance(word, str) and " " not in word}
    assert len(kinds) > 30
    text = (ROOT / "docs" / "integrity.md").read_text(encoding="utf-8")
    assert {kind for kind in kinds if f"`{kind}`" not in text} == set()
