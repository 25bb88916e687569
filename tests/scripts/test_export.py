"""`export.py` as a command: what it writes, what it says, and how it refuses."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from export_world import HOUR_MS, JANUARY_MS, candle, files_below, series, store, trade
from factories import ROOT, Command

from core.datasets import DATASETS, Kind
from core.export import EXPORTS
from core.export.format import Options
from core.types import Cadence, Market


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two perpetuals with hourly candles, one of them with trades and funding, and a month of spot."""
    root = tmp_path / "data"
    for symbol in ("BTCUSDT", "1000SHIBUSDT"):
        store(root, series("klines", symbol), "2024-01", [candle(JANUARY_MS + n * HOUR_MS) for n in range(48)])
    store(root, series("trades", "BTCUSDT"), "2024-01-01", [trade(n, JANUARY_MS + n) for n in range(1, 4)])
    store(root, series("funding_rate", "BTCUSDT"), "2024-01", [f"{JANUARY_MS + 3},8,0.0001"])
    store(root, series("klines", "BTCUSDT", "spot", "1mo"), "2024-01", [candle(JANUARY_MS)])
    return root


def command(data: Path, name: str, *options: str) -> Command:
    return Command("scripts/export.py", ["--format", name, "--data-dir", str(data), *options])


def test_a_table_says_what_was_written(data: Path, tmp_path: Path) -> None:
    done = command(data, "csv", "--out", str(tmp_path / "out"), "--symbols", "BTCUSDT").run()
    assert (done.code, done.err) == (0, "")
    assert files_below(tmp_path / "out") == ["um/funding_rate/BTCUSDT.csv", "um/klines/BTCUSDT-1h.csv"]
    assert re.search(r"um/klines/BTCUSDT-1h\.csv\W+48\b", done.out)
    assert re.search(r"um/funding_rate/BTCUSDT\.csv\W+1\b", done.out)


