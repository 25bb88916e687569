"""What is not needed any more: found for what it is, proved row by row before it goes; all else is left alone."""

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from factories import called, real_folder
from storage_world import AGGS, CANDLES, FUNDING, SECONDS, TRADES, Archive, Vault, World, lines

from core.commands.cleanup import main
from core.download.database import now_us
from core.download.former import why_needed
from core.download.gaps import Known
from core.download.part import digest_of
from core.download.tracker import Change, DownloadTracker
from core.exchanges.binance.urls import parse_key
from core.jobs.cleanup import KINDS, LINK, Cleaner, Kept, Outcome
from core.settings import Settings, StorageSettings
from core.storage.manager import StorageManager
from core.storage.proof import StoredProof
from core.types import ArchiveFile, FetchedFile, Gap, GapStatus, Market, Period, Proof, Series, Span, Stamp, State

JAN = Period.month(2024, 1)
DAY_US = 86_400_000_000


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    with Vault(tmp_path / "data") as made:
        yield made


def day(number: int, mark: int = 1) -> Archive:
    return Archive(Period.day(date(2024, 1, number)), mark)


def cleaner(vault: Vault, *kinds: str, keep_raw: bool = True, later_us: int = 0, **storage: object) -> Cleaner:
    settings = Settings(storage=replace(StorageSettings(csv_datasets=()), **storage))  # type: ignore[arg-type]
    moment_us = now_us() + later_us
    manager = StorageManager(vault.layout, settings.storage, settings.quality)
    return Cleaner(vault.layout, settings, manager, vault.tracker, kinds or tuple(KINDS), keep_raw, moment_us)


def found(one: Cleaner) -> dict[str, str]:
    """By name what is not needed, and its kind."""
    return {each.path.name: each.kind for each in one.look().removed}


def kept(one: Cleaner) -> dict[str, str]:
    return {each.path.name: each.reason for each in one.look().stays}


def removed(outcome: Outcome) -> set[str]:
    assert outcome.failures == []
    return {each.path.name for each in outcome.removed}


def changed(outcome: Outcome) -> Outcome:
    """But for what was never to go."""
    return replace(outcome, stays=[])


def raw_names(vault: Vault) -> set[str]:
    return {path.name for path in (vault.layout.root / "raw").rglob("*") if path.is_file()}


@pytest.mark.parametrize("series", [CANDLES, SECONDS, TRADES, FUNDING], ids=str)
def test_days_go_when_their_month_has_all_their_rows(vault: Vault, series: Series) -> None:
    """Of a day that differs, the archive stays: its rows are given beside those of the month."""
    for each in (day(2), day(3), day(5, mark=9)):
        vault.put(series, [each])
    vault.put(series, [Archive(JAN, 1)])
    before, rows = raw_names(vault), vault.rows(series)
    stem = next(name for name in before if name.endswith("2024-01.zip")).removesuffix("2024-01.zip")
    assert found(cleaner(vault)) == {f"{stem}2024-01-02.zip": "days", f"{stem}2024-01-03.zip": "days"}
    assert kept(cleaner(vault))[f"{stem}2024-01-05.zip"] == "archives are kept (storage.keep_raw)"
    assert raw_names(vault) == before
    outcome = cleaner(vault).remove()
    assert removed(outcome) == {f"{stem}2024-01-02.zip", f"{stem}2024-01-03.zip"}
    assert before - raw_names(vault) == removed(outcome)
    assert vault.rows(series) == rows
    assert changed(cleaner(vault).remove()) == Outcome()


def test_a_day_stays_while_the_archive_of_its_month_is_not_whole(vault: Vault) -> None:
    vault.put(CANDLES, [day(2)])
    vault.put(CANDLES, [Archive(JAN, 1)])
    month = vault.layout.raw(CANDLES, JAN)
    month.write_bytes(month.read_bytes() + b"!")
    (left,) = cleaner(vault).remove().kept
    assert left.path.name == "BTCUSDT-1d-2024-01-02.zip"
    assert left.reason == "BTCUSDT-1d-2024-01.zip has no longer the bytes that its rows were stored from"
    month.unlink()
    assert found(cleaner(vault)) == {}
    assert kept(cleaner(vault))["BTCUSDT-1d-2024-01-02.zip"] == "the archive of 2024-01 is not here"


