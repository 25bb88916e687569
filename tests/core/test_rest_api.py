"""Rows from the API equal the market's truth, whatever the span and the weather; limits are never exceeded."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import date
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rest_world import HALT, MARKET, NOW, FakeClock, World, every_series, span

from core.dates import DAY_US, HOUR_US, MINUTE_US
from core.errors import ConnectionLost, NotPublished, RemoteError, SourceDown, Throttled
from core.events import FileRetrying
from core.exchanges.api import Api, ApiRows
from core.exchanges.binance.answers import funding_hours
from core.exchanges.binance.endpoints import WEIGHT, Limit
from core.exchanges.binance.rest import RestApi
from core.exchanges.binance.weights import SHARE, Budget, Clock, Turn
from core.sample.faults import Rule, cut, first_of, garbage, on, reset, status, truncated
from core.sample.http import Reply, Request
from core.sample.instruments import Instrument
from core.settings import DownloadSettings
from core.storage.digest import content_sha256
from core.types import Market, Series, Span

UM, CM, SPOT = Market.UM, Market.CM, Market.SPOT
BTC_1H = Series(UM, "klines", "BTCUSDT", "1h")
BTC_1M = Series(UM, "klines", "BTCUSDT", "1m")
FUNDING = Series(UM, "funding_rate", "BTCUSDT")
BORDER = span("2024-12-30 21:17", "2025-01-02 03:05")
RECENT = Span(NOW - 30 * HOUR_US, NOW - 2 * HOUR_US)


def reachable(series: Series, wanted: Span) -> Span:
    """Of trades of futures only the last hours are served."""
    return RECENT if series.dataset == "agg_trades" and series.market is not SPOT else wanted


def same(found: ApiRows, truth: pa.Table) -> bool:
    """Equal in schema, order and every bit."""
    assert found.table.schema == truth.schema
    assert found.sha256 == content_sha256(truth)
    return bool(found.table.equals(truth))


def over_by(now_us: int, truth: pa.Table) -> pa.Table:
    """Without candles that end later: of a delisted symbol too, whose last one the archive has at once."""
    if "close_time" not in truth.schema.names:
        return truth
    return truth.filter(pc.less(truth["close_time"].cast(pa.int64()), now_us))


@pytest.mark.parametrize("interval", ["1h", "15m", "3d", "1w", "1mo"])
def test_every_market_and_kind_equals_the_truth(interval: str) -> None:
    """Across the border of milliseconds and microseconds; the candles of the last week and month are not over."""
    world = World()
    wanted = every_series(MARKET, interval)
    history = span("2024-11-30", "2025-01-26")  # the first week and month open before the market does
    spans = [reachable(each, history if interval != "15m" else BORDER) for each in wanted]

    async def ask(api: RestApi) -> list[ApiRows]:
        return [await api.rows(each, within) for each, within in zip(wanted, spans, strict=True)]

    for series, within, found in zip(wanted, spans, world.ask(ask), strict=True):
        truth = over_by(NOW, MARKET.truth(series, within))
        assert same(found, truth), series
        life = MARKET.life(series)
        assert (found.table.num_rows > 0) == (life is not None and life.overlaps(within)), series
        if series.dataset == "premium_index":
            assert pc.min(found.table["low"]).as_py() < 0
    assert {series.market for series in wanted} == set(Market)
    assert set(world.api.statuses) == {200}


def test_seconds_and_trades_of_spot_keep_their_units() -> None:
    new_year = replace(MARKET, first=date(2024, 12, 31), last=date(2025, 1, 1))
    trades, seconds = Series(SPOT, "agg_trades", "ETHUSDT"), Series(SPOT, "klines", "ETHUSDT", "1s")
    border = span("2024-12-31 23:40", "2025-01-01 00:20")

    async def ask(api: RestApi) -> tuple[ApiRows, ApiRows]:
        return await api.rows(trades, new_year.span), await api.rows(seconds, border)

    found, candles = World(new_year, clock=FakeClock(new_year.span.end_us)).ask(ask)
    assert same(found, new_year.truth(trades, new_year.span))
    assert same(candles, new_year.truth(seconds, border))
    closes = candles.table["close_time"].cast(pa.int64()).to_pylist()
    assert {close % 1_000_000 for close in closes[:1200]} == {999_000}
    assert {close % 1_000_000 for close in closes[1200:]} == {999_999}


def test_a_halt_is_empty_in_spot_and_an_answer() -> None:
    minutes = Series(SPOT, "klines", "ETHUSDT", "1m")
    found = World().rows(minutes, HALT)
    assert found.table.num_rows == 0
    assert found.table.schema == MARKET.truth(minutes, HALT).schema
    around = Span(HALT.start_us - HOUR_US, HALT.end_us + HOUR_US)
    assert same(World().rows(minutes, around), MARKET.truth(minutes, around))
    trades = Series(SPOT, "agg_trades", "ETHUSDT")
    assert same(World().rows(trades, around), MARKET.truth(trades, around))
    assert World().rows(trades, HALT).table.num_rows == 0


@pytest.mark.parametrize(("minutes", "pages"), [(0, 0), (1, 1), (999, 1), (1000, 2), (1001, 2), (2000, 3)])
@pytest.mark.parametrize("series", [BTC_1M, Series(UM, "premium_index", "BTCUSDT", "1m")], ids=str)
def test_pages_end_where_the_span_ends(series: Series, minutes: int, pages: int) -> None:
    """A page of exactly its limit is followed by one that is empty: it might have been cut off."""
    start = span("2024-12-15", "2024-12-16").start_us
    wanted = Span(start, start + minutes * MINUTE_US)
    world = World()
    found = world.rows(series, wanted)
    assert same(found, MARKET.truth(series, wanted))
    assert found.table.num_rows == minutes
    assert world.asked("klines") + world.asked("premiumIndexKlines") == pages
    assert found.requests == pages + 1 == len(world.server.requests)  # and exchangeInfo


@pytest.mark.parametrize("minutes", [1, 999, 1000, 1001, 2001])
def test_pages_of_cm_hold_the_newest_rows_and_miss_none(minutes: int) -> None:
    series = Series(CM, "klines", "ETHUSD_PERP", "1m")
    start = span("2024-12-15", "2024-12-16").start_us
    wanted = Span(start, start + minutes * MINUTE_US)
    world = World()
    assert same(world.rows(series, wanted), MARKET.truth(series, wanted))
    assert world.asked("klines") == -(-minutes // 1000)
    asked = [info.query for info in world.server.requests if info.name.endswith("klines")]
    assert all(int(query["endTime"]) - int(query["startTime"]) < 1000 * 60_000 for query in asked)


def test_cm_is_never_asked_for_more_than_200_days() -> None:
    series = Series(CM, "index_price", "ETHUSD", "1mo")
    years = span("2021-01-01", "2025-01-26")
    world = World()
    assert same(world.rows(series, years), MARKET.truth(series, years))
    asked = [info.query for info in world.server.requests if info.name.endswith("Klines")]
    lengths = [int(query["endTime"]) - int(query["startTime"]) for query in asked]
    assert len(lengths) == 8
    assert max(lengths) < 200 * 86_400_000
    assert {query["pair"] for query in asked} == {"ETHUSD"}
    assert {query["interval"] for query in asked} == {"1M"}


def test_many_trades_are_paged_by_id_and_never_with_times() -> None:
    series = Series(UM, "agg_trades", "BTCUSDT")
    wanted = Span(NOW - 47 * HOUR_US, NOW)
    truth = MARKET.truth(series, wanted)
    world = World()
    assert same(world.rows(series, wanted), truth)
    asked = [info.query for info in world.server.requests if info.name.endswith("aggTrades")]
    assert [{"fromId", "startTime"} <= set(query) for query in asked] == [False] * len(asked)
    assert sum("fromId" in query for query in asked) == len(truth) // 1000 + 1


def test_a_window_with_more_trades_than_a_page_loses_none() -> None:
    """Where a page holds fewer than the first hour has, that window comes without its first trades."""
    busy = Series(UM, "agg_trades", "BTCUSDT")
    start = NOW - 40 * HOUR_US
    wanted = Span(start, start + HOUR_US // 2)
    flood = [
        {"a": 10 + i, "p": "1.5", "q": "2", "f": i, "l": i, "T": start // 1000 + i // 3, "m": i % 2 == 0}
        for i in range(5000)
    ]

    async def crowded(request: Request) -> Reply:
        query = {name: int(value) for name, value in request.query.items() if value.isdigit()}
        if "fromId" in query:
            found = [each for each in flood if each["a"] >= query["fromId"]][: query["limit"]]
        else:
            found = [each for each in flood if query["startTime"] <= each["T"] <= query["endTime"]][-query["limit"] :]
        return Reply.of(200, json.dumps(found).encode())

    world = World(prepare=lambda server: server.routes.update({"/fapi/v1/aggTrades": crowded}))
    ids = world.rows(busy, wanted).table["agg_trade_id"].to_pylist()
    assert ids == [each["a"] for each in flood]


# candles that are not over


@pytest.mark.parametrize("interval", ["1m", "1h", "1d", "1w", "1mo"])
@pytest.mark.parametrize(
    "series", [("klines", UM), ("klines", SPOT), ("klines", CM), ("premium_index", UM), ("index_price", CM)], ids=str
)
def test_an_open_candle_is_served_and_never_taken(series: tuple[str, Market], interval: str) -> None:
    name, market = series
    one = MARKET.series(name, interval)
    wanted = next(each for each in one if each.market is market)
    now = span("2025-01-13 17:20:07", "2025-01-14").start_us + 123_000
    clock = FakeClock(now)
    world = World(clock=clock)
    around = Span(now - 40 * DAY_US if interval in ("1w", "1mo") else now - DAY_US, now + DAY_US)
    found = world.rows(wanted, around)
    truth = MARKET.truth(wanted, around)
    assert same(found, over_by(now, truth))
    assert found.server_us == now // 1000 * 1000 if market is not SPOT else found.server_us == now
    served = json.loads(asyncio.run(last_served(world, wanted)))
    assert served[-1][6] * 1000 >= now  # the trap was there


async def last_served(world: World, series: Series) -> bytes:
    query = {"symbol": series.symbol, "pair": series.symbol, "interval": (series.interval or "").replace("1mo", "1M")}
    path = {UM: "/fapi/v1/", CM: "/dapi/v1/", SPOT: "/api/v3/"}[series.market]
    name = {"klines": "klines", "premium_index": "premiumIndexKlines", "index_price": "indexPriceKlines"}
    reply = await world.api.routes()[path + name[series.dataset]](Request("GET", "", query, {}))
    return reply.source.read()


def test_a_candle_is_over_when_its_last_instant_has_passed() -> None:
    end = span("2025-01-13 17:00", "2025-01-14").start_us
    hour = Span(end - HOUR_US, end)
    early = World(clock=FakeClock(end - 1000)).rows(BTC_1H, hour)
    assert (early.table.num_rows, early.server_us) == (0, end - 1000)
    assert World(clock=FakeClock(end)).rows(BTC_1H, hour).table.num_rows == 1


def test_the_time_is_asked_again_only_where_a_row_could_be_younger() -> None:
    world = World()
    old = span("2024-12-20", "2024-12-21")
    last_day = Span(NOW - DAY_US, NOW)  # what a nightly run asks for

    async def ask(api: RestApi) -> int:
        for interval in ("1m", "1h", "1d"):
            await api.rows(Series(UM, "klines", "BTCUSDT", interval), old)
            await api.rows(Series(UM, "klines", "BTCUSDT", interval), last_day)
        await api.rows(FUNDING, Span(NOW - HOUR_US, NOW))
        before = world.asked("time")
        await api.rows(BTC_1H, Span(NOW - HOUR_US, NOW + 1))
        return before

    assert world.ask(ask) == 0
    assert world.asked("time") == 1
    assert world.asked("exchangeInfo") == 1


# funding


@pytest.mark.parametrize(
    ("times", "hours"),
    [
        ([0, 8, 16, 24], [8, 8, 8, 8]),
        ([0, 8, 16, 20, 24, 25, 26], [8, 8, 8, 4, 4, 1, 1]),
        ([0, 4, 12], [4, 4, 8]),
        ([0, 24, 32, 40], [7, 8, 8, 8]),  # two are missing: the hours to the next one
        ([0], [7]),
        ([], []),
    ],
)
def test_the_interval_is_what_lies_before_else_behind_else_what_is_known(times: list[int], hours: list[int]) -> None:
    """7 stands for what is known otherwise; a few ms of jitter change nothing."""
    jittered = [hour * HOUR_US + (hour % 3) * 15_000 for hour in times]
    assert funding_hours(jittered, 7) == hours


def settlements(hours: list[int], world: World) -> list[int]:
    """The intervals of settlements that another exchange published, for the last of its days."""
    start = span("2025-01-10", "2025-01-11").start_us
    rows = [
        {"symbol": "BTCUSDT", "fundingTime": start // 1000 + hour * 3_600_000 + 7, "fundingRate": f"-0.0000{hour:04d}"}
        for hour in hours
    ]

    async def recorded(request: Request) -> Reply:
        first, last = int(request.query["startTime"]), int(request.query["endTime"])
        found = [row for row in rows if first <= int(str(row["fundingTime"])) <= last]
        return Reply.of(200, json.dumps(found[: int(request.query["limit"])]).encode())

    world.prepare = lambda server: server.routes.update({"/fapi/v1/fundingRate": recorded})
    found = world.rows(FUNDING, Span(start + DAY_US, start + 3 * DAY_US)).table
    rates = [float(str(row["fundingRate"])) for row, hour in zip(rows, hours, strict=True) if hour >= 24]
    assert found["funding_rate"].to_pylist() == rates
    intervals: list[int] = found["funding_interval_hours"].to_pylist()
    return intervals


def test_a_changed_interval_is_seen_and_the_settlement_before_the_span_is_asked_for() -> None:
    world = World()
    assert settlements([8, 16, 24, 32, 36, 40, 41, 42], world) == [8, 8, 4, 4, 1, 1]
    assert world.asked("fundingInfo") == 0


def test_a_lone_settlement_has_the_interval_of_the_rules_or_the_standard() -> None:
    world = World()
    assert settlements([24], world) == [8]
    assert world.asked("fundingInfo") == 1
    listed = b'[{"symbol":"ICPUSDT","fundingIntervalHours":1},{"symbol":"BTCUSDT","fundingIntervalHours":4}]'

    async def rules(request: Request) -> Reply:
        return Reply.of(200, listed)

    other = World()
    start = span("2025-01-10", "2025-01-11").start_us

    async def lone(request: Request) -> Reply:
        row = {"symbol": "BTCUSDT", "fundingTime": start // 1000, "fundingRate": "0.0001"}
        return Reply.of(200, json.dumps([row]).encode())

    other.prepare = lambda server: server.routes.update({"/fapi/v1/fundingRate": lone, "/fapi/v1/fundingInfo": rules})
    assert other.rows(FUNDING, Span(start, start + 1000)).table["funding_interval_hours"].to_pylist() == [4]


def test_long_funding_is_paged() -> None:
    """46 days at an hour are 1127 settlements: a full page, one that a lower limit might have cut off, an empty one."""
    series = Series(CM, "funding_rate", "BTCUSD_PERP")
    world = World()
    assert same(world.rows(series, MARKET.span), MARKET.truth(series, MARKET.span))
    assert world.asked("fundingRate") == 3


@pytest.mark.parametrize("days", [1, 3, 30])
def test_funding_of_all_symbols_is_each_ones_truth(days: int) -> None:
    """Symbols settle at the same time and pages end between them."""
    market = replace(MARKET, instruments=(*MARKET.instruments, *many_perpetuals(40)))
    wanted = Span(NOW - days * DAY_US, NOW)
    world = World(market)
    found = world.ask(lambda api: api.funding_of_all(UM, wanted))
    assert found is not None
    with_rows = [each for each in market.series("funding_rate") if each.market is UM]
    truths = {each.symbol: market.truth(each, wanted) for each in with_rows}
    assert set(found) == {symbol for symbol, truth in truths.items() if truth.num_rows}
    assert [symbol for symbol, rows in found.items() if not same(rows, truths[symbol])] == []
    rows = sum(truth.num_rows for truth in truths.values())
    assert world.asked("fundingRate") <= rows / 900 + 3
    assert {each.requests for each in found.values()} == {len(world.server.requests)}


def many_perpetuals(count: int) -> list[Instrument]:
    """They share a price, and so cost little."""
    return [Instrument(UM, f"T{i}USDT", "BTC", 95000.0, 1, 3, 60, 1, MARKET.span.start_us) for i in range(count)]


def test_more_symbols_in_one_millisecond_than_a_page_holds_are_not_missed_silently() -> None:
    start = NOW - DAY_US
    rows = [{"symbol": f"S{i}", "fundingTime": start // 1000, "fundingRate": "0.0001"} for i in range(1001)]

    async def crowded(request: Request) -> Reply:
        later = [row for row in rows if int(str(row["fundingTime"])) >= int(request.query["startTime"])]
        return Reply.of(200, json.dumps(later[:1000]).encode())

    world = World(prepare=lambda server: server.routes.update({"/fapi/v1/fundingRate": crowded}))
    with pytest.raises(RemoteError, match="ask for each symbol"):
        world.ask(lambda api: api.funding_of_all(UM, Span(start, NOW)))


def test_only_um_answers_for_all_symbols() -> None:
    world = World()
    assert world.ask(lambda api: api.funding_of_all(CM, RECENT)) is None
    assert world.server.requests == []


# limits


@pytest.mark.parametrize("market", [UM, CM, SPOT])
def test_a_small_budget_is_waited_for_and_never_exceeded(market: Market) -> None:
    """No answer was a 429, minutes passed on the clock that the exchange has too, and no second was really slept."""
    series = next(each for each in MARKET.series("klines", "1m") if each.market is market)
    days = span("2024-12-15", "2024-12-24")
    most = 22 if market is SPOT else 30
    world = World(limits={market: most})
    assert same(world.rows(series, days), MARKET.truth(series, days))
    assert set(world.api.statuses) == {200}
    weight = 20 + world.asked("klines") * 2 if market is SPOT else 1 + world.asked("klines") * 5
    assert sum(world.clock.waits) >= (weight / most - 2) * 60 > 0
    assert all(0 < wait <= 60.2 for wait in world.clock.waits)


def test_many_at_once_share_one_budget() -> None:
    wanted = [Span(NOW - (i + 1) * DAY_US, NOW - i * DAY_US) for i in range(20)]
    world = World(limits={UM: 40})

    async def ask(api: RestApi) -> list[ApiRows]:
        return await asyncio.gather(*(api.rows(BTC_1M, each) for each in wanted))

    found = world.ask(ask)
    assert [same(each, MARKET.truth(BTC_1M, day)) for each, day in zip(found, wanted, strict=True)] == [True] * 20
    assert set(world.api.statuses) == {200}


def test_what_others_use_counts_too() -> None:
    """The exchange says how much is used; another program on this address may have used most of it."""
    used: list[int] = []

    async def crowded(request: Request) -> Reply:
        used.append(world.clock.us)
        headers = {"X-MBX-USED-WEIGHT-1M": "2390" if len(used) == 1 else "5"}
        return Reply.of(200, b"[]", headers)

    world = World(prepare=lambda server: server.routes.update({"/fapi/v1/klines": crowded}))

    async def ask(api: RestApi) -> None:
        await api.rows(BTC_1H, span("2024-12-20", "2024-12-21"))
        await api.rows(BTC_1H, span("2024-12-21", "2024-12-22"))

    world.ask(ask)
    assert used[1] // (60 * 10**6) == used[0] // (60 * 10**6) + 1


def test_a_budget_counts_what_is_under_way_when_a_window_begins() -> None:
    clock = FakeClock(60_000_000)
    budget = Budget((Limit(WEIGHT, 60, 100),), Clock(clock.now_us, clock.sleep))

    async def story() -> None:
        under_way = await budget.take({WEIGHT: 80})
        clock.us = 120_000_000
        budget.settle(await budget.take({WEIGHT: 10}))  # 80 may be counted in this minute
        assert clock.us == 120_000_000
        budget.settle(under_way)  # counted all the same
        await budget.take({WEIGHT: 1})
        assert clock.us == 180_100_000

    asyncio.run(story())


@given(
    most=st.integers(10, 200),
    steps=st.lists(st.tuples(st.integers(1, 60), st.integers(0, 20_000_000), st.booleans()), max_size=40),
)
def test_no_budget_is_ever_overdrawn(most: int, steps: list[tuple[int, int, bool]]) -> None:
    """Whatever is asked, when, and whether it is answered: the weight in a minute of the clock stays below the limit,
    except for one request that alone is too heavy."""
    clock = FakeClock(0)
    under_way: list[Turn] = []
    spent: dict[int, list[int]] = {}

    async def sleep(seconds: float) -> None:
        while under_way:
            budget.settle(under_way.pop())
        await clock.sleep(seconds)

    budget = Budget((Limit(WEIGHT, 60, most),), Clock(clock.now_us, sleep))

    async def story() -> None:
        for weight, pause, is_settled in steps:
            under_way.append(await budget.take({WEIGHT: weight}))
            spent.setdefault(under_way[-1].at_us // 60_000_000, []).append(weight)
            if is_settled:
                budget.settle(under_way.pop())
            clock.us += pause

    asyncio.run(story())
    assert all(sum(weights) <= SHARE * most or len(weights) == 1 for weights in spent.values())


# the weather


def test_429_is_waited_out_as_long_as_it_says() -> None:
    world = World(faults=on("fapi/v1/klines", status(429, retry_after=17), times=1))
    day = span("2024-12-20", "2024-12-21")
    assert same(world.rows(BTC_1H, day), MARKET.truth(BTC_1H, day))
    assert sum(world.clock.waits) == pytest.approx(17.0)
    assert [event.wait_seconds for event in world.events if isinstance(event, FileRetrying)] == [17.0]


def test_a_short_ban_is_waited_out_and_a_long_one_ends_it_with_a_time() -> None:
    day = span("2024-12-20", "2024-12-21")
    short = World(faults=on("fapi/v1/klines", status(418, retry_after=150), times=1))
    assert same(short.rows(BTC_1H, day), MARKET.truth(BTC_1H, day))
    assert sum(short.clock.waits) == pytest.approx(150.0)
    long = World(faults=on("fapi/v1/klines", status(418, retry_after=7200)))
    with pytest.raises(SourceDown, match=r"until 2025-01-26 02:00:00 UTC.*-1003 on request"):
        long.rows(BTC_1H, day)
    assert long.clock.waits == []


def test_whoever_comes_after_a_long_ban_is_told_without_asking() -> None:
    day = span("2024-12-20", "2024-12-21")
    world = World(faults=on("fapi/v1/klines", status(418, retry_after=7200)))

    async def ask(api: RestApi) -> int:
        for _ in range(3):
            with pytest.raises(SourceDown, match="02:00:00 UTC"):
                await api.rows(BTC_1H, day)
        return world.asked("klines")

    assert world.ask(ask) == 1


def test_a_429_without_an_end_is_given_up() -> None:
    world = World(faults=on("fapi/v1/klines", status(429)))
    with pytest.raises(Throttled, match="429"):
        world.rows(BTC_1H, span("2024-12-20", "2024-12-21"))
    assert world.asked("klines") == 3
    assert len(world.clock.waits) == 2


@pytest.mark.parametrize(
    ("code", "words"),
    [(451, "does not answer in this region.*--rest"), (403, "firewall"), (400, "answered 400: -1000")],
)
def test_final_refusals_are_asked_once(code: int, words: str) -> None:
    world = World(faults=on("fapi/v1/klines", status(code)))
    with pytest.raises(RemoteError, match=words) as raised:
        world.rows(BTC_1H, span("2024-12-20", "2024-12-21"))
    assert not raised.value.retryable
    assert world.asked("klines") == 1


@pytest.mark.parametrize(
    "faults",
    [
        on("fapi/v1", status(500), times=2),
        on("fapi/v1", status(503, retry_after=0), times=1),
        on("fapi/v1", reset(0), times=1),
        on("fapi/v1", reset(100), times=2),
        on("fapi/v1", cut(50), times=2),
        first_of(on("klines", status(502), times=1), on("klines", cut(1000), times=2)),
    ],
    ids=["500", "503", "reset at once", "reset", "cut", "502 then cut"],
)
def test_what_passes_is_tried_again_and_changes_no_row(faults: Rule) -> None:
    world = World(faults=faults)
    days = span("2024-12-20", "2024-12-22")
    found = world.rows(BTC_1M, days)
    assert same(found, MARKET.truth(BTC_1M, days))
    assert found.requests == len(world.server.requests) > 4


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (garbage(), "no JSON"),
        (truncated(700), "no JSON"),
        (garbage(b'{"code":0}'), "where rows were asked for"),
        (garbage(b"[[1734652800000]]"), "no row that we know"),
        (garbage(b'[[1734652800000,"1","2","1",null,"0",1734656399999,"0",1,"0","0","0"]]'), "missing or not finite"),
        (garbage(b'[[1734652800000,"1","2","1","1e999","0",1734656399999,"0",1,"0","0","0"]]'), "not finite"),
        (garbage(b'[[1734652800000,"1","2","1","x","0",1734656399999,"0",1,"0","0","0"]]'), "no number"),
        (garbage(b'[["1734652800000","1","2","1","1","0",1734656399999,"0",1,"0","0","0"]]'), "no row that we know"),
    ],
)
def test_an_answer_that_is_none_is_refused(fault: object, words: str) -> None:
    world = World(faults=on("fapi/v1/klines", fault))  # type: ignore[arg-type]
    with pytest.raises(RemoteError, match=words):
        world.rows(BTC_1H, span("2024-12-20", "2024-12-21"))


def test_two_rows_of_one_time_that_differ_are_refused_and_the_same_twice_is_once() -> None:
    row = [1734652800000, "1", "2", "1", "1.5", "0", 1734656399999, "0", 1, "0", "0", "0"]
    day = span("2024-12-20", "2024-12-21")
    twice = World(faults=on("fapi/v1/klines", garbage(json.dumps([row, row]).encode())))
    assert twice.rows(BTC_1H, day).table["close"].to_pylist() == [1.5]
    other = World(faults=on("fapi/v1/klines", garbage(json.dumps([row, [*row[:8], 2, *row[9:]]]).encode())))
    with pytest.raises(RemoteError, match="one key"):
        other.rows(BTC_1H, day)


def test_milliseconds_where_the_archive_has_microseconds_are_refused() -> None:
    """A server that knows nothing of the unit would give rows that are not the archive's."""
    row = [1735693200000, "1", "2", "1", "1.5", "0", 1735696799999, "0", 1, "0", "0", "0"]
    series = Series(SPOT, "klines", "ETHUSDT", "1h")
    world = World(faults=on("api/v3/klines", garbage(json.dumps([row]).encode())))
    with pytest.raises(RemoteError, match="milliseconds"):
        world.rows(series, span("2025-01-01", "2025-01-02"))


