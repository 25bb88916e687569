"""What plain models find in a dataset, beside what nothing finds: the least that a study has to beat.

scikit-learn is loaded when a baseline is run.
"""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from core.errors import ConfigError, NoData
from core.learning.arrays import Floats
from core.learning.splits import PurgedKFold
from core.nearest import one_of
from loader.dataset import MLDataset
from loader.recipe import Recipe

if TYPE_CHECKING:
    from rich.table import Table

MODELS: Final = {"logistic": "logistic regression", "boosting": "gradient boosting"}
LEAST_ROWS: Final = 50
"""Of a part: with fewer, no figure means anything."""
_SHOWN: Final = 10
_BINS: Final = 255
_ROWS_FOR_BINS: Final = 200_000
_ROLLS: Final = 200


@dataclass(frozen=True, slots=True)
class Scores:
    """Of predictions on one part. `auc` is the mean over `auc_by_class` (one against the rest; a class that does not
    occur has none), None if there is no such. `brier` is the mean over rows of the summed squares of errors over
    classes, from 0 to 2; `log_loss` in nats."""

    rows: int
    accuracy: float
    balanced_accuracy: float
    log_loss: float
    auc: float | None
    brier: float
    auc_by_class: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions of one class between two chances: what they said on average, and how often it was so."""

    low: float
    high: float
    rows: int
    predicted: float
    observed: float


@dataclass(frozen=True, slots=True)
class Importance:
    """By how much the log loss grows when a feature's values are shuffled among rows: mean and deviation of repeats."""

    feature: str
    mean: float
    std: float


@dataclass(frozen=True, slots=True)
class Rolled:
    """The AUC of predictions against the labels of the same part moved on in a ring, `rolls` times by at least the
    horizon: labels that tell nothing of these rows, and overlap as the true ones do. `std` is the noise of an AUC."""

    rolls: int
    mean: float
    std: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """One model: `scores` on the part that was kept out, `shuffled` those it has where all labels are shuffled,
    `rolled` what its AUC comes to against labels of other times (None: the part is too short for that), `folds` the
    scores of purged cross-validation within the train part, `calibration` by class."""

    name: str
    scores: Scores
    shuffled: Scores
    rolled: Rolled | None
    folds: tuple[Scores, ...]
    calibration: Mapping[str, tuple[Bin, ...]]
    calibration_error: float
    importance: tuple[Importance, ...]
    is_converged: bool


