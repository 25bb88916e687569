"""Frozen settings, every default written here once, and `load_settings` which overlays `config/settings.yaml`.

Only scripts, and `BacktestDataLoader()` when given no settings, load YAML. One environment variable is read:
`TAPEVAULT_HOME`, the data root.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import yaml

from core.datasets import DATASETS
from core.dates import MINUTE_US
from core.errors import ConfigError
from core.layout import SYMBOL
from core.nearest import did_you_mean
from core.types import ACCEPTABLE, GapStatus, Market, Series, Span, State

CHECKOUT: Final = Path(__file__).resolve().parent.parent
SETTINGS_FILE: Final = CHECKOUT / "config" / "settings.yaml"
SYMBOLS_FILE: Final = CHECKOUT / "config" / "symbols.yaml"
KNOWN_GAPS_FILE: Final = CHECKOUT / "config" / "known_gaps.yaml"
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where it was built in: both files in 0.7 ms, not in 5."""


@dataclass(frozen=True, slots=True)
class PathSettings:
    """`data`: the data root; a relative one is taken from the checkout."""

    data: Path = Path("data")


@dataclass(frozen=True, slots=True)
class DownloadSettings:
    """Where from, how many at once, and how patient.

    `source`: base URL of the archives. `listing`: base URL of the bucket listing. `rest`: base URL of the REST API
    (None: the exchange's own for each market). `workers`: archives fetched at once; `listing_workers`: series whose
    listing is read at once. `limit_rate_bytes`: bytes a second over all of them, None for no limit. `ranges`:
    connections that one large file may use, while there are some to spare; from twice `range_bytes` on it is cut into
    equal pieces of at most that size. `max_attempts` counts failures since the last progress of a file. `http2`: speak
    HTTP/2, by httpx's own client, to a source that wants nothing else.
    """

    source: str = "https://data.binance.vision"
    listing: str = "https://s3-ap-northeast-1.amazonaws.com/data.binance.vision"
    rest: str | None = None
    workers: int = 32
    listing_workers: int = 16
    ranges: int = 4
    range_bytes: int = 33_554_432
    limit_rate_bytes: int | None = None
    timeout_seconds: float = 30.0
    max_attempts: int = 5
    backoff_seconds: float = 0.5
    backoff_cap_seconds: float = 30.0
    http2: bool = False


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """`csv_datasets`: kinds of data whose rows are also written under `extracted/`, a file for each archive, in
    `extracted_format`: `csv`, `csv.gz`, `arrow` (IPC) or `parquet`.
    `row_group_rows`: rows of a Parquet row group. `parser`: who reads the CSV; `compiled` (numba), `arrow`, or `auto`,
    which takes the compiled one as soon as a job is large enough to pay for its start. The rows are the same.
    `keep_raw`: archives stay in `raw/`; without it, cleanup removes those whose rows are proved to be stored, and
    runs take the stored rows for them.
    """

    csv_datasets: tuple[str, ...] = ("funding_rate",)
    extracted_format: str = "csv"
    row_group_rows: int = 131_072
    parser: str = "auto"
    keep_raw: bool = True


@dataclass(frozen=True, slots=True)
class QualitySettings:
    """What an archive may look like before it is refused.

    `max_csv_bytes` and `max_compression_ratio` bound what a zip may unpack to. `period_slack_hours`: rows further than
    this outside the period in the file's name mean a wrong time unit or a wrong file. `salvage`: a file in which lines
    are at fault is not refused; its good rows are stored, and those lines kept in `quarantine/`. `accept`: faults of
    the source with which archives are stored all the same (`unverified`, `mismatch-upstream`); `corrupt-upstream` is
    another word for `salvage`.

    What is said of stored rows: `max_price_jump` is the highest ratio of two prices that follow each other (close and
    next open, two trades; within a candle of an hour or less, high and low) that passes; a factor of 2 within a row is
    a wrong digit more often than a market. `premium_tolerance`: how far a candle's premium may lie from mark / index -
    1, for these are made of other moments, and of less of the book, than the premium.
    """

    max_csv_bytes: int = 200_000_000_000
    max_compression_ratio: int = 200
    period_slack_hours: int = 24
    salvage: bool = False
    accept: tuple[str, ...] = ()
    max_price_jump: float = 2.0
    premium_tolerance: float = 0.005

    @property
    def accepted(self) -> frozenset[State]:
        """The faults of the source that are no reason against storing."""
        return frozenset(State(name) for name in self.accept) | ({State.CORRUPT} if self.salvage else set())


