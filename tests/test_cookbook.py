"""The cookbook: every snippet is run on the demo's market, prints what stands below it, and decides by nothing that was
not known."""

import json
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from PIL import Image, ImageChops, ImageStat

from core.errors import ConfigError
from docs import cookbook
from docs.cookbook import Names
from loader import BacktestDataLoader, MissingDataWarning

HEADINGS = [heading for heading in cookbook.recipes() if heading]
CUT = pd.Timestamp("2024-09-30 12:00", tz="UTC")
"""Within a day, so that its candle would be another one."""
HOUR = pd.Timedelta("1h")


@pytest.fixture
def names() -> Iterator[Names]:
    found: Names = {}
    yield found
    if "loader" in found:
        found["loader"].close()


@pytest.fixture
def loader(homes: dict[str, Path]) -> Iterator[BacktestDataLoader]:
    with BacktestDataLoader(data_dir=homes["whole"]) as opened:
        yield opened


# what is right about each result


def check_momentum(names: Names, loader: BacktestDataLoader) -> None:
    held, member = names["held"], names["member"]
    assert (held.sum(axis=1) == 1).all()
    assert not held.where(~member.reindex_like(held).eq(True)).gt(0).any(axis=None)
    # by hand: members by what came before a day, past returns from closes before it
    frame = loader.load_universe("2024-01-01", "2025-02-16", columns=["close"])["klines"]
    closes = frame.pivot(index="timestamp", columns="symbol", values="close")
    for day in pd.date_range("2024-02-01", "2025-02-16", freq="13D", tz="UTC"):
        rise = closes.loc[day - HOUR] / closes.loc[day - pd.Timedelta("20D") - HOUR] - 1
        chosen = rise[[symbol for symbol in rise.index if member.loc[day].get(symbol, False)]].nlargest(2).index
        assert set(held.columns[held.loc[day] > 0]) == set(chosen), day
    # what the text says of the difference
    too_good, gained = names["too_good"], (held * names["gain"]).sum()
    assert "ICPUSDT" not in too_good.columns
    assert gained["ICPUSDT"] < 0
    days_of_icp = member.index[member["ICPUSDT"]].strftime("%Y-%m")
    assert (days_of_icp.min(), days_of_icp.max()) == ("2024-03", "2024-10")
    assert str(too_good.index[too_good["1000SHIBUSDT"] > 0].min().date()) == "2024-02-28"
    assert str(member.index[member["1000SHIBUSDT"]].min().date()) == "2024-06-28"
    assert round(names["equity"]["hindsight"].iloc[-1] / names["equity"]["members"].iloc[-1], 2) == 1.08


def check_funding(names: Names, loader: BacktestDataLoader) -> None:
    frame, paid, received = names["frame"], names["paid"], names["received"]
    assert (frame["timestamp"].diff().dropna() == HOUR).all()
    assert (frame["funding_time"] <= frame["available_at"]).all()
    # held in an hour is what was decided by its beginning
    decided = dict(zip(frame["available_at"], frame["short"], strict=True))
    assert frame["held"].tolist() == [decided.get(hour, False) for hour in frame["timestamp"]]
    # each settlement by itself: it is paid if the decision of the candle that ended an hour or more ago says so
    by_hand = [
        rate if decided.get((at - pd.Timedelta("1min")).floor("h"), False) else 0.0
        for at, rate in zip(paid["timestamp"], paid["funding_rate"], strict=True)
    ]
    assert received.tolist() == by_hand
    assert 0 < sum(rate != 0 for rate in by_hand) < len(by_hand) / 2
    # what was gained over one stay is the basis at its entry less that at its exit
    stays = (frame["held"] != frame["held"].shift()).cumsum()[frame["held"]]
    for _, stay in list(stays.groupby(stays))[:5]:
        entry, after = stay.index[0], stay.index[-1] + 1
        assert names["moved"][stay.index].sum() == pytest.approx(names["basis"][entry] - names["basis"][after])


