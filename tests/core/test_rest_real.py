"""Recorded answers of the exchange, served again over the loopback, come to the values in their text and to the rows of
the exchange's own archives."""

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from factories import real_folder
from rest_world import FakeClock, World, span

from core.datasets import DATASETS
from core.errors import RemoteError
from core.exchanges.binance.answers import rules_hours
from core.exchanges.binance.urls import parse_key
from core.sample.http import Reply, Request
from core.sample.instruments import moment
from core.types import Market, Series, Span

LATER = moment("2026-09-01")
Handler = Callable[[Request], Awaitable[Reply]]


def recorded(*names: str) -> list[Any]:
    """The rows of recorded answers, their bytes and number as the register of all recordings says."""
    facts = json.loads((real_folder() / "truth_extra.json").read_text(encoding="utf-8"))
    rows: list[Any] = []
    for name in names:
        body = (real_folder() / "rest" / name).read_bytes()
        fact = facts[f"rest/{name}"]
        assert (hashlib.sha256(body).hexdigest(), len(body)) == (fact["sha256"], fact["bytes"])
        here = json.loads(body)
        assert len(here) == fact["rows"]
        rows += here
    return rows


def replayed(rows: Sequence[Any], time: int | str, first: str | None = None, most: int = 1500) -> Handler:
    """An endpoint that has these rows and no others; `time` is the place of their time, `first` that of their id."""

    async def answer(request: Request) -> Reply:
        query = request.query
        limit = min(int(query["limit"]), most)
        if "fromId" in query:
            found = [row for row in rows if row[first] >= int(query["fromId"])]
        else:
            found = [row for row in rows if int(query["startTime"]) <= row[time] <= int(query["endTime"])]
        newest = first is not None or request.path.startswith("/dapi")
        return Reply.of(200, json.dumps(found[-limit:] if newest and "fromId" not in query else found[:limit]).encode())

    return answer


def served(path: str, handler: Handler) -> World:
    return World(clock=FakeClock(LATER), prepare=lambda server: server.routes.update({path: handler}))


def archived(*keys: str) -> list[tuple[Any, ...]]:
    """The stored columns of archives, each cell by Python's own reading of its text, times in microseconds."""
    rows = []
    for key in keys:
        with zipfile.ZipFile(real_folder() / key) as archive:
            lines = list(csv.reader(io.StringIO(archive.read(archive.namelist()[0]).decode())))
        parsed = parse_key(key)
        assert parsed is not None
        columns = DATASETS[parsed[0].dataset].columns[parsed[0].market]
        names = [column.source for column in columns]
        kept = [column.source for column in DATASETS[parsed[0].dataset].stored_columns(parsed[0].market)]
        for line in lines:
            if line[0].lstrip("-").isdigit():
                cells = {
                    name: read(column.kind.name, cell) for name, column, cell in zip(names, columns, line, strict=True)
                }
                rows.append(tuple(cells[name] for name in kept))
    return rows


def read(kind: str, cell: str) -> Any:
    if kind == "TIME":
        return int(cell) * 1000
    if kind == "BOOLEAN":
        return {"true": True, "false": False}[cell.lower()]
    return int(cell) if kind == "INTEGER" else float(cell)


def plain(world: World, series: Series, within: Span) -> list[tuple[Any, ...]]:
    """Rows as tuples, times as microseconds."""
    table = world.rows(series, within).table
    columns = [
        column.cast("int64").to_pylist() if field.name in ("timestamp", "close_time") else column.to_pylist()
        for field, column in zip(table.schema, table.columns, strict=True)
    ]
    return list(zip(*columns, strict=True))


def test_hours_of_spot_over_two_pages_are_the_numbers_of_their_text() -> None:
    rows = recorded("spot_klines_BTCUSDT_1h_page1_1000.json", "spot_klines_BTCUSDT_1h_page2_468.json")
    world = served("/api/v3/klines", replayed(rows, 0, most=1000))
    hours = Series(Market.SPOT, "klines", "BTCUSDT", "1h")
    found = plain(world, hours, span("2020-04-01", "2020-08-01"))
    assert found == [
        (
            row[0] * 1000,
            *(float(row[place]) for place in (1, 2, 3, 4, 5)),
            row[6] * 1000,
            float(row[7]),
            row[8],
            float(row[9]),
            float(row[10]),
        )
        for row in rows
    ]
    assert len(found) == 1468
    assert world.asked("klines") == 2
    may = [row for row in found if moment("2020-05-01") <= row[0] < moment("2020-06-01")]
    whole = archived("data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2020-05.zip")
    assert may == whole
    assert len(may) == 744


