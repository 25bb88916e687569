"""From what a user asks for to archives, and what is remembered of the listing."""

import asyncio
import json
from datetime import date
from pathlib import Path

import pytest

from core.datasets import DATASETS, Dataset
from core.errors import ConfigError, NoData, StorageError
from core.jobs.request import Request, find_files, with_all, with_priority
from core.jobs.symbols_info import record_symbols
from core.settings import SymbolSettings
from core.types import ArchiveFile, Download, FetchedFile, Market, Period, Series, Span

SPAN = Span.of_days(date(2024, 1, 1), date(2024, 12, 31))
KLINES, INDEX = DATASETS["klines"], DATASETS["index_price"]


def listed(series: Series, label: str) -> ArchiveFile:
    return ArchiveFile(series, Period.parse(label), f"{series}/{label}", 1, "e", None, "")


class Shelf:
    """An archive whose listing is a dict; it satisfies the protocol and downloads nothing."""

    def __init__(self, files: list[ArchiveFile]) -> None:
        self.files = files

    async def list_symbols(self, market: Market, dataset: Dataset, interval: str | None) -> tuple[str, ...]:
        mine = {f.series.symbol for f in self.files if (f.series.market, f.series.dataset) == (market, dataset.name)}
        return tuple(sorted(mine))

    async def list_files(self, series: Series, span: Span) -> tuple[ArchiveFile, ...]:
        return tuple(f for f in self.files if f.series == series and f.period.span.overlaps(span))

    async def download(self, download: Download) -> FetchedFile:
        raise AssertionError("nothing is downloaded here")


def um(symbol: str, label: str = "2024-01") -> ArchiveFile:
    return listed(Series(Market.UM, "klines", symbol, "1h"), label)


SHELF = Shelf([um("BTCUSDT"), um("BTCUSDT", "2024-02"), um("ETHBTC"), um("LUNAUSDT"), um("OLDUSDT", "2020-01")])


def request(*symbols: str, market: Market = Market.UM, datasets: tuple[Dataset, ...] = (KLINES,)) -> Request:
    return Request(market, datasets, "1h", SPAN, symbols or None)


def found(wanted: Request, shelf: Shelf = SHELF) -> list[str]:
    return [f"{f.series.symbol} {f.period.label}" for f in asyncio.run(find_files(wanted, shelf))]


def test_named_symbols_and_all_symbols() -> None:
    assert found(request("BTCUSDT")) == ["BTCUSDT 2024-01", "BTCUSDT 2024-02"]
    assert found(request()) == ["BTCUSDT 2024-01", "BTCUSDT 2024-02", "ETHBTC 2024-01", "LUNAUSDT 2024-01"]


def test_an_unknown_symbol_is_answered_with_the_near_one() -> None:
    with pytest.raises(ConfigError, match="um has no symbol 'BTCUSD'; did you mean 'BTCUSDT'"):
        found(request("BTCUSDT", "BTCUSD"))
    with pytest.raises(ConfigError, match="symbols are written as the exchange writes them"):
        found(request("&&&&&"))


def test_a_known_symbol_with_nothing_in_the_span_is_no_mistake() -> None:
    assert found(request("BTCUSDT", "OLDUSDT")) == ["BTCUSDT 2024-01", "BTCUSDT 2024-02"]
    with pytest.raises(NoData, match=r"nothing is published for OLDUSDT \(um klines, 1h\) in that time"):
        found(request("OLDUSDT"))


def test_a_contract_s_index_is_that_of_its_pair_and_comes_once() -> None:
    shelf = Shelf([listed(Series(Market.CM, "index_price", "BTCUSD", "1h"), "2024-01")])
    wanted = request("BTCUSD_PERP", "BTCUSD_250627", market=Market.CM, datasets=(INDEX,))
    assert found(wanted, shelf) == ["BTCUSD 2024-01"]
    assert wanted.wants(shelf.files[0])
    assert not wanted.wants(um("BTCUSDT"))


def test_priority_symbols_are_those_that_the_source_has() -> None:
    settings = SymbolSettings({Market.UM: ("ETHBTC", "NOSUCH", "BTCUSDT")}, {})
    chosen, absent = asyncio.run(with_priority(request(), SHELF, settings))
    assert (chosen.symbols, absent) == (("ETHBTC", "BTCUSDT"), ("NOSUCH",))


def test_filters_concern_requests_that_name_no_symbols() -> None:
    settings = SymbolSettings({}, {}, quotes=("USDT",), exclude=("LUNA*",))
    assert asyncio.run(with_all(request(), SHELF, settings)).symbols == ("BTCUSDT", "OLDUSDT")


def recorded(path: Path) -> dict[str, object]:
    symbols: dict[str, object] = json.loads(path.read_text())["symbols"]["um"]
    return symbols


def test_what_the_listing_showed_is_remembered_and_widened(tmp_path: Path) -> None:
    path = tmp_path / "metadata" / "symbols_info.json"
    record_symbols(path, [um("BTCUSDT"), um("BTCUSDT", "2024-03-02"), um("LUNAUSDT", "2024-02-01")], "http://x")
    assert recorded(path) == {
        "BTCUSDT": {
            "status": "trading",
            "data_types": {"klines/1h": {"first": "2024-01-01", "last": "2024-03-02"}},
        },
        "LUNAUSDT": {"status": "ended", "data_types": {"klines/1h": {"first": "2024-02-01", "last": "2024-02-01"}}},
    }
    funding = listed(Series(Market.UM, "funding_rate", "BTCUSDT"), "2023-12")
    record_symbols(path, [um("BTCUSDT", "2023-05"), funding], "http://x")
    assert recorded(path)["BTCUSDT"] == {
        "status": "trading",
        "data_types": {
            "klines/1h": {"first": "2023-05-01", "last": "2024-03-02"},
            "funding_rate": {"first": "2023-12-01", "last": "2023-12-31"},
        },
    }
    record_symbols(path, [um("ETHBTC")], "http://other")
    assert list(recorded(path)) == ["ETHBTC"]


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "symbols_info.json"
    path.write_text("{")
    with pytest.raises(StorageError, match=r"symbols_info\.json is not JSON .* delete it"):
        record_symbols(path, [um("BTCUSDT")], "http://x")