def test_one_json_object(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    one_day = ("--start", "2024-01-02", "--end", "2024-01-02")
    done = command(data, "nautilus", "--out", str(out), "--json", *one_day).run()
    assert done.code == 0
    assert done.json | {"seconds": 0, "files": len(done.json["files"])} == {
        "format": "nautilus",
        "out": str(out),
        "rows": 50,
        "files": 4,
        "missing": [],
        "empty": [],
        "failures": [],
        "seconds": 0,
    }
    bars = [file for file in done.json["files"] if "/bar/" in file["path"]]
    assert [file["rows"] for file in bars] == [24, 24]
    times = pq.read_table(bars[0]["path"])["ts_event"].to_pylist()
    assert times[0] == (JANUARY_MS + 25 * HOUR_MS) * 1_000_000


@pytest.mark.parametrize("name", EXPORTS)
def test_every_format_by_command_twice(data: Path, tmp_path: Path, name: str) -> None:
    run = command(data, name, "--out", str(tmp_path / "out"), "--json")
    first = run.run()
    assert first.code == 0, first.err
    files = files_below(tmp_path / "out")
    assert sorted(str(Path(file["path"]).relative_to(tmp_path / "out")) for file in first.json["files"]) == files
    before = [(tmp_path / "out" / file).read_bytes() for file in files]
    assert run.run().code == 0
    assert files_below(tmp_path / "out") == files
    assert [(tmp_path / "out" / file).read_bytes() for file in files] == before


def test_trades_come_when_they_are_named(data: Path, tmp_path: Path) -> None:
    done = command(data, "nautilus", "--out", str(tmp_path / "out"), "--data-types", "klines,trades", "--json").run()
    assert (done.code, done.json["missing"]) == (0, [])  # 1000SHIBUSDT has no trades, and nobody named it
    rows = {Path(file["path"]).parent.parent.name: file["rows"] for file in done.json["files"]}
    assert rows == {"crypto_perpetual": 1, "bar": 48, "trade_tick": 3}


@pytest.mark.parametrize("name", DATASETS)
def test_csv_takes_every_data_type_by_name(tmp_path: Path, name: str) -> None:
    cells = {Kind.TIME: str(JANUARY_MS), Kind.INTEGER: "7", Kind.DECIMAL: "0.25", Kind.BOOLEAN: "true"}
    cells |= {Kind.TEXT_TIME: "2024-01-01 00:00:00", Kind.TEXT: "SELL", Kind.SYMBOL: "BTCUSDT"}
    row = ",".join(cells[column.kind] for column in DATASETS[name].columns[Market.UM])
    one = series(name, "BTCUSDT")
    store(tmp_path, one, "2024-01" if Cadence.MONTHLY in DATASETS[name].cadences else "2024-01-01", [row])
    done = command(tmp_path, "csv", "--out", str(tmp_path / "out"), "--data-types", name, "--json").run()
    assert (done.code, done.err) == (0, "")
    assert [file["rows"] for file in done.json["files"]] == [1]


def test_spot_by_month_and_vectorbt(data: Path, tmp_path: Path) -> None:
    options = ("--out", str(tmp_path / "out"), "--market", "spot", "--interval", "1mo")
    assert command(data, "vectorbt", *options, "--quiet").run().out == ""
    frame = pd.read_parquet(tmp_path / "out/spot/klines/1mo/close.parquet")
    assert frame["BTCUSDT"].to_dict() == {pd.Timestamp("2024-01-01", tz="UTC"): 42050.25}


def test_hftbacktest_takes_trades(data: Path, tmp_path: Path) -> None:
    assert command(data, "hftbacktest", "--out", str(tmp_path / "out")).run().code == 0
    path = tmp_path / "out/um/BTCUSDT/BTCUSDT-trades-2024-01-01.npz"
    assert np.load(path)["data"]["exch_ts"].tolist() == [(JANUARY_MS + n) * 1_000_000 for n in range(1, 4)]


def test_what_is_not_stored_is_said_and_the_rest_is_written(data: Path, tmp_path: Path) -> None:
    done = command(data, "csv", "--out", str(tmp_path / "out"), "--symbols", "BTCUSDT,ETHUSDT", "--json").run()
    assert done.code == 1
    assert done.json["missing"] == ["um/ETHUSDT"]
    assert "not stored: um/ETHUSDT; get it with download_all.py" in done.err
    named = ("--symbols", "1000SHIBUSDT", "--data-types", "klines,funding_rate", "--json")
    done = command(data, "csv", "--out", str(tmp_path / "out"), *named).run()
    assert (done.code, done.json["missing"]) == (1, ["um/funding_rate/1000SHIBUSDT"])


def test_a_series_without_rows_of_these_days_is_said(data: Path, tmp_path: Path) -> None:
    day = ("--start", "2024-01-02", "--end", "2024-01-02", "--json")
    done = command(data, "csv", "--out", str(tmp_path / "out"), *day).run()
    assert (done.code, done.json["empty"]) == (0, ["um/funding_rate/BTCUSDT"])
    assert "no rows of these days: um/funding_rate/BTCUSDT" in done.err


def test_one_series_that_cannot_be_held_leaves_the_others_alone(data: Path, tmp_path: Path) -> None:
    store(data, series("klines", "BTCXYZ"), "2024-01", [candle(JANUARY_MS)])
    done = command(data, "freqtrade", "--out", str(tmp_path / "out"), "--json").run()
    assert done.code == 1
    assert [failure["series"] for failure in done.json["failures"]] == [["um/klines/BTCXYZ/1h"]]
    assert "failed: um/BTCXYZ: cannot tell base from quote" in done.err
    assert len(done.json["files"]) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "nautilos"], "--format: 'nautilos'; did you mean 'nautilus'?"),
        (["--symbol", "BTCUSDT"], "did you mean '--symbols'?"),
        (["--data-types", "kline"], "unknown data type 'kline'; did you mean 'klines'?"),
        (["--data-types", "mark_price"], "nautilus does not take mark_price; it takes klines, trades"),
        (["--interval", "1M"], "the archive writes the month as 1mo"),
        (["--market", "umm"], "unknown market 'umm'; did you mean 'um'?"),
        (["--gzip"], "--gzip is for --format csv, not for nautilus"),
        (["--price-precision", "17"], "'17' is not a number of decimals, 0 to 16"),
        (["--price-precision", "1", "--symbols", "BTCUSDT"], "--price-precision 1: BTCUSDT has values of 2 decimals"),
        (["--start", "2024-02-30"], "--start: '2024-02-30' is not a day"),
        (["--symbols", "@major"], "no category 'major'; did you mean 'majors'?"),
        (["--workers", "3"], "unrecognized arguments: --workers 3"),
        (["--source", "http://x"], "unrecognized arguments: --source http://x"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(data: Path, tmp_path: Path, options: list[str], message: str) -> None:
    done = command(data, "nautilus", "--out", str(tmp_path / "out"), *options).run()
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert not (tmp_path / "out").exists()


def test_an_option_of_one_format_is_refused_by_another(data: Path, tmp_path: Path) -> None:
    done = command(data, "csv", "--out", str(tmp_path / "out"), "--price-precision", "2").run()
    assert done.code == 2
    assert "--price-precision is for --format nautilus, not for csv" in done.err
    done = command(data, "vectorbt", "--data-types", "trades", "--out", str(tmp_path / "out")).run()
    assert (done.code, "vectorbt does not take trades" in done.err) == (2, True)


def test_format_and_out_are_needed(data: Path) -> None:
    done = Command("scripts/export.py", ["--data-dir", str(data)]).run()
    assert done.code == 2
    assert "the following arguments are required: --format, --out" in done.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--symbols", "BTCUST"], "BTCUST: nothing is stored of um klines (1h); did you mean 'BTCUSDT'?"),
        (["--interval", "5m"], "nothing is stored of um klines (5m); get it with download_all.py"),
        (["--market", "cm"], "nothing is stored of cm klines (1h)"),
        (["--start", "2020-01-01", "--end", "2020-01-02"], "no stored row lies between --start and --end"),
    ],
)
def test_nothing_stored_is_code_3(data: Path, tmp_path: Path, options: list[str], message: str) -> None:
    done = command(data, "nautilus", "--out", str(tmp_path / "out"), *options).run()
    assert (done.code, done.out) == (3, "")
    assert message in done.err
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_one_line(data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    done = command(data, "csv", "--out", str(tmp_path / "out")).run()
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert "check the folder and its permissions" in done.err


def test_help_and_documentation_name_every_format_and_option() -> None:
    text = Command("scripts/export.py").run("--help").out
    page = (ROOT / "docs" / "exports.md").read_text(encoding="utf-8")
    assert "exit codes:" in text
    for name, each in EXPORTS.items():
        assert f"--format {name}" in text, name
        assert f"## `{name}`" in page, name
        for option in each.options:
            assert f"--{option.replace('_', '-')}" in text
            assert f"--{option.replace('_', '-')}" in page
    assert {option for each in EXPORTS.values() for option in each.options} == set(Options.__slots__)


def test_documentation_names_the_versions_that_the_tests_install() -> None:
    page = (ROOT / "docs" / "exports.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    files = sorted((ROOT / "tests" / "tools").glob("requirements-*.txt"))
    tools = {path.stem.removeprefix("requirements-"): path for path in files}
    assert set(tools) == set(EXPORTS) - {"csv"} | {"arctic"}  # which only the benchmark of the loader needs
    for path in (tools[name] for name in sorted(EXPORTS) if name in tools):
        assert f" {path.stem.removeprefix('requirements-')}" in makefile
        tool = path.read_text(encoding="utf-8").splitlines()[1]
        assert f"| {tool.replace('==', ' ')}" in page, tool
