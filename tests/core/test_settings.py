"""Settings: defaults once, overlaid by YAML, every mistake answered with file, line and the near name."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from core.errors import ConfigError
from core.settings import CHECKOUT, SETTINGS_FILE, DownloadSettings, Settings, load_settings, load_symbols
from core.types import Market


@pytest.fixture(autouse=True)
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TAPEVAULT_HOME", raising=False)


def written(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_changes_only_what_it_names(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, "download:\n  workers: 3\n  timeout_seconds: 5\nstorage:\n"))
    assert settings == Settings(download=DownloadSettings(workers=3, timeout_seconds=5.0))
    assert load_settings(written(tmp_path, "")) == Settings()


def test_every_type_of_value_is_read(tmp_path: Path) -> None:
    text = (
        "paths: {data: /mnt/vault}\ndownload: {limit_rate_bytes: 5, source: http://x, rest: null}\n"
        "storage: {csv_datasets: [klines, trades]}\nloader: {cache_parquet_metadata: false, threads: null}\n"
    )
    settings = load_settings(written(tmp_path, text))
    assert settings.data_root == Path("/mnt/vault")
    assert (settings.download.limit_rate_bytes, settings.download.source) == (5, "http://x")
    assert settings.storage.csv_datasets == ("klines", "trades")
    assert (settings.loader.cache_parquet_metadata, settings.loader.threads) == (False, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("downlaod:\n  workers: 3\n", ":1: unknown key 'downlaod'; did you mean 'download'?"),
        ("download:\n  workers: 3\n  wrokers: 4\n", ":3: unknown key 'wrokers'; did you mean 'workers'?"),
        ("download:\n  workers: 3\n  workers: 4\n", ":3: 'workers' is given twice"),
        ("download:\n  workers: many\n", ":2: download.workers should be a whole number"),
        ("download:\n  workers: 1.5\n", ":2: download.workers should be a whole number"),
        ("download:\n  workers: true\n", ":2: download.workers should be a whole number"),
        ("download:\n  workers: null\n", ":2: download.workers needs a value"),
        ("download:\n  workers: [1]\n", ":2: download.workers should be a whole number"),
        ("download:\n  timeout_seconds: soon\n", ":2: download.timeout_seconds should be a number"),
        ("download:\n  source: 5\n", ":2: download.source should be a text"),
        ("loader:\n  cache_parquet_metadata: 1\n", ":2: loader.cache_parquet_metadata should be true or false"),
        ("paths:\n  data: 5\n", ":2: paths.data should be a folder"),
        ("storage:\n  csv_datasets: klines\n", ":2: expected a list like [a, b]"),
        ("storage:\n  csv_datasets: [[klines]]\n", ":2: expected a text"),
        (
            "storage:\n  csv_datasets: [kline]\n",
            ":2: storage.csv_datasets: unknown data type 'kline'; did you mean 'klines'",
        ),
        (
            "quality:\n  accept: [unverified, missing]\n",
            ":2: quality.accept: unknown fault 'missing'",
        ),
        ("storage:\n  csv_datasets: [~]\n", ":2: storage.csv_datasets: unknown data type '~'"),
        ("storage:\n  csv_datasets: null\n", ":2: storage.csv_datasets needs a value"),
        ("storage:\n  csv_datasets: {klines: 1}\n", ":2: expected a list like [a, b]"),
        ("\n\ndownload:\n  workers: 0\n", ":4: download.workers should be above 0"),
        ("download:\n  workers: -3\n", ":2: download.workers should be above 0"),
        ("download:\n  listing_workers: 0\n", ":2: download.listing_workers should be above 0"),
        ("download:\n  limit_rate_bytes: 0\n", ":2: download.limit_rate_bytes should be above 0"),
        ("download:\n  timeout_seconds: 0\n", ":2: download.timeout_seconds should be above 0"),
        ("download:\n  timeout_seconds: .nan\n", ":2: download.timeout_seconds should be above 0"),
        ("download:\n  max_attempts: 0\n", ":2: download.max_attempts should be above 0"),
        ("download:\n  backoff_seconds: -0.5\n", ":2: download.backoff_seconds should not be below 0"),
        ("download:\n  backoff_cap_seconds: .nan\n", ":2: download.backoff_cap_seconds should not be below 0"),
        ("storage:\n  row_group_rows: 0\n", ":2: storage.row_group_rows should be above 0"),
        ("quality:\n  max_csv_bytes: 0\n", ":2: quality.max_csv_bytes should be above 0"),
        ("quality:\n  max_compression_ratio: 0\n", ":2: quality.max_compression_ratio should be above 0"),
        ("quality:\n  period_slack_hours: -1\n", ":2: quality.period_slack_hours should not be below 0"),
        ("loader:\n  threads: 0\n", ":2: loader.threads should be above 0"),
        ("loader:\n  threads: many\n", ":2: loader.threads should be a whole number"),
        ("loader:\n  cache_parquet_metadata: null\n", ":2: loader.cache_parquet_metadata needs a value"),
        ("loader:\n  cache_parquet_metadata: 'true'\n", ":2: loader.cache_parquet_metadata should be true or false"),
        ("paths:\n  data: null\n", ":2: paths.data needs a value"),
        ("paths:\n  data:\n", ":2: paths.data needs a value"),
        ("paths:\n  data: ''\n", ":2: paths.data should be a folder"),
        ("paths:\n  data: ~nobody-of-that-name/vault\n", ":2: paths.data should be a folder"),
        ("paths:\n  date: data\n", ":2: unknown key 'date'; did you mean 'data'?"),
        ("download:\n  source: null\n", ":2: download.source needs a value"),
        ("download:\n  source: 2024-99-99\n", ":2: download.source should be a text"),
        ("download:\n  source: 2024-01-31\n", ":2: download.source should be a text"),
        ("download:\n  workers: !!int many\n", ":2: download.workers should be a whole number"),
        ("download:\n  workers: !!python/object:os.system 3\n", ":2: download.workers should be a whole number"),
        ("download:\n  zzz: 4\n", ":2: unknown key 'zzz'"),
        ("download: {}\ndownload: {}\n", ":2: 'download' is given twice"),
        ("download: {}\n---\nloader: {}\n", ":2: not YAML: but found another document"),
        ("download: {source: \x07}\n", ": not YAML: unacceptable character #x0007"),
        ("download: *nowhere\n", ":1: not YAML: found undefined alias"),
        ("<<: {download: {}}\n", ":1: unknown key '<<'"),
        ("download: 5\n", ":1: expected `key: value` lines"),
        ("- a\n- b\n", ":1: expected `key: value` lines"),
        ("download:\n  workers: [\n", ":3: not YAML"),
        ("\tdownload: 5\n", ":1: not YAML"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_and_comments_do_not_matter(tmp_path: Path) -> None:
    path = written(tmp_path, "\ufeff# mine\ndownload: {workers: 3}  # few\n")
    assert load_settings(path).download.workers == 3


def test_a_home_folder_is_written_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_settings(written(tmp_path, "paths: {data: ~/vault}\n")).data_root == tmp_path / "vault"


def test_nothing_is_changed_by_replacing_in_a_copy() -> None:
    settings = Settings()
    changed = settings.replace(download={"workers": 1}, loader={"threads": 2})
    assert (changed.download.workers, changed.loader.threads) == (1, 2)
    assert settings == Settings()
    assert changed.replace(download={"workers": settings.download.workers}, loader={"threads": None}) == settings


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*nowhere"):
        load_settings(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match=r"cannot read .*: Is a directory"):
        load_settings(tmp_path)
    (tmp_path / "settings.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match="not YAML"):
        load_settings(tmp_path / "settings.yaml")


def test_the_data_root_comes_from_the_environment_then_the_file_then_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "paths: {data: somewhere}\n")
    assert Settings().data_root == CHECKOUT / "data"
    assert load_settings(path).data_root == CHECKOUT / "somewhere"
    monkeypatch.setenv("TAPEVAULT_HOME", str(tmp_path / "home"))
    assert load_settings(path).data_root == tmp_path / "home"
    assert load_settings(path).download == Settings().download
    monkeypatch.setenv("TAPEVAULT_HOME", "relative")
    assert load_settings(path).data_root == CHECKOUT / "relative"
    monkeypatch.setenv("TAPEVAULT_HOME", "~/vault")
    assert load_settings(path).data_root == Path.home() / "vault"
    monkeypatch.setenv("TAPEVAULT_HOME", "")
    assert load_settings(path).data_root == CHECKOUT / "somewhere"


def test_the_shipped_file_spells_out_every_default() -> None:
    """Read by plain YAML: each section and key of the dataclasses is there, with the default as its value."""
    shipped = yaml.safe_load(SETTINGS_FILE.read_text(encoding="utf-8"))
    defaults = json.loads(json.dumps(asdict(Settings()), default=str))
    assert shipped == defaults


def test_without_a_file_in_the_checkout_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.settings.SETTINGS_FILE", tmp_path / "none.yaml")
    assert load_settings() == Settings()
    monkeypatch.setattr("core.settings.SETTINGS_FILE", written(tmp_path, "download: {workers: 2}\n"))
    assert load_settings().download.workers == 2


def test_the_shipped_symbols_are_the_35_that_matter() -> None:
    symbols = load_symbols()
    assert len(symbols.priority[Market.UM]) == len(set(symbols.priority[Market.UM])) == 35
    assert symbols.priority[Market.UM][:2] == ("BTCUSDT", "ETHUSDT")
    assert all(symbol.endswith("USDT") for symbol in symbols.priority[Market.UM] + symbols.priority[Market.SPOT])
    assert len(symbols.priority[Market.SPOT]) == 35
    assert {"1000SHIBUSDT", "1000PEPEUSDT"} <= set(symbols.priority[Market.UM])
    assert {"SHIBUSDT", "PEPEUSDT"} <= set(symbols.priority[Market.SPOT])
    assert (symbols.quotes, symbols.exclude) == ((), ())
    assert all(symbol.endswith("_PERP") for symbol in symbols.priority[Market.CM])
    listed = {symbol for category in symbols.categories.values() for symbol in category}
    assert listed == set(symbols.priority[Market.UM])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("priority:\n  umm: [BTCUSDT]\n", ":2: unknown key 'umm'; did you mean 'um'?"),
        ("priority:\n  um: [BTCUSDT, ../x]\n", ":2: '../x' is not a symbol"),
        ("categories:\n  memes: DOGEUSDT\n", ":2: expected a list"),
        ("filters:\n  quote: [USDT]\n", ":2: unknown key 'quote'; did you mean 'quotes'?"),
        ("prioritys: {}\n", ":1: unknown key 'prioritys'; did you mean 'priority'?"),
        ("priority:\n  um:\n    - BTCUSDT\n    - BTC/USDT\n", ":4: 'BTC/USDT' is not a symbol"),
        ("priority:\n  um: ['']\n", ":2: '' is not a symbol"),
        ("priority:\n  um:\n", ":2: expected a list like [a, b]"),
        ("priority:\n  um: [[BTCUSDT]]\n", ":2: expected a text"),
        ("priority:\n  um: []\n  um: []\n", ":3: 'um' is given twice"),
        ("priority: [BTCUSDT]\n", ":1: expected `key: value` lines"),
        ("categories:\n  memes: [DOGE-USDT]\n", ":2: 'DOGE-USDT' is not a symbol"),
        ("filters:\n  exclude: SETTLED\n", ":2: expected a list like [a, b]"),
        ("priority: [\n", ":2: not YAML"),
    ],
)
def test_a_mistake_among_the_symbols_is_named_too(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_symbols(written(tmp_path, text))
    assert str(caught.value).startswith(str(tmp_path / "settings.yaml"))
    assert said in str(caught.value)


def test_symbols_are_read_as_they_are_written(tmp_path: Path) -> None:
    """YAML would make numbers and truth values of some of these."""
    text = (
        "priority:\n  spot: [1000, NO, 1E5, 0x10, 币安人生USDT]\nfilters: {quotes: [USDT], exclude: ['*_SETTLED*']}\n"
    )
    symbols = load_symbols(written(tmp_path, text))
    assert symbols.priority == {Market.SPOT: ("1000", "NO", "1E5", "0x10", "币安人生USDT")}
    assert (symbols.quotes, symbols.exclude, symbols.categories) == (("USDT",), ("*_SETTLED*",), {})
    assert load_symbols(written(tmp_path, "")).priority == {}
