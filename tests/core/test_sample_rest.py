"""The sample's API answers in the exchange's shapes, by its limits and with its refusals."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from factories import real_folder
from rest_world import HALT, MARKET, NOW, FakeClock, span

from core.dates import HOUR_US
from core.sample.faults import first_of, on, status
from core.sample.rest import SampleApi
from core.sample.rest_limits import BAN_SECONDS, IGNORED_MOST, Gate
from core.sample.server import ArchiveServer, running_server
from core.types import Market, Series, Span

HOUR = {"symbol": "BTCUSDT", "interval": "1h"}
DAY_MS = 86_400_000
START_MS = span("2024-12-20", "2024-12-21").start_us // 1000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArchiveServer]:
    generous = dict.fromkeys(Market, 10**9)
    with running_server(tmp_path_factory.mktemp("empty"), api=SampleApi(MARKET, limits=generous)) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: ArchiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, trust_env=False) as opened:
        yield opened


def asked(client: httpx.Client, path: str, **query: Any) -> Any:
    found = client.get(path, params=query)
    assert found.status_code == 200, found.text
    assert found.headers["content-type"] == "application/json;charset=UTF-8"
    return found.json()


def refused(client: httpx.Client, path: str, **query: Any) -> tuple[int, int]:
    found = client.get(path, params=query)
    return found.status_code, found.json()["code"]


def shape(value: Any) -> Any:
    """Types, down to each cell; texts of numbers are numbers, whose sign and length may differ."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in sorted(value.items())}
    if isinstance(value, list):
        return [shape(each) for each in value]
    return type(value).__name__


@pytest.mark.parametrize(
    ("name", "path", "query"),
    [
        ("spot_klines_BTCUSDT_1h_page1_1000.json", "/api/v3/klines", {"symbol": "ETHUSDT", "interval": "1h"}),
        ("spot_aggTrades_BTCUSDT_1000.json", "/api/v3/aggTrades", {"symbol": "ETHUSDT"}),
        (
            "cm_markPriceKlines_BTCUSD_PERP_1M.json",
            "/dapi/v1/markPriceKlines",
            {"symbol": "BTCUSD_PERP", "interval": "1M"},
        ),
        ("cm_indexPriceKlines_BTCUSD_1M.json", "/dapi/v1/indexPriceKlines", {"pair": "BTCUSD", "interval": "1M"}),
        ("um_fundingRate_BTCUSDT_100.json", "/dapi/v1/fundingRate", {"symbol": "BTCUSD_PERP"}),
    ],
)
def test_rows_have_the_shape_of_the_recorded_ones(
    client: httpx.Client, name: str, path: str, query: dict[str, str]
) -> None:
    """The recorded funding of um is of a time when it had no mark price: what cm still answers."""
    real = json.loads((real_folder() / "rest" / name).read_bytes())
    ours = asked(client, path, **query)
    assert shape(ours[0]) == shape(real[0])


def test_information_has_the_shape_of_the_recorded_one(client: httpx.Client) -> None:
    real = json.loads((real_folder() / "rest" / "um_exchangeInfo_2021-12-04.json").read_bytes())
    ours = asked(client, "/fapi/v1/exchangeInfo")
    assert shape(ours["rateLimits"][0]) == shape(real["rateLimits"][0])
    assert {name: shape(ours[name]) for name in ("timezone", "serverTime")} == {"timezone": "str", "serverTime": "int"}
    rules = json.loads((real_folder() / "rest" / "um_fundingInfo.json").read_bytes())
    assert set(asked(client, "/fapi/v1/fundingInfo")[0]) <= set(rules[0])


