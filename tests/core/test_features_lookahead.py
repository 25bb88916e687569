"""check_lookahead finds what was planted, and nothing else; and our own features pass it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from features_oracle import random_trades
from features_tape import tape_of

from core.errors import ConfigError
from core.features import FEATURES, features_of
from core.features.lookahead import ROWS, Peek
from core.features.tape import COLUMNS, Tape
from loader import check_lookahead

ROWS_OF_DATA = 400


def data() -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"x": random.normal(size=ROWS_OF_DATA).cumsum(), "y": random.normal(size=ROWS_OF_DATA)},
        index=pd.date_range("2024-01-01", periods=ROWS_OF_DATA, freq="s", tz="UTC"),
    )
    frame.iloc[[100, 200, 201], 1] = np.nan
    return frame


PLANTED: dict[str, Callable[[pd.DataFrame], Any]] = {
    "shift": lambda d: d.x.shift(-1),
    "far": lambda d: d.x.shift(-30),
    "centered": lambda d: d.x.rolling(9, center=True).mean(),
    "score": lambda d: (d.x - d.x.mean()) / d.x.std(),
    "filled": lambda d: d.y.bfill(),
    "between": lambda d: d.y.interpolate(),
    "quantile": lambda d: d.x > d.x.quantile(0.9),
    "rank": lambda d: d.x.rank(pct=True),
    "reversed": lambda d: d.x[::-1].cumsum()[::-1],
    "resampled": lambda d: d.x.resample("10s").transform("last"),
}
CLEAN: dict[str, Callable[[pd.DataFrame], Any]] = {
    "lag": lambda d: d.x.shift(1),
    "rolling": lambda d: d.x.rolling(10).std(),
    "ewm": lambda d: d.x.ewm(5).mean(),
    "filled": lambda d: d.y.ffill(),
    "quantile": lambda d: d.x > d.x.expanding().quantile(0.9),
    "hour": lambda d: d.index.hour.to_series(index=d.index),
    "text": lambda d: pd.Series(np.where(d.x > 0, "up", "down"), d.index),
    "time": lambda d: pd.Series(d.index, d.index),
}


@pytest.mark.parametrize("name", list(PLANTED))
def test_what_looks_ahead_is_named(name: str) -> None:
    def features(d: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"lag": d.x.shift(1), name: PLANTED[name](d), "rolling": d.x.rolling(10).mean()})

    (found,) = check_lookahead(features, data())
    assert found.column == name
    with_all, cut = features(data()), features(data().iloc[: found.cut])
    assert np.array_equal(np.array([found.given]), cut.loc[[found.row], name].to_numpy(), equal_nan=True)
    assert np.array_equal(np.array([found.later]), with_all.loc[[found.row], name].to_numpy(), equal_nan=True)
    assert f"{name}: row {found.row} is {found.given} with the first {found.cut} rows, {found.later} with all" == str(
        found
    )


def test_what_does_not_look_ahead_passes() -> None:
    frame = data()
    assert check_lookahead(lambda d: pd.DataFrame({name: make(d) for name, make in CLEAN.items()}), frame) == ()
    assert check_lookahead(lambda d: d.x.rolling(10).mean().dropna(), frame) == ()
    assert check_lookahead(lambda d: d.x.pct_change(), frame, cuts=range(1, 20)) == ()


def test_the_first_row_and_the_least_cut_are_told() -> None:
    frame = pd.DataFrame({"x": np.arange(10.0)})
    found = check_lookahead(lambda d: d.x.shift(-1).rename("next"), frame, cuts=[4, 7])
    assert [(one.column, one.row, one.cut, one.later) for one in found] == [("next", 3, 4, 4.0)]
    assert np.isnan(found[0].given)


def test_rows_that_appear_or_disappear_are_told() -> None:
    frame = data()
    found = check_lookahead(lambda d: d[d.x < d.x.quantile(0.5)], frame)
    assert [one.column for one in found] == [ROWS]
    dropped = check_lookahead(lambda d: pd.DataFrame({"next": d.x.shift(-2)}).dropna(), frame)
    assert [one.column for one in dropped] == [ROWS]
    columns = check_lookahead(lambda d: d if len(d) > 300 else d[["x"]], frame)
    assert [(one.column, one.given, one.later) for one in columns] == [("y", "not there", "there")]


def test_frames_of_other_libraries() -> None:
    frame = data().reset_index(drop=True)
    polars = check_lookahead(
        lambda d: d.select(past=pl.col("x").rolling_mean(5), ahead=pl.col("x").shift(-1)), pl.from_pandas(frame)
    )
    arrow = check_lookahead(
        lambda t: pa.table({"past": t["x"], "ahead": pc.subtract(t["x"], pc.mean(t["x"]))}), pa.Table.from_pandas(frame)
    )
    arrays = check_lookahead(
        lambda d: {"past": np.cumsum(d["x"]), "ahead": np.flip(d["x"])},
        {"x": frame.x.to_numpy(), "y": frame.y.to_numpy()},
    )
    assert [[one.column for one in found] for found in (polars, arrow, arrays)] == [["ahead"]] * 3


def test_the_function_may_spoil_what_it_is_given() -> None:
    def features(d: pd.DataFrame) -> pd.DataFrame:
        d["z"] = d.x.cumsum()
        return d

    frame = data()
    assert check_lookahead(features, frame) == ()
    assert list(frame.columns) == ["x", "y"]


def test_what_cannot_be_checked_is_refused() -> None:
    frame = data()
    random = np.random.default_rng()
    refused: list[tuple[Any, Any, dict[str, Any], str]] = [
        (lambda d: d.x + random.normal(), frame, {}, "does not give the same twice"),
        (lambda d: d.assign(z=d.x.iloc[300]), frame, {}, "fails on the first .* of 400 rows: IndexError"),
        (lambda d: d.to_numpy(), frame, {}, "gives ndarray, and no frame"),
        (lambda d: d.x.to_numpy()[1:], frame, {}, "gives 399 rows for 400"),
        (lambda d: d.set_index(np.zeros(len(d))), frame, {}, "index that repeats"),
        (lambda d: {"a": d.x, "b": d.x[1:]}, frame, {}, "columns of different lengths"),
        (lambda d: d, [1, 2], {}, "a frame of pandas, polars or Arrow is wanted, not list"),
        (lambda d: d, frame[:1], {}, "nothing to cut from 1 rows"),
        (lambda d: d, frame, {"cuts": 0}, "at least 1 is wanted"),
        (lambda d: d, frame, {"cuts": [3, 400]}, "numbers from 1 to 399 are wanted"),
    ]
    for function, given, options, message in refused:
        with pytest.raises(ConfigError, match=message):
            check_lookahead(function, given, **options)


@pytest.mark.parametrize("kind", ["Int64", "Float64", "string", "boolean"])
def test_columns_of_pandas_with_na_are_compared(kind: str) -> None:
    given = pd.DataFrame({"x": np.arange(40.0)})
    values = {"Int64": [1, 2], "Float64": [0.5, 2.0], "string": ["a", "b"], "boolean": [True, False]}[kind]

    def clean(frame: pd.DataFrame) -> pd.DataFrame:
        places = frame["x"].astype(int).to_numpy()
        return pd.DataFrame(
            {"made": pd.array([pd.NA if n % 3 == 0 else values[n % 2] for n in places], kind)}, frame.index
        )

    assert check_lookahead(clean, given, cuts=20) == ()
    found = check_lookahead(lambda frame: clean(frame).shift(-1), given, cuts=39)
    assert [one.column for one in found] == ["made"]


def test_our_own_features_pass() -> None:
    tape = tape_of(random_trades(20_000, 1200, seed=4))
    columns = {name: getattr(tape, name) for name in COLUMNS}

    def features(given: dict[str, Any]) -> Any:
        return features_of(Tape(first=tape.first, in_contracts=False, **given), FEATURES.values())

    def ahead(given: dict[str, Any]) -> Any:
        made = dict(features(given))
        return made | {"cvd": made["cvd"][::-1].cumsum()}

    assert check_lookahead(features, columns, cuts=20) == ()
    assert [one.column for one in check_lookahead(ahead, columns, cuts=20)] == ["cvd"]
    assert isinstance(check_lookahead(ahead, columns, cuts=2)[0], Peek)
