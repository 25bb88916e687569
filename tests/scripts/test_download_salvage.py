"""`download_all.py --salvage`: what a damaged archive comes to, with it and without."""

import csv
import zipfile
from datetime import date
from pathlib import Path

import pytest
from factories import publish, zip_bytes
from script_world import assert_nothing_half_written, command, zip_hits

from core.layout import Layout
from core.sample.market import SampleMarket
from core.sample.server import running_server
from core.types import Market, Period, Series, Span
from loader import BacktestDataLoader

DAY = Period.day(date(2025, 1, 24))
KLINES = Series(Market.UM, "klines", "BTCUSDT", "1h")
TRADES = Series(Market.UM, "trades", "BTCUSDT")
KEYS = {
    KLINES: "data/futures/um/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2025-01-24.zip",
    TRADES: "data/futures/um/daily/trades/BTCUSDT/BTCUSDT-trades-2025-01-24.zip",
}


@pytest.fixture(params=[KLINES, TRADES], ids=["klines", "trades"])
def series(request: pytest.FixtureRequest) -> Series:
    chosen: Series = request.param
    return chosen


def damaged_exchange(archive: Path, folder: Path, series: Series) -> dict[int, str]:
    """The days of one series; in the last but one, two lines are spoilt. Returns those by their numbers."""
    spoilt = {}
    for path in sorted((archive / KEYS[series]).parent.glob("*.zip")):
        with zipfile.ZipFile(path) as one:
            lines = one.read(f"{path.stem}.csv").decode().splitlines()
        if path.name == Path(KEYS[series]).name:
            lines[5], lines[9] = lines[5].replace(".", ".O", 1), lines[9] + ',"odd"'
            spoilt = {6: lines[5], 10: lines[9]}
        content = zip_bytes({f"{path.stem}.csv": ("\n".join(lines) + "\n").encode()})
        publish(folder, str(path.relative_to(archive)), content)
    return spoilt


def loaded(data: Path, series: Series) -> list[int]:
    """The times of the stored rows of the day and of the one after it, in microseconds."""
    with BacktestDataLoader(data_dir=data) as loader:
        frame = loader.load_data("BTCUSDT", "2025-01-24", "2025-01-25", [series.dataset])[series.dataset]
    return [int(time.value) // 1000 for time in frame["timestamp"]]


def true_times(market: SampleMarket, series: Series, spoilt: dict[int, str]) -> list[int]:
    """The same of what the market knows, without the spoilt lines; a header is line 1."""
    truth = market.truth(series, Span.of_days(date(2025, 1, 24), date(2025, 1, 25))).to_pandas()["timestamp"]
    return [int(time.value) // 1000 for place, time in enumerate(truth) if place + 2 not in spoilt]


def test_a_damaged_archive_is_refused_and_then_salvaged_from_what_is_here(
    market: SampleMarket, archive: Path, data: Path, tmp_path: Path, series: Series
) -> None:
    spoilt = damaged_exchange(archive, tmp_path / "exchange", series)
    raw, kept = Layout(data).raw(series, DAY), Layout(data).quarantine(series, DAY)
    with running_server(tmp_path / "exchange") as server:
        run = command(server, data, "--data-types", series.dataset)
        strict = run.run()
        assert strict.code == 1
        (fault,) = strict.json["faults"]
        assert (fault["key"], fault["state"]) == (KEYS[series], "corrupt-upstream")
        assert f"{raw.name}, line 6: " in fault["detail"]
        assert fault["detail"].endswith(f"{spoilt[6]}; run again with --salvage to store the other rows")
        assert (strict.json["quarantined"], kept.exists(), raw.exists()) == (0, False, True)
        hits = zip_hits(server)

        done = run.run("--salvage")
        assert done.code == 0, done.err
        assert zip_hits(server) == hits
        assert (done.json["downloaded"], done.json["stored"], done.json["failed"]) == (0, 1, 0)
        assert done.json["quarantined"] == 2
        assert f"finding quarantined-lines {series}: 2025-01-24: 2 lines cannot be stored and lie in {kept}" in done.err
        with kept.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert {int(row["line"]): row["text"] for row in rows} == spoilt
        assert rows[1]["reason"].endswith("columns instead of 12" if series is KLINES else "columns instead of 6")

        before = kept.read_bytes()
        again = run.run()
        assert (again.code, again.json["stored"], again.json["failed"]) == (0, 0, 0)
        assert kept.read_bytes() == before
        assert zip_hits(server) == hits
    assert loaded(data, series) == true_times(market, series, spoilt)
    assert_nothing_half_written(data)


def test_what_is_downloaded_can_be_salvaged_without_the_exchange(
    market: SampleMarket, archive: Path, data: Path, tmp_path: Path, series: Series
) -> None:
    spoilt = damaged_exchange(archive, tmp_path / "exchange", series)
    with running_server(tmp_path / "exchange") as server:
        run = command(server, data, "--data-types", series.dataset)
        assert run.run("--download-only").code == 0
        requests = dict(server.hits)
        refused = run.run("--process-only")
        assert (refused.code, refused.json["corrupt"]) == (1, 1)
        assert (again := run.run("--process-only")).json["corrupt"] == 1  # read once more, and no news
        assert again.code == 0
        done = run.run("--process-only", "--salvage")
        assert (done.code, done.json["stored"], done.json["quarantined"]) == (0, 1, 2), done.err
        assert dict(server.hits) == requests
    assert loaded(data, series) == true_times(market, series, spoilt)


def test_a_repaired_archive_takes_the_quarantine_away(
    market: SampleMarket, archive: Path, data: Path, tmp_path: Path, series: Series
) -> None:
    damaged_exchange(archive, tmp_path / "exchange", series)
    kept = Layout(data).quarantine(series, DAY)
    with running_server(tmp_path / "exchange") as server:
        run = command(server, data, "--data-types", series.dataset)
        assert run.run("--salvage").json["quarantined"] == 2
        assert kept.exists()
        publish(tmp_path / "exchange", KEYS[series], (archive / KEYS[series]).read_bytes())
        done = run.run()
        assert (done.code, done.json["replaced"], done.json["quarantined"]) == (0, 1, 0), done.err
    assert not kept.exists()
    assert loaded(data, series) == true_times(market, series, {})


def test_a_file_without_a_good_row_fails_with_salvage_too(data: Path, tmp_path: Path) -> None:
    key = KEYS[KLINES]
    publish(tmp_path / "exchange", key, zip_bytes({f"{Path(key).stem}.csv": b"1,2,3\n4,5,6\n"}))
    with running_server(tmp_path / "exchange") as server:
        done = command(server, data, "--data-types", "klines").run("--salvage")
    assert (done.code, done.json["corrupt"], done.json["quarantined"]) == (1, 1, 0)
    assert "none of its lines is a row of 2025-01-24" in done.json["faults"][0]["detail"]
    assert list((data / "quarantine").rglob("*.csv")) == []


@pytest.mark.parametrize("option", ["--download-only", "--rebuild-status"])
def test_salvage_without_storing_is_a_contradiction(archive: Path, data: Path, option: str) -> None:
    with running_server(archive) as server:
        done = command(server, data).run("--salvage", option)
        assert zip_hits(server) == {}
    assert done.code == 2
    assert "--salvage is about storing rows" in done.err
