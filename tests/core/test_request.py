"""From what a user asks for to archives."""

import asyncio
from datetime import date

import pytest

from core.datasets import DATASETS, Dataset
from core.errors import ConfigError, NoData, RemoteError
from core.jobs.request import Request, find_files, listed_symbols, with_all, with_priority
from core.settings import SymbolSettings
from core.types import ArchiveFile, Download, FetchedFile, Market, Period, Series, Span

SPAN = Span.of_days(date(2024, 1, 1), date(2024, 12, 31))
KLINES, INDEX, FUNDING = DATASETS["klines"], DATASETS["index_price"], DATASETS["funding_rate"]


def listed(series: Series, label: str) -> ArchiveFile:
    return ArchiveFile(series, Period.parse(label), f"{series}/{label}", 1, "e", None, "")


class Shelf:
    """An archive whose listing is a dict; it satisfies the protocol and downloads nothing."""

    def __init__(self, files: list[ArchiveFile]) -> None:
        self.files = files
        self.asked: list[str] = []

    async def list_symbols(self, market: Market, dataset: Dataset, interval: str | None) -> tuple[str, ...]:
        mine = {f.series.symbol for f in self.files if (f.series.market, f.series.dataset) == (market, dataset.name)}
        return tuple(sorted(mine))

    async def list_files(self, series: Series, span: Span) -> tuple[ArchiveFile, ...]:
        self.asked.append(str(series))
        return tuple(f for f in self.files if f.series == series and f.period.span.overlaps(span))

    async def list_all(self, series: Series) -> tuple[ArchiveFile, ...]:
        return tuple(f for f in self.files if f.series == series)

    async def adopt(self, download: Download) -> FetchedFile | None:
        raise AssertionError("nothing is on disk here")

    async def download(self, download: Download) -> FetchedFile:
        raise AssertionError("nothing is downloaded here")


def um(symbol: str, label: str = "2024-01") -> ArchiveFile:
    return listed(Series(Market.UM, "klines", symbol, "1h"), label)


SHELF = Shelf([um("BTCUSDT"), um("BTCUSDT", "2024-02"), um("ETHBTC"), um("LUNAUSDT"), um("OLDUSDT", "2020-01")])


def request(*symbols: str, market: Market = Market.UM, datasets: tuple[Dataset, ...] = (KLINES,)) -> Request:
    return Request(market, datasets, "1h", SPAN, symbols or None)


def files_of(wanted: Request, shelf: Shelf) -> list[ArchiveFile]:
    async def gathered() -> list[ArchiveFile]:
        return [file async for files in find_files(wanted, shelf) for file in files]

    return asyncio.run(gathered())


def found(wanted: Request, shelf: Shelf = SHELF) -> list[str]:
    return [f"{f.series.symbol} {f.period.label}" for f in files_of(wanted, shelf)]


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


def test_files_come_in_order_of_series_and_period_each_once() -> None:
    funding = Series(Market.UM, "funding_rate", "BTCUSDT")
    shelf = Shelf([um("ETHUSDT"), um("BTCUSDT"), um("BTCUSDT", "2024-02"), listed(funding, "2024-01")])
    wanted = request("ETHUSDT", "BTCUSDT", "ETHUSDT", datasets=(KLINES, FUNDING))
    files = files_of(wanted, shelf)
    assert [f"{file.series} {file.period.label}" for file in files] == [
        "um/funding_rate/BTCUSDT 2024-01",
        "um/klines/BTCUSDT/1h 2024-01",
        "um/klines/BTCUSDT/1h 2024-02",
        "um/klines/ETHUSDT/1h 2024-01",
    ]
    assert sorted(shelf.asked) == [
        "um/funding_rate/BTCUSDT",
        "um/funding_rate/ETHUSDT",
        "um/klines/BTCUSDT/1h",
        "um/klines/ETHUSDT/1h",
    ]


def test_symbols_that_are_there_are_not_looked_up_in_the_list_of_all() -> None:
    class Listless(Shelf):
        async def list_symbols(self, market: Market, dataset: Dataset, interval: str | None) -> tuple[str, ...]:
            raise AssertionError("a long listing for nothing")

    assert found(request("BTCUSDT"), Listless(SHELF.files)) == ["BTCUSDT 2024-01", "BTCUSDT 2024-02"]


@pytest.mark.parametrize("symbol", ["BTC/USDT", "BTC-USDT", "../BTCUSDT", "BTCUSDT\udcff", "", "B" * 41, "BTC USDT"])
def test_what_can_be_no_symbol_is_never_asked_for(symbol: str) -> None:
    shelf = Shelf(SHELF.files)
    with pytest.raises(ConfigError, match="um has no symbol") as caught:
        found(request("BTCUSDT", symbol), shelf)
    assert repr(symbol) in str(caught.value)
    assert shelf.asked == ["um/klines/BTCUSDT/1h"]


def test_a_symbol_in_small_letters_is_not_guessed_but_suggested() -> None:
    with pytest.raises(ConfigError) as caught:
        found(request("btcusdt"))
    assert str(caught.value) == "um has no symbol 'btcusdt'; did you mean 'BTCUSDT'?"


def test_a_symbol_that_one_of_the_kinds_has_is_known() -> None:
    shelf = Shelf([listed(Series(Market.UM, "funding_rate", "OLDUSDT"), "2020-01"), um("BTCUSDT")])
    assert found(request("BTCUSDT", "OLDUSDT", datasets=(KLINES, FUNDING)), shelf) == ["BTCUSDT 2024-01"]