# what cannot be asked


def test_an_unknown_symbol_is_not_published() -> None:
    for market in Market:
        with pytest.raises(NotPublished, match=r"NOPEUSDT.*-1121 Invalid symbol"):
            World().rows(Series(market, "klines", "NOPEUSDT", "1h"), span("2024-12-20", "2024-12-21"))


def test_a_symbol_that_spot_does_not_know_does_not_hide_the_next_one() -> None:
    day = span("2024-12-20", "2024-12-21")
    known = Series(SPOT, "klines", "ETHUSDT", "1h")

    async def ask(api: RestApi) -> ApiRows:
        with pytest.raises(NotPublished):
            await api.rows(Series(SPOT, "klines", "NOPE", "1h"), day)
        return await api.rows(known, day)

    assert same(World().ask(ask), MARKET.truth(known, day))


def test_a_source_without_an_api_says_so() -> None:
    world = World(prepare=lambda server: server.routes.clear())
    with pytest.raises(RemoteError, match=r"no such endpoint.*--rest") as raised:
        world.rows(BTC_1H, span("2024-12-20", "2024-12-21"))
    assert not isinstance(raised.value, NotPublished)


def test_nobody_there_is_a_lost_connection() -> None:
    async def ask(api: RestApi) -> ApiRows:
        await world.server.__aexit__(None, None, None)
        return await api.rows(BTC_1H, span("2024-12-20", "2024-12-21"))

    world = World()
    with pytest.raises(ConnectionLost):
        world.ask(ask)