def check_wide(names: Names, loader: BacktestDataLoader) -> None:
    close = names["close"]
    assert close.index.equals(pd.date_range("2024-01-01", "2024-12-31 23:00", freq="h", tz="UTC", unit="us"))
    stored = loader.coverage(names["SYMBOLS"], "klines", market="um", gaps=False).set_index("symbol")
    for symbol in names["SYMBOLS"]:
        assert close[symbol].first_valid_index() == max(stored.loc[symbol, "first"], close.index[0])
        assert close[symbol].last_valid_index() == min(stored.loc[symbol, "last"], close.index[-1])
    assert close.count().sum() == len(names["candles"])
    assert names["target"].sum(axis=1).between(0, 1).all()
    assert not names["target"].loc[: close["SOLUSDT"].first_valid_index() + 479 * HOUR, "SOLUSDT"].any()


def check_polars(names: Names, loader: BacktestDataLoader) -> None:
    found = names["volatility"].collect()
    frame = loader.load_data(["BTCUSDT", "ETHUSDT"], "2024-01-01", "2024-12-31")["klines"]
    frame["change"] = np.log(frame["close"]).groupby(frame["symbol"], observed=True).diff()
    days = frame.groupby(["symbol", frame["timestamp"].dt.floor("D")], observed=True)["change"]
    assert found["volatility"].to_list() == pytest.approx((days.std() * (24 * 365) ** 0.5).tolist())
    assert found["hours"].unique().to_list() == [24]
    assert found["available_at"].to_list() == [day + pd.Timedelta("1D") for _, day in days.groups]


def check_sql(names: Names, loader: BacktestDataLoader) -> None:
    columns = ["available_at", "close", "funding_rate", "funding_time"]
    aligned = loader.load_aligned_data("BTCUSDT", "2024-03-01", "2024-03-01")
    known = names["known"]
    of_btc = known[known["symbol"] == "BTCUSDT"].reset_index(drop=True)
    pd.testing.assert_frame_equal(of_btc[columns], aligned[columns], check_dtype=False)
    assert (known["funding_time"] <= known["available_at"]).all()
    frame = loader.load_data(["BTCUSDT", "ETHUSDT"], "2024-01-01", "2024-12-31")["klines"]
    sums = frame.groupby(["symbol", frame["timestamp"].dt.month], observed=True)["quote_volume"].sum()
    by_month = names["months"].order("symbol, month").to_arrow_table()
    assert by_month["quote_volume"].to_pylist() == pytest.approx(sums.tolist(), abs=1)


def check_nautilus(names: Names, loader: BacktestDataLoader) -> None:
    block = next(block for block in cookbook.recipes()["A feed for NautilusTrader"] if block.tool)
    more = "\nimport json\nprint(json.dumps([trend.heard, [[str(bar.open), str(bar.close)] for bar in bars]]))"
    printed = cookbook.play_elsewhere(block, more)
    if printed is None:
        return
    heard, prices = json.loads(printed.splitlines()[-1])
    frame = loader.load_aligned_data("BTCUSDT", "2025-01-01", "2025-01-31", on_missing="ignore")
    assert heard == frame["available_at"].dt.as_unit("ns").astype("int64").tolist()
    assert [list(map(float, row)) for row in prices] == frame[["open", "close"]].to_numpy().tolist()


def check_resampled(names: Names, loader: BacktestDataLoader) -> None:
    whole, kept = names["whole"], names["kept"]
    pd.testing.assert_frame_equal(kept[kept["candles"] == 24].reset_index(drop=True), whole)
    hours = loader.load_data("BTCUSDT", "2024-06-11", "2024-06-11", market="spot", on_missing="ignore")["klines"]
    (partial,) = kept[kept["candles"] < 24].to_dict("records")
    assert partial["candles"] == len(hours) == 20
    assert (partial["open"], partial["close"]) == (hours["open"].iloc[0], hours["close"].iloc[-1])
    assert partial["volume"] == pytest.approx(hours["volume"].sum())
    assert (kept["available_at"] - kept["timestamp"] == pd.Timedelta("1D")).all()