@pytest.mark.parametrize(
    ("name", "series", "path", "months"),
    [
        (
            "cm_markPriceKlines_BTCUSD_PERP_1M.json",
            "mark_price/BTCUSD_PERP",
            "/dapi/v1/markPriceKlines",
            (8, 9, 10, 11),
        ),
        ("cm_indexPriceKlines_BTCUSD_1M.json", "index_price/BTCUSD", "/dapi/v1/indexPriceKlines", (6, 7)),
    ],
)
def test_months_of_cm_are_the_rows_of_the_archive(name: str, series: str, path: str, months: tuple[int, ...]) -> None:
    dataset, symbol = series.split("/")
    world = served(path, replayed(recorded(name), 0))
    wanted = Series(Market.CM, dataset, symbol, "1mo")
    remote = DATASETS[dataset].remote
    folder = f"data/futures/cm/monthly/{remote}/{symbol}/1mo"
    within = span(f"2020-{months[0]:02d}-01", f"2020-{months[-1]:02d}-02")
    found = plain(world, wanted, within)
    assert found == archived(*(f"{folder}/{symbol}-1mo-2020-{month:02d}.zip" for month in months))
    assert len(found) == len(months)


def test_aggregated_trades_of_spot_are_the_rows_of_the_archive() -> None:
    """The endpoint gives the newest of a window that has more than a page, so windows are made smaller."""
    rows = recorded("spot_aggTrades_BTCUSDT_1000.json")
    world = served("/api/v3/aggTrades", replayed(rows, "T", "a", most=1000))
    found = plain(world, Series(Market.SPOT, "agg_trades", "BTCUSDT"), span("2020-01-02 15:00", "2020-01-02 16:00"))
    assert found == archived("data/spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2020-01-02.zip")
    assert len(found) == 1000


def test_funding_is_the_rows_of_the_archive_with_its_intervals() -> None:
    rows = recorded("um_fundingRate_BTCUSDT_100.json")
    world = served("/fapi/v1/fundingRate", replayed(rows, "fundingTime"))
    found = plain(world, Series(Market.UM, "funding_rate", "BTCUSDT"), span("2020-09-01", "2020-11-01"))
    folder = "data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate"
    assert found == archived(f"{folder}-2020-09.zip", f"{folder}-2020-10.zip")
    assert (len(found), min(row[2] for row in found) < 0) == (100, True)


def test_the_rules_of_funding_are_read_from_the_recording() -> None:
    rules = recorded("um_fundingInfo.json")
    for rule in rules:
        assert rules_hours(Series(Market.UM, "funding_rate", rule["symbol"]), rules) == rule["fundingIntervalHours"]
    assert rules_hours(Series(Market.UM, "funding_rate", "BTCUSDT"), rules) is None


def test_the_refusal_of_more_than_200_days_is_quoted() -> None:
    body = (real_folder() / "rest" / "cm_error_interval_too_long.json").read_bytes()

    async def refuse(request: Request) -> Reply:
        return Reply.of(400, body)

    world = served("/dapi/v1/klines", refuse)
    with pytest.raises(RemoteError, match=r"answered 400: -4088 Maximum time interval is 200 days\."):
        world.rows(Series(Market.CM, "klines", "BTCUSD_PERP", "1h"), span("2020-09-01", "2020-09-02"))


@pytest.mark.parametrize(
    ("name", "path", "server_ms"),
    [
        ("spot_exchangeInfo.json", "/api/v3", 1754603741167),
        ("um_exchangeInfo_2021-12-04.json", "/fapi/v1", 1638591337398),
    ],
)
def test_limits_and_time_are_read_from_the_recording(name: str, path: str, server_ms: int) -> None:
    body = (real_folder() / "rest" / name).read_bytes()

    async def info(request: Request) -> Reply:
        return Reply.of(200, body)

    async def nothing(request: Request) -> Reply:
        return Reply.of(200, b"[]")

    routes = {f"{path}/exchangeInfo": info, f"{path}/klines": nothing}
    world = World(clock=FakeClock(server_ms * 1000), prepare=lambda server: server.routes.update(routes))
    market = Market.SPOT if path == "/api/v3" else Market.UM
    found = world.rows(Series(market, "klines", "BTCUSDT", "1h"), span("2020-09-01", "2020-09-02"))
    assert (found.table.num_rows, found.server_us) == (0, server_ms * 1000)
