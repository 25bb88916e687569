"""What a model would be taught: how labels are balanced, and which features plain models lean on."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from core.errors import ConfigError, NoData
from loader.baseline import MODELS, Baseline, run_baseline
from loader.dataset import MLDataset, build_ml_dataset
from loader.report.flow import rows_named, without_trades
from loader.report.parts import Column, Picture, Section, Source, Table

HORIZON: Final = 30
REPEATS: Final = 3
ROWS: Final = 5000
SHOWN: Final = 15
_TITLES: Final = (("labels", "Label balance"), ("importance", "Feature importance"))
_NAMES: Final = {-1: "down", 0: "neutral", 1: "up"}
_COLOURS: Final = {-1: "--down", 0: "--quiet-bar", 1: "--up"}
_OF_MODELS: Final = ("--a", "--b")


def learning(source: Source) -> list[Section]:
    """Two sections of one dataset."""
    asked, stretch = source.asked, source.trades
    if stretch is None:
        return [Section(name, title, message=without_trades(source)) for name, title in _TITLES]
    try:
        dataset = build_ml_dataset(
            *(asked.symbol, stretch.first, stretch.last, asked.rows, HORIZON),
            market=asked.market.value,
            data_type=stretch.data_type,
            loader=source.loader,
            on_missing="ignore",
        )
    except (ConfigError, NoData) as error:
        message = f"There are too few rows to train on: {error}"
        return [Section(name, title, message=message) for name, title in _TITLES]
    return [_labels(source, dataset), _importance(source, dataset)]


def _labels(source: Source, dataset: MLDataset) -> Section:
    counts = {part: _counts(dataset.part(part)[1]) for part in dataset.times}
    classes = sorted({one for each in counts.values() for one in each})
    rows = []
    for part, each in counts.items():
        total = sum(each.values())
        rows += [(part, _NAMES[one], each.get(one, 0), each.get(one, 0) / total) for one in classes]
    columns = (Column("part", "text"), Column("label", "text"), Column("rows", "count"), Column("share", "share"))
    text = [
        f"Each row of {rows_named(source)} is labelled by where the price is {HORIZON} rows later: above (up), "
        "below (down), or "
        "the same (neutral). The train part comes first in time, the val part last; rows whose label reaches into "
        "the other "
        "part, and as many again, are left out. A model has to beat the most frequent label, not a coin."
    ]
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": _NAMES[one],
            "y": list(counts),
            "x": [each.get(one, 0) / sum(each.values()) for each in counts.values()],
            "marker": {"color": _COLOURS[one]},
        }
        for one in classes
    ]
    layout = {
        "barmode": "stack",
        "xaxis": {"title": {"text": "share of rows"}, "tickformat": ".0%", "range": [0, 1]},
        "yaxis": {"autorange": "reversed"},
    }
    label = "; ".join(f"{part} {name} {share:.1%}" for part, name, _, share in rows)
    picture = Picture("labels", "Labels of each part", "Shares of the rows of a part.", label, traces, layout, 230)
    table = Table("labels", "Labels of each part", columns, rows)
    dropped = {name: count for name, count in dataset.meta["counts"].items() if count}
    told = Table(
        "rows",
        "What became of the rows",
        (Column("rows that are", "text"), Column("count", "count")),
        [(name.replace("_", " "), count) for name, count in dropped.items()],
    )
    days = dataset.meta["source"]["no_file"]
    if days:
        text.append(
            f"Of {', '.join(days)} no file of trades is stored: {dataset.meta['counts']['no_file']:,} rows that meet "
            "these times before their label is decided are left out."
        )
    return Section("labels", "Label balance", text, parts=(picture, table, told))


def _counts(labels: "pd.Series[Any]") -> dict[int, int]:
    classes, counts = np.unique(labels.to_numpy(), return_counts=True)
    return dict(zip(classes.tolist(), counts.tolist(), strict=True))


def _importance(source: Source, dataset: MLDataset) -> Section:
    models = source.asked.models
    if not models:
        return Section("importance", _TITLES[1][1], message="No model was asked for (--models none).")
    try:
        found = run_baseline(dataset, models, folds=0, repeats=REPEATS, importance_rows=ROWS)
    except (ConfigError, NoData) as error:
        return Section("importance", _TITLES[1][1], message=f"No model can be taught: {error}")
    text = [
        f"Permutation importance on the {found.part} part: by how much the log loss (nats) of a model grows when "
        "the values "
        f"of one feature are shuffled among rows, mean of {REPEATS} shuffles of at most {ROWS:,} rows. Near or "
        "below 0: the "
        "model does as well without. It says what this model leans on, not what moves prices; features that say "
        "the same "
        "share it. A model that is no better than shuffled labels leans on noise.",
    ]
    parts: list[Picture | Table] = [_scores(found), *_pictures(found)]
    frame = pd.DataFrame(
        [(model.name, one.feature, one.mean, one.std) for model in found.models for one in model.importance],
        columns=["model", "feature", "mean", "std"],
    )
    return Section("importance", _TITLES[1][1], text, parts=parts, frames={"importance": frame})


def _scores(found: Baseline) -> Table:
    rows: list[tuple[Any, ...]] = [("majority class", *_values(found.majority))]
    for one in found.models:
        rows += [
            (MODELS[one.name], *_values(one.scores)),
            (f"{MODELS[one.name]}, shuffled labels", *_values(one.shuffled)),
        ]
    columns = (
        Column("model", "text"),
        Column("rows", "count"),
        *(Column(name) for name in ("accuracy", "balanced accuracy", "log loss, nats", "AUC", "Brier")),
    )
    return Table("scores", f"Scores on the {found.part} part, beside what no model needs to know", columns, rows)


def _values(scores: Any) -> tuple[Any, ...]:
    return (scores.rows, scores.accuracy, scores.balanced_accuracy, scores.log_loss, scores.auc, scores.brier)


def _pictures(found: Baseline) -> list[Picture]:
    pictures = []
    for model, colour in zip(found.models, _OF_MODELS, strict=False):
        best = model.importance[:SHOWN]
        trace: Mapping[str, Any] = {
            "type": "bar",
            "orientation": "h",
            "name": model.name,
            "y": [one.feature for one in best],
            "x": [one.mean for one in best],
            "error_x": {"type": "data", "array": [one.std for one in best], "thickness": 1, "color": "--quiet"},
            "marker": {"color": colour},
        }
        layout = {
            "xaxis": {"title": {"text": "growth of the log loss, nats"}},
            "yaxis": {"autorange": "reversed", "automargin": True},
            "showlegend": False,
        }
        converged = "" if model.is_converged else " Its optimizer did not come to an end."
        says = (
            f"The {len(best)} of {len(model.importance)} features that it leans on most; lines are one standard "
            f"deviation of the shuffles.{converged}"
        )
        label = ", ".join(f"{one.feature} {one.mean:.4f}" for one in best)
        pictures.append(
            Picture(f"importance-{model.name}", MODELS[model.name].capitalize(), says, label, [trace], layout, 430)
        )
    return pictures
