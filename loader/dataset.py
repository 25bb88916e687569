"""A dataset to train on: features and labels in parts that follow each other in time, kept with what they are of.

study/                          a saved dataset
  dataset.json                  recipe, features, scaler, counts, and every file with its rows and SHA-256
  data.lock                     which stored rows it was made of, as scripts/snapshot.py writes it
  train/2024-01-01.parquet      the samples of a UTC day
  val/2024-01-24.parquet
"""

import contextlib
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from core.dates import DAY_US, day_of
from core.errors import ConfigError, StorageError, storage_error
from core.layout import make_folder, sync_folder
from core.learning.arrays import Floats
from core.learning.scaling import Scaler
from core.snapshot.lock import Lock
from core.snapshot.text import DEFAULT_NAME, load, to_text
from core.storage.draft import is_left
from core.types import Span
from loader.recipe import QUARANTINE_DAYS, Recipe, recipe_of
from loader.samples import (
    OF_SAMPLES,
    InMemory,
    Matrix,
    OnDisk,
    Plan,
    Rows,
    by_day,
    fit_scaler,
    microseconds,
    plan_of,
    runs,
    samples,
)

if TYPE_CHECKING:
    from core.bars.spec import BarSpec
    from loader.backtest_loader import BacktestDataLoader

VERSION: Final = 2
ABOUT: Final = "dataset.json"
_TIMES: Final = ("timestamp", "available_at", "label_end", "row", "end_row", "label_return")
_ROWS: Final = "rows"


