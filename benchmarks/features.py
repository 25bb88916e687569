"""A day of trades from Parquet to seconds with all features: time and memory, beside pandas, in rounds that take turns.

    python benchmarks/features.py --trades 5000000 --rounds 5

The trades of one day are made up as in `bars.py`, spread over the day in bursts, and lie in a partition as a download
leaves them. Each round is a process of its own; its time counts from behind the imports to the frame in memory, the
loading of compiled kernels included, and its memory is the most it ever had. The pandas version is what one would
write with groupby and rolling, and has the features of `pandas_features`: all but those that need a loop over trades
(VPIN, its CDF, Lempel-Ziv, large trades of the hour before), fading weights with a memory, and a few others. What both
have is compared once, before the first round.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bars import batch_of, trades_of

from core.datasets import DATASETS
from core.dates import DAY_US
from core.layout import Layout
from core.settings import Settings
from core.storage.footer import facts_of
from core.storage.formats import parquet
from core.storage.schema import schema_of
from core.types import Market, Period, Proof, Series, Source
from loader import BacktestDataLoader

SERIES: Final = Series(Market.UM, "trades", "BTCUSDT")
DAY: Final = Period.parse("2024-01-02")
WINDOW: Final = 60


def store(root: Path, count: int) -> Path:
    """The partition of a day."""
    arrays = trades_of(count)
    random = np.random.default_rng(3)
    half = count // 2
    busy = random.choice(random.integers(0, 86_400, 3000), half) * 1_000_000 + random.integers(0, 2_000_000, half)
    anywhere = random.integers(0, DAY_US, count - half)
    arrays["time"] = DAY.span.start_us + np.sort(np.minimum(np.concatenate((busy, anywhere)), DAY_US - 1))
    batch = batch_of(arrays)
    price, qty = (batch.column(name).to_numpy() for name in ("price", "qty"))
    batch = batch.append_column("quote_qty", pa.array(np.rint(price * qty * 1e4) / 1e4))
    schema = schema_of(DATASETS["trades"], Market.UM)
    path = Layout(root).processed(SERIES, DAY)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = parquet.Writer(path, DATASETS["trades"], Market.UM, 131_072)
    writer.write(batch.select(schema.names).cast(schema))
    times = arrays["time"]
    source = Source(DAY.label, DAY, "", Proof.UNVERIFIED, "us", count, int(times[0]), int(times[-1]))
    writer.close(facts_of(SERIES, DAY, [source]))
    return path


def ours(root: Path, names: list[str] | None) -> Any:
    """All features, or these."""
    settings = Settings().replace(paths={"data": root})
    with warnings.catch_warnings(), BacktestDataLoader(settings) as loader:
        warnings.simplefilter("ignore")
        return loader.load_features("BTCUSDT", DAY.label, DAY.label, "1s", names)


def pandas_features(path: Path) -> Any:
    """What groupby and rolling make of the same file, with our names."""
    import pandas as pd

    rows = pd.read_parquet(path, columns=["timestamp", "price", "qty", "is_buyer_maker"])
    rows["second"] = rows["timestamp"].dt.floor("1s")
    rows["dollars"] = rows["price"] * rows["qty"]
    is_buy = ~rows["is_buyer_maker"]
    rows["buy_volume"], rows["buy_dollar"] = rows["qty"].where(is_buy, 0.0), rows["dollars"].where(is_buy, 0.0)
    rows["is_buy"] = is_buy.astype("int64")
    rows["root"] = np.sqrt(rows["dollars"]) * np.where(is_buy, 1.0, -1.0)
    rows["gap"] = rows["timestamp"].diff().dt.total_seconds()
    turns = (rows["is_buy"].diff() != 0) | (rows["second"] != rows["second"].shift())
    rows["run"] = rows.groupby(turns.cumsum()).cumcount() + 1
    of = rows.groupby("second", sort=False)
    seconds = of.agg(
        open=("price", "first"),
        high=("price", "max"),
        low=("price", "min"),
        close=("price", "last"),
        volume=("qty", "sum"),
        dollar_volume=("dollars", "sum"),
        num_trades=("qty", "size"),
        buy_volume=("buy_volume", "sum"),
        buy_dollar=("buy_dollar", "sum"),
        num_buys=("is_buy", "sum"),
        max_trade=("qty", "max"),
        root=("root", "sum"),
        last_time=("timestamp", "last"),
        inter_trade_mean=("gap", "mean"),
        last_is_buy=("is_buy", "last"),
        last_run=("run", "last"),
        max_run=("run", "max"),
    )
    seconds["std_trade"] = of["qty"].std(ddof=0)
    seconds["gap_std"] = of["gap"].std(ddof=0)
    day = pd.date_range(DAY.label, periods=86_400, freq="1s", tz="UTC", unit="us")
    f = seconds.reindex(day)
    f["close"] = f["close"].ffill()
    for name in ("open", "high", "low"):
        f[name] = f[name].fillna(f["close"])
    sums = [
        "volume",
        "dollar_volume",
        "num_trades",
        "buy_volume",
        "buy_dollar",
        "num_buys",
        "root",
        "last_run",
        "max_run",
    ]
    f[sums] = f[sums].fillna(0.0)
    f["since_trade"] = (day + pd.Timedelta("1s") - f["last_time"].ffill()).dt.total_seconds()
    n, v, d, c, o, h, low = (f[x] for x in ("num_trades", "volume", "dollar_volume", "close", "open", "high", "low"))
    vb, db, nb = f["buy_volume"], f["buy_dollar"], f["num_buys"]
    vs, ds, ns = v - vb, d - db, n - nb
    b, some, traded = vb - vs, v.where(v > 0), n.where(n > 0)
    out = f[["open", "high", "low", "close"]].copy()
    out["vwap"] = d / some
    out["buy_vwap"], out["sell_vwap"] = db / vb.where(vb > 0), ds / vs.where(vs > 1e-9)
    out["microprice"] = (out["buy_vwap"] * vs + out["sell_vwap"] * vb) / some
    out["vwap_deviation"] = (c - out["vwap"]) / out["vwap"]
    mean_price = d.rolling(WINDOW).sum() / v.rolling(WINDOW).sum()
    out["vwap_deviation_60"] = (c - mean_price) / mean_price
    for window in (5, 10, 30):
        out[f"mean_ratio_{window}"] = c / c.rolling(window).mean()
    out["volume"], out["dollar_volume"], out["num_trades"], out["duration"] = v, d, n, 1.0
    out["buy_volume"], out["sell_volume"], out["buy_dollar"], out["sell_dollar"] = vb, vs, db, ds
    out["num_buys"], out["num_sells"] = nb, ns
    out["mean_trade"], out["max_trade"], out["std_trade"] = v / traded, f["max_trade"], f["std_trade"]
    out["volume_imbalance"], out["trade_imbalance"], out["dollar_imbalance"] = (
        b / some,
        (nb - ns) / traded,
        (db - ds) / d,
    )
    for window in (10, 30, 60):
        out[f"volume_imbalance_{window}"] = b.rolling(window).sum() / v.rolling(window).sum()
    out["trade_imbalance_60"] = (nb - ns).rolling(WINDOW).sum() / n.rolling(WINDOW).sum()
    out["buy_ratio"], out["cvd"] = vb / some, b.cumsum()
    out["cvd_change_10"], out["cvd_change_60"] = b.rolling(10).sum(), b.rolling(WINDOW).sum()
    out["signed_run"] = f["last_run"] * np.where(f["last_is_buy"] == 1, 1.0, -1.0)
    out["max_run_share"] = f["max_run"] / traded
    r: Any = np.log(c / c.shift())
    out["log_return"], out["open_return"], out["range"] = r, c / o - 1, (h - low) / c
    out["close_position"] = (c - low) / (h - low).where(h > low)
    for window in (5, 10, 30, 60):
        out[f"momentum_{window}"] = np.log(c / c.shift(window))
        out[f"volatility_{window}"] = r.rolling(window).std()
    for window in (30, 60):
        out[f"return_autocorrelation_{window}"] = r.rolling(window).corr(r.shift())
    out["return_mean_60"] = r.rolling(WINDOW).mean()
    out["return_skewness_60"], out["return_kurtosis_60"] = r.rolling(WINDOW).skew(), r.rolling(WINDOW).kurt()
    for rows_back in (1, 5, 10):
        out[f"return_lag_{rows_back}"] = r.shift(rows_back)
    out["realized_variance_60"] = (r**2).rolling(WINDOW).sum()
    out["bipower_variation_60"] = np.pi / 2 * (r.abs() * r.shift().abs()).rolling(WINDOW - 1).sum()
    out["jump_share_60"] = (1 - out["bipower_variation_60"] / out["realized_variance_60"]).clip(lower=0)
    hl: Any = np.log(h / low)
    co: Any = np.log(c / o)
    out["parkinson"] = hl**2 / (4 * np.log(2))
    out["garman_klass"] = 0.5 * hl**2 - (2 * np.log(2) - 1) * co**2
    out["rogers_satchell"] = np.log(h / c) * np.log(h / o) + np.log(low / c) * np.log(low / o)
    for name in ("parkinson", "garman_klass", "rogers_satchell"):
        out[f"{name}_volatility_60"] = np.sqrt(out[name].rolling(WINDOW).mean().clip(lower=0))
    dc: Any = c.diff()
    out["roll_spread_60"] = 2 * np.sqrt((-dc.rolling(WINDOW).cov(dc.shift())).clip(lower=0))
    out["roll_impact_60"] = out["roll_spread_60"] / d.rolling(WINDOW).sum()
    beta: Any = hl**2 + hl.shift() ** 2
    gamma = np.log(h.rolling(2).max() / low.rolling(2).min()) ** 2
    root = 3 - 2 * np.sqrt(2)
    alpha: Any = (np.sqrt(2 * beta) - np.sqrt(beta)) / root - np.sqrt(gamma / root)
    out["corwin_schultz_60"] = (2 * (np.exp(alpha) - 1) / (1 + np.exp(alpha))).clip(lower=0).rolling(WINDOW - 1).mean()
    k2 = np.sqrt(8 / np.pi)
    sigma = (np.sqrt(0.5) - 1) * np.sqrt(beta) / (k2 * root) + np.sqrt(gamma / (k2**2 * root))
    out["becker_parkinson_60"] = sigma.clip(lower=0).rolling(WINDOW - 1).mean()
    for name, x, y in (("kyle", b, dc), ("hasbrouck", f["root"], r)):
        slope = y.rolling(WINDOW).cov(x) / x.rolling(WINDOW).var()
        fit = y.rolling(WINDOW).corr(x)
        out[f"{name}_lambda_60"], out[f"{name}_t_60"] = slope, fit * np.sqrt((WINDOW - 2) / (1 - fit**2))
    out["amihud_60"] = (r.abs() / d.where(d > 0)).rolling(WINDOW, min_periods=1).mean()
    out["price_impact"], out["toxicity"] = r.abs() / b.abs().where(b.abs() > 1e-9), b.abs() / some
    out["trade_intensity"], out["volume_intensity"] = n, v
    out["intensity_momentum_60"] = n / n.rolling(WINDOW).mean() - 1
    out["volume_momentum_60"] = v / v.rolling(WINDOW).mean() - 1
    out["inter_trade_mean"] = f["inter_trade_mean"]
    out["inter_trade_variation"] = f["gap_std"] / f["inter_trade_mean"].where(f["inter_trade_mean"] > 0)
    out["since_trade"] = f["since_trade"]
    share, shares = nb / traded, nb.rolling(WINDOW).sum() / n.rolling(WINDOW).sum()
    for name, p in (("side_entropy", share), ("side_entropy_60", shares)):
        bits = -(p * np.log2(p.where(p > 0, 1.0)) + (1 - p) * np.log2((1 - p).where(p < 1, 1.0)))
        out[name] = bits
    angle = 2 * np.pi * (day.hour * 3600 + day.minute * 60 + day.second) / 86_400
    out["hour_sin"], out["hour_cos"], out["weekday"] = np.sin(angle), np.cos(angle), day.day_of_week.astype(float)
    return out.reset_index(names="timestamp")


def compare(root: Path, path: Path) -> None:
    """How many features both have, and where they agree; pandas divides by other degrees of freedom in two."""
    theirs = pandas_features(path).iloc[200:]
    mine = ours(root, None).iloc[200:]
    other = {"return_skewness_60", "return_kurtosis_60"}
    names = [name for name in theirs.columns[1:] if name not in other]
    for name in names:
        one, two = mine[name].to_numpy(), theirs[name].to_numpy(dtype=np.float64)
        scale = np.nanmedian(np.abs(one)) + np.abs(one)
        near = (np.abs(one - two) <= 1e-4 * scale) | (np.isnan(one) & np.isnan(two))
        if (~near).mean() > 0.001:
            raise SystemExit(f"{name}: {(~near).sum()} values differ")
    all_names = len(mine.columns) - 2
    print(f"ours: {all_names} features; pandas: {len(theirs.columns) - 1} of them, {len(names)} compared and the same")


def child(what: str, root: Path, path: Path) -> None:
    import pandas  # noqa: F401

    begun, worked = time.perf_counter(), time.process_time()
    if what == "pandas":
        frame = pandas_features(path)
    else:
        frame = ours(root, json.loads((root / "names.json").read_text()) if what == "same" else None)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - worked
    if what == "warm":
        del frame
        begun, worked = time.perf_counter(), time.process_time()
        frame = ours(root, None)
        seconds, cpu = time.perf_counter() - begun, time.process_time() - worked
    status = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
    features = len(set(frame.columns) - {"timestamp", "available_at"})
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak_mb": peak, "features": features}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trades", type=int, default=5_000_000, help="how many are made up")
    parser.add_argument("--rounds", type=int, default=5, help="how often each takes its turn")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        what, root_text, path_text = arguments.child
        child(what, Path(root_text), Path(path_text))
        return
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        root = Path(folder)
        path = store(root, arguments.trades)
        compare(root, path)
        (root / "names.json").write_text(json.dumps(list(pandas_features(path).columns[1:])))
        runs = {
            "ours, all features": "ours",
            "ours, all, a second time": "warm",
            "ours, those of pandas": "same",
            "pandas": "pandas",
        }
        found: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
        for _ in range(arguments.rounds):
            for name, what in runs.items():
                command = [sys.executable, __file__, "--child", what, str(root), str(path)]
                said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                found[name].append(json.loads(said))
        print_table(found)


def print_table(found: dict[str, list[dict[str, float]]]) -> None:
    """Medians, and how many times as long pandas takes."""

    def middle(name: str, what: str) -> float:
        return statistics.median(each[what] for each in found[name])

    for name, rounds in found.items():
        each = [one["seconds"] for one in rounds]
        wall, work = (middle("pandas", what) / middle(name, what) for what in ("seconds", "cpu"))
        print(
            f"{name:26} {middle(name, 'seconds'):6.2f} s ({min(each):.2f} to {max(each):.2f}), "
            f"CPU {middle(name, 'cpu'):5.2f} s, peak {max(one['peak_mb'] for one in rounds):6,.0f} MB, "
            f"{rounds[0]['features']:.0f} features, pandas takes {wall:.1f}x as long and {work:.1f}x the CPU"
        )


if __name__ == "__main__":
    main()