@pytest.mark.parametrize("series", [CANDLES, SECONDS, TRADES, AGGS, FUNDING], ids=str)
def test_archives_go_by_policy_when_their_rows_are_stored(vault: Vault, series: Series) -> None:
    february = Archive(Period.day(date(2024, 2, 1)), 4)
    if series != AGGS:
        vault.put(series, [day(2)])
        vault.put(series, [day(5, mark=9)])
        vault.put(series, [Archive(JAN, 1)])
        vault.put(series, [february])
    else:
        files = [
            vault.fetched(series, JAN, lines([f"{n},1,1,{n},{n},{1704067200000 + n},true,true" for n in range(9)]))
        ]
        vault.enter(files, vault.store_all(files))
    before = raw_names(vault)
    assert found(cleaner(vault, "raw")) == {}
    chosen = cleaner(vault, keep_raw=False)
    assert set(found(chosen)) == before
    rows = list(vault.storage.scan(series, JAN.span))
    assert removed(chosen.remove()) == before
    assert raw_names(vault) == set()
    assert list(vault.storage.scan(series, JAN.span)) == rows


@pytest.mark.parametrize("series", [CANDLES, TRADES], ids=str)
def test_an_archive_stays_when_a_row_of_it_is_not_stored(vault: Vault, series: Series) -> None:
    """The partition says that it was stored from these bytes, and has other rows."""
    vault.put(series, [Archive(JAN, 1)])
    with Vault(vault.layout.root.with_name("other")) as other:
        other.put(series, [Archive(JAN, 2)])
        for path in (other.layout.root / "processed").rglob("*.parquet"):
            mine = vault.layout.root / path.relative_to(other.layout.root)
            _swap_rows(mine, path)
    (left,) = cleaner(vault, keep_raw=False).remove().kept
    assert left.kind == "raw"
    assert left.reason.startswith("its partition has something else: column ")
    assert vault.layout.raw(series, JAN).exists()


def _swap_rows(mine: Path, other: Path) -> None:
    """The rows of another file under the footer of this one."""
    import pyarrow.parquet as pq

    facts = {name: value for name, value in pq.read_metadata(mine).metadata.items() if name.startswith(b"tapevault.")}
    table = pq.ParquetFile(other).read().replace_schema_metadata(facts)
    pq.write_table(table, mine)


def test_an_archive_stays_that_could_not_be_had_again_or_is_not_what_it_was(vault: Vault) -> None:
    vault.put(CANDLES, [Archive(JAN, 1)])
    raw = vault.layout.raw(CANDLES, JAN)
    good = raw.read_bytes()
    raw.write_bytes(good[:-1] + b"?")
    (left,) = cleaner(vault, keep_raw=False).remove().kept
    assert left.reason == "its bytes are no longer those that were verified"
    raw.write_bytes(good)
    other = vault.layout.raw(CANDLES, Period.month(2024, 2))
    shutil.copyfile(raw, other)
    assert kept(cleaner(vault, keep_raw=False))[other.name].startswith("the status database does not know it")
    failed = vault.archive(CANDLES, Archive(Period.month(2024, 3), 1))
    plan = vault.tracker.plan([failed.file])
    rows = vault.tracker.claim(vault.run, list(plan.fetch))
    assert kept(cleaner(vault, keep_raw=False))["BTCUSDT-1d-2024-03.zip"] == "a run is at work with it"
    vault.tracker.advance(vault.run, [Change(row, State.FAILED, error="no") for row in rows])
    assert kept(cleaner(vault, keep_raw=False))["BTCUSDT-1d-2024-03.zip"] == "it is not stored (failed)"
    assert removed(cleaner(vault, keep_raw=False).remove()) == {raw.name}


