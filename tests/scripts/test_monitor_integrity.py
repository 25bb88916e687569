"""`monitor.py integrity` and `pipeline.py validate` as commands: what they find, what they say, how they exit."""

import sys
from datetime import date
from pathlib import Path

import pytest
from factories import ROOT, Command

sys.path.insert(0, str(ROOT / "tests" / "core"))
from integrity_world import Stored, altered, days, without

from core.sample.archive import Shelf
from core.sample.market import small_market
from core.types import Market, Period, Series

MARKET = small_market(first=date(2024, 12, 28), last=date(2025, 1, 3))
UM = Series(Market.UM, "klines", "BTCUSDT", "1h")
DAY = Period.parse("2025-01-01")
LATER = Period.parse("2025-01-03")


def monitor(data: Path, *options: str) -> Command:
    return Command("scripts/monitor.py", ["integrity", "--data-dir", str(data), *options])


def validate(data: Path, *options: str) -> Command:
    return Command("scripts/pipeline.py", ["validate", "--data-dir", str(data), *options])


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clean")
    shelves = [Shelf(name, None, months=None) for name in ("trades", "metrics", "liquidation_snapshot")]
    Stored(folder, MARKET, [*shelves, Shelf("klines", "1h", months=None), Shelf("mark_price", "1h", months=None)])
    return folder


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day is absent, and a candle of another says what its trades do not."""
    stored = Stored(tmp_path_factory.mktemp("faulty"), MARKET, [Shelf("trades", months=None, symbols=("um/BTCUSDT",))])
    stored.store(UM, *[each for each in days("2024-12-28", 7) if each not in (DAY, LATER)])
    stored.store(UM, LATER, change=altered("volume", 4, by=1))
    return stored.layout.root


def test_a_clean_store_has_nothing_unexplained(clean: Path) -> None:
    done = monitor(clean).run("--deep", "--json")
    assert (done.code, done.err) == (0, "")
    said = done.json
    assert (said["unexplained"], said["missing"], said["deep"]) == (0, [], True)
    assert said["series"] == 12
    assert said["rows"] > 10_000
    assert {finding["kind"] for finding in said["findings"]} >= {"unsorted-rows", "duplicate-rows", "old"}
    assert all(finding["cause"] for finding in said["findings"])


def test_what_is_unexplained_is_told_and_exits_with_1(faulty: Path) -> None:
    done = monitor(faulty).run("--json")
    assert done.code == 1
    (gap,) = [finding for finding in done.json["findings"] if finding["cause"] is None]
    assert gap == {
        "series": "um/klines/BTCUSDT/1h",
        "kind": "gap",
        "count": 24,
        "start": "2025-01-01 00:00:00",
        "end": "2025-01-02 00:00:00",
        "cause": None,
        "detail": gap["detail"],
    }
    assert "24 rows are missing" in gap["detail"]
    assert "trades of that time are stored" in gap["detail"]
    deep = monitor(faulty).run("--json", "--deep").json["findings"]
    assert {finding["kind"] for finding in deep if finding["cause"] is None} == {"gap", "candle-differs"}


def test_the_table_names_series_kind_and_time(faulty: Path) -> None:
    done = Command("scripts/monitor.py", ["integrity", "--data-dir", str(faulty)], env={"COLUMNS": "250"}).run("--deep")
    assert done.code == 1
    for words in ("um/klines/BTCUSDT/1h", "gap", "2025-01-01 00:00:00 to 2025-01-02 00:00:00", "unexplained"):
        assert words in done.out
    assert "2 series" in done.out
    assert "2 unexplained" in done.out
    assert monitor(faulty).run("--quiet").out == ""


def test_a_request_is_narrowed(faulty: Path) -> None:
    assert monitor(faulty).run("--data-types", "trades").code == 0
    assert monitor(faulty).run("--since", "2025-01-02", "--json").json["unexplained"] == 0
    assert monitor(faulty).run("--market", "um", "--symbols", "BTCUSDT", "--interval", "1h").code == 1
    other = monitor(faulty).run("--symbols", "BTCUSDT,ETHUSDT", "--data-types", "trades")
    assert (other.code, other.err) == (1, "not stored: ETHUSDT; get it with download_all.py\n")


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--market", "spot"), 3, "error: nothing of that is stored; get it with download_all.py"),
        (("--symbols", "BTCUSD"), 3, "did you mean 'BTCUSDT'?"),
        (("--data-types", "klins"), 2, "unknown data type 'klins'; did you mean 'klines'?"),
        (("--since", "2025-1-1"), 2, "--since: '2025-1-1' is not a day"),
        (("--since", "2099-01-01"), 2, "--since: 2099-01-01 lies in the future"),
        (("--deap",), 2, "did you mean '--deep'?"),
        (("--interval", "7h"), 2, "error: candles have no interval '7h'; there are 1s, 1m"),
        (("--interval", "7h", "--market", "cm"), 2, "error: cm klines has no interval '7h'; there are 1m"),
        (("--interval", "1s", "--market", "um"), 2, "error: um klines has no interval '1s'"),
        (("--interval", "1M"), 2, "the archive writes the month as 1mo"),
    ],
)
def test_a_mistake_is_one_clear_line(faulty: Path, options: tuple[str, ...], code: int, said: str) -> None:
    done = monitor(faulty).run(*options)
    assert (done.code, done.out) == (code, "")
    assert said in done.err


def test_nothing_stored_at_all(tmp_path: Path) -> None:
    for command in (monitor(tmp_path), validate(tmp_path)):
        done = command.run()
        assert (done.code, done.err) == (3, "error: nothing of that is stored; get it with download_all.py\n")


def test_nothing_is_written(faulty: Path) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in faulty.rglob("*"))
    monitor(faulty).run("--deep", "--quiet")
    validate(faulty).run("--check-daily-gaps", "--quiet")
    assert sorted((path, path.stat().st_mtime_ns) for path in faulty.rglob("*")) == before


def test_validate_lists_the_days_that_lack_rows(faulty: Path, clean: Path, tmp_path: Path) -> None:
    said = validate(faulty).run("--check-daily-gaps", "--json")
    assert said.code == 1
    (day,) = said.json["days"]
    assert (day["series"], day["day"], day["missing"], day["rows"], day["status"]) == (
        "um/klines/BTCUSDT/1h",
        "2025-01-01",
        "all",
        24,
        "open",
    )
    assert validate(faulty).run("--json").json["days"] is None
    whole = validate(clean).run("--check-daily-gaps", "--json")
    assert (whole.code, whole.json["days"], whole.json["unexplained"]) == (0, [], 0)
    stored = Stored(tmp_path, MARKET)
    stored.store(UM, *[each for each in days("2024-12-28", 7) if each != DAY])
    stored.store(UM, DAY, change=without(slice(3, 5)))
    table = Command("scripts/pipeline.py", ["validate", "--data-dir", str(tmp_path)], env={"COLUMNS": "200"})
    shown = table.run("--check-daily-gaps")
    assert shown.code == 1
    for words in ("Days with gaps", "2025-01-01", "part", "open", "1 days with gaps"):
        assert words in shown.out
