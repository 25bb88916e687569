"""`eda_report.py`: the page in a real browser, its numbers against the loader's, and when nothing is written."""

import functools
import http.server
import json
import math
import os
import re
import shutil
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browser import Visit, browser, opened  # noqa: F401 (a fixture)
from factories import Command
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from playwright.sync_api import Browser, Page
from plotly import graph_objects
from scipy import stats

from core.commands.eda_report import main
from core.errors import ConfigError, NoData
from docs import eda_picture
from loader import BacktestDataLoader, build_ml_dataset, run_baseline
from loader.bars import BarsDrift
from loader.report import flow
from loader.report.bars import autocorrelation, shape_of
from loader.report.folder import ABOUT, write
from loader.report.html import page, shown
from loader.report.learning import HORIZON, REPEATS, ROWS
from loader.report.parts import Column, Picture, Section, Table, drawn_of

DAYS = ("2025-02-16", "2025-02-17")
WHOLE = ("2023-12-10", "2025-02-17")
EMPTY = ("Order-flow imbalance", "Order-flow toxicity (VPIN)", "Kyle's lambda", "Label balance", "Feature importance")
XSS = "<img src=x onerror=alert(1)></script>\"'&"


@pytest.fixture(scope="session")
def report(homes: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with trades, made by the script once for all workers."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folder = root / "eda" / "BTCUSDT"
    with FileLock(root / "eda.lock"):
        if not folder.exists():
            script = Command("scripts/eda_report.py", ["--symbol", "BTCUSDT", "--data-dir", str(homes["whole"])])
            done = script.run("--out", str(folder), "--models", "logistic", "--json")
            assert (done.code, done.err) == (0, "")
            told = json.loads(done.out)
            assert told["sections"] == 9
            assert told["empty"] == []
            assert told["bytes"] == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            assert told["bytes"] < 10_000_000
    return folder


@pytest.fixture(scope="module")
def loader(homes: dict[str, Path]) -> Iterator[BacktestDataLoader]:
    with BacktestDataLoader(data_dir=homes["whole"]) as opened_loader:
        yield opened_loader


@pytest.fixture(scope="module")
def page_on_disk(browser: Browser, report: Path) -> Iterator[Page]:  # noqa: F811
    """The page, drawn, from disk."""
    url = (report / "index.html").as_uri()
    with opened(browser, url) as visit:
        drawn(visit)
        yield visit.page
    assert visit.complaints == []


def drawn(visit: Visit, times: int = 1) -> None:
    visit.page.wait_for_function(f"document.documentElement.dataset.drawn >= {times}", timeout=60_000)


def traces(page_on_disk: Page, name: str) -> list[dict[str, Any]]:
    """What Plotly has drawn, as numbers."""
    found: list[dict[str, Any]] = page_on_disk.evaluate(
        """name => document.getElementById(`picture-${name}`).data.map((one) => Object.fromEntries(
            ["name", "type", "x", "y", "open", "high", "low", "close", "base"].filter((key) => one[key] !== undefined)
                .map((key) => [key, one[key]])))""",
        name,
    )
    return found


def cells(page_on_disk: Page, name: str) -> list[list[str | None]]:
    """A table's exact values."""
    found: list[list[str | None]] = page_on_disk.evaluate(
        """name => [...document.querySelectorAll(`#table-${name} tbody tr`)].map(
            (row) => [...row.cells].map((cell) => cell.dataset.value ?? null))""",
        name,
    )
    return found


def adapted(loader: BacktestDataLoader, name: str) -> pd.DataFrame:
    """Bars of a spec; that their size has drifted is the report's to tell."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BarsDrift)
        return loader.load_bars("BTCUSDT", *DAYS, name)


def millis(times: "pd.Series[Any]") -> list[float]:
    return [one.value / 1e6 for one in times]


def numbers(values: "pd.Series[Any]") -> list[float | None]:
    return [None if math.isnan(one) else one for one in values]


def test_candles_are_the_loaders(page_on_disk: Page, loader: BacktestDataLoader) -> None:
    expected: pd.DataFrame = loader.resample("BTCUSDT", *WHOLE, "6h", "1h")
    candles, volume = traces(page_on_disk, "candles")
    assert candles["x"] == volume["x"] == millis(expected["timestamp"])
    assert len(candles["x"]) == 1744
    for name in ("open", "high", "low", "close"):
        assert candles[name] == expected[name].tolist()
    assert volume["y"] == expected["quote_volume"].tolist()
    stored = loader.load_data("BTCUSDT", *WHOLE)["klines"]
    ((*_, rows, drawn_rows, close, low, high, _),) = cells(page_on_disk, "candles")
    assert [rows, drawn_rows] == [str(len(stored)), "1744"]
    ends = [stored["close"].iloc[-1], stored["low"].min(), stored["high"].max()]
    assert [float(one or "nan") for one in (close, low, high)] == ends


def test_days_are_the_loaders(page_on_disk: Page, loader: BacktestDataLoader) -> None:
    expected: pd.DataFrame = loader.resample("BTCUSDT", *WHOLE, "1d", "1h")
    band, close, volume = traces(page_on_disk, "daily")
    assert len(expected) == 436
    assert close["x"] == millis(expected["timestamp"])
    assert close["y"] == expected["close"].tolist()
    assert volume["y"] == expected["quote_volume"].tolist()
    assert band["y"] == [*expected["high"], *expected["low"][::-1]]


def test_flow_toxicity_and_impact_are_the_loaders(page_on_disk: Page, loader: BacktestDataLoader) -> None:
    names = ["volume_imbalance_60", "imbalance_ewma", "cvd", "vpin", "vpin_cdf", "toxicity_ewma"]
    names += ["kyle_lambda_60", "kyle_t_60"]
    expected: pd.DataFrame = loader.load_features("BTCUSDT", *DAYS, "1m", names)
    told = {row[0]: row for table in ("imbalance", "toxicity", "impact") for row in cells(page_on_disk, table)}
    assert list(told) == names
    for name in names:
        (line,) = traces(page_on_disk, name)
        assert line["x"] == millis(expected["available_at"])
        assert line["y"] == numbers(expected[name])
        known = expected[name].dropna()
        assert len(known) > 2000
        assert told[name][2] == str(len(known))
        values = [known.min(), *(np.quantile(known, share) for share in (0.05, 0.5, 0.95)), known.max()]
        assert [float(one or "nan") for one in told[name][3:]] == pytest.approx(values, rel=1e-14)


def test_bars_and_what_their_returns_are_like_are_the_loaders(page_on_disk: Page, loader: BacktestDataLoader) -> None:
    rows = {row[0]: row for row in cells(page_on_disk, "bars")}
    kinds = [str(name).split("-")[0] for name in rows]
    assert kinds == ["time", "tick", "volume", "dollar", "dollar_imbalance", "dollar_run", "candles 1d"]
    counts = {one["name"]: one for one in traces(page_on_disk, "bars-per-day")}
    memory = {one["name"]: one for one in traces(page_on_disk, "autocorrelation")}
    for name, row in rows.items():
        assert name is not None
        if name == "candles 1d":
            close = loader.resample("BTCUSDT", *WHOLE, "1d", "1h")["close"]
        else:
            bars = adapted(loader, name)
            close = bars["price_close"]
            per_day = bars.groupby(bars["time_close"].dt.strftime("%Y-%m-%d")).size()
            assert dict(zip(counts[name]["x"], counts[name]["y"], strict=True)) == per_day.to_dict()
            assert float(row[2] or "nan") == per_day.mean()
        assert row[1] == str(len(close))
        if len(close) <= 20:
            assert row[3:] == [None] * 6
            continue
        returns = np.diff(np.log(close))
        around = returns - returns.mean()
        m2, m3, m4 = (np.mean(around**power) for power in (2, 3, 4))
        skew, kurtosis = m3 / m2**1.5, m4 / m2**2 - 3
        test = len(returns) / 6 * (skew**2 + kurtosis**2 / 4)
        lags = [sum(a * b for a, b in zip(around[lag:], around, strict=False)) for lag in range(1, 21)]
        correlations = np.array(lags) / (around**2).sum()
        expected = [np.std(returns, ddof=1), skew, kurtosis, test, math.exp(-test / 2), correlations[0]]
        assert [float(one or "nan") for one in row[3:]] == pytest.approx(expected, rel=1e-9)
        assert memory[name]["x"] == list(range(1, 21))
        assert memory[name]["y"] == pytest.approx(correlations, rel=1e-9, abs=1e-12)


def test_the_distribution_counts_every_return(page_on_disk: Page, loader: BacktestDataLoader) -> None:
    lines = {one["name"]: one for one in traces(page_on_disk, "returns")}
    assert lines["normal"]["y"] == pytest.approx(
        np.exp(-(np.array(lines["normal"]["x"]) ** 2) / 2) / math.sqrt(2 * math.pi)
    )
    days = np.diff(np.log(loader.resample("BTCUSDT", *WHOLE, "1d", "1h")["close"]))
    drawn_days = lines["candles 1d"]
    standard = (days - days.mean()) / days.std(ddof=1)
    for middle, density in zip(drawn_days["x"], drawn_days["y"], strict=True):
        inside = ((standard >= middle - 0.25) & (standard < middle + 0.25)).sum()
        assert (density or 0) == pytest.approx(inside / len(days) / 0.5)


def test_labels_scores_and_importance_are_those_of_the_baseline(page_on_disk: Page, loader: BacktestDataLoader) -> None:
    dataset = build_ml_dataset("BTCUSDT", *DAYS, "1m", HORIZON, loader=loader, on_missing="ignore")
    shares = [
        (part, name, str((labels == label).sum()), (labels == label).mean())
        for part, labels in (("train", dataset.y_train), ("val", dataset.y_val))
        for label, name in ((-1, "down"), (0, "neutral"), (1, "up"))
    ]
    told = cells(page_on_disk, "labels")
    assert [(row[0], row[1], row[2], float(row[3] or "nan")) for row in told] == shares
    bars = {one["name"]: one["x"] for one in traces(page_on_disk, "labels")}
    assert [bars[name][0 if part == "train" else 1] for part, name, _, _ in shares] == [each for *_, each in shares]
    found = run_baseline(dataset, ["logistic"], folds=0, repeats=REPEATS, importance_rows=ROWS)
    scores = [found.majority, found.model("logistic").scores, found.model("logistic").shuffled]
    expected = [[one.rows, one.accuracy, one.balanced_accuracy, one.log_loss, one.auc, one.brier] for one in scores]
    assert [[float(one or "nan") for one in row[1:]] for row in cells(page_on_disk, "scores")] == expected
    (shown_best,) = traces(page_on_disk, "importance-logistic")
    best = found.model("logistic").importance[:15]
    assert shown_best["y"] == [one.feature for one in best]
    assert shown_best["x"] == [one.mean for one in best]


def test_coverage_is_the_loaders_and_the_trackers(page_on_disk: Page, loader: BacktestDataLoader) -> None:
    expected = loader.coverage("BTCUSDT", market="um")
    rows = cells(page_on_disk, "coverage")
    assert [row[0] for row in rows] == expected["data_type"].tolist()
    for row, one in zip(rows, expected.itertuples(), strict=True):
        gaps = [None] * 3 if one.data_type == "trades" else [str(one.gaps), str(one.missing_rows), str(one.open_gaps)]
        assert row[2:4] == [f"{one.first:%Y-%m-%d %H:%M}", f"{one.last:%Y-%m-%d %H:%M}"]
        assert row[4:] == [str(one.rows), str(one.files), str(one.bytes), *gaps, str(one.revisions)]
    (stored,) = traces(page_on_disk, "coverage")
    days = dict(zip(stored["y"], zip(stored["base"], stored["x"], strict=True), strict=True))
    assert days["trades"] == ("2025-02-16", 2 * 86_400_000)
    assert days["klines 1h"] == ("2023-12-01", 445 * 86_400_000)


def test_cells_are_read_to_six_digits(page_on_disk: Page) -> None:
    (row,) = page_on_disk.evaluate(
        "[...document.querySelectorAll('#table-candles tbody tr')].map((row) => [...row.cells].map((c) => c.innerText))"
    )
    told = json.loads(json.dumps(cells(page_on_disk, "candles")[0]))
    assert row[2] == f"{int(told[2]):,}"
    assert row[4] == f"{float(told[4]):,.6g}"
    assert [shown(one, "number") for one in (None, 0.0, 1470891549.5, 1.23456789e-7, -0.5)] == [
        *("–", "0", "1,470,891,550", "1.235e-07", "-0.5")
    ]


def test_files_have_what_is_drawn(report: Path, page_on_disk: Page, loader: BacktestDataLoader) -> None:
    said = json.loads((report / ABOUT).read_text(encoding="utf-8"))
    files = {path.relative_to(report).as_posix() for path in report.rglob("*") if path.is_file()}
    assert set(said["files"]) == files
    links = page_on_disk.eval_on_selector_all("a[download]", "all => all.map((one) => one.getAttribute('href'))")
    assert {name for name in files if name.startswith("data/")} == set(links)
    candles = pd.read_parquet(report / "data" / "candles.parquet")
    expected: pd.DataFrame = loader.resample("BTCUSDT", *WHOLE, "6h", "1h").drop(columns="symbol")
    pd.testing.assert_frame_equal(candles, expected)
    (section,) = [one for one in said["sections"] if one["name"] == "bars"]
    assert [str(row["count"]) for row in section["tables"]["bars"]] == [row[1] for row in cells(page_on_disk, "bars")]
    assert any("expected size began at" in note for note in section["notes"])


def test_every_picture_is_one_that_plotly_knows(report: Path) -> None:
    text = (report / "index.html").read_text(encoding="utf-8")
    pictures = json.loads(text.partition('id="pictures">')[2].partition("</script>")[0])
    assert len(pictures) == 16
    for one in pictures.values():
        coloured = json.loads(re.sub(r'"--[a-z-]+"', '"#123456"', json.dumps(one)))
        graph_objects.Figure(coloured["traces"], coloured["layout"])  # raises ValueError for what there is not


@pytest.mark.parametrize(("width", "scheme"), [(1440, "dark"), (390, "light")])
def test_the_page_asks_nobody_and_fits(browser: Browser, report: Path, width: int, scheme: str) -> None:  # noqa: F811
    handler = functools.partial(Quiet, directory=str(report))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        with opened(browser, url, width=width, scheme=scheme) as visit:
            drawn(visit)
            assert visit.overhang == 0
            wide = "[...document.querySelectorAll('.chart .main-svg, figure, table')]"
            assert max(visit.page.evaluate(f"{wide}.map((one) => one.getBoundingClientRect().right)")) <= width
            colour = visit.page.evaluate("document.getElementById('picture-vpin').data[0].line.color")
            assert colour == {"dark": "#7eb2e8", "light": "#0b5394"}[scheme]
        server.shutdown()
    assert visit.complaints == []
    assert {each.removeprefix(url) for each in visit.requests} == {"", "page.css", "page.js", "plotly.min.js"}


def test_from_disk_only_the_folder_is_read(browser: Browser, report: Path) -> None:  # noqa: F811
    with opened(browser, (report / "index.html").as_uri(), width=390, scheme="dark") as visit:
        drawn(visit)
        assert visit.overhang == 0
        visit.page.emulate_media(color_scheme="light")
        drawn(visit, 2)
        assert visit.page.evaluate("document.getElementById('picture-vpin').data[0].line.color") == "#0b5394"
    assert visit.complaints == []
    names = {each.removeprefix(f"{report.as_uri()}/") for each in visit.requests}
    assert names == {"index.html", "page.css", "page.js", "plotly.min.js"}


def test_every_picture_and_table_says_what_it_is(page_on_disk: Page) -> None:
    charts = page_on_disk.eval_on_selector_all(".chart", "all => all.map((one) => one.getAttribute('aria-label'))")
    assert len(charts) == 16
    assert all(len(one) > 20 for one in charts)
    tables = page_on_disk.locator("table")
    assert tables.count() == page_on_disk.locator("table > caption").count() > 5
    assert page_on_disk.locator("section h2").count() == 9
    assert page_on_disk.locator("nav a").count() == 9


def test_prices_follow_when_one_zooms(page_on_disk: Page, loader: BacktestDataLoader) -> None:
    candles: pd.DataFrame = loader.resample("BTCUSDT", *WHOLE, "6h", "1h")
    part = candles[candles["timestamp"].between("2024-03-01", "2024-03-31")]
    reach: list[float] = page_on_disk.evaluate(
        """async () => {
            const chart = document.getElementById("picture-candles");
            const before = chart.layout.xaxis.range;
            const fitted = new Promise((done) => chart.on("plotly_relayout", (change) => {
                if (change["yaxis.range"]) done(change["yaxis.range"]);
            }));
            await Plotly.relayout(chart, {"xaxis.range": ["2024-03-01", "2024-03-31"]});
            const range = await fitted;
            await Plotly.relayout(chart, {"xaxis.range": before});
            return range;
        }"""
    )
    room = (part["high"].max() - part["low"].min()) * 0.05
    assert reach == pytest.approx([part["low"].min() - room, part["high"].max() + room])


def test_without_trades_it_says_so_and_how_to_get_them(homes: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    options = ["--symbol", "ETHUSDT", "--data-dir", str(homes["whole"]), "--out", str(tmp_path / "eth")]
    assert main([*options, "--start", "2024-05-01", "--end", "2024-05-10"]) == 0
    out = capsys.readouterr().out
    assert [line.removeprefix("nothing in ").partition(";")[0] for line in out.splitlines()[1:]] == list(EMPTY)
    said = json.loads((tmp_path / "eth" / ABOUT).read_text(encoding="utf-8"))
    messages = {one["title"]: one["message"] for one in said["sections"]}
    command = (
        "python scripts/download_all.py --market um --symbols ETHUSDT --data-types trades --start 2024-05-01 "
        "--end 2024-05-10"
    )
    for title in ("Order-flow imbalance", "Bars and their returns", "Feature importance"):
        assert command in messages[title]
    text = (tmp_path / "eth" / "index.html").read_text(encoding="utf-8")
    assert text.count(command) == 6
    candles = pd.read_parquet(tmp_path / "eth" / "data" / "candles.parquet")
    assert (len(candles), candles["candles"].tolist()) == (240, [1] * 240)
    (bars,) = [one for one in said["sections"] if one["name"] == "bars"]
    assert [row["bars"] for row in bars["tables"]["bars"]] == ["candles 1d"]


def test_too_large_bars_are_told_of(homes: dict[str, Path], tmp_path: Path) -> None:
    options = ["--symbol", "BTCUSDT", "--data-dir", str(homes["whole"]), "--out", str(tmp_path / "bars"), "--quiet"]
    assert main([*options, "--bars", "dollar-40000000", "--models", "none", "--start", DAYS[0]]) == 0
    said = json.loads((tmp_path / "bars" / ABOUT).read_text(encoding="utf-8"))
    messages = {one["name"]: one["message"] for one in said["sections"]}
    assert "make no row of bars dollar-40000000; take smaller --bars" in messages["impact"]
    assert "too few rows" in messages["labels"]
    (bars,) = [one for one in said["sections"] if one["name"] == "bars"]
    assert bars["tables"]["bars"][6]["count"] == 0


def test_gaps_are_shown_and_a_lost_database_is_told_of(homes: dict[str, Path], tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(homes["whole"] / "processed" / "spot", data / "processed" / "spot")
    options = ["--symbol", "BTCUSDT", "--market", "spot", "--data-dir", str(data), "--quiet"]
    assert main([*options, "--out", str(tmp_path / "spot")]) == 0
    said = json.loads((tmp_path / "spot" / ABOUT).read_text(encoding="utf-8"))
    (found,) = [one for one in said["sections"] if one["name"] == "coverage"]
    assert "no status database" in found["message"]
    with BacktestDataLoader(data_dir=data) as loader:
        (expected,) = loader.coverage("BTCUSDT", market="spot").to_dict("records")
    (row,) = found["tables"]["coverage"]
    assert expected["gaps"] > 0
    assert [row[name] for name in ("rows", "gaps", "missing rows", "open gaps")] == [
        expected[name] for name in ("rows", "gaps", "missing_rows", "open_gaps")
    ]


def test_what_makes_no_sense_is_refused(homes: dict[str, Path], tmp_path: Path) -> None:
    common = ["--out", str(tmp_path / "out"), "--data-dir", str(homes["whole"])]
    with pytest.raises(NoData, match=r"nothing of BTCUSD is stored; did you mean 'BTCUSDT'\? To get it: python"):
        main(["--symbol", "BTCUSD", *common])
    with pytest.raises(NoData, match=r"nothing of BTCUSDT is stored\. To get it: .*--market cm --symbols BTCUSDT"):
        main(["--symbol", "BTCUSDT", "--market", "cm", *common])
    with pytest.raises(NoData, match="neither candles of 1h nor trades of um BTCUSDT are stored from 2030-01-01"):
        main(["--symbol", "BTCUSDT", "--start", "2030-01-01", *common])
    with pytest.raises(NoData, match="nothing of BTCUSDT is stored"):
        main(["--symbol", "BTCUSDT", "--out", str(tmp_path / "out"), "--data-dir", str(tmp_path / "none")])
    for option, value, message in (
        ("--symbol", "A,B", "is not one symbol"),
        ("--interval", "7h", "no interval '7h'"),
        ("--start", "yesterday", "is not a day"),
        ("--end", "2020-01-01", "lies before --start"),
        ("--bars", "dolar-5", "did you mean 'dollar'"),
        ("--models", "forest", "there are logistic, boosting, none"),
    ):
        with pytest.raises(ConfigError, match=message):
            main(["--symbol", "BTCUSDT", "--start", "2024-01-01", *common, option, value])
    assert not (tmp_path / "out").exists()


def test_only_a_report_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    assert write(folder, {"index.html": b"1", "data/a.parquet": b"2"}, {"version": 1}, force=False) > 2
    with pytest.raises(ConfigError, match="has a report already; replace it with --force"):
        write(folder, {"index.html": b"3"}, {}, force=False)
    write(folder, {"index.html": b"3"}, {}, force=True)
    assert {path.name for path in folder.rglob("*")} == {"index.html", ABOUT}
    assert (folder / "index.html").read_bytes() == b"3"
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"has notes\.txt, which is not the report's"):
        write(folder, {"index.html": b"4"}, {}, force=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigError, match="is there already and is no report of ours"):
        write(tmp_path / "other", {"index.html": b"4"}, {}, force=True)
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "file").write_text("mine")
    for name in ("link", "file"):
        with pytest.raises(ConfigError, match="is no folder"):
            write(tmp_path / name, {"index.html": b"4"}, {}, force=True)
    assert (folder / "index.html").read_bytes() == b"3"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link", "other", "report"]


def test_what_fails_leaves_the_former_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "report"
    write(folder, {"index.html": b"1"}, {}, force=False)
    rename = Path.rename

    def refuses(path: Path, target: Path) -> Path:
        if path.suffix == ".tmp":
            raise OSError(5, "Input/output error", str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuses)
    with pytest.raises(Exception, match="Input/output error"):
        write(folder, {"index.html": b"2"}, {}, force=True)
    assert (folder / "index.html").read_bytes() == b"1"
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_names_are_text(browser: Browser, tmp_path: Path) -> None:  # noqa: F811
    table = Table("t", XSS, (Column(XSS, "text"), Column("b")), [(XSS, 1.5)])
    picture = Picture(
        "p", XSS, XSS, XSS, [{"type": "bar", "name": "x", "x": [XSS], "y": [1]}], {"xaxis": {"title": {"text": "x"}}}
    )
    files = {"index.html": page(XSS, [XSS], [Section("s", XSS, [XSS], XSS, [XSS], (table, picture))]).encode()}
    write(tmp_path / "out", files, {}, force=False)
    with opened(browser, (tmp_path / "out" / "index.html").as_uri()) as visit:
        assert visit.page.locator("img").count() == 0
        assert visit.page.locator("h1").inner_text() == XSS
        assert visit.page.locator("td, tbody th").first.get_attribute("data-value") == XSS
        told = json.loads(visit.page.locator("#pictures").inner_text())
        assert told["p"]["traces"][0]["x"] == [XSS]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 50), st.one_of(st.just(math.nan), st.floats(-9, 9))), max_size=120),
    st.integers(1, 9),
)
def test_a_line_of_few_points_keeps_ends_and_extremes(rows: list[tuple[int, float]], buckets: int) -> None:
    times = np.cumsum([step for step, _ in rows], dtype=np.int64)
    values = np.array([value for _, value in rows], dtype=np.float64)
    chosen = drawn_of(times, values, buckets)
    assert (np.diff(chosen) > 0).all()
    assert len(chosen) <= 4 * buckets
    known = np.flatnonzero(~np.isnan(values))
    if len(known):
        kept = values[chosen]
        assert {known[0], known[-1]} <= set(chosen.tolist())
        assert (np.nanmin(kept), np.nanmax(kept)) == (np.nanmin(values), np.nanmax(values))


def test_a_line_of_many_points_has_the_extremes_of_each_stretch() -> None:
    times = np.arange(10_000, dtype=np.int64)
    values = np.random.default_rng(1).normal(size=10_000)
    values[3000:4000] = np.nan
    chosen = drawn_of(times, values, 100)
    for start in range(0, 10_000, 100):
        part = values[start : start + 100]
        here = values[chosen[(chosen >= start) & (chosen < start + 100)]]
        assert np.isnan(here).all() if np.isnan(part).all() else (here.min(), here.max()) == (part.min(), part.max())


def test_normal_returns_pass_and_others_do_not() -> None:
    random = np.random.default_rng(7)
    normal, wild = shape_of(random.normal(size=5000)), shape_of(random.standard_t(3, size=5000))
    assert normal is not None
    assert wild is not None
    assert normal.p > 0.01
    assert wild.p < 1e-9
    assert normal.jarque_bera == pytest.approx(stats.chi2.isf(normal.p, 2))
    assert shape_of(np.zeros(100)) is None
    assert shape_of(random.normal(size=19)) is None
    assert autocorrelation(np.array([1.0, 2.0, 3.0, 4.0]), 2).tolist() == pytest.approx([0.25, -0.3])


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Says nothing of what it serves."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_the_picture_of_the_documentation_can_be_taken_again(browser: Browser, report: Path, tmp_path: Path) -> None:  # noqa: F811
    eda_picture.take(browser, report, tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as image, Image.open(eda_picture.TARGET) as kept:
        assert image.size == kept.size == (1240, 1000)
    assert 20_000 < eda_picture.TARGET.stat().st_size < 300_000


def test_a_picture_without_values_says_what_they_need() -> None:
    times = pd.date_range("2024-01-01", periods=3, freq="1min", tz="UTC", unit="us")
    frame = pd.DataFrame({"timestamp": times, "available_at": times, "vpin": np.nan, "kyle_t_60": np.nan})
    for name, needed in (("vpin", "4 clock hours"), ("kyle_t_60", "60 rows")):
        picture = flow._line(frame, name, np.arange(3), "--a")
        assert f"No row has a value. Before the first one there have to be {needed}, and" in picture.says