@dataclass(frozen=True, eq=False)
class MLDataset:
    """Samples in parts that follow each other in time; `test` only where it was asked for, else its members are None.

    `X_train` ... are frames of float64 with the columns `feature_cols`, `y_train` ... series of int8, all with a
    RangeIndex. `times` and `weights` are by part: `times["train"]` is a frame of `timestamp`, `available_at` (when the
    features were known), `label_end` (when the label was), `row` and `end_row` (the same as numbers of rows, for
    `PurgedKFold(times.row, times.end_row)`) and `label_return`; `weights["train"]` is a series of float64.

    `meta` is plain JSON: `recipe`, `counts` (what became of each row), `left_out` features, `not_features` (columns
    that are no numbers), `ties` by part (samples that touched both barriers in one row), the `slowest` of the features
    with its first row, `not_known` values by feature, `source` and `content` of the lock. `lock` names the stored rows;
    None if the rows were a caller's own.
    """

    X_train: pd.DataFrame
    y_train: "pd.Series[Any]"
    X_val: pd.DataFrame
    y_val: "pd.Series[Any]"
    X_test: pd.DataFrame | None
    y_test: "pd.Series[Any] | None"
    feature_cols: tuple[str, ...]
    times: Mapping[str, pd.DataFrame]
    weights: Mapping[str, "pd.Series[Any]"]
    scaler: Scaler
    meta: Mapping[str, Any]
    lock: Lock | None = field(default=None, repr=False)

    def part(self, name: str) -> tuple[pd.DataFrame, "pd.Series[Any]"]:
        """X and y of `train`, `val` or `test`. Raises ConfigError if there is no such part."""
        if name not in self.times:
            raise ConfigError(f"the dataset has no part {name!r}; it has {', '.join(self.times)}")
        return getattr(self, f"X_{name}"), getattr(self, f"y_{name}")

    def equals(self, other: "MLDataset") -> bool:
        """Whether all of it is the same, bit for bit; only when a lock was made does not count."""
        if self.meta != other.meta or self.lock != other.lock or list(self.times) != list(other.times):
            return False
        numbers = all(
            getattr(self.scaler, name).tobytes() == getattr(other.scaler, name).tobytes()
            for name in ("centers", "scales", "fills")
        )
        frames = all(_table(self, part).equals(_table(other, part)) for part in self.times)
        return numbers and frames and (self.scaler.kind, self.feature_cols) == (other.scaler.kind, other.feature_cols)

    def save(self, folder: str | Path) -> "StoredDataset":
        """Write the dataset as a folder, whole or not at all. Raises ConfigError if something is there already,
        StorageError, DiskFull."""
        with _Folder(Path(folder)) as draft:
            for part, times in self.times.items():
                us = microseconds(times["timestamp"])
                table = _table(self, part)
                for start, end in runs(us // DAY_US):
                    draft.write(part, day_of(int(us[start])), table.slice(start, end - start))
            draft.finish(self.feature_cols, self.scaler, self.meta, self.lock)
        return open_ml_dataset(folder)


class StoredDataset:
    """A dataset on disk; `meta` and `feature_cols` are read, samples when they are asked for."""

    def __init__(self, folder: Path, said: Mapping[str, Any], lock: Lock | None) -> None:
        self._folder = folder
        self._files: Mapping[str, Sequence[Mapping[str, Any]]] = said["files"]
        self.meta: Mapping[str, Any] = said["meta"]
        self.feature_cols: tuple[str, ...] = tuple(said["feature_cols"])
        self.scaler = Scaler(said["scaler"]["kind"], *(np.array(said["scaler"][name]) for name in _NUMBERS))
        self.lock = lock

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self._files)

    def batches(self, part: str) -> Iterator[tuple[pd.DataFrame, "pd.Series[Any]", "pd.Series[Any]", pd.DataFrame]]:
        """X, y, weights and times of a part, a UTC day at a time. Raises ConfigError, StorageError for a file that is
        not the one that was written."""
        for table in self._tables(part):
            yield _members(table, self.feature_cols)

    def load(self) -> MLDataset:
        """All of it in memory. Raises StorageError."""
        found = {part: _members(pa.concat_tables(self._tables(part)), self.feature_cols) for part in self.parts}
        return _dataset(found, self.feature_cols, self.scaler, self.meta, self.lock)

    def _tables(self, part: str) -> Iterator[pa.Table]:
        if part not in self._files:
            raise ConfigError(f"{self._folder} has no part {part!r}; it has {', '.join(self.parts)}")
        for one in self._files[part]:
            path = self._folder / one["path"]
            try:
                content = path.read_bytes()
            except OSError as error:
                raise storage_error(error, path) from error
            if hashlib.sha256(content).hexdigest() != one["sha256"]:
                raise StorageError(f"{path} is not the file that was written; build the dataset again")
            yield pq.read_table(pa.BufferReader(content))


def build_ml_dataset(
    symbol: str,
    start_date: str | date,
    end_date: str | date,
    interval: "str | BarSpec" = "1s",
    label_horizon: int = 30,
    include_advanced_features: bool = True,
    features: Iterable[str] | None = None,
    market: str = "um",
    data_type: str = "trades",
    loader: "BacktestDataLoader | None" = None,
    data_dir: str | Path | None = None,
    on_missing: str = "warn",
    **options: Any,
) -> MLDataset:
    """Features and labels of a symbol as a dataset in memory.

    Rows are those of `BacktestDataLoader.load_features`: one each second, or each `interval`, or each bar of a spec
    (`dollar-40000000`). `include_advanced_features=False` takes the plain ones alone, `features` names them.
    `label_horizon` is in rows; `options` are the other fields of `Recipe`: `label`, `threshold`, `val_share`,
    `test_share`, `embargo`, `quarantine`, `scaler`, `missing`, `weights` ... `loader`, or a loader of `data_dir`,
    reads; with a snapshot, the locked rows.

    Raises ConfigError for arguments that make no sense and parts that would be empty, NoData where nothing is stored or
    no row has a label, FilesChanged if an update replaced what was read.
    """
    from loader.dataset_source import Asked, Source

    recipe = recipe_of(label_horizon, options)
    asked = Asked(symbol, start_date, end_date, interval, features, include_advanced_features, market, data_type)
    with Source.opened(asked, recipe, loader, data_dir, on_missing) as source:
        made = _Made(source.frames(), source.names, recipe, InMemory(), gaps=source.gaps)
        lock = source.lock()
        return made.in_memory({**source.said, "content": lock.content}, lock)