@dataclass(frozen=True, slots=True)
class LoaderSettings:
    """`threads`: DuckDB's threads, None for all cores. `cache_parquet_metadata`: keep footers between queries."""

    threads: int | None = None
    cache_parquet_metadata: bool = True


@dataclass(frozen=True, slots=True)
class NotifySettings:
    """Who is told that a download, an update or a pipeline failed.

    `webhook`: a URL that gets a JSON object by POST. `command`: a program and its arguments, started without a shell,
    that gets the same object on stdin. `timeout_seconds`: how long either may take.
    """

    webhook: str | None = None
    command: tuple[str, ...] = ()
    timeout_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Settings:
    """All sections. `settings.replace(download={"workers": 4})` gives a changed copy."""

    paths: PathSettings = field(default_factory=PathSettings)
    download: DownloadSettings = field(default_factory=DownloadSettings)
    storage: StorageSettings = field(default_factory=StorageSettings)
    quality: QualitySettings = field(default_factory=QualitySettings)
    loader: LoaderSettings = field(default_factory=LoaderSettings)
    notify: NotifySettings = field(default_factory=NotifySettings)

    @property
    def data_root(self) -> Path:
        """The absolute data root."""
        return (CHECKOUT / self.paths.data).absolute()

    def replace(self, **changes: Mapping[str, Any]) -> "Settings":
        return replace(self, **{name: replace(getattr(self, name), **change) for name, change in changes.items()})


@dataclass(frozen=True, slots=True)
class SymbolSettings:
    """Which symbols matter: `priority` by market, `categories` by name, and what `--priority-only` and "all symbols"
    leave out: `quotes` keeps symbols that end in one of these (empty: all), `exclude` drops names that match a glob."""

    priority: Mapping[Market, tuple[str, ...]]
    categories: Mapping[str, tuple[str, ...]]
    quotes: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KnownGap:
    """A time of which it is known why rows are missing or odd.

    `datasets` and `symbols`: (), all of the market. `status` is how a gap in it ended: `halt`, `confirmed-hole`, or
    `open` where filling is worth a try. `source` says who found out. `most_us`: so much is missing and no more, so a
    longer gap has another cause; None: all of the time may be.
    """

    market: Market
    datasets: tuple[str, ...]
    symbols: tuple[str, ...]
    span: Span
    cause: str
    source: str
    status: GapStatus = GapStatus.OPEN
    most_us: int | None = None

    def concerns(self, series: Series) -> bool:
        """Whether rows of the series may be missing in it."""
        is_of = not self.symbols or series.symbol in {DATASETS[series.dataset].directory(each) for each in self.symbols}
        return self.market is series.market and is_of and (not self.datasets or series.dataset in self.datasets)


def load_settings(path: Path | None = None) -> Settings:
    """The defaults, overlaid by a YAML file and then by `TAPEVAULT_HOME`.

    Without `path`, `config/settings.yaml` of the checkout is used if it is there. Raises ConfigError that names file,
    line and key for an unknown key (with a near match), a key given twice, or a value of the wrong type.
    """
    settings = Settings()
    source = path or SETTINGS_FILE
    if path is not None or source.exists():
        settings = _overlay(settings, _read(source), source)
    home = os.environ.get("TAPEVAULT_HOME")
    return settings.replace(paths={"data": Path(home).expanduser()}) if home else settings


def load_symbols(path: Path | None = None) -> SymbolSettings:
    """`config/symbols.yaml`. Raises ConfigError that names file, line and key."""
    source = path or SYMBOLS_FILE
    known = {"priority", "categories", "filters"}
    sections = dict(_entries(_read(source), source, known))
    priority = {}
    for market, node in _entries(sections.get("priority"), source, {m.value for m in Market}):
        priority[Market(market)] = _symbols(node, source)
    categories = {name: _symbols(node, source) for name, node in _entries(sections.get("categories"), source, None)}
    filters = dict(_entries(sections.get("filters"), source, {"quotes", "exclude"}))
    return SymbolSettings(
        priority=priority,
        categories=categories,
        quotes=_texts(filters["quotes"], source) if "quotes" in filters else (),
        exclude=_texts(filters["exclude"], source) if "exclude" in filters else (),
    )