def test_nothing_published_is_said_with_the_request() -> None:
    with pytest.raises(NoData) as caught:
        found(request(), Shelf([]))
    assert str(caught.value) == "nothing is published for any symbol (um klines, 1h) in that time"
    symbols = [f"S{n}USDT" for n in range(7)]
    with pytest.raises(NoData) as caught:
        found(request(*symbols, datasets=(KLINES,)), Shelf([um(symbol, "2020-01") for symbol in symbols]))
    assert str(caught.value) == (
        "nothing is published for S0USDT, S1USDT, S2USDT, S3USDT, S4USDT (um klines, 1h) in that time"
    )
    assert caught.value.exit_code == 3


def test_a_source_that_fails_is_not_nothing() -> None:
    class Broken(Shelf):
        async def list_files(self, series: Series, span: Span) -> tuple[ArchiveFile, ...]:
            raise RemoteError("no listing")

    with pytest.raises(RemoteError, match="no listing"):
        found(request("BTCUSDT"), Broken([]))


def test_all_symbols_of_any_of_the_kinds_delisted_ones_too() -> None:
    shelf = Shelf([um("LUNAUSDT", "2022-05"), listed(Series(Market.UM, "funding_rate", "币安人生USDT"), "2025-11")])
    assert asyncio.run(listed_symbols(request(datasets=(KLINES, FUNDING)), shelf)) == ("LUNAUSDT", "币安人生USDT")
    assert asyncio.run(listed_symbols(request(), shelf)) == ("LUNAUSDT",)


def test_a_priority_contract_is_there_if_its_pair_s_index_is() -> None:
    shelf = Shelf([listed(Series(Market.CM, "index_price", "BTCUSD", "1h"), "2024-01")])
    settings = SymbolSettings({Market.CM: ("BTCUSD_PERP", "ETHUSD_PERP")}, {})
    wanted = request(market=Market.CM, datasets=(INDEX,))
    chosen, absent = asyncio.run(with_priority(wanted, shelf, settings))
    assert (chosen.symbols, absent) == (("BTCUSD_PERP",), ("ETHUSD_PERP",))
    assert found(chosen, shelf) == ["BTCUSD 2024-01"]


def test_a_market_without_priorities_has_none_and_that_is_no_data() -> None:
    chosen, absent = asyncio.run(with_priority(request(), SHELF, SymbolSettings({}, {})))
    assert (chosen.symbols, absent) == ((), ())
    with pytest.raises(NoData):
        found(chosen)


@pytest.mark.parametrize(
    ("quotes", "exclude", "expected"),
    [
        (
            (),
            (),
            ["BNXUSDTSETTLED", "BTCUSDC", "BTCUSDT", "BTCUSDT_240329", "ETHBTC", "ICPUSDT_SETTLED", "币安人生USDT"],
        ),
        (("USDT",), (), ["BTCUSDT", "BTCUSDT_240329", "ICPUSDT_SETTLED", "币安人生USDT"]),
        (("USDC", "BTC"), (), ["BTCUSDC", "ETHBTC"]),
        ((), ("*SETTLED", "*_2?????"), ["BTCUSDC", "BTCUSDT", "ETHBTC", "币安人生USDT"]),
        (("USDT",), ("*_*", "BTC*"), ["币安人生USDT"]),
        (
            (),
            ("btc*",),
            ["BNXUSDTSETTLED", "BTCUSDC", "BTCUSDT", "BTCUSDT_240329", "ETHBTC", "ICPUSDT_SETTLED", "币安人生USDT"],
        ),
        (("EUR",), (), []),
    ],
)
def test_quotes_keep_and_patterns_drop(quotes: tuple[str, ...], exclude: tuple[str, ...], expected: list[str]) -> None:
    names = ["BTCUSDT", "BTCUSDC", "ETHBTC", "BTCUSDT_240329", "ICPUSDT_SETTLED", "BNXUSDTSETTLED", "币安人生USDT"]
    settings = SymbolSettings({}, {}, quotes=quotes, exclude=exclude)
    chosen = asyncio.run(with_all(request(), Shelf([um(name) for name in names]), settings))
    assert list(chosen.symbols or ()) == expected


@pytest.mark.parametrize(
    ("file", "is_wanted"),
    [
        (um("BTCUSDT"), True),
        (um("BTCUSDT", "2024-12-31"), True),
        (um("BTCUSDT", "2023-12-31"), False),
        (um("BTCUSDT", "2025-01"), False),
        (um("ETHUSDT"), False),
        (listed(Series(Market.UM, "klines", "BTCUSDT", "1m"), "2024-01"), False),
        (listed(Series(Market.UM, "funding_rate", "BTCUSDT"), "2024-01"), True),
        (listed(Series(Market.UM, "mark_price", "BTCUSDT", "1h"), "2024-01"), False),
        (listed(Series(Market.SPOT, "klines", "BTCUSDT", "1h"), "2024-01"), False),
    ],
)
def test_a_request_knows_which_known_files_are_its_own(file: ArchiveFile, is_wanted: bool) -> None:
    assert request("BTCUSDT", datasets=(KLINES, FUNDING)).wants(file) is is_wanted
    if is_wanted:
        assert request(datasets=(KLINES, FUNDING)).wants(file)