def check_streamed(names: Names, loader: BacktestDataLoader) -> None:
    # trades, chunk by chunk, come to what the exchange's own candles say
    share = names["taker_buying"]
    candles = loader.load_data("BTCUSDT", "2025-02-16", "2025-02-17")["klines"]
    assert share.index.tolist() == (candles["timestamp"] + HOUR).tolist()
    assert share.tolist() == pytest.approx((candles["taker_buy_quote"] / candles["quote_volume"]).tolist())


def check_missing(names: Names, loader: BacktestDataLoader) -> None:
    lacks = [part for warning in names["said"] for part in warning.message.missing]
    assert [(str(part.series.market), part.symbol, str(part.lack), part.rows) for part in lacks] == [
        ("um", "LUNAUSDT", "ends-early", 0),
        ("um", "SOLUSDT", "starts-late", 0),
        ("spot", "BTCUSDT", "gap", 4),
    ]
    assert names["halts"].tolist() == [pd.Timestamp("2024-06-11 08:00", tz="UTC")]
    covered = names["covered"]
    rows = loader.sql("SELECT count(*) AS n FROM klines_1h WHERE symbol = 'LUNAUSDT'")["n"].tolist()
    assert covered.loc[(covered["symbol"] == "LUNAUSDT") & (covered["data_type"] == "klines"), "rows"].tolist() == rows


def check_snapshot(names: Names, loader: BacktestDataLoader) -> None:
    frames = loader.load_data("BTCUSDT", "2024-01-01", "2024-12-31", ["klines", "funding_rate"])
    for name, frame in names["frames"].items():
        pd.testing.assert_frame_equal(frame, frames[name])
    with pytest.raises(ConfigError):
        names["loader"].load_data("BTCUSDT", "2024-01-01", "2025-01-01")


CHECKS: dict[str, Callable[[Names, BacktestDataLoader], None]] = {
    "Momentum over the point-in-time universe": check_momentum,
    "Funding carry": check_funding,
    "A wide frame for vectorbt": check_wide,
    "polars, lazily": check_polars,
    "SQL": check_sql,
    "A feed for NautilusTrader": check_nautilus,
    "Longer candles, whole and partial": check_resampled,
    "A long history in little memory": check_streamed,
    "Knowing what is missing": check_missing,
    "Freezing a study": check_snapshot,
}