@dataclass(frozen=True, slots=True)
class Baseline:
    """What `run_baseline` found; `majority` always says what was most frequent in the train part, with its shares."""

    part: str
    classes: tuple[str, ...]
    rows: Mapping[str, int]
    balance: Mapping[str, Mapping[str, int]]
    seed: int
    majority: Scores
    models: tuple[Fitted, ...]

    def model(self, name: str) -> Fitted:
        found = {each.name: each for each in self.models}
        if name not in found:
            raise ConfigError(f"model: {name!r}{one_of(name, found)}")
        return found[name]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    def __rich__(self) -> "Table":
        from rich.table import Table

        table = Table(title=f"Baseline on the {self.part} part, {self.rows[self.part]:,} rows", title_justify="left")
        table.add_column("model", no_wrap=True)
        for name in ("accuracy", "AUC", "log loss", "Brier", "AUC in folds"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_row("majority class", *_cells(self.majority), "")
        for each in self.models:
            folds = [fold.auc for fold in each.folds if fold.auc is not None]
            spread = f"{np.mean(folds):.3f}±{np.std(folds):.3f}" if folds else "-"
            note = "" if each.is_converged else " (not converged)"
            table.add_row(f"{MODELS[each.name]}{note}", *_cells(each.scores), spread)
            table.add_row("  labels shuffled", *_cells(each.shuffled), "")
            if each.rolled is not None:
                table.add_row("  labels rolled", "", f"±{each.rolled.std:.4f}", "", "", "")
        for each in self.models:
            if not each.importance:
                continue
            best = [one for one in each.importance if one.mean > 0][:_SHOWN]
            told = ", ".join(f"{one.feature} {one.mean:.4f}" for one in best) or "none"
            table.caption = f"{table.caption or ''}{MODELS[each.name]} needs: {told}\n"
        table.caption_justify = "left"
        return table


def run_baseline(
    dataset: MLDataset,
    models: Sequence[str] = tuple(MODELS),
    part: str = "val",
    folds: int = 5,
    seed: int = 0,
    repeats: int = 5,
    bins: int = 10,
    importance_rows: int = 20_000,
    threads: int = 1,
) -> Baseline:
    """Teach plain models the train part and score them on `part`, beside the majority class, shuffled labels, and
    labels of other times.

    `models` are `logistic` (logistic regression, features scaled, values that are not known at the mean) and `boosting`
    (histogram gradient boosting). Sample weights count in teaching, not in scores. `folds` of purged cross-validation
    run within the train part (0: none), with the dataset's embargo. Permutation importance takes up to
    `importance_rows` rows of `part`, each feature `repeats` times (0: none). The same dataset, seed and versions give
    the same result; with more `threads`, up to rounding. One is the quickest where others use the processors, too.

    Raises ConfigError for arguments that make no sense and classes that were never taught, NoData for parts with fewer
    than 50 rows or of one class.
    """
    import sklearn.ensemble
    import sklearn.linear_model  # noqa: F401  # only libraries that are loaded by then are told of threads
    from threadpoolctl import threadpool_limits

    _check(models, folds, repeats, bins, importance_rows, threads)
    if part == "train":
        raise ConfigError("part: 'train' is what models are taught; score them on val or test")
    taught, tested = _matrix(dataset, "train"), _matrix(dataset, part)
    labels, truth = taught.labels, tested.labels
    classes = _classes(labels, truth, part)
    how = _How(folds, seed, repeats, bins, importance_rows)
    with threadpool_limits(threads):
        found = tuple(_run(name, dataset, taught, tested, classes, how) for name in models)
    shares = np.array([(labels == one).mean() for one in classes])
    majority = np.tile(shares, (len(truth), 1))
    return Baseline(
        part,
        tuple(map(str, classes)),
        {"train": len(labels), part: len(truth)},
        {
            name: {str(one): int((values == one).sum()) for one in classes}
            for name, values in (("train", labels), (part, truth))
        },
        seed,
        _scores(truth, majority, classes),
        found,
    )


_Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of a part; `weights` count in teaching."""

    values: Floats
    labels: _Labels
    weights: Floats

    def those(self, which: npt.NDArray[np.int64]) -> "_Part":
        return _Part(self.values[which], self.labels[which], self.weights[which])


@dataclass(frozen=True, slots=True)
class _How:
    folds: int
    seed: int
    repeats: int
    bins: int
    importance_rows: int


def _run(
    name: str, dataset: MLDataset, taught: "_Part", tested: "_Part", classes: Sequence[int], how: "_How"
) -> Fitted:
    """One model, taught and scored."""
    fitted, is_converged = _fit(name, taught, how.seed)
    blind, truth = _shuffled(name, taught, tested, how.seed)
    chances = _chances(fitted, tested.values, classes)
    calibration = {str(one): _bins(chances[:, at], tested.labels == one, how.bins) for at, one in enumerate(classes)}
    return Fitted(
        name,
        _scores(tested.labels, chances, classes),
        _scores(truth, _chances(blind, tested.values, classes), classes),
        _rolled(tested.labels, chances, classes, dataset.meta["recipe"]["label_horizon"], how.seed),
        tuple(_in_folds(name, dataset, taught, classes, how)) if how.folds else (),
        calibration,
        _calibration_error(calibration),
        _importance(fitted, dataset.feature_cols, tested, classes, how) if how.repeats else (),
        is_converged,
    )


def checked_models(models: Sequence[str]) -> tuple[str, ...]:
    """Raises ConfigError if one is none of MODELS, or there is none."""
    for name in () if isinstance(models, str) else models:
        if name not in MODELS:
            raise ConfigError(f"models: {name!r}{one_of(str(name), MODELS)}")
    if not models or isinstance(models, str):
        raise ConfigError(f"models: name some of {', '.join(MODELS)}, in a list")
    return tuple(models)


def _check(models: Sequence[str], folds: int, repeats: int, bins: int, importance_rows: int, threads: int) -> None:
    checked_models(models)
    for name, value, least in (
        ("folds", folds, 0),
        ("repeats", repeats, 0),
        ("bins", bins, 2),
        ("importance_rows", importance_rows, 1),
        ("threads", threads, 1),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"{name}: {value!r} is not a whole number from {least} on")
    if folds == 1:
        raise ConfigError("folds: 1 is no cross-validation; take 2 or more, or 0 for none")


def _matrix(dataset: MLDataset, part: str) -> _Part:
    values, labels = dataset.part(part)
    if len(labels) < LEAST_ROWS:
        raise NoData(f"the {part} part has {len(labels)} rows, at least {LEAST_ROWS} are needed; take a longer time")
    weights = dataset.weights[part].to_numpy(np.float64)
    return _Part(np.ascontiguousarray(values.to_numpy(np.float64)), labels.to_numpy(np.int64), weights)


def _classes(labels: _Labels, truth: _Labels, part: str) -> list[int]:
    classes: list[int] = np.unique(labels).tolist()
    seen: list[int] = np.unique(truth).tolist()
    for name, found in (("train", classes), (part, seen)):
        if len(found) < 2:
            raise NoData(
                f"all labels of the {name} part are {found[0]}: nothing can be told apart; take a longer time, or "
                "another threshold, width or label_horizon"
            )
    foreign = [one for one in seen if one not in classes]
    if foreign:
        raise ConfigError(
            f"the {part} part has the label {foreign[0]}, and the train part has none; take a longer time"
        )
    return classes


def _shuffled(name: str, taught: _Part, tested: _Part, seed: int) -> tuple[Any, _Labels]:
    """A model where labels have nothing to do with features, and the labels to score it by.

    Those of both parts are shuffled: scored by true labels, a blind model is not at 0.5 but anywhere on both sides, for
    whatever direction it takes by chance may be one that tells something.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(taught.labels))  # a label keeps its weight
    model, _ = _fit(name, _Part(taught.values, taught.labels[order], taught.weights[order]), seed)
    return model, random.permutation(tested.labels)


