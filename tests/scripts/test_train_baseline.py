"""`train_baseline.py` as a command, on the demo's market."""

import json
from pathlib import Path

import pytest
from factories import Command, Outcome

from core.commands.train_baseline import main
from core.errors import ConfigError, MarketDataError
from loader import open_ml_dataset, run_baseline

ASKED = ("--symbol", "BTCUSDT", "--start", "2025-02-15", "--end", "2025-02-17", "--interval", "30s")
FEW = ("--features", "log_return,volume_imbalance,momentum_5,volatility_30", "--label-horizon", "5")
QUICK = ("--models", "logistic", "--folds", "2", "--repeats", "1")


@pytest.fixture(scope="module")
def place(homes: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> "Place":
    return Place(homes["whole"], tmp_path_factory.mktemp("baseline") / "study")


class Place:
    def __init__(self, data: Path, out: Path) -> None:
        self.data, self.out = data, out

    def run(self, *options: str, out: Path | None = None) -> Outcome:
        where = ["--out", str(out or self.out), "--data-dir", str(self.data)]
        return Command("scripts/train_baseline.py", where, env={"COLUMNS": "80"}).run(*options)


def test_a_dataset_is_built_taught_and_used_again(place: Place) -> None:
    first = place.run(*ASKED, *FEW, *QUICK)
    assert (first.code, first.err) == (0, "")
    assert "logistic regression" in first.out
    assert "dataset built" in first.out.replace("\n", "")
    stored = open_ml_dataset(place.out / "dataset")
    assert stored.feature_cols == ("volume_imbalance", "log_return", "momentum_5", "volatility_30")
    dataset = stored.load()
    assert dataset.meta["recipe"]["label_horizon"] == 5
    assert dataset.lock is not None
    said = json.loads((place.out / "baseline.json").read_text())
    again = run_baseline(dataset, ["logistic"], folds=2, repeats=1)
    assert said["baseline"] == json.loads(json.dumps(again.as_dict()))
    assert said["dataset"] == dataset.meta
    assert said["versions"]["scikit-learn"]
    second = place.run(*ASKED, *FEW, *QUICK, "--json")
    assert (second.code, second.err) == (0, "")
    assert {name: second.json[name] for name in said} == said
    assert main(["--out", str(place.out), *QUICK, "--quiet"]) == 0
    assert sorted(path.name for path in place.out.iterdir()) == ["baseline.json", "dataset"]
    for options, told in (
        (("--label-horizon", "6"), "--label-horizon: "),
        (("--interval", "1s"), "--interval: "),
        (("--symbol", "ETHUSDT"), "--symbol: "),
        (("--quarantine",), "--quarantine: "),
        (("--plain",), "--features: "),
        (("--embargo", "7"), "--embargo: "),
        (("--missing", "drop"), "--missing: "),
        (("--width", "0.01"), "--width: "),
        (("--cusum", "0.01"), "--cusum: "),
        (("--profit", "2"), "--profit: "),
        (("--loss", "0.5"), "--loss: "),
        (("--side", "momentum_5"), "--side: "),
        (("--ties", "loss"), "--ties: "),
        (("--vertical", "sign"), "--vertical: "),
        (("--volatility-span", "50"), "--volatility-span: "),
        (("--oldest-weight", "0.5"), "--oldest-weight: "),
        (("--data-type", "agg_trades"), "--data-type: "),
    ):
        with pytest.raises(ConfigError, match="name another --out, or remove it") as caught:
            main(["--out", str(place.out), *options])
        assert str(caught.value).startswith(told)


def test_meta_labels_by_the_sign_of_a_feature(place: Place, tmp_path: Path) -> None:
    barriers = ("--label", "triple_barrier", "--profit", "1.5", "--loss", "0.5", "--volatility-span", "50")
    meta = ("--side", "return_mean_60", "--ties", "neutral", "--vertical", "sign")
    where = ("--out", str(tmp_path / "meta"), "--data-dir", str(place.data), "--quiet")
    assert main([*where, *ASKED, *FEW, *QUICK, *barriers, *meta]) == 0
    dataset = open_ml_dataset(tmp_path / "meta" / "dataset")
    given = {"profit": 1.5, "loss": 0.5, "volatility_span": 50, "side": "return_mean_60", "ties": "neutral"}
    assert {name: dataset.meta["recipe"][name] for name in given} == given
    assert dataset.meta["recipe"]["vertical"] == "sign"
    assert "return_mean_60" not in dataset.feature_cols
    assert json.loads((tmp_path / "meta" / "baseline.json").read_text())["baseline"]["classes"] == ["0", "1"]
    assert main([*where, *QUICK, *barriers, *meta]) == 0  # the same dataset again


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ((), 2, "--symbol is needed to build a dataset, and there is none at"),
        (("--symbol", "BTCUSDT"), 2, "--start is needed"),
        ((*ASKED[:6], "--interval", "2x"), 2, "time wants a step such as"),
        ((*ASKED, "--features", "vpn"), 2, "unknown 'vpn'; did you mean 'vpin'?"),
        ((*ASKED, "--label", "fixed"), 2, "label: 'fixed'"),
        ((*ASKED, "--side", "momentum_5"), 2, "side: meta-labels are made of barriers"),
        ((*ASKED, "--ties", "los"), 2, "ties: 'los'; did you mean 'loss'?"),
        ((*ASKED, "--models", "boost"), 2, "models: 'boost'"),
        ((*ASKED, "--part", "test"), 2, "--part test: a dataset has one only with --test-share"),
        ((*ASKED, "--label-horizon", "0"), 2, "'0' is not a whole number above 0"),
        ((*ASKED, "--threshold", "x"), 2, "'x' is not a number"),
        ((*ASKED, *FEW[:2], "--label-horizon", "9000"), 3, "rows has a label"),
        ((*ASKED, *FEW, "--quarantine"), 3, "the quarantine keeps out everything from 2025-01-19"),
        (("--symbol", "NOSUCHUSDT", *ASKED[2:]), 3, "download_all"),
        ((*ASKED, *FEW, "--threshold", "0.5", *QUICK), 3, "all labels of the train part are 0"),
        (("--outt", "x"), 2, "did you mean '--out'?"),
    ],
)
def test_a_wrong_request_gets_one_clear_line(
    place: Place,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    """By the command's own function, which `run_command` turns into a line and an exit code."""
    out = tmp_path / "other"
    try:
        main(["--out", str(out), "--data-dir", str(place.data), *options])
        ended, told = 0, ""
    except MarketDataError as error:
        ended, told = error.exit_code, str(error)
    except SystemExit as end:
        ended, told = end.code if isinstance(end.code, int) else 0, capsys.readouterr().err
    assert (ended, capsys.readouterr().out) == (code, "")
    assert message in told
    assert not (out / "baseline.json").exists()
