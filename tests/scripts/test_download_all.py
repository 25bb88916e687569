"""`download_all.py` as a command on good days: from listing to frame, and its options."""

import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import zipfile
from datetime import date
from pathlib import Path

import pytest
from factories import ROOT, Command, Outcome, called
from script_world import FIRST, LAST, assert_loads_the_truth, assert_nothing_half_written, command, zip_hits

from core.commands.download_all import main
from core.sample.archive import Shelf, write_archive
from core.sample.market import SampleMarket, small_market
from core.sample.server import ArchiveServer, running_server
from core.types import Market, Series, Span
from loader import BacktestDataLoader


def test_the_main_job_and_then_again(market: SampleMarket, archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        first = command(server, data).run()
        assert first.code == 0, first.err
        summary = first.json
        assert set(summary) == {
            *("planned", "downloaded", "stored", "skipped", "missing", "failed", "replaced", "quarantined"),
            *("unverified", "corrupt", "mismatched", "waiting", "bytes_downloaded", "seconds", "failures", "faults"),
        }
        published = {path.name: path.stat().st_size for path in archive.glob("data/futures/um/**/BTCUSDT-*.zip")}
        hits = zip_hits(server)
        assert summary["planned"] == summary["downloaded"] == summary["stored"] == len(hits) > 90
        assert summary["bytes_downloaded"] == sum((archive / key).stat().st_size for key in hits)
        assert (summary["failed"], summary["missing"], summary["skipped"], summary["failures"]) == (0, 0, 0, [])
        assert set(hits.values()) == {1}
        assert not [name for name in server.hits if name.endswith(".CHECKSUM")]  # proved through the ETags
        assert published
        assert_loads_the_truth(data, market)
        again = command(server, data).run()
        assert again.code == 0
        assert again.json | {"seconds": 0} == summary | {
            "downloaded": 0,
            "stored": 0,
            "bytes_downloaded": 0,
            "seconds": 0,
            "skipped": summary["planned"],
        }
        assert zip_hits(server) == hits
    assert_nothing_half_written(data)
    info = json.loads((data / "metadata" / "symbols_info.json").read_text())
    entry = info["symbols"]["um"]["BTCUSDT"]
    assert entry["status"] == "unknown"  # the only symbol of its market
    assert entry["data_types"]["klines/1h"] == {"first": "2024-12-01", "last": "2025-01-25"}
    assert entry["data_types"]["funding_rate"]["last"] == "2024-12-31"


@pytest.mark.parametrize(("name", "symbol"), [("cm", "ETHUSD_PERP")])
def test_coin_margined_contracts_with_their_pair(market: SampleMarket, archive: Path, data: Path, name, symbol) -> None:  # type: ignore[no-untyped-def]
    with running_server(archive) as server:
        done = command(server, data, "--market", name, "--symbols", symbol).run()
    assert done.code == 0, done.err
    assert_loads_the_truth(data, market, name, symbol)


def test_spot_passes_from_milliseconds_to_microseconds(market: SampleMarket, archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        assert command(server, data, "--market", "spot").run().code == 0
        assert command(server, data, "--market", "spot", "--data-types", "trades,agg_trades").run().code == 0
    with BacktestDataLoader(data_dir=data) as loader:
        frames = loader.load_data("ETHUSDT", FIRST, LAST, ["klines", "trades"], market="spot")
    series = Series(Market.SPOT, "klines", "ETHUSDT", "1h")
    truth = market.truth(series, Span.of_days(FIRST, LAST)).to_pandas()
    assert frames["klines"]["timestamp"].tolist() == truth["timestamp"].tolist()
    assert frames["klines"]["close"].tolist() == truth["close"].tolist()
    trades = market.truth(Series(Market.SPOT, "trades", "ETHUSDT"), Span.of_days(date(2025, 1, 23), LAST)).to_pandas()
    loaded = frames["trades"][frames["trades"]["timestamp"] >= "2025-01-23"]
    for column in ("id", "timestamp", "price", "qty", "quote_qty", "is_buyer_maker"):
        assert loaded[column].tolist() == trades[column].tolist(), column


OTHERS = ("metrics", "book_depth", "book_ticker", "liquidation_snapshot")


@pytest.mark.parametrize(("name", "symbol"), [("um", "BTCUSDT"), ("cm", "ETHUSD_PERP")])
def test_open_interest_the_book_and_liquidations(tmp_path: Path, data: Path, name: str, symbol: str) -> None:
    first, last = date(2025, 1, 13), date(2025, 1, 16)
    market = small_market(first=first, last=last)
    write_archive(market, tmp_path / "exchange", tuple(Shelf(kind) for kind in OTHERS))
    with running_server(tmp_path / "exchange") as server:
        run = command(server, data, "--market", name, "--data-types", ",".join(OTHERS))
        done = run.run()
        assert (done.code, done.json["planned"], done.json["stored"]) == (0, 16, 16), done.err
        assert (done.json["failed"], done.json["missing"]) == (0, 0)
        assert run.run().json["downloaded"] == 0
    with BacktestDataLoader(data_dir=data) as loader:
        frames = loader.load_data(symbol, first, last, list(OTHERS), market=name)
    for kind in OTHERS:
        truth = market.truth(Series(Market(name), kind, symbol), Span.of_days(first, last)).to_pandas()
        assert len(truth) > 10
        for column in truth.columns:
            assert frames[kind][column].isna().tolist() == truth[column].isna().tolist(), (kind, column)
            assert frames[kind][column].dropna().tolist() == truth[column].dropna().tolist(), (kind, column)


# the options of this script

KLINES = ("--data-types", "klines", "--start", "2025-01-20")


def test_a_dry_run_counts_and_writes_nothing(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        done = command(server, data).run(*KLINES, "--dry-run")
        sizes = [
            path.stat().st_size for path in archive.glob("data/futures/um/daily/klines/BTCUSDT/1h/*-2025-01-2?.zip")
        ]
        assert done.json == {"planned": 6, "to_fetch": 6, "bytes_to_fetch": sum(sizes), "waiting": 0}
        assert not data.exists()
        command(server, data).run(*KLINES)
        assert command(server, data).run(*KLINES, "--dry-run").json["to_fetch"] == 0
        assert sum(zip_hits(server).values()) == 6


def test_download_first_and_process_later_without_the_network(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        first = command(server, data).run(*KLINES, "--download-only")
        dead = command(server, data)
    assert (first.json["downloaded"], first.json["stored"]) == (6, 0)
    assert list(data.rglob("*.parquet")) == []
    second = dead.run(*KLINES, "--process-only")
    assert (second.code, second.json["downloaded"], second.json["stored"]) == (0, 0, 6), second.err
    third = dead.run(*KLINES, "--process-only", "--priority-only")
    assert (third.json["stored"], third.json["skipped"]) == (0, 6)
    next(data.rglob("*-21.zip")).unlink()
    part = next(data.rglob("*.zip")).with_suffix(".zip.part")
    part.write_bytes(b"the beginning of what another run is asked for")
    rows = status_of(data)
    assert all(sha256 and proof and state == "stored" for _, state, sha256, proof in rows)
    fresh = called(main, [*dead.options, *KLINES, "--process-only", "--no-resume"])
    assert (fresh.code, fresh.json["downloaded"], fresh.json["stored"], fresh.json["skipped"]) == (0, 0, 5, 1)
    assert status_of(data) == rows  # also of the archive that is here only as rows
    assert part.exists()
    with BacktestDataLoader(data_dir=data) as loader:
        assert len(loader.load_data(["BTCUSDT"], "2025-01-20", LAST, ["klines"])["klines"]) == 6 * 24


def status_of(data: Path) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(data / "metadata" / "download_status.db")) as connection:
        return connection.execute("select key, state, sha256, proof from files order by key").fetchall()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--process-only", "--dry-run"], "--dry-run says what would be fetched, and --process-only fetches nothing"),
        (
            ["--rebuild-status", "--dry-run"],
            "--dry-run says what would be fetched, and --rebuild-status fetches nothing",
        ),
        (["--rebuild-status", "--symbols", "BTCUSDT"], "all archives that are here; leave out --symbols"),
        (["--rebuild-status", "--no-resume"], "all archives that are here; leave out --no-resume"),
        (["--unfinished", "--process-only"], "leave out --process-only"),
    ],
)
def test_what_a_scope_has_no_use_for_is_refused(data: Path, options: list[str], message: str) -> None:
    done = called(main, ["--source", "http://127.0.0.1:9", "--data-dir", str(data), *options])
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert not data.exists()


def test_no_resume_forgets_and_starts_fresh(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        command(server, data).run(*KLINES)
        again = command(server, data).run(*KLINES, "--no-resume")
        assert (again.json["downloaded"], again.json["stored"]) == (6, 6)
        assert set(zip_hits(server).values()) == {2}


def test_what_somebody_deleted_is_made_again_from_what_is_left(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        command(server, data).run(*KLINES)
        (parquet,) = data.rglob("*.parquet")
        made = parquet.read_bytes()
        parquet.unlink()
        next(data.rglob("*.zip")).unlink()
        again = command(server, data).run(*KLINES)
        assert (again.json["downloaded"], again.json["stored"], again.json["skipped"]) == (1, 6, 0)
    assert parquet.read_bytes() == made


def test_an_archive_that_changed_on_disk_is_not_processed_blindly(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        command(server, data).run(*KLINES, "--download-only")
        victim = sorted(data.rglob("*.zip"))[0]
        victim.write_bytes(victim.read_bytes()[::-1])
        done = command(server, data).run(*KLINES)
        assert (done.code, done.json["downloaded"], done.json["stored"]) == (0, 1, 6)


def test_the_rate_limit_slows_the_whole_run(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        size = command(server, data).run(*KLINES, "--dry-run").json["bytes_to_fetch"]
        done = command(server, data).run(*KLINES, "--limit-rate", str(size))
    assert done.json["seconds"] > 0.5


def test_priority_only_takes_what_the_source_has_and_names_the_rest(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        done = Command("scripts/download_all.py").run(
            *("--source", server.url, "--data-dir", str(data), "--priority-only", "--data-types", "klines")
        )
    assert done.code == 0
    assert "not at this source: ETHUSDT, BNBUSDT" in done.err
    assert {path.parent.name for path in data.rglob("1h")} == {"BTCUSDT"}


def test_a_category_stands_for_its_symbols(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        done = command(server, data, "--data-types", "klines").run("--symbols", "@layer2,BTCUSDT")
    assert done.code == 2
    assert "um has no symbol 'ARBUSDT'" in done.err


def plain(server: ArchiveServer, data: Path, *options: str) -> Outcome:
    return Command("scripts/download_all.py", ["--source", server.url, "--data-dir", str(data)]).run(*options)


def test_the_summary_table_and_the_second_run_say_what_was_done(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        first, second = plain(server, data, *KLINES), plain(server, data, *KLINES)
        quiet = plain(server, data, *KLINES, "--quiet")
    assert re.search(r"downloaded\s*│\s*6 \(", first.out)
    assert re.search(r"verified: sha256-by-etag\s*│\s*6", first.out)
    assert "Nothing to download: everything is already here." in second.out
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_help_shows_examples() -> None:
    done = Command("scripts/download_all.py").run("--help")
    assert done.code == 0
    assert "python scripts/download_all.py --priority-only" in done.out
    assert "130 interrupted" in done.out


def test_a_reader_that_goes_away_is_no_traceback(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        script = f"{sys.executable} {ROOT / 'scripts/download_all.py'} --source {server.url} --data-dir {data}"
        done = subprocess.run(["bash", "-c", f"{script} | true"], capture_output=True, text=True, env=os.environ)
    assert "Traceback" not in done.stderr


def test_the_archives_on_disk_are_those_published(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        command(server, data).run(*KLINES)
    for path in data.rglob("*.zip"):
        (published,) = archive.glob(f"data/futures/um/daily/klines/BTCUSDT/1h/{path.name}")
        assert path.read_bytes() == published.read_bytes()
        assert zipfile.ZipFile(path).testzip() is None
