"""The recipes of cookbook.md: taken out of it, run on the demo's market, and drawn.

`python docs/cookbook.py` writes what the snippets print into cookbook.md and draws docs/pictures from their variables.
The tests run every snippet by the same functions, and compare.
"""

import argparse
import contextlib
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, Final

import pandas as pd
from matplotlib import dates as matplotlib_dates
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from core.sample.archive import DEMO_SHELVES, write_archive
from core.sample.market import demo_market
from core.sample.server import running_server

TEXT: Final = Path(__file__).resolve().with_name("cookbook.md")
PICTURES: Final = TEXT.with_name("pictures")
CHECKOUT: Final = TEXT.parent.parent

dates: Any = matplotlib_dates  # which has no types

Names = dict[str, Any]
"""The variables of a recipe."""

# the recipes

_TOOLS: Final = {"nautilus_trader": "nautilus", "vectorbt": "vectorbt"}
"""Modules that have an environment of their own, and the name of its folder."""
_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: `python`, or `` for commands, and what stands below it as its output."""

    language: str
    code: str
    output: str | None = None

    @property
    def commands(self) -> list[list[str]]:
        """The words of the commands of our scripts."""
        lines = self.code.replace("\\\n", " ").splitlines()
        return [shlex.split(line)[1:] for line in lines if line.startswith("python scripts/")]

    @property
    def tool(self) -> str | None:
        """The tool in whose environment a snippet runs; None: ours."""
        imported = re.findall(r"^(?:from|import) (\w+)", self.code, re.MULTILINE)
        return next((_TOOLS[name] for name in imported if name in _TOOLS), None)


def recipes() -> dict[str, list[Block]]:
    """The blocks of each section, by its heading; what stands before the first heading is under ``."""
    parts = re.split(r"^## (.+)\n", TEXT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {heading: _blocks(body) for heading, body in zip(["", *parts[1::2]], parts[::2], strict=True)}


def _blocks(body: str) -> list[Block]:
    blocks: list[Block] = []
    for language, code in _FENCE.findall(body):
        if language == "text":
            blocks[-1] = replace(blocks[-1], output=code)
        else:
            blocks.append(Block(language, code))
    return blocks


def play(heading: str, names: Names) -> Iterator[tuple[Block, str | None]]:
    """Run a recipe in the working folder: its snippets among these variables, its commands, and what is for a tool in
    the tool's environment. Each block that prints something of ours, and what; None where the tool is not installed."""
    for block in recipes()[heading]:
        if block.language == "":
            for script, *options in block.commands:
                _output_of([sys.executable, str(CHECKOUT / script), *options])
        elif block.tool is None:
            printed = StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(block.code, TEXT.name, "exec"), names)  # noqa: S102 (our own text)
            yield block, printed.getvalue()
        else:
            yield block, play_elsewhere(block)


def play_elsewhere(block: Block, more: str = "") -> str | None:
    """What a snippet, and `more` behind it, prints in its tool's environment (`make tools`); None without that."""
    python = Path(os.environ.get("TAPEVAULT_TOOLS", CHECKOUT / ".venv-tools"), str(block.tool), "bin", "python")
    return _output_of([str(python), "-c", block.code + more]) if python.exists() else None


