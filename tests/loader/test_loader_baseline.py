"""Plain models: a planted signal is found to its optimum, shuffled labels give nothing, figures are what they say."""

import json
import math
from dataclasses import replace
from io import StringIO
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, log_loss, roc_auc_score

from core.errors import ConfigError, NoData
from loader import Baseline, MLDataset, dataset_of, run_baseline

SHIFT = 0.8
OPTIMUM = NormalDist().cdf(SHIFT / math.sqrt(2))
"""The best AUC there can be: the signal is normal around +SHIFT / 2 before a rise and -SHIFT / 2 before a fall, so its
likelihood ratio rises with it, and one drawn before a rise exceeds one before a fall with the chance of this."""


def planted(count: int, seed: int = 1, shift: float = SHIFT) -> MLDataset:
    """Rises and falls of even chance, one row ahead; a signal that knows them dimly, and two features that do not."""
    random = np.random.default_rng(seed)
    side = random.choice([-1, 1], count)
    frame = pd.DataFrame({"timestamp": pd.date_range("2024-01-01", periods=count, freq="1s", tz="UTC")})
    frame["close"] = 100 * np.exp(1e-4 * np.cumsum(np.concatenate([[0], side[:-1]])))
    frame["signal"] = random.normal(0, 1, count) + side * shift / 2
    frame["noise"], frame["other"] = random.normal(0, 1, (2, count))
    return dataset_of(frame, 1, ["signal", "noise", "other"], val_share=0.5, known_at_timestamp=True)


@pytest.fixture(scope="module")
def dataset() -> MLDataset:
    return planted(50_000)


@pytest.fixture(scope="module")
def found(dataset: MLDataset) -> Baseline:
    return run_baseline(dataset, folds=2, repeats=2, importance_rows=5000)


def sigma_of(labels: Any) -> float:
    """Of the AUC where labels tell nothing (Mann and Whitney 1947)."""
    ups, downs = int((labels == 1).sum()), int((labels == -1).sum())
    return math.sqrt((ups + downs + 1) / (12 * ups * downs))


def test_a_planted_signal_is_found_to_its_optimum(dataset: MLDataset, found: Baseline) -> None:
    for model in found.models:
        assert model.scores.auc == pytest.approx(OPTIMUM, abs=0.01), model.name
        assert [fold.auc for fold in model.folds] == [pytest.approx(OPTIMUM, abs=0.02)] * 2
        assert model.importance[0].feature == "signal"
        assert model.importance[0].mean > 50 * abs(model.importance[1].mean)
        assert model.calibration_error < 0.02
        assert model.is_converged
    assert found.majority.auc == 0.5
    assert found.majority.log_loss == pytest.approx(math.log(2), abs=1e-3)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_shuffled_labels_tell_nothing(dataset: MLDataset, seed: int) -> None:
    small = planted(8000, seed)
    for model in run_baseline(small, folds=0, repeats=0, seed=seed).models:
        assert model.shuffled.auc == pytest.approx(0.5, abs=3 * sigma_of(small.y_val)), model.name


def test_labels_of_other_times_show_the_noise_of_overlapping_ones() -> None:
    """Of labels that do not overlap it is the formula's; of those that share 50 rows, and a feature that is as slow, it
    is some times as much, and shuffled labels do not show it."""
    apart = planted(8000)
    rolled = run_baseline(apart, ["logistic"], folds=0, repeats=0).models[0].rolled
    assert rolled is not None
    assert rolled.mean == pytest.approx(0.5, abs=0.003)
    assert rolled.std == pytest.approx(sigma_of(apart.y_val), rel=0.2)
    random = np.random.default_rng(8)
    close = 100 * np.exp(np.cumsum(random.normal(0, 1e-3, 8000)))
    frame = pd.DataFrame({"timestamp": pd.date_range("2024-01-01", periods=8000, freq="1s", tz="UTC"), "close": close})
    frame["slow"] = pd.Series(random.normal(0, 1, 8000)).rolling(50, min_periods=1).mean()
    dataset = dataset_of(frame, 50, ["slow"], val_share=0.4, known_at_timestamp=True)
    overlapping = run_baseline(dataset, ["logistic"], folds=0, repeats=0).models[0].rolled
    assert overlapping is not None
    assert overlapping.std > 3 * sigma_of(dataset.y_val)