def test_an_archive_with_lines_in_quarantine_stays(vault: Vault) -> None:
    text = Archive(JAN, 1).text(CANDLES) + b"1706659200000,not,a,row,at,all,1,1,1,1,1,0\n"
    storage = StorageManager(vault.layout, StorageSettings(csv_datasets=()), replace(Settings().quality, salvage=True))
    files = [vault.fetched(CANDLES, JAN, text)]
    vault.enter(files, storage.store(files))
    assert vault.layout.quarantine(CANDLES, JAN).exists()
    assert found(cleaner(vault, keep_raw=False)) == {}
    assert kept(cleaner(vault, keep_raw=False))["BTCUSDT-1d-2024-01.zip"].startswith("some of its lines are no rows")


def test_beginnings_of_archives_go_when_nobody_goes_on_with_them(vault: Vault) -> None:
    """Beside a whole archive at once; unknown ones after a week; those of planned archives never."""
    vault.put(CANDLES, [Archive(JAN, 1)])
    planned = vault.archive(CANDLES, Archive(Period.month(2024, 2), 1))
    planned.path.unlink()
    vault.tracker.plan([planned.file])
    folder = vault.layout.raw(CANDLES, JAN).parent
    for label in ("01.zip.part", "01.zip.part@4096", "02.zip.part", "03.zip.part"):
        (folder / f"BTCUSDT-1d-2024-{label}").write_bytes(b"x" * 10)
    (folder / "notes.part").write_text("mine")
    whole = {"BTCUSDT-1d-2024-01.zip.part": "parts", "BTCUSDT-1d-2024-01.zip.part@4096": "parts"}
    assert found(cleaner(vault)) == whole
    said = kept(cleaner(vault, "parts"))
    assert said["BTCUSDT-1d-2024-02.zip.part"] == "the next run goes on from here (planned)"
    assert said["BTCUSDT-1d-2024-03.zip.part"].startswith("a download may go on from here")
    late = cleaner(vault, later_us=7 * DAY_US)
    assert found(late) == whole | {"BTCUSDT-1d-2024-03.zip.part": "parts"}
    assert removed(late.remove()) == set(found(late)) | set(whole) | {"BTCUSDT-1d-2024-03.zip.part"}
    assert (folder / "notes.part").read_text() == "mine"
    assert (folder / "BTCUSDT-1d-2024-02.zip.part").exists()


def test_a_beginning_stays_when_the_archive_beside_it_is_damaged_and_its_rows_are_gone(vault: Vault) -> None:
    vault.put(CANDLES, [Archive(JAN, 1)])
    raw = vault.layout.raw(CANDLES, JAN)
    part = raw.with_name(f"{raw.name}.part")
    part.write_bytes(b"x")
    raw.write_bytes(b"damaged")
    next((vault.layout.root / "processed").rglob("*.parquet")).unlink()
    (left,) = cleaner(vault).remove().kept
    assert (left.path, left.reason) == (part, "the archive is not here as it was verified")


@pytest.mark.parametrize("series", [CANDLES, TRADES], ids=str)
def test_partitions_go_whose_rows_a_longer_one_has(vault: Vault, series: Series) -> None:
    """As a run leaves them that was killed between merging partitions and removing them."""
    from core.storage.merging import merged

    for number in (2, 3):
        vault.put(series, [day(number)])
    vault.put(series, [Archive(Period.day(date(2024, 2, 1)), 5)])
    single = {path: path.read_bytes() for path in (vault.layout.root / "processed").rglob("*.parquet")}
    rows = vault.rows(series)
    year = merged(vault.layout, Period.parse("2024"), vault.storage.partitions(series), 131_072)
    assert year is not None
    for path, content in single.items():
        path.write_bytes(content)
    assert vault.rows(series) == rows
    assert found(cleaner(vault, "partitions")) == dict.fromkeys((path.name for path in single), "partitions")
    assert removed(cleaner(vault).remove()) == {path.name for path in single}
    assert [path.name for path in (vault.layout.root / "processed").rglob("*.parquet")] == [year.path.name]
    assert vault.rows(series) == rows