def test_times_are_in_milliseconds_unless_spot_is_asked_for_more(client: httpx.Client) -> None:
    query = {"symbol": "ETHUSDT", "interval": "1h", "startTime": START_MS, "limit": 1}
    unit = {"X-MBX-TIME-UNIT": "microsecond"}
    assert asked(client, "/api/v3/klines", **query)[0][6] == START_MS + 3_599_999
    more = client.get("/api/v3/klines", params=query, headers=unit).json()
    assert (more[0][0], more[0][6]) == (START_MS * 1000, START_MS * 1000 + 3_599_999_999)
    assert client.get("/api/v3/time", headers=unit).json() == {"serverTime": NOW}
    assert client.get("/fapi/v1/time", headers=unit).json() == {"serverTime": NOW // 1000}


def test_both_ends_are_included_and_limits_have_defaults(client: httpx.Client) -> None:
    rows = asked(client, "/fapi/v1/klines", **HOUR, startTime=START_MS, endTime=START_MS + 2 * 3_600_000)
    assert [row[0] - START_MS for row in rows] == [0, 3_600_000, 7_200_000]
    minutes = HOUR | {"interval": "1m", "startTime": START_MS}
    assert len(asked(client, "/fapi/v1/klines", **minutes)) == 500
    assert len(asked(client, "/fapi/v1/klines", **minutes, limit=1500)) == 1500
    assert len(asked(client, "/fapi/v1/fundingRate", symbol="ICPUSDT", startTime=START_MS)) == 100
    assert len(asked(client, "/fapi/v1/fundingRate", symbol="ICPUSDT")) == 200
    assert asked(client, "/fapi/v1/klines", **HOUR, startTime=1, endTime=2) == []


def test_cm_gives_the_newest_rows_and_the_others_the_oldest(client: httpx.Client) -> None:
    day = {"interval": "1h", "startTime": START_MS, "endTime": START_MS + DAY_MS - 1, "limit": 3}
    oldest = asked(client, "/fapi/v1/klines", symbol="BTCUSDT", **day)
    newest = asked(client, "/dapi/v1/klines", symbol="BTCUSD_PERP", **day)
    assert [(row[0] - START_MS) // 3_600_000 for row in oldest] == [0, 1, 2]
    assert [(row[0] - START_MS) // 3_600_000 for row in newest] == [21, 22, 23]


def test_zero_is_no_start_for_funding(client: httpx.Client) -> None:
    newest = asked(client, "/fapi/v1/fundingRate", symbol="BTCUSDT", limit=1)
    assert asked(client, "/fapi/v1/fundingRate", symbol="BTCUSDT", startTime=0) == newest
    assert asked(client, "/fapi/v1/fundingRate", symbol="BTCUSDT", startTime=1, limit=1) != newest


def test_the_last_candle_is_the_open_one(client: httpx.Client) -> None:
    """At the end of the history nothing has happened in it: flat at the last close, not traded."""
    *_, before, last = asked(client, "/fapi/v1/klines", **HOUR)
    assert (last[0], last[6]) == (NOW // 1000, NOW // 1000 + 3_599_999)
    assert last[1:6] == [before[4]] * 4 + ["0.000"]
    assert last[8] == 0
    assert asked(client, "/fapi/v1/klines", **HOUR | {"symbol": "币安人生USDT"})[-1][6] < NOW // 1000  # delisted


def test_an_open_candle_is_what_was_traded_in_it_so_far(tmp_path: Path) -> None:
    now = span("2025-01-13 17:20:07", "2025-01-14").start_us
    with running_server(tmp_path, api=SampleApi(MARKET, now_us=lambda: now)) as server:
        *_, last = httpx.get(f"{server.url}/fapi/v1/klines", params=HOUR, trust_env=False).json()
    traded = MARKET.truth(Series(Market.UM, "trades", "BTCUSDT"), Span(now // HOUR_US * HOUR_US, now))
    prices = traded["price"].to_pylist()
    expected = [prices[0], max(prices), min(prices), prices[-1]]
    assert [float(cell) for cell in last[1:5]] == expected
    assert last[8] == len(prices) > 0


def test_a_halt_has_no_rows_in_spot(client: httpx.Client) -> None:
    halt = {"startTime": HALT.start_us // 1000, "endTime": HALT.end_us // 1000 - 1}
    assert asked(client, "/api/v3/klines", symbol="ETHUSDT", interval="1m", **halt) == []


def test_trades_of_futures_go_after_48_hours(client: httpx.Client) -> None:
    oldest = asked(client, "/fapi/v1/aggTrades", symbol="BTCUSDT", fromId=1, limit=1)[0]
    assert 0 <= oldest["T"] * 1000 - (NOW - 48 * HOUR_US) < HOUR_US
    old = {"startTime": START_MS, "endTime": START_MS + 3_599_999}
    assert asked(client, "/fapi/v1/aggTrades", symbol="BTCUSDT", **old) == []
    assert len(asked(client, "/api/v3/aggTrades", symbol="ETHUSDT", **old)) > 0


REFUSALS = [
    ("/fapi/v1/klines", HOUR | {"limit": 1501}, -1130),
    ("/api/v3/klines", {"symbol": "ETHUSDT", "interval": "1h", "limit": 1001}, -1130),
    ("/fapi/v1/klines", HOUR | {"limit": 0}, -1130),
    ("/fapi/v1/fundingRate", {"symbol": "BTCUSDT", "limit": 1001}, -1130),
    ("/fapi/v1/klines", HOUR | {"limit": "x"}, -1100),
    ("/fapi/v1/klines", HOUR | {"symbol": "NOPE"}, -1121),
    ("/api/v3/exchangeInfo", {"symbol": "NOPE"}, -1121),
    ("/fapi/v1/klines", {"interval": "1h"}, -1102),
    ("/fapi/v1/indexPriceKlines", HOUR, -1102),
    ("/fapi/v1/klines", HOUR | {"interval": "1mo"}, -1120),
    ("/fapi/v1/klines", HOUR | {"interval": "1s"}, -1120),
    ("/fapi/v1/klines", HOUR | {"startTime": 2, "endTime": 1}, -1023),
    ("/dapi/v1/klines", {"symbol": "BTCUSD_PERP", "interval": "1h", "startTime": 1, "endTime": 201 * DAY_MS}, -4088),
    ("/fapi/v1/aggTrades", {"symbol": "BTCUSDT", "fromId": 1, "startTime": 1}, -1128),
    ("/fapi/v1/aggTrades", {"symbol": "BTCUSDT", "startTime": 0, "endTime": 3_600_000}, -1127),
]


@pytest.mark.parametrize(("path", "query", "code"), REFUSALS)
def test_what_makes_no_sense_is_refused_with_the_exchanges_code(
    client: httpx.Client, path: str, query: dict[str, Any], code: int
) -> None:
    assert refused(client, path, **query) == (400, code)


def test_the_words_of_a_recorded_refusal(client: httpx.Client) -> None:
    real = json.loads((real_folder() / "rest" / "cm_error_interval_too_long.json").read_bytes())
    query = {"symbol": "BTCUSD_PERP", "interval": "1h", "startTime": 1, "endTime": 201 * DAY_MS}
    assert client.get("/dapi/v1/klines", params=query).json() == real


def test_weights_are_counted_said_and_enforced(tmp_path: Path) -> None:
    """At the limit 429 until the next minute; who goes on asking is banned."""
    clock = FakeClock(NOW + 20_000_000)
    api = SampleApi(MARKET, now_us=clock.now_us, limits={Market.UM: 12})
    with running_server(tmp_path, api=api) as server, httpx.Client(base_url=server.url, trust_env=False) as client:
        used = []
        for limit in (99, 100, 500):
            found = client.get("/fapi/v1/klines", params=HOUR | {"limit": limit})
            used.append((found.status_code, found.headers["x-mbx-used-weight-1m"]))
        assert used == [(200, "1"), (200, "3"), (200, "8")]
        heavy = client.get("/fapi/v1/klines", params=HOUR | {"limit": 1001})
        assert (heavy.status_code, heavy.headers["retry-after"], heavy.json()["code"]) == (429, "40", -1003)
        assert client.get("/dapi/v1/time").status_code == 200  # another market counts by itself
        for _ in range(IGNORED_MOST - 1):
            assert client.get("/fapi/v1/time").status_code == 429
        banned = client.get("/fapi/v1/time")
        assert (banned.status_code, banned.headers["retry-after"]) == (418, str(BAN_SECONDS))
        clock.us += (BAN_SECONDS - 1) * 1_000_000
        assert client.get("/fapi/v1/time").headers["retry-after"] == "1"
        clock.us += 1_000_000
        assert client.get("/fapi/v1/time").status_code == 200
    assert api.statuses == {200: 5, 429: 3, 418: 2}


def test_funding_of_um_is_counted_in_calls() -> None:
    gate = Gate(500, 300)
    assert [gate.enter(0, 1) for _ in range(500)] == [None] * 500
    refusal = gate.enter(1, 1)
    assert refusal is not None
    assert (refusal.status, refusal.retry_after) == (429, 300)
    assert gate.enter(300_000_000, 1) is None


def test_a_hole_is_empty_for_its_series_alone(tmp_path: Path) -> None:
    hole = span("2024-12-20 03:00", "2024-12-20 05:00")
    api = SampleApi(MARKET, holes={Series(Market.UM, "klines", "BTCUSDT", "1h"): (hole,)})
    day = {"startTime": START_MS, "endTime": START_MS + DAY_MS - 1}
    with running_server(tmp_path, api=api) as server, httpx.Client(base_url=server.url, trust_env=False) as client:
        hours = [(row[0] - START_MS) // 3_600_000 for row in asked(client, "/fapi/v1/klines", **HOUR, **day)]
        assert hours == [hour for hour in range(24) if hour not in (3, 4)]
        assert len(asked(client, "/fapi/v1/markPriceKlines", **HOUR, **day)) == 24


def test_faults_apply_and_errors_are_the_apis_own(tmp_path: Path) -> None:
    faults = first_of(on("fapi/v1/klines", status(429, retry_after=7), times=1), on("api/v3", status(451)))
    with running_server(tmp_path, faults=faults, api=SampleApi(MARKET)) as server:
        found = httpx.get(f"{server.url}/fapi/v1/klines", params=HOUR, trust_env=False)
        assert (found.status_code, found.headers["retry-after"], found.json()["code"]) == (429, "7", -1003)
        assert httpx.get(f"{server.url}/fapi/v1/klines", params=HOUR, trust_env=False).status_code == 200
        assert httpx.get(f"{server.url}/api/v3/time", trust_env=False).json()["msg"] == "on request"
        assert httpx.get(f"{server.url}/nothing", trust_env=False).headers["content-type"] == "application/xml"
    assert server.hits["fapi/v1/klines"] == 2


def test_without_an_api_there_is_none(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        assert httpx.get(f"{server.url}/fapi/v1/time", trust_env=False).status_code == 404