def write_ml_dataset(
    folder: str | Path,
    symbol: str,
    start_date: str | date,
    end_date: str | date,
    interval: "str | BarSpec" = "1s",
    label_horizon: int = 30,
    include_advanced_features: bool = True,
    features: Iterable[str] | None = None,
    market: str = "um",
    data_type: str = "trades",
    loader: "BacktestDataLoader | None" = None,
    data_dir: str | Path | None = None,
    on_missing: str = "warn",
    **options: Any,
) -> "StoredDataset":
    """As `build_ml_dataset(...).save(folder)`, to the last bit, with a day of features in memory at a time.

    Beside it about a hundred bytes a row are kept, and with `scaler='robust'` one whole column. On disk it takes twice
    the dataset's room while it is made.
    """
    from loader.dataset_source import Asked, Source

    recipe = recipe_of(label_horizon, options)
    asked = Asked(symbol, start_date, end_date, interval, features, include_advanced_features, market, data_type)
    with Source.opened(asked, recipe, loader, data_dir, on_missing) as source:
        return _written(Path(folder), source.frames(), source.names, recipe, source.said, source.lock, gaps=source.gaps)


def dataset_of(
    frames: pd.DataFrame | Iterable[pd.DataFrame],
    label_horizon: int = 30,
    features: Iterable[str] | None = None,
    folder: str | Path | None = None,
    known_at_timestamp: bool = False,
    **options: Any,
) -> MLDataset:
    """A dataset of rows of your own of one symbol, in order of time: `timestamp`, `available_at`, `close` (and `high`,
    `low`), features.

    `available_at` says when a row was known: of a candle its close. `known_at_timestamp=True` says that rows without it
    were known at their timestamp, as ticks are, and candles of `load_data` are not. All columns of numbers are features
    (`meta["not_features"]` names others), unless `features` names them. With `folder` it is written there day by day
    and read from there. With `quarantine` the rows that were known only in the last 30 UTC days of these are kept out,
    and labels end before them. Raises ConfigError for rows of several symbols, not in order, or not of numbers."""
    recipe = recipe_of(label_horizon, options)
    each = [frames] if isinstance(frames, pd.DataFrame) else frames
    names = None if features is None else list(features)
    if folder is not None:
        path, keeps_out = Path(folder), recipe.quarantine
        return _written(path, each, names, recipe, {}, lambda: None, keeps_out, (), known_at_timestamp).load()
    return _Made(each, names, recipe, InMemory(), recipe.quarantine, (), known_at_timestamp).in_memory({}, None)


def open_ml_dataset(folder: str | Path) -> StoredDataset:
    """A saved dataset. Raises ConfigError for a folder that is none."""
    path = Path(folder).expanduser()
    try:
        said = json.loads((path / ABOUT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} is no dataset: it has no {ABOUT}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path / ABOUT} cannot be read: {error}; build the dataset again") from error
    if not isinstance(said, dict) or said.get("version") != VERSION or said.get("checksum") != _checksum(said):
        raise ConfigError(f"{path / ABOUT} is of another version, or was changed; build the dataset again")
    lock = load(path / DEFAULT_NAME) if said["locked"] else None
    return StoredDataset(path, said, lock)


_NUMBERS: Final = ("centers", "scales", "fills")