@pytest.mark.parametrize("heading", HEADINGS)
def test_the_recipe(
    heading: str,
    homes: dict[str, Path],
    names: Names,
    loader: BacktestDataLoader,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TAPEVAULT_HOME", str(homes["whole"]))
    monkeypatch.chdir(tmp_path)
    absent = []
    for block, printed in cookbook.play(heading, names):
        if printed is None:
            absent.append(block.tool)
        else:
            assert printed == (block.output or ""), "python docs/cookbook.py writes what snippets print"
    CHECKS[heading](names, loader)
    for name in [name for name, (recipe, _) in cookbook.DRAWN.items() if recipe == heading]:
        assert_same_picture(cookbook.draw(name, names, tmp_path), cookbook.PICTURES / name)
    if absent:
        pytest.skip(f"all but what runs in {' and '.join(map(str, absent))}, which is not installed (make tools)")


def assert_same_picture(drawn: Path, shown: Path) -> None:
    """Alike to the eye: fonts and compression may differ a little between machines."""
    with Image.open(drawn) as one, Image.open(shown) as other:
        assert one.size == other.size
        difference = ImageStat.Stat(ImageChops.difference(one.convert("L"), other.convert("L"))).mean[0]
    assert difference < 1, f"{shown.name} is not what the recipe gives: python docs/cookbook.py draws it"


@pytest.mark.parametrize(
    ("heading", "end", "decisions"),
    [
        ("Momentum over the point-in-time universe", "2025-02-17", "past"),
        ("Funding carry", "2024-12-31", "frame"),
        ("A wide frame for vectorbt", "2024-12-31", "target"),
        ("polars, lazily", "2024-12-31", "volatility"),
    ],
)
def test_decisions_are_the_same_whatever_comes_later(
    heading: str, end: str, decisions: str, homes: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once with all that is stored, once where nothing of later days is stored and the last day ends at noon."""
    monkeypatch.chdir(tmp_path)
    found = []
    for home, until in (("whole", end), ("cut", f"{CUT:%Y-%m-%dT%H:%M}")):
        monkeypatch.setenv("TAPEVAULT_HOME", str(homes[home]))
        names: Names = {}
        for block in cookbook.recipes()[heading]:
            if block.tool is None:
                assert block.code.count(f'"{end}"') == 1
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", MissingDataWarning)
                    exec(block.code.replace(f'"{end}"', f'"{until}"'), names)
        names["loader"].close()
        found.append(names)
    whole, cut = (until_the_cut(names[decisions]) for names in found)
    assert len(whole) > 200
    pd.testing.assert_frame_equal(whole, cut, check_categorical=False)
    if decisions == "past":
        whole, cut = (until_the_cut(names["held"]) for names in found)
        pd.testing.assert_frame_equal(whole, cut)
        whole, cut = (until_the_cut(names["too_good"]) for names in found)
        assert not whole.equals(cut)  # this looks ahead, and it shows


def until_the_cut(decisions: pd.DataFrame | pl.LazyFrame) -> pd.DataFrame:
    """What was decided by the time of the cut; symbols without any decision do not count."""
    if isinstance(decisions, pl.LazyFrame):
        return decisions.filter(pl.col("available_at") <= CUT).collect().to_pandas()
    if "available_at" in decisions:
        return decisions.loc[decisions["available_at"] <= CUT, ["available_at", "expected", "short", "held"]]
    known = decisions.loc[: CUT - HOUR].copy()
    known.columns = known.columns.astype(str)
    return known.loc[:, known.any()]


# the text itself


def test_the_commands_at_the_beginning() -> None:
    (block,) = cookbook.recipes()[""]
    made, home, serve, spot = block.code.splitlines()
    assert (made, home) == ("make demo", 'export TAPEVAULT_HOME="$PWD/data/demo/data"')
    assert serve == "python scripts/serve_archive.py data/demo/archive --port 8000 &"
    assert spot.startswith("python scripts/download_all.py --source http://127.0.0.1:8000 ")


def test_snippets_are_linted(tmp_path: Path) -> None:
    for number, heading in enumerate(HEADINGS):
        blocks = [block for block in cookbook.recipes()[heading] if block.language == "python"]
        for tool in {block.tool for block in blocks}:
            code = "\n".join(block.code for block in blocks if block.tool == tool)
            (tmp_path / f"recipe_{number}_{tool}.py").write_text(code)
    ruff = [sys.executable, "-m", "ruff", "check", "--config", "pyproject.toml", str(tmp_path)]
    done = subprocess.run(ruff, capture_output=True, text=True, cwd=cookbook.CHECKOUT, check=False)
    assert done.returncode == 0, done.stdout


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)]+)\)", cookbook.TEXT.read_text(encoding="utf-8"))
    assert [target for target in targets if target.startswith("#")] == [f"#{anchor_of(each)}" for each in HEADINGS]
    for path, _, anchor in (target.partition("#") for target in targets if not target.startswith("#")):
        page = cookbook.TEXT.parent / path
        assert page.exists(), path
        if anchor:
            headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(anchor_of, headings), (path, anchor)


def anchor_of(heading: str) -> str:
    """The name of a heading in links."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_pictures_are_shown_and_small() -> None:
    text = cookbook.TEXT.read_text(encoding="utf-8")
    pictures = {path.name: path for path in cookbook.PICTURES.iterdir() if path.name in cookbook.DRAWN}
    assert set(pictures) == set(cookbook.DRAWN) == set(re.findall(r"\]\(pictures/([^)]+)\)", text))
    assert all(path.stat().st_size < 120_000 for path in pictures.values())