def test_a_partition_stays_that_the_longer_one_does_not_equal(vault: Vault) -> None:
    from core.storage.merging import merged

    vault.put(CANDLES, [day(2)])
    vault.put(CANDLES, [Archive(Period.day(date(2024, 2, 1)), 5)])
    path = vault.layout.processed(CANDLES, JAN)
    content = path.read_bytes()
    year = merged(vault.layout, Period.parse("2024"), vault.storage.partitions(CANDLES), 131_072)
    assert year is not None
    path.write_bytes(content)
    with Vault(vault.layout.root.with_name("other")) as other:
        other.put(CANDLES, [day(2, mark=8)])
        _swap_rows(path, other.layout.processed(CANDLES, JAN))
    (left,) = cleaner(vault).remove().kept
    assert left.reason.startswith("its partition has something else: column open")
    assert path.exists()


@pytest.mark.parametrize("form", ["csv", "csv.gz", "arrow", "parquet"])
def test_text_goes_that_is_not_wanted_any_more_and_is_stored(vault: Vault, form: str) -> None:
    settings = StorageSettings(csv_datasets=("funding_rate",), extracted_format=form)
    vault.storage = StorageManager(vault.layout, settings, Settings().quality)
    vault.put(FUNDING, [Archive(JAN, 1)])
    vault.put(FUNDING, [Archive(Period.month(2024, 2), 2)])
    (one, two) = sorted(path for path in (vault.layout.root / "extracted").rglob("*.*"))
    wanted = {"csv_datasets": ("funding_rate",), "extracted_format": form}
    assert found(cleaner(vault, **wanted)) == {}
    assert kept(cleaner(vault, "csv", **wanted))[one.name] == "wanted (storage.csv_datasets)"
    other = "arrow" if form != "arrow" else "csv"
    assert set(found(cleaner(vault, csv_datasets=("funding_rate",), extracted_format=other))) == {one.name, two.name}
    spoilt = two.read_bytes()
    two.write_bytes(spoilt[:-9] + b"9" + spoilt[-8:])  # somebody's own work, or damage: it is not ours to judge
    outcome = cleaner(vault).remove()
    assert removed(outcome) == {one.name}
    assert [left.path for left in outcome.kept] == [two]
    assert two.exists()
    assert not list((vault.layout.root / "extracted").rglob("*.tmp"))


def test_text_goes_of_an_archive_that_was_replaced(vault: Vault) -> None:
    """It was written, then text was not wanted for a while, and meanwhile the exchange published the archive anew."""
    with_text = StorageSettings(csv_datasets=("funding_rate",))
    vault.storage = StorageManager(vault.layout, with_text, Settings().quality)
    vault.put(FUNDING, [Archive(JAN, 1)])
    text = vault.layout.extracted(FUNDING, JAN, ".csv")
    os.utime(text, ns=(1_700_000_000_000_000_000, 1_700_000_000_000_000_000))
    assert found(cleaner(vault, csv_datasets=("funding_rate",))) == {}
    vault.storage = StorageManager(vault.layout, StorageSettings(csv_datasets=()), Settings().quality)
    vault.put(FUNDING, [Archive(JAN, 2)])
    assert len(vault.tracker.revisions()) == 1
    wanted = cleaner(vault, csv_datasets=("funding_rate",))
    (stale,) = wanted.look().removed
    assert (stale.path, stale.kind, stale.reason) == (text, "csv", "its archive was replaced by the exchange")
    assert removed(wanted.remove()) == {text.name}


