"""Build a dataset of features and labels, teach plain models, and say what they found; see docs/learning.md."""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from core.commands.command import (
    Parser,
    add_data_options,
    add_run_options,
    local_settings_from,
    positive,
    shown,
    status_line,
    words_from,
)
from core.commands.logs import log_to_stderr
from core.errors import ConfigError
from core.export.draft import draft
from core.types import Market

EXAMPLES = """examples:
  python scripts/train_baseline.py --symbol BTCUSDT --start 2024-01-01 --end 2024-01-31 --out study
  python scripts/train_baseline.py --symbol BTCUSDT --start 2024-01-01 --end 2024-03-31 --interval dollar-1000000 \\
      --label triple_barrier --label-horizon 50 --test-share 0.2 --quarantine --out study-dollar
  python scripts/train_baseline.py --out study --models logistic --json

The dataset is kept as DIR/dataset and used again by the same command; what was found is DIR/baseline.json.
exit codes: 0 all well, 2 wrong usage, or another dataset lies there, 3 nothing stored, or too little to learn from,
130 interrupted
"""
DATASET: Final = "dataset"
RESULT: Final = "baseline.json"
_CHOICES: Final = (
    *("label", "threshold", "width", "profit", "loss", "side", "ties", "vertical", "volatility_span", "cusum"),
    *("val_share", "test_share", "embargo", "quarantine", "scaler", "missing"),
    *("weights", "oldest_weight"),
)
"""Options that are fields of the recipe, where they are given."""
_LIBRARIES: Final = ("scikit-learn", "numpy", "tapevault")