def test_a_host_that_could_not_be_reached_is_not_tried_again_for_each_series() -> None:
    day = span("2024-12-20", "2024-12-21")

    async def ask(api: RestApi) -> int:
        await world.server.__aexit__(None, None, None)
        for series in (BTC_1H, BTC_1M, FUNDING):
            with pytest.raises(ConnectionLost):
                await api.rows(series, day)
        return sum(isinstance(event, FileRetrying) for event in world.events)

    world = World()
    assert world.ask(ask) == world.settings.max_attempts - 1


REASONS: list[tuple[Series, Span, str | None]] = [
    (Series(UM, "trades", "BTCUSDT"), RECENT, "need an API key"),
    (Series(UM, "metrics", "BTCUSDT"), RECENT, "30 days"),
    (Series(UM, "book_depth", "BTCUSDT"), RECENT, "not served"),
    (Series(UM, "book_ticker", "BTCUSDT"), RECENT, "not served"),
    (Series(CM, "liquidation_snapshot", "BTCUSD_PERP"), RECENT, "not served"),
    (Series(SPOT, "mark_price", "BTCUSDT", "1h"), RECENT, "spot has no mark_price"),
    (Series(UM, "klines", "BTCUSDT", "1s"), RECENT, "no interval 1s"),
    (Series(UM, "agg_trades", "BTCUSDT"), Span(NOW - 49 * HOUR_US, NOW), "48 hours only"),
    (Series(CM, "agg_trades", "BTCUSD_PERP"), Span(NOW - 48 * HOUR_US, NOW), "48 hours only"),
    (BTC_1H, Span(NOW, NOW + 1), "future"),
    (Series(UM, "agg_trades", "BTCUSDT"), Span(NOW - 47 * HOUR_US, NOW), None),
    (Series(SPOT, "agg_trades", "ETHUSDT"), MARKET.span, None),
    (Series(SPOT, "klines", "ETHUSDT", "1s"), MARKET.span, None),
    (BTC_1H, Span(0, NOW), None),
]