class _Made:
    """Rows that were read, and what becomes of them. `keeps_out`: the last days of these rows are the quarantine; what
    comes from the store was not read in it."""

    def __init__(
        self,
        frames: Iterable[pd.DataFrame],
        features: Sequence[str] | None,
        recipe: Recipe,
        matrix: Matrix,
        keeps_out: bool = False,
        gaps: Sequence[Span] = (),
        is_known_at_timestamp: bool = False,
    ) -> None:
        rows = Rows(matrix, recipe.side, is_known_at_timestamp)
        for frame in by_day(frames):
            rows.add(frame, features)
        if keeps_out:
            rows.keep_out(QUARANTINE_DAYS)
        self.rows, self.recipe = rows, recipe
        self.plan: Plan = plan_of(rows, recipe, gaps)
        self.scaler = fit_scaler(rows, self.plan, recipe.scaler)
        self.names = tuple(rows.names[int(place)] for place in self.plan.columns)
        self._unknown = np.zeros(len(self.names), np.int64)

    def days(self, part: str) -> Iterator[tuple[pd.DataFrame, Floats]]:
        for about, values, unknown in samples(self.rows, self.plan, self.scaler, part, self.recipe):
            self._unknown += unknown
            yield about, values

    def meta(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """To be asked for when all days of all parts have been given."""
        unknown = zip(self.names, self._unknown.tolist(), strict=True)
        return {
            "recipe": self.recipe.as_dict(),
            "counts": dict(self.plan.counts),
            "left_out": list(self.plan.left_out),
            "not_features": list(self.rows.not_features),
            "ties": dict(self.plan.ties),
            "slowest": dict(self.plan.slowest),
            "not_known": {name: count for name, count in unknown if count},
            **said,
        }

    def in_memory(self, said: Mapping[str, Any], lock: Lock | None) -> MLDataset:
        found = {}
        for part in self.plan.parts:
            days = list(self.days(part))
            about = pd.concat([about for about, _ in days], ignore_index=True)
            values = pd.DataFrame(np.concatenate([values for _, values in days]), columns=list(self.names))
            found[part] = (values, about["label"], about["weight"], about[list(_TIMES)])
        return _dataset(found, self.names, self.scaler, self.meta(said), lock)


def _written(
    folder: Path,
    frames: Iterable[pd.DataFrame],
    features: Sequence[str] | None,
    recipe: Recipe,
    said: Mapping[str, Any],
    lock: Callable[[], Lock | None],
    keeps_out: bool = False,
    gaps: Sequence[Span] = (),
    is_known_at_timestamp: bool = False,
) -> StoredDataset:
    with _Folder(folder) as draft:
        rows = OnDisk(draft.make(_ROWS))
        made = _Made(frames, features, recipe, rows, keeps_out, gaps, is_known_at_timestamp)
        locked = lock()
        for part in made.plan.parts:
            for about, values in made.days(part):
                table = pa.Table.from_pandas(about, preserve_index=False).replace_schema_metadata(None)
                for name, column in zip(made.names, values.T, strict=True):
                    table = table.append_column(name, pa.array(np.ascontiguousarray(column)))
                draft.write(part, day_of(int(microseconds(about["timestamp"])[0])), table)
        draft.drop(_ROWS)
        content = {} if locked is None else {"content": locked.content}
        draft.finish(made.names, made.scaler, made.meta({**said, **content}), locked)
    return open_ml_dataset(folder)


class _Folder:
    """A dataset under a temporary name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.expanduser().absolute()
        self._draft = self._folder.with_name(f".{self._folder.name}.{os.getpid()}.tmp")
        self._files: dict[str, list[dict[str, Any]]] = {}

    def __enter__(self) -> "_Folder":
        if self._folder.exists():
            raise ConfigError(f"{self._folder} is there already; name another folder, or remove it")
        with self._guard(self._draft):
            make_folder(self._folder.parent)
            for path in self._folder.parent.glob(f".{glob.escape(self._folder.name)}.*.tmp"):
                if is_left(path.name):  # of a process that was killed
                    shutil.rmtree(path)
            self._draft.mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._draft, ignore_errors=True)

    def make(self, name: str) -> Path:
        with self._guard(self._draft / name):
            (self._draft / name).mkdir(exist_ok=True)
        return self._draft / name

    def drop(self, name: str) -> None:
        with self._guard(self._draft / name):
            shutil.rmtree(self._draft / name)

    def write(self, part: str, day: date, table: pa.Table) -> None:
        """The samples of a day."""
        path = self.make(part) / f"{day.isoformat()}.parquet"
        with self._guard(path):
            pq.write_table(table, path, compression="lz4", version="2.6", use_dictionary=False)
            digest = _synced(path)
        files = self._files.setdefault(part, [])
        files.append({"path": f"{part}/{path.name}", "rows": table.num_rows, "sha256": digest})

    def finish(self, names: Sequence[str], scaler: Scaler, meta: Mapping[str, Any], lock: Lock | None) -> None:
        """Say what is there, and give the folder its name."""
        said: dict[str, Any] = {
            "version": VERSION,
            "feature_cols": list(names),
            "scaler": {"kind": scaler.kind, **{name: getattr(scaler, name).tolist() for name in _NUMBERS}},
            "meta": meta,
            "files": self._files,
            "locked": lock is not None,
        }
        said["checksum"] = _checksum(said)
        texts = {ABOUT: json.dumps(said, indent=1) + "\n"} | ({} if lock is None else {DEFAULT_NAME: to_text(lock)})
        for name, text in texts.items():
            with self._guard(self._draft / name):
                (self._draft / name).write_text(text, encoding="utf-8")
                _synced(self._draft / name)
        with self._guard(self._folder):
            for folder in (*(self._draft / part for part in self._files), self._draft):
                sync_folder(folder)
            if self._folder.exists():  # an empty folder would be replaced without a word
                raise ConfigError(f"{self._folder} has come meanwhile; name another folder, or remove it")
            self._draft.rename(self._folder)
            sync_folder(self._folder.parent)

    @contextlib.contextmanager
    def _guard(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise storage_error(error, path) from error


def _synced(path: Path) -> str:
    """The SHA-256 of a file that is on the disk."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _checksum(said: Mapping[str, Any]) -> str:
    proved = {name: value for name, value in said.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(proved, sort_keys=True).encode()).hexdigest()


_Members = tuple[pd.DataFrame, "pd.Series[Any]", "pd.Series[Any]", pd.DataFrame]


def _members(table: pa.Table, names: Sequence[str]) -> _Members:
    about = table.select(list(OF_SAMPLES)).to_pandas()
    values = np.empty((table.num_rows, len(names)))
    for place, name in enumerate(names):
        values[:, place] = table.column(name).to_numpy()
    features = pd.DataFrame(values, columns=list(names))
    return features, about["label"], about["weight"], about[list(_TIMES)]


def _dataset(
    found: Mapping[str, _Members], names: Sequence[str], scaler: Scaler, meta: Mapping[str, Any], lock: Lock | None
) -> MLDataset:
    test = found.get("test")
    return MLDataset(
        X_train=found["train"][0],
        y_train=found["train"][1],
        X_val=found["val"][0],
        y_val=found["val"][1],
        X_test=None if test is None else test[0],
        y_test=None if test is None else test[1],
        feature_cols=tuple(names),
        times={part: members[3] for part, members in found.items()},
        weights={part: members[2] for part, members in found.items()},
        scaler=scaler,
        meta=meta,
        lock=lock,
    )


def _table(dataset: MLDataset, part: str) -> pa.Table:
    """The samples of a part as their files have them."""
    values, labels = dataset.part(part)
    about = dataset.times[part].assign(label=labels, weight=dataset.weights[part])[list(OF_SAMPLES)]
    table = pa.Table.from_pandas(about, preserve_index=False).replace_schema_metadata(None)
    for name in dataset.feature_cols:
        table = table.append_column(name, pa.array(np.ascontiguousarray(values[name].to_numpy())))
    return table