def test_text_of_a_day_goes_beside_that_of_its_month(vault: Vault) -> None:
    wanted = {"csv_datasets": ("klines",)}
    vault.storage = StorageManager(vault.layout, StorageSettings(csv_datasets=("klines",)), Settings().quality)
    vault.put(CANDLES, [day(2)])
    vault.put(CANDLES, [day(3, mark=7)])
    vault.put(CANDLES, [Archive(JAN, 1)])
    assert found(cleaner(vault, "csv", **wanted)) == {"BTCUSDT-1d-2024-01-02.csv": "csv"}
    assert removed(cleaner(vault, "csv", **wanted).remove()) == {"BTCUSDT-1d-2024-01-02.csv"}


def test_temporary_files_go_when_their_process_is_gone(vault: Vault) -> None:
    vault.put(CANDLES, [Archive(JAN, 1)])
    folder = vault.layout.processed_folder(CANDLES)
    (folder / f".BTCUSDT-1d-2025.parquet.{2**31 - 1}.tmp").write_bytes(b"half")
    (folder / f".BTCUSDT-1d-2025.parquet.{os.getppid()}.tmp").write_bytes(b"half")
    (folder / ".mine.tmp").write_text("not a name of ours")
    assert list(found(cleaner(vault)).values()) == ["temporary"]
    assert kept(cleaner(vault, "temporary")) == {
        f".BTCUSDT-1d-2025.parquet.{os.getppid()}.tmp": "its process is at work"
    }
    assert removed(cleaner(vault).remove()) == {f".BTCUSDT-1d-2025.parquet.{2**31 - 1}.tmp"}
    assert (folder / ".mine.tmp").exists()


def absent() -> ArchiveFile:
    return ArchiveFile(CANDLES, Period.month(2023, 5), "data/absent.zip", 0, "", None, "")