@pytest.mark.parametrize(("series", "wanted", "reason"), REASONS)
def test_what_cannot_be_asked_is_known_before(series: Series, wanted: Span, reason: str | None) -> None:
    world = World()

    async def ask(api: RestApi) -> str | None:
        checked: Api = api  # satisfies the protocol
        found = checked.reason_against(series, wanted, NOW)
        if found is not None:
            with pytest.raises(RemoteError, match="cannot be asked for"):
                await api.rows(series, wanted)
        return found

    found = world.ask(ask)
    assert (found is None) == (reason is None)
    assert reason is None or reason in str(found)
    assert world.asked("aggTrades") + world.asked("klines") == 0


def test_a_hole_that_the_api_has_too_is_empty() -> None:
    hole = span("2024-12-20 03:00", "2024-12-20 05:00")
    world = World(holes={BTC_1H: (hole,)})
    assert world.rows(BTC_1H, hole).table.num_rows == 0
    day = span("2024-12-20", "2024-12-21")
    hours = [time.hour for time in world.rows(BTC_1H, day).table["timestamp"].to_pylist()]
    assert hours == [hour for hour in range(24) if hour not in (3, 4)]


def test_the_servers_time_and_the_exchanges_own_addresses() -> None:
    clock = FakeClock(NOW - 12_345_000)
    world = World(clock=clock)
    assert world.ask(lambda api: api.server_time_us(CM)) == NOW - 12_345_000
    assert world.ask(lambda api: api.server_time_us(SPOT)) == NOW - 12_345_000
    assert DownloadSettings().rest is None