def main(arguments: Sequence[str]) -> int:
    began = time.monotonic()
    options = parser().parse_args(arguments)
    log_to_stderr(options, "warning")
    from loader.baseline import checked_models, run_baseline  # with pandas, which --help does without

    models = checked_models(words_from(options.models, "--models"))  # before hours of building
    with status_line(options, "building the dataset") as says, _told(options):
        dataset, is_new = _dataset(options)
        says("training")
        found = run_baseline(
            dataset,
            models=models,
            part=options.part,
            folds=options.folds,
            seed=options.seed,
            repeats=options.repeats,
            threads=options.threads,
        )
    result = {
        "dataset": dict(dataset.meta),
        "feature_cols": list(dataset.feature_cols),
        "baseline": found.as_dict(),
        "versions": {name: version(name) for name in _LIBRARIES},
    }
    folder = options.out.expanduser()
    with draft(folder, RESULT) as file:
        file.temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        file.publish(folder / RESULT)
    if options.json:
        print(json.dumps({**result, "out": str(options.out), "seconds": round(time.monotonic() - began, 3)}))
    elif not options.quiet:
        from rich.console import Console

        console = Console()
        console.print(found)
        counts = dataset.meta["counts"]
        console.print(", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items() if count))
        where = shown(folder.absolute())
        console.print(f"{where}/{DATASET} {'built' if is_new else 'used again'}; {where}/{RESULT} written")
    return 0


def _dataset(options: argparse.Namespace) -> tuple[Any, bool]:
    """The dataset of the folder, built if it is not there, and whether it was. Raises ConfigError if what lies there is
    not what is asked for."""
    from loader.backtest_loader import BacktestDataLoader
    from loader.dataset import open_ml_dataset, write_ml_dataset

    path = options.out.expanduser() / DATASET
    if path.exists():
        stored = open_ml_dataset(path)
        _refuse_others(options, path, stored.meta)
        return stored.load(), False
    for name in ("symbol", "start", "end"):
        if getattr(options, name) is None:
            raise ConfigError(f"--{name} is needed to build a dataset, and there is none at {path}")
    if options.part == "test" and not options.test_share:
        raise ConfigError("--part test: a dataset has one only with --test-share, for example 0.2")
    with BacktestDataLoader(local_settings_from(options)) as loader:
        features = words_from(options.features, "--features") or None
        stored = write_ml_dataset(
            path,
            options.symbol,
            options.start,
            options.end,
            options.interval or "1s",
            options.label_horizon or 30,
            not options.plain,
            features,
            options.market or Market.UM.value,
            options.data_type or "trades",
            loader=loader,
            **_recipe(options),
        )
    return stored.load(), True


def _recipe(options: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(options, name) for name in _CHOICES}
    return {name: value for name, value in given.items() if value is not None}


def _refuse_others(options: argparse.Namespace, path: Path, meta: Mapping[str, Any]) -> None:
    """Raises ConfigError if an option that is given is not what the dataset was made with."""
    source, recipe = meta.get("source", {}), meta["recipe"]
    asked = {name: getattr(options, name) for name in ("symbol", "market", "data_type", "interval", "start", "end")}
    pairs = [(name, value, source.get(_ASKED.get(name, name))) for name, value in asked.items()]
    pairs += [(name, value, recipe[name]) for name, value in _recipe(options).items()]
    pairs.append(("label_horizon", options.label_horizon, recipe["label_horizon"]))
    if options.features or options.plain:
        from loader.dataset_source import names_of

        wanted = names_of(words_from(options.features, "--features") or None, not options.plain)
        pairs.append(("features", ",".join(sorted(wanted or ())), ",".join(sorted(source.get("features", ())))))
    for name, value, before in pairs:
        if value is not None and str(value) != str(before):
            raise ConfigError(
                f"--{name.replace('_', '-')}: {path} was made with {before}, not with {value}; name another --out, or "
                "remove it"
            )


_ASKED: Final = {"start": "asked_start", "end": "asked_end", "interval": "asked_interval"}


@contextmanager
def _told(options: argparse.Namespace) -> Iterator[None]:
    """What is missing is said as a line on stderr."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for text in dict.fromkeys(str(one.message) for one in caught if issubclass(one.category, UserWarning)):
        if not options.quiet:
            print(f"warning: {text}", file=sys.stderr)


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = Parser(description=__doc__, epilog=EXAMPLES)
    what = made.add_argument_group("the dataset")
    what.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for dataset and result")
    what.add_argument("--symbol", help="for example BTCUSDT")
    what.add_argument("--market", help="um (default), cm or spot")
    what.add_argument("--data-type", help="trades (default) or agg_trades, of which features are made")
    what.add_argument("--start", metavar="YYYY-MM-DD", help="first UTC day, included")
    what.add_argument("--end", metavar="YYYY-MM-DD", help="last UTC day, included")
    what.add_argument("--interval", metavar="STEP", help="1s (default), 5m ..., or bars, such as dollar-1000000")
    what.add_argument("--label-horizon", type=positive, metavar="N", help="rows to the label's end (default 30)")
    what.add_argument("--label", help="fixed_horizon (default) or triple_barrier")
    what.add_argument("--threshold", type=_share, metavar="X", help="a change up to this fraction is neutral (0)")
    what.add_argument("--width", type=_share, metavar="X", help="of barriers, a fraction (default: by volatility)")
    what.add_argument("--profit", type=_share, metavar="X", help="upper barrier, in widths; 0: none (1)")
    what.add_argument("--loss", type=_share, metavar="X", help="lower barrier, in widths; 0: none (1)")
    what.add_argument("--side", metavar="NAME", help="a feature whose sign is followed: labels say whether that gained")
    what.add_argument("--ties", help="where both barriers are touched: loss, profit or neutral (docs/learning.md)")
    what.add_argument("--vertical", help="labels at the end: zero (default) or sign of the return")
    what.add_argument("--volatility-span", type=positive, metavar="N", help="rows of the volatility of widths (100)")
    what.add_argument("--cusum", type=_share, metavar="X", help="samples only where the log price moved by this")
    what.add_argument("--features", metavar="a,b", help="these alone (default: all; docs/features.md)")
    what.add_argument("--plain", action="store_true", help="without the advanced features")
    what.add_argument("--val-share", type=_share, metavar="X", help="of the samples, behind the train part (0.2)")
    what.add_argument("--test-share", type=_share, metavar="X", help="of the samples, at the end (0: none)")
    what.add_argument("--embargo", type=_count, metavar="N", help="rows between parts (default: the label horizon)")
    what.add_argument("--quarantine", action="store_const", const=True, help="keep out the last 30 stored days")
    what.add_argument("--scaler", help="standard (default), robust or none")
    what.add_argument("--missing", help="unknown values: fill (default), drop their rows, or keep")
    what.add_argument("--weights", help="of samples: uniqueness (default), return or none")
    what.add_argument("--oldest-weight", type=_share, metavar="X", help="to what weights fall with age (1: not at all)")
    how = made.add_argument_group("training")
    how.add_argument("--models", default="logistic,boosting", metavar="a,b", help="(default logistic,boosting)")
    how.add_argument(
        "--part", choices=("val", "test"), default="val", help="to be scored (val); test for the last word"
    )
    how.add_argument("--folds", type=_count, default=5, metavar="N", help="purged folds in the train part; 0: none (5)")
    how.add_argument("--repeats", type=_count, default=5, metavar="N", help="of permutation importance; 0: none (5)")
    how.add_argument("--seed", type=_count, default=0, metavar="N", help="of all that is random (0)")
    how.add_argument("--threads", type=positive, default=1, metavar="N", help="of boosting (1)")
    add_data_options(made.add_argument_group("where from"))
    add_run_options(made.add_argument_group("what is said"))
    return made