def checkpointed(database: Path) -> Path:
    """With all of its log in it, as it is once everybody has closed it."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return database


def test_a_former_database_goes_when_the_present_one_knows_all_of_it(vault: Vault) -> None:
    vault.put(CANDLES, [Archive(JAN, 1)])
    former = vault.layout.database.with_name("download_status.db.20240101T000000Z.old")
    with Vault(vault.layout.root.with_name("other")) as other:
        other.put(CANDLES, [Archive(JAN, 1)])
    shutil.copyfile(other.layout.database, former)
    assert why_needed(former, vault.layout.database) == ""
    assert found(cleaner(vault)) == {former.name: "databases"}
    with Vault(vault.layout.root.with_name("other")) as other:
        other.put(CANDLES, [Archive(JAN, 1), Archive(Period.month(2024, 2), 1)])
    shutil.copyfile(other.layout.database, former)
    assert kept(cleaner(vault, "databases")) == {former.name: "it knows 1 archives that the present one does not"}
    with Vault(vault.layout.root.with_name("more")) as other:
        other.put(CANDLES, [Archive(JAN, 1)])
        hole = Gap(CANDLES, Span(1, 2), 1, GapStatus.CONFIRMED, "every source lacks it", 3)
        takes = {
            "faults of the source": lambda: other.tracker.note_missing([absent()], 1),
            "gaps": lambda: other.tracker.record_gaps({CANDLES: Known((hole,))}, {}),
            "symbols that were seen": lambda: other.tracker.see(CANDLES.market, CANDLES.dataset, ["BTCUSDT"]),
            "past runs": lambda: other.tracker.finish_run(other.tracker.begin_run("test")),
        }
        for what, take in reversed(takes.items()):
            take()
            shutil.copyfile(checkpointed(other.layout.database), former)
            assert why_needed(former, vault.layout.database) == f"it knows 1 {what} that the present one does not"
        vault.tracker.see(CANDLES.market, CANDLES.dataset, ["ETHUSDT"])
        vault.tracker.record_gaps({CANDLES: Known((), {JAN: Stamp(1, 2)})}, {})
        vault.tracker.note_missing([absent()], 1)
        assert why_needed(former, vault.layout.database) == "it knows 1 past runs that the present one does not"
    former.write_bytes(b"SQLite format 3\0" + b"damaged" * 999)
    assert kept(cleaner(vault, "databases"))[former.name].startswith("it cannot be read")
    assert changed(cleaner(vault, "databases").remove()) == Outcome()
    DownloadTracker(vault.layout.database.with_name("download_status.rebuilt.db")).close()
    shutil.move(vault.layout.database.with_name("download_status.rebuilt.db"), former)
    assert removed(cleaner(vault, "databases").remove()) == {former.name}


def test_links_are_not_followed(vault: Vault, tmp_path: Path) -> None:
    """A folder of archives on another disk is left to whoever put it there."""
    vault.put(CANDLES, [day(2)])
    vault.put(CANDLES, [Archive(JAN, 1)])
    (tmp_path / "elsewhere").mkdir()
    shutil.move(vault.layout.root / "raw", tmp_path / "elsewhere" / "raw")
    (vault.layout.root / "raw").symlink_to(tmp_path / "elsewhere" / "raw")
    assert found(cleaner(vault, keep_raw=False)) == {}
    link = Kept(vault.layout.root / "raw", LINK, 0, "a link, which is not followed")
    assert cleaner(vault, keep_raw=False).remove() == cleaner(vault, "raw").remove() == Outcome(stays=[link])
    told = called(main, ["--data-dir", str(vault.layout.root), "--json"])
    assert (told.code, told.json["files"], told.json["not_looked_at"]) == (0, [], [str(link.path)])
    said = called(main, ["--data-dir", str(vault.layout.root)]).out
    assert f"not looked at: {link.path}: a link, which is not followed\nNothing to remove" in said


def test_what_cannot_be_read_costs_nobody_the_report(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.put(CANDLES, [day(2)])
    vault.put(CANDLES, [Archive(JAN, 1)])
    closed = vault.layout.root / "logs"
    closed.mkdir()
    whole = os.scandir

    def scanned(path: Path) -> object:
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return whole(path)

    monkeypatch.setattr(os, "scandir", scanned)
    looked, done = cleaner(vault).look(), cleaner(vault).remove()
    for outcome in (looked, done):
        assert [one.path.name for one in outcome.removed] == ["BTCUSDT-1d-2024-01-02.zip"]
        (failure,) = outcome.failures
        assert failure.startswith(f"the data folder: cannot use {closed}: Permission denied")


def test_another_process_that_builds_bars_keeps_its_bars_to_itself(vault: Vault) -> None:
    from core.jobs.alone import alone

    vault.put(TRADES, [day(2)])
    with alone(vault.layout, "features"):
        (failure,) = cleaner(vault).remove().failures
    assert failure.startswith("bars: another features is at work")


def test_a_series_that_is_not_readable_leaves_the_others_alone(vault: Vault) -> None:
    vault.put(CANDLES, [day(2)])
    vault.put(CANDLES, [Archive(JAN, 1)])
    odd = Series(Market.UM, "klines", "ODD", "1d")
    folder = vault.layout.processed_folder(odd)
    folder.mkdir(parents=True)
    (folder / "ODD-1d-2024.parquet").write_bytes(b"no parquet")
    outcome = cleaner(vault).remove()
    assert [one.path.name for one in outcome.removed] == ["BTCUSDT-1d-2024-01-02.zip"]
    assert "no partition of ours" in kept(cleaner(vault, "partitions"))["ODD-1d-2024.parquet"]


def just_after(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, then: Callable[[], object]) -> None:
    """What another process does after the first call of a method."""
    whole, waiting = getattr(owner, name), [then]

    def called(*arguments: object) -> object:
        result = whole(*arguments)
        while waiting:
            waiting.pop()()
        return result

    monkeypatch.setattr(owner, name, called)


def test_what_a_run_publishes_after_the_proof_stays(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bytes are others than those that were proved, though its row is not yet."""
    vault.put(CANDLES, [Archive(JAN, 1)])
    raw = vault.layout.raw(CANDLES, JAN)
    former = raw.stat()

    def publish() -> None:
        new = raw.with_name("new")
        new.write_bytes(b"x" * former.st_size)
        os.utime(new, ns=(former.st_atime_ns, former.st_mtime_ns))
        new.replace(raw)

    just_after(monkeypatch, StoredProof, "why_not_archive", publish)
    outcome = cleaner(vault, keep_raw=False).remove()
    assert (outcome.removed, outcome.failures) == ([], [])
    assert [(left.path, left.reason) for left in outcome.kept] == [(raw, "it has changed meanwhile")]
    assert raw.read_bytes() == b"x" * former.st_size