# laws

SERIES = [
    BTC_1H,
    FUNDING,
    Series(UM, "funding_rate", "ICPUSDT"),
    Series(UM, "premium_index", "ICPUSDT", "1h"),
    Series(UM, "index_price", "BTCUSDT", "4h"),
    Series(UM, "klines", "币安人生USDT", "30m"),
    Series(CM, "mark_price", "ETHUSD_PERP", "1h"),
    Series(CM, "klines", "BTCUSD_PERP", "15m"),
    Series(SPOT, "klines", "ETHUSDT", "15m"),
    Series(SPOT, "klines", "ETHUSDT", "1mo"),
    Series(SPOT, "agg_trades", "ETHUSDT"),
]
Times = st.integers(MARKET.span.start_us - DAY_US, NOW - 1)


def asked_for(questions: Callable[[RestApi], Awaitable[list[ApiRows]]]) -> list[ApiRows]:
    return World().ask(questions)


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(series=st.sampled_from(SERIES), one=Times, length=st.integers(0, 9 * DAY_US), cuts=st.lists(Times, max_size=3))
def test_any_span_is_the_truth_and_any_split_of_it_joined(
    series: Series, one: int, length: int, cuts: list[int]
) -> None:
    whole = Span(one, one + length)
    edges = [whole.start_us, *sorted(cut for cut in cuts if whole.start_us < cut < whole.end_us), whole.end_us]
    pieces = [Span(first, last) for first, last in pairwise(edges)]

    async def ask(api: RestApi) -> list[ApiRows]:
        return [await api.rows(series, each) for each in [whole, *pieces]]

    found, *parts = asked_for(ask)
    assert same(found, MARKET.truth(series, whole))
    joined = pa.concat_tables([part.table for part in parts])
    assert joined.combine_chunks().equals(found.table)


def test_the_digest_is_of_the_rows_alone() -> None:
    day, half = span("2024-12-20", "2024-12-21"), span("2024-12-20", "2024-12-20 12:00")
    one, other = World().rows(BTC_1H, day), World(limits={UM: 10}).rows(BTC_1H, day)
    assert one.sha256 == other.sha256 == content_sha256(MARKET.truth(BTC_1H, day))
    assert one.sha256 != World().rows(BTC_1H, half).sha256
    mark = Series(UM, "mark_price", "BTCUSDT", "1h")
    assert one.sha256 != World().rows(mark, day).sha256