def load_known_gaps(path: Path | None = None) -> tuple[KnownGap, ...]:
    """`config/known_gaps.yaml`. Raises ConfigError that names file, line and key."""
    source = path or KNOWN_GAPS_FILE
    node = _read(source)
    if node is None:
        return ()
    if not isinstance(node, yaml.SequenceNode):
        raise _wrong(source, node, "expected a list, each entry `- {market: ..., from: ..., ...}`")
    return tuple(_known_gap(entry, source) for entry in node.value)


def _known_gap(node: yaml.Node, path: Path) -> KnownGap:
    needed = ("market", "types", "symbols", "from", "to", "cause", "source")
    given = dict(_entries(node, path, {*needed, "status", "minutes"}))
    for name in needed:
        if name not in given:
            raise _wrong(path, node, f"an entry needs {name!r}")
    said = {name: _value(given[name], str, name, path) for name in ("market", "cause", "source")}
    start, end = (_moment(given[name], name, path) for name in ("from", "to"))
    if end <= start:
        raise _wrong(path, given["to"], "the time ends before it begins")
    market = Market(_one_of(given["market"], said["market"], list(Market), path))
    datasets = () if given["types"].value == "all" else _texts(given["types"], path)
    for dataset in datasets:
        _one_of(given["types"], dataset, [name for name, kind in DATASETS.items() if market in kind.markets], path)
    symbols = () if given["symbols"].value == "all" else _symbols(given["symbols"], path)
    statuses = (GapStatus.OPEN, GapStatus.HALT, GapStatus.CONFIRMED)
    status = _one_of(given["status"], given["status"].value, statuses, path) if "status" in given else GapStatus.OPEN
    minutes = _value(given["minutes"], int, "minutes", path) if "minutes" in given else None
    if minutes is not None and minutes < 1:
        raise _wrong(path, given["minutes"], "minutes should be 1 or more")
    most_us = None if minutes is None else minutes * MINUTE_US
    span = Span(start, end)
    return KnownGap(market, datasets, symbols, span, said["cause"], said["source"], GapStatus(status), most_us)


def _one_of(node: yaml.Node, word: Any, choices: Sequence[str], path: Path) -> str:
    known = [str(choice) for choice in choices]  # those of an enum, too
    if word not in known:
        raise _wrong(path, node, f"{word!r} is none of {', '.join(known)}{did_you_mean(str(word), known)}")
    return str(word)


def _moment(node: yaml.Node, name: str, path: Path) -> int:
    """A UTC moment in microseconds; of a day its beginning, for `to` its end."""
    try:
        moment = datetime.fromisoformat(node.value).replace(tzinfo=UTC)
    except (TypeError, ValueError):
        raise _wrong(path, node, f"{name} should be a time like 2021-04-25 04:00 or a day like 2021-04-25") from None
    is_whole_day = name == "to" and len(node.value) == len("2021-04-25")
    return int((moment + timedelta(days=is_whole_day)).timestamp()) * 1_000_000


def _read(path: Path) -> yaml.Node | None:
    try:
        with path.open(encoding="utf-8") as stream:
            return yaml.compose(stream, Loader=_LOADER)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f":{where.line + 1}" if where else ""
        raise ConfigError(
            f"{path}{line}: not YAML: {getattr(error, 'problem', None) or str(error).splitlines()[0]}"
        ) from error


