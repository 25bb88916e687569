"""Settings: defaults once, overlaid by YAML, every mistake answered with file, line and the near name."""

from pathlib import Path

import pytest

from core.errors import ConfigError
from core.settings import CHECKOUT, DownloadSettings, Settings, load_settings, load_symbols
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
        ("storage:\n  csv_datasets: [kline]\n", "unknown data type 'kline'; did you mean 'klines'?"),
        ("download:\n  workers: 0\n", "download.workers should be above 0"),
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


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*nowhere"):
        load_settings(tmp_path / "nowhere.yaml")
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


def test_the_shipped_symbols_are_the_35_that_matter() -> None:
    symbols = load_symbols()
    assert len(symbols.priority[Market.UM]) == len(set(symbols.priority[Market.UM])) == 35
    assert symbols.priority[Market.UM][:2] == ("BTCUSDT", "ETHUSDT")
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
    ],
)
def test_a_mistake_among_the_symbols_is_named_too(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_symbols(written(tmp_path, text))
    assert said in str(caught.value)