@pytest.mark.parametrize("suffix", ["", ".part", ".disputed"])
def test_what_a_run_takes_up_after_it_was_looked_at_stays(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """The exchange has published it anew: a run plans it, and has not written to any file yet."""
    vault.put(CANDLES, [Archive(JAN, 1)])
    raw = vault.layout.raw(CANDLES, JAN)
    path = raw.with_name(raw.name + suffix)
    if suffix:
        path.write_bytes(b"x")
    (row,) = vault.tracker.downloads(CANDLES).values()

    def claim() -> None:
        plan = vault.tracker.plan([replace(row.file, etag="another")])
        assert [one.id for one in vault.tracker.claim(vault.run, list(plan.fetch))] == [row.id]

    just_after(monkeypatch, StorageManager, "expect", claim)
    outcome = cleaner(vault, {"": "raw", ".part": "parts", ".disputed": "revisions"}[suffix], keep_raw=False).remove()
    assert (outcome.removed, outcome.failures) == ([], [])
    assert [(left.path, left.reason) for left in outcome.kept] == [(path, "a run has taken it up meanwhile")]
    assert path.exists()


def test_a_beginning_that_nobody_knew_stays_when_a_run_plans_it_after_all(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = vault.archive(CANDLES, Archive(JAN, 1))
    part = planned.path.with_name(f"{planned.path.name}.part")
    planned.path.replace(part)
    just_after(monkeypatch, StorageManager, "expect", lambda: vault.tracker.plan([planned.file]))
    outcome = cleaner(vault, later_us=8 * DAY_US).remove()
    assert [(left.path, left.reason) for left in outcome.kept] == [(part, "a run has taken it up meanwhile")]
    assert part.exists()
    assert outcome.removed == []


def test_nobody_takes_a_row_while_its_file_goes(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by way of this process nor of another: the database is written to by one at a time."""
    vault.put(CANDLES, [Archive(JAN, 1)])
    seen: list[str] = []

    def write(path: Path) -> None:
        with closing(sqlite3.connect(vault.layout.database, timeout=0)) as other:
            try:
                other.execute("UPDATE files SET owner = 1")
            except sqlite3.OperationalError as error:
                seen.append(f"{path.name}: {error}")
        path.unlink()

    monkeypatch.setattr("core.jobs.cleanup.unlink", write)
    assert removed(cleaner(vault, keep_raw=False).remove()) == {"BTCUSDT-1d-2024-01.zip"}
    assert seen == ["BTCUSDT-1d-2024-01.zip: database is locked"]


def test_rows_of_real_archives_are_proved(tmp_path: Path) -> None:
    """Each archive as the exchange published it against what was stored of it; and none against another's rows."""
    folder, world = real_folder(), World(tmp_path)
    proved = 0
    for path in sorted((folder / "data").rglob("*.zip")):
        parsed = parse_key(str(path.relative_to(folder)))
        if parsed is None:
            continue
        series, period = parsed
        raw = world.layout.raw(series, period)
        raw.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, raw)
        file = ArchiveFile(series, period, str(path.relative_to(folder)), raw.stat().st_size, "e", None, "")
        fetched = FetchedFile(file, raw, file.size, digest_of(raw), Proof.SHA256_BY_ETAG)
        if world.storage.store([fetched]).refused:
            continue
        proof = world.storage.proof(world.storage.partitions(series))
        assert proof.why_not_archive(fetched) == "", path
        assert proof.why_not_archive(replace(fetched, sha256="0" * 64)) == "no partition has its rows"
        proved += 1
    assert proved > 40