def _output_of(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own text)
    if done.returncode:
        raise RuntimeError(f"{command[:3]} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


# their data

_READ: Final = {
    "klines": (*(f"um/{one.symbol}" for one in demo_market().instruments if one.market == "um"), "spot/BTCUSDT"),
    "funding_rate": ("um/BTCUSDT", "um/ETHUSDT", "um/LUNAUSDT", "um/SOLUSDT"),
    **dict.fromkeys(("mark_price", "index_price", "premium_index", "trades"), ("um/BTCUSDT",)),
}
_SHELVES: Final = tuple(
    replace(shelf, symbols=_READ[shelf.dataset])
    for shelf in DEMO_SHELVES
    if shelf.dataset in _READ and not shelf.symbols
)
"""Of the demo's files those that a recipe reads, made in a quarter of the time."""


@contextlib.contextmanager
def exchange(folder: Path) -> Iterator[str]:
    """The demo's exchange, as far as a recipe reads it, with its files in `folder`; its address."""
    write_archive(demo_market(), folder, _SHELVES)
    with running_server(folder) as server:
        yield server.url


def download(source: str, home: Path, *options: str) -> None:
    script = [sys.executable, str(CHECKOUT / "scripts" / "download_all.py"), "--quiet"]
    subprocess.run([*script, "--source", source, "--data-dir", str(home), *options], check=True)  # noqa: S603 (ours)


def prepare(source: str, home: Path) -> None:
    """What the commands at the beginning of the cookbook leave on disk, as far as a recipe reads it."""
    download(source, home)
    download(source, home, "--symbols", "BTCUSDT", "--data-types", "trades", "--start", "2025-02-16")
    _, (_, _, _, *options) = recipes()[""][0].commands
    download(source, home, *options)


# the pictures

_BLUE, _ORANGE, _GREEN, _RED, _GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#777777"
_STYLE: Final[Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
}


def draw_momentum(figure: Figure, names: Names) -> None:
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    for name, label, colour in (
        ("hindsight", "hindsight universe", _ORANGE),
        ("members", "members of each day", _BLUE),
    ):
        curve = names["equity"][name]
        top.plot(curve.index, curve, color=colour, label=label, lw=1.5)
        top.annotate(f"{curve.iloc[-1]:.2f}", (curve.index[-1], curve.iloc[-1]), (4, -3), textcoords="offset points")
    top.set(title="Momentum on the invented market: the two that rose most", ylabel="value of 1 USDT")
    top.legend(loc="upper right")
    counts = names["member"].sum(axis=1)
    bottom.plot(counts.index, [len(names["too_good"].columns)] * len(counts), color=_ORANGE, lw=1.5)
    bottom.step(counts.index, counts, where="post", color=_BLUE, lw=1.5)
    bottom.set(ylabel="symbols in\nthe universe", xlabel="day (UTC)", ylim=(0, 6))
    _months(bottom, names["equity"].index, 2)


def draw_funding(figure: Figure, names: Names) -> None:
    axes = figure.subplots()
    first, last = pd.Timestamp("2024-05-01", tz="UTC"), pd.Timestamp("2024-05-15", tz="UTC")
    frame, paid = names["frame"], names["paid"]
    frame, paid = (one[one["timestamp"].between(first, last, inclusive="left")] for one in (frame, paid))
    axes.fill_between(
        *(frame["timestamp"], 0, 1, frame["held"]),
        transform=axes.get_xaxis_transform(),
        step="post",
        color=_GREEN,
        alpha=0.15,
        lw=0,
        label="position held",
    )
    axes.plot(frame["available_at"], frame["premium_close"] * 1e4, color=_GREY, lw=0.7, label="premium, each hour")
    axes.plot(frame["available_at"], frame["expected"] * 1e4, color=_BLUE, lw=1.5, label="its mean of 8 hours")
    axes.axhline(5, color=_BLUE, lw=0.8, ls="--")
    is_received = paid["held"].eq(True)
    for rows, label, face in ((is_received, "funding, held", _RED), (~is_received, "funding, not held", "white")):
        rates = paid[rows]
        style: Any = {"mfc": face, "mec": _RED, "ms": 5}
        axes.plot(rates["timestamp"], rates["funding_rate"] * 1e4, "o", label=label, **style)
    axes.set(title="BTCUSDT, invented market", ylabel="basis points", xlabel="time (UTC), 2024")
    axes.set_xlim(dates.date2num(first), dates.date2num(last))
    axes.xaxis.set_major_locator(dates.DayLocator(range(1, 32, 2)))
    axes.xaxis.set_major_formatter(dates.DateFormatter("%d %b"))
    figure.legend(loc="outside lower center", ncols=5, fontsize=9, handlelength=1.4, columnspacing=1.4)


def draw_wide(figure: Figure, names: Names) -> None:
    axes = figure.subplots()
    for symbol, colour in zip(names["SYMBOLS"], (_ORANGE, _BLUE, _RED, _GREEN), strict=True):
        column = names["close"][symbol]
        known = column.dropna() / column.dropna().iloc[0] * 100
        axes.plot(column.index[::4], column[::4] / column.dropna().iloc[0] * 100, color=colour, lw=1, label=symbol)
        for end, said, shift in ((0, "listed", (-2, 24)), (-1, "delisted", (6, -3))):
            if known.index[end] != column.index[end]:
                axes.plot(known.index[end], known.iloc[end], "o", color=colour, ms=5)
                axes.annotate(
                    said, (known.index[end], known.iloc[end]), shift, textcoords="offset points", color=colour
                )
    axes.set(title="Columns of the wide frame, invented market", ylabel="close, the first = 100 (log)", yscale="log")
    axes.set_yticks([25, 50, 100, 200], ["25", "50", "100", "200"])
    axes.minorticks_off()
    axes.set(ylim=(18, 260), xlabel="time (UTC)")
    axes.legend(ncols=4, loc="upper left")
    _months(axes, names["close"].index, 2)


def draw_coverage(figure: Figure, names: Names) -> None:
    axes = figure.subplots()
    rows = names["covered"].iloc[::-1].reset_index(drop=True)
    colours = {"klines": _BLUE, "funding_rate": _ORANGE}
    for place, row in rows.iterrows():
        axes.barh(place, row["last"] - row["first"], left=row["first"], height=0.55, color=colours[row["data_type"]])
        said = f" {row['rows']:,} rows" + (f", {row['missing_rows']} missing" if row["missing_rows"] else "")
        axes.annotate(said, (row["last"], place), va="center", fontsize=9)
    (spot,) = rows.index[rows["market"] == "spot"]
    halts = names["halts"]
    axes.plot(halts, [spot] * len(halts), "|", color="white", ms=15, mew=2.5)
    axes.annotate("gap of 4 hours, drawn wider", (halts.iloc[0], spot + 0.33), ha="center", fontsize=9)
    axes.set_yticks(range(len(rows)), [f"{row.market} {row.data_type} {row.symbol}" for row in rows.itertuples()])
    axes.set(title="What is stored, from the first to the last row", xlabel="time (UTC)", ylim=(-0.6, len(rows) - 0.2))
    axes.set_xlim(rows["first"].min() - pd.Timedelta("10D"), rows["last"].max() + pd.Timedelta("150D"))
    axes.grid(axis="y", visible=False)
    _months(axes, pd.DatetimeIndex([rows["first"].min(), rows["last"].max()]), 3)


def _months(axes: Axes, shown: pd.DatetimeIndex, every: int) -> None:
    """A tick every so many months of what is shown."""
    ticks = pd.date_range(shown[0], shown[-1] + pd.Timedelta("1D"), freq="MS", normalize=True)
    axes.set_xticks([dates.date2num(tick) for tick in ticks[ticks.month % every == 1]])
    axes.xaxis.set_major_formatter(dates.DateFormatter("%b %Y"))


DRAWN: Final[dict[str, tuple[str, Callable[[Figure, Names], None]]]] = {
    "momentum.png": ("Momentum over the point-in-time universe", draw_momentum),
    "funding.png": ("Funding carry", draw_funding),
    "wide.png": ("A wide frame for vectorbt", draw_wide),
    "coverage.png": ("Knowing what is missing", draw_coverage),
}
"""Of each picture the recipe whose variables it shows."""


def draw(name: str, names: Names, folder: Path) -> Path:
    """Draw a picture: 1600 pixels wide, to be shown at 800."""
    with rc_context(_STYLE):
        figure = Figure(figsize=(8, 4), dpi=200, layout="constrained")
        DRAWN[name][1](figure, names)
        image = BytesIO()
        figure.savefig(image, format="png")
    folder.mkdir(parents=True, exist_ok=True)
    with Image.open(image) as drawn:
        drawn.convert("RGB").quantize(48, dither=Image.Dither.NONE).save(folder / name, optimize=True)
    return folder / name


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as temporary, contextlib.chdir(temporary):
        home = Path(temporary, "data")
        with exchange(Path(temporary, "archive")) as source:
            prepare(source, home)
        os.environ["TAPEVAULT_HOME"] = str(home)
        text = TEXT.read_text(encoding="utf-8")
        for heading in recipes():
            names: Names = {}
            for block, printed in play(heading, names) if heading else ():
                if block.output is not None and printed is not None:
                    text = text.replace(_shown(block), _shown(replace(block, output=printed)))
            for name, (recipe, _) in DRAWN.items():
                if recipe == heading:
                    print(draw(name, names, PICTURES))
        TEXT.write_text(text, encoding="utf-8")


def _shown(block: Block) -> str:
    return f"```python\n{block.code}```\n\n```text\n{block.output}```\n"


if __name__ == "__main__":
    main()