def _fit(name: str, part: _Part, seed: int) -> tuple[Any, bool]:
    """A taught model, and whether its optimizer came to an end."""
    from sklearn.exceptions import ConvergenceWarning

    model = _Boosting(seed) if name == "boosting" else _Logistic(seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(part.values, part.labels, part.weights)
    return model, not any(issubclass(each.category, ConvergenceWarning) for each in caught)


class _Logistic:
    """Logistic regression on features that are scaled by what it is taught; what is not known is the mean."""

    def __init__(self, seed: int) -> None:
        from sklearn.impute import SimpleImputer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import StandardScaler

        steps = [
            ("known", SimpleImputer(keep_empty_features=True)),
            ("scaled", StandardScaler()),
            ("model", LogisticRegression(max_iter=1000, random_state=seed)),
        ]
        self._model = Pipeline(steps)

    def fit(self, values: Floats, labels: _Labels, weights: Floats) -> None:
        self._model.fit(values, labels, model__sample_weight=weights)
        self.classes_ = self._model.classes_

    def predict_proba(self, values: Floats) -> Floats:
        found: Floats = self._model.predict_proba(values)
        return found


class _Boosting:
    """Histogram gradient boosting on the numbers of bins, of equal counts in what it is taught.

    scikit-learn would make the bins by weighted percentiles, one after the other, as soon as there are sample weights:
    for two thousand rows of a hundred features that took ten times as long as everything else. No rows are held back
    for early stopping: they would be taken at random, and not lie behind the others in time. Trees are small, for what
    is to be found is faint: with scikit-learn's 31 leaves, less of a planted signal is left than with 8.
    """

    def __init__(self, seed: int) -> None:
        from sklearn.ensemble import HistGradientBoostingClassifier

        self._model = HistGradientBoostingClassifier(
            learning_rate=0.05, max_leaf_nodes=8, min_samples_leaf=100, early_stopping=False, random_state=seed
        )
        self._edges: list[Floats] = []

    def fit(self, values: Floats, labels: _Labels, weights: Floats) -> None:
        few = values[:: -(-len(values) // _ROWS_FOR_BINS)]
        shares = np.linspace(0, 100, _BINS + 1)[1:-1]
        known = [column[~np.isnan(column)] for column in few.T]
        self._edges = [np.unique(np.percentile(each, shares)) if len(each) else np.zeros(0) for each in known]
        self._model.fit(self._binned(values), labels, weights)
        self.classes_ = self._model.classes_

    def predict_proba(self, values: Floats) -> Floats:
        found: Floats = self._model.predict_proba(self._binned(values))
        return found

    def _binned(self, values: Floats) -> Floats:
        found = np.empty_like(values)
        for at, edges in enumerate(self._edges):
            column = values[:, at]
            numbers = np.searchsorted(edges, column)
            found[:, at] = np.where(np.isnan(column), np.nan if len(edges) else 0.0, numbers)
        return found


def _chances(model: Any, values: Floats, classes: Sequence[int]) -> Floats:
    """The chance of each class for each row; 0 of a class that was not taught."""
    found = np.zeros((len(values), len(classes)))
    found[:, np.searchsorted(np.array(classes), model.classes_)] = model.predict_proba(values)
    return found


def _scores(truth: _Labels, chances: Floats, classes: Sequence[int]) -> Scores:
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    is_class = truth[:, None] == np.array(classes)
    predicted = np.array(classes)[chances.argmax(axis=1)]
    aucs = {
        str(one): float(roc_auc_score(is_class[:, at], chances[:, at]))
        for at, one in enumerate(classes)
        if 0 < is_class[:, at].sum() < len(truth)
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes that are predicted and do not occur
        balanced = float(balanced_accuracy_score(truth, predicted))
    return Scores(
        rows=len(truth),
        accuracy=float((predicted == truth).mean()),
        balanced_accuracy=balanced,
        log_loss=_log_loss(truth, chances, classes),
        auc=float(np.mean(list(aucs.values()))) if aucs else None,
        brier=float(((chances - is_class) ** 2).sum(axis=1).mean()),
        auc_by_class=aucs,
    )


def _rolled(truth: _Labels, chances: Floats, classes: Sequence[int], horizon: int, seed: int) -> Rolled | None:
    from scipy.stats import rankdata

    rows = len(truth)
    if rows < 4 * horizon:
        return None
    random = np.random.default_rng(seed)
    shifts = random.integers(horizon, rows - horizon + 1, _ROLLS).tolist()
    found = []
    for at, one in enumerate(classes):
        is_class = truth == one
        count = int(is_class.sum())
        if not 0 < count < rows:
            continue
        ranks = rankdata(chances[:, at])
        sums = np.array([ranks[np.roll(is_class, shift)].sum() for shift in shifts])
        found.append((sums - count * (count + 1) / 2) / (count * (rows - count)))
    aucs = np.mean(found, axis=0)
    return Rolled(_ROLLS, float(aucs.mean()), float(aucs.std()))


def _log_loss(truth: _Labels, chances: Floats, classes: Sequence[int]) -> float:
    """As scikit-learn's, which checks its arguments for longer than it computes: that counts where it is asked for each
    feature again and again. A chance of 0 for what came true is taken for 2^-52."""
    of_truth = chances[np.arange(len(truth)), np.searchsorted(np.array(classes), truth)]
    return float(-np.log(np.clip(of_truth, np.finfo(np.float64).eps, 1.0)).mean())


def _importance(
    model: Any, names: Sequence[str], part: _Part, classes: Sequence[int], how: _How
) -> tuple[Importance, ...]:
    """Of every feature, the most important first."""
    from sklearn.inspection import permutation_importance

    def score(model: Any, values: Floats, labels: _Labels) -> float:
        return -_log_loss(labels, _chances(model, values, classes), classes)

    count = min(len(part.labels), how.importance_rows)
    few = part.those(np.sort(np.random.default_rng(how.seed).permutation(len(part.labels))[:count]))
    told = permutation_importance(
        model, few.values, few.labels, scoring=score, n_repeats=how.repeats, random_state=how.seed
    )
    each = zip(names, told.importances_mean, told.importances_std, strict=True)
    found = [Importance(name, float(mean), float(std)) for name, mean, std in each]
    return tuple(sorted(found, key=lambda one: (-one.mean, one.feature)))


def _in_folds(name: str, dataset: MLDataset, taught: _Part, classes: Sequence[int], how: _How) -> Iterator[Scores]:
    """Purged cross-validation within the train part. Raises NoData for a fold with one class to be taught."""
    times: pd.DataFrame = dataset.times["train"]
    embargo = Recipe(**dataset.meta["recipe"]).gap
    splits = PurgedKFold(times["row"].to_numpy(), times["end_row"].to_numpy(), how.folds, embargo)
    for number, (train, test) in enumerate(splits.split(taught.values), 1):
        of_fold = taught.those(train)
        if len(np.unique(of_fold.labels)) < 2:
            raise NoData(f"fold {number} of {how.folds} has one class to be taught; take fewer folds, or a longer time")
        fitted, _ = _fit(name, of_fold, how.seed)
        yield _scores(taught.labels[test], _chances(fitted, taught.values[test], classes), classes)


def _bins(chances: Floats, is_class: npt.NDArray[np.bool_], count: int) -> tuple[Bin, ...]:
    """Bins of equal width that have any rows."""
    place = np.minimum((chances * count).astype(np.int64), count - 1)
    rows = np.bincount(place, minlength=count)
    said = np.bincount(place, weights=chances, minlength=count)
    so = np.bincount(place, weights=is_class, minlength=count)
    return tuple(
        Bin(at / count, (at + 1) / count, int(rows[at]), float(said[at] / rows[at]), float(so[at] / rows[at]))
        for at in range(count)
        if rows[at]
    )


def _calibration_error(calibration: Mapping[str, tuple[Bin, ...]]) -> float:
    """The mean distance of what was said and what was so, over rows and classes."""
    each = [one for bins in calibration.values() for one in bins]
    return sum(one.rows * abs(one.predicted - one.observed) for one in each) / sum(one.rows for one in each)


def _cells(scores: Scores) -> list[str]:
    values = (scores.accuracy, scores.auc, scores.log_loss, scores.brier)
    return ["-" if value is None else f"{value:.4f}" for value in values]