def test_nothing_is_found_where_there_is_nothing() -> None:
    """Without a shift the true labels tell nothing either."""
    nothing = planted(8000, 5, shift=0.0)
    for model in run_baseline(nothing, folds=0, repeats=0).models:
        assert model.scores.auc == pytest.approx(0.5, abs=3 * sigma_of(nothing.y_val)), model.name


def three_classes(count: int = 3000, missing: str = "fill", **options: Any) -> MLDataset:
    random = np.random.default_rng(4)
    close = 100 * np.exp(np.cumsum(random.normal(0, 1e-3, count)))
    frame = pd.DataFrame({"timestamp": pd.date_range("2024-01-01", periods=count, freq="1s", tz="UTC"), "close": close})
    ahead = np.append(np.diff(np.log(close)), 0)
    frame["hint"] = ahead + random.normal(0, 1e-3, count)
    frame["often"] = np.where(random.random(count) < 0.2, np.nan, random.normal(0, 1, count))
    return dataset_of(frame, 1, ["hint", "often"], threshold=5e-4, missing=missing, known_at_timestamp=True, **options)


@pytest.mark.parametrize("missing", ["fill", "keep"])
def test_the_figures_are_those_of_scikit_learn(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from loader import baseline

    dataset = three_classes(missing=missing)
    seen: list[Any] = []
    chances_of = baseline._chances

    def noted(model: Any, values: Any, classes: Any) -> Any:
        seen.append(chances_of(model, values, classes))
        return seen[-1]

    monkeypatch.setattr(baseline, "_chances", noted)
    result = run_baseline(dataset, ["boosting"], folds=0, repeats=0, bins=5)
    chances, truth = seen[0], dataset.y_val.to_numpy()
    scores = result.model("boosting").scores
    labels = [-1, 0, 1]
    assert result.classes == ("-1", "0", "1")
    assert scores.accuracy == (np.array(labels)[chances.argmax(axis=1)] == truth).mean()
    assert scores.balanced_accuracy == balanced_accuracy_score(truth, np.array(labels)[chances.argmax(axis=1)])
    assert scores.log_loss == pytest.approx(log_loss(truth, chances, labels=labels), rel=1e-9)
    assert scores.auc == pytest.approx(roc_auc_score(truth, chances, multi_class="ovr", labels=labels), rel=1e-9)
    assert scores.brier == pytest.approx(brier_score_loss(truth, chances, labels=labels, scale_by_half=False))
    for place, name in enumerate(result.classes):
        bins = result.model("boosting").calibration[name]
        assert sum(one.rows for one in bins) == len(truth)
        for one in bins:
            inside = (chances[:, place] >= one.low) & (chances[:, place] < one.high)
            assert one.rows == inside.sum()
            assert one.predicted == pytest.approx(chances[inside, place].mean())
            assert one.observed == pytest.approx((truth[inside] == labels[place]).mean())
    assert result.balance["train"] == {str(n): int((dataset.y_train == n).sum()) for n in labels}
    assert result.majority.accuracy == (truth == dataset.y_train.mode()[0]).mean()


def test_the_same_seed_gives_the_same_and_all_of_it_is_plain_values() -> None:
    dataset = three_classes(900, test_share=0.2)
    first, second = (run_baseline(dataset, part="test", folds=2, repeats=1, seed=3).as_dict() for _ in range(2))
    assert first == second == json.loads(json.dumps(first))
    other = run_baseline(dataset, part="test", folds=0, repeats=0, seed=4).as_dict()
    assert other["models"][0]["shuffled"] != first["models"][0]["shuffled"]
    assert other["models"][0]["scores"] == first["models"][0]["scores"]


def test_people_get_a_table_that_fits() -> None:
    result = run_baseline(three_classes(700), folds=2, repeats=1)
    written = StringIO()
    Console(width=80, file=written).print(result)
    text = written.getvalue()
    for words in (
        "majority class",
        "logistic regression",
        "gradient boosting",
        "labels shuffled",
        "labels rolled",
        "AUC in folds",
    ):
        assert words in text
    assert f"{result.models[0].scores.auc:.4f}" in text
    assert "logistic regression needs: hint" in text
    assert "…" not in text


def test_sample_weights_are_taught() -> None:
    """Half of the train part says the opposite of the other half; weights decide that only the other half counts."""
    dataset = planted(6000)
    is_right = dataset.X_train["noise"] > 0
    wrong = replace(dataset, y_train=dataset.y_train.where(is_right, -dataset.y_train))
    weighed = replace(wrong, weights=dataset.weights | {"train": is_right.astype(float)})
    without = {"X_train": dataset.X_train.drop(columns="noise"), "X_val": dataset.X_val.drop(columns="noise")}
    for one, least, most in ((wrong, 0.0, OPTIMUM - 0.08), (weighed, OPTIMUM - 0.03, 1.0)):
        taught = replace(one, feature_cols=("signal", "other"), **without)
        for model in run_baseline(taught, folds=0, repeats=0).models:
            assert model.scores.auc is not None
            assert least < model.scores.auc < most


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"models": ["boostin"]}, ConfigError, "models: 'boostin'; did you mean 'boosting'?"),
        ({"models": []}, ConfigError, "models: name some of logistic, boosting"),
        ({"part": "train"}, ConfigError, "part: 'train' is what models are taught"),
        ({"part": "test"}, ConfigError, "the dataset has no part 'test'; it has train, val"),
        ({"folds": 1}, ConfigError, "folds: 1 is no cross-validation"),
        ({"repeats": -1}, ConfigError, "repeats: -1 is not a whole number from 0 on"),
        ({"bins": 1}, ConfigError, "bins: 1 is not a whole number from 2 on"),
        ({"threads": 0}, ConfigError, "threads: 0 is not a whole number from 1 on"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        run_baseline(three_classes(400), **options)
    assert message in str(caught.value)


def test_too_little_to_learn_from_is_told() -> None:
    dataset = three_classes(400)
    few = dataset_of(
        pd.DataFrame(
            {"timestamp": pd.date_range("2024-01-01", periods=100, freq="1s", tz="UTC"), "close": range(1, 101)}
        ),
        1,
        known_at_timestamp=True,
    )
    with pytest.raises(NoData, match="the val part has 20 rows, at least 50 are needed"):
        run_baseline(few)
    same = replace(dataset, y_train=dataset.y_train * 0)
    with pytest.raises(NoData, match="all labels of the train part are 0: nothing can be told apart"):
        run_baseline(same)
    with pytest.raises(NoData, match="all labels of the val part are 0"):
        run_baseline(replace(dataset, y_val=dataset.y_val * 0))
    with pytest.raises(ConfigError, match="the val part has the label 0, and the train part has none"):
        run_baseline(replace(dataset, y_train=dataset.y_train.replace(0, 1)))
    ordered = replace(dataset, y_train=pd.Series(np.where(np.arange(len(dataset.y_train)) < 150, -1, 0)))
    with pytest.raises(NoData, match="fold 1 of 2 has one class to be taught; take fewer folds"):
        run_baseline(replace(ordered, y_val=dataset.y_val.clip(-1, 0)), folds=2)
    with pytest.raises(ConfigError, match="model: 'x'"):
        run_baseline(dataset, ["logistic"], folds=0, repeats=0).model("x")