def _entries(node: yaml.Node | None, path: Path, known: set[str] | None) -> list[tuple[str, yaml.Node]]:
    """The keys and value nodes of a mapping, each key known and given once."""
    if node is None or (isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"):
        return []
    if not isinstance(node, yaml.MappingNode):
        raise _wrong(path, node, "expected `key: value` lines")
    seen: dict[str, yaml.Node] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        if known is not None and key not in known:
            raise _wrong(path, key_node, f"unknown key {key!r}{did_you_mean(key, known)}")
        if key in seen:
            raise _wrong(path, key_node, f"{key!r} is given twice")
        seen[key] = value_node
    return list(seen.items())


def _overlay(settings: Settings, node: yaml.Node | None, path: Path) -> Settings:
    sections = {f.name for f in fields(settings)}
    for section, section_node in _entries(node, path, sections):
        current = getattr(settings, section)
        hints = get_type_hints(type(current))
        changes = {}
        for key, value_node in _entries(section_node, path, set(hints)):
            changes[key] = _value(value_node, hints[key], f"{section}.{key}", path)
            _check(changes[key], f"{section}.{key}", value_node, path)
        settings = settings.replace(**{section: changes})
    return settings


def _value(node: yaml.Node, wanted: Any, name: str, path: Path) -> Any:
    """The Python value of a node as `wanted`: bool, int, float, str, Path, tuple[str, ...] or an optional of these."""
    options = get_args(wanted) if get_origin(wanted) in (Union, UnionType) else (wanted,)
    if node.tag == "tag:yaml.org,2002:null":
        if type(None) in options:
            return None
        raise _wrong(path, node, f"{name} needs a value")
    plain = next(option for option in options if option is not type(None))
    if get_origin(plain) is tuple:
        return _texts(node, path)
    try:
        value = yaml.SafeLoader("").construct_object(node) if isinstance(node, yaml.ScalarNode) else node
        if plain is float and type(value) is int:
            return float(value)
        if plain is Path and type(value) is str and value:
            return Path(value).expanduser()
    except (yaml.YAMLError, ValueError, OverflowError, RuntimeError):  # an unknown tag, a day that is none, ~nobody
        value = node
    if type(value) is not plain:
        raise _wrong(path, node, f"{name} should be {_WORDS[plain]}")
    return value


_WORDS: Final = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a folder",
}


def _texts(node: yaml.Node, path: Path) -> tuple[str, ...]:
    if not isinstance(node, yaml.SequenceNode):
        raise _wrong(path, node, "expected a list like [a, b]")
    for item in node.value:
        if not isinstance(item, yaml.ScalarNode):
            raise _wrong(path, item, "expected a text")
    return tuple(str(item.value) for item in node.value)


def _symbols(node: yaml.Node, path: Path) -> tuple[str, ...]:
    symbols = _texts(node, path)
    for symbol, item in zip(symbols, node.value, strict=True):
        if not SYMBOL.fullmatch(symbol):
            raise _wrong(path, item, f"{symbol!r} is not a symbol")
    return symbols


_POSITIVE: Final = {
    "download.workers",
    "download.listing_workers",
    "download.ranges",
    "download.range_bytes",
    "download.limit_rate_bytes",
    "download.timeout_seconds",
    "download.max_attempts",
    "storage.row_group_rows",
    "quality.max_csv_bytes",
    "quality.max_compression_ratio",
    "quality.premium_tolerance",
    "loader.threads",
    "notify.timeout_seconds",
}
_CHOICES: Final = {
    "storage.extracted_format": ("csv", "csv.gz", "arrow", "parquet"),
    "storage.parser": ("auto", "compiled", "arrow"),
}
_WORDS_OF: Final = {"storage.csv_datasets": tuple(DATASETS), "quality.accept": tuple(map(str, ACCEPTABLE))}
"""What the items of a list may be."""
_URLS: Final = {"notify.webhook"}
_ABOVE_ONE: Final = {"quality.max_price_jump"}
_NOT_NEGATIVE: Final = {"download.backoff_seconds", "download.backoff_cap_seconds", "quality.period_slack_hours"}


def _check(value: Any, name: str, node: yaml.Node, path: Path) -> None:
    """Values that have the right type but make no sense; written so that `.nan` is refused too."""
    if name in _POSITIVE and value is not None and not value > 0:
        raise _wrong(path, node, f"{name} should be above 0")
    if name in _ABOVE_ONE and not value > 1:
        raise _wrong(path, node, f"{name} should be above 1, for it is a ratio")
    if name in _NOT_NEGATIVE and not value >= 0:
        raise _wrong(path, node, f"{name} should not be below 0")
    if name in _URLS and value is not None and not value.startswith(("http://", "https://")):
        raise _wrong(path, node, f"{name} should be a URL that starts with http:// or https://")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise _wrong(path, node, f"{name}: {value!r} is none of {', '.join(_CHOICES[name])}")
    for word in value if name in _WORDS_OF else ():
        if word not in _WORDS_OF[name]:
            what = "data type" if name == "storage.csv_datasets" else "fault"
            raise _wrong(path, node, f"{name}: unknown {what} {word!r}{did_you_mean(word, _WORDS_OF[name])}")


def _wrong(path: Path, node: yaml.Node, problem: str) -> ConfigError:
    return ConfigError(f"{path}:{node.start_mark.line + 1}: {problem}")
