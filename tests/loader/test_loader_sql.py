"""SQL over views, and relations: the rows of every other way, whatever threads, files and names there are."""

import asyncio
import gc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from loader_world import Row, World, hours, made_up, series, us

from core.dates import HOUR_US
from core.errors import ConfigError, NoData
from core.types import Cadence, Period
from loader import BacktestDataLoader
from loader.views import Views

SYMBOLS = [f"{letter}USDT" for letter in "ABCDEFG"]


def fill(world: World, kind: str = "klines", start: str = "2023-12-25", count: int = 24 * 14) -> dict[str, list[Row]]:
    return {symbol: world.fill(kind, symbol, hours(start, count)) for symbol in SYMBOLS}


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("kind", ["klines", "funding_rate", "trades", "metrics", "mark_price"])
def test_a_relation_has_the_rows_of_a_load_in_their_order(world: World, threads: int, kind: str) -> None:
    fill(world, kind)
    request = (SYMBOLS[::-1], "2023-12-30", "2024-01-03T07:00", kind)
    with world.loader(threads) as loader:
        table = loader.load_data(*request, output="arrow", on_missing="ignore")[kind]
        found = loader.load_data(*request, output="relation")[kind].to_arrow_table()
    assert found.column_names == table.column_names
    plain = table.set_column(1, "symbol", table["symbol"].cast("string"))
    assert found.cast(plain.schema).equals(plain)


def test_a_relation_is_live(world: World, loader: BacktestDataLoader) -> None:
    stored = fill(world)
    relation = loader.load_data(SYMBOLS, "2024-01-01", "2024-01-02", output="relation")["klines"]
    top = relation.filter("symbol = 'CUSDT'").aggregate("max(close)").fetchall()
    wanted = [row["close"] for row in stored["CUSDT"] if us("2024-01-01") <= row["timestamp"] < us("2024-01-03")]
    assert top == [(max(wanted),)]


def test_views_have_all_columns_of_all_symbols(world: World, loader: BacktestDataLoader) -> None:
    stored = fill(world)
    fill(world, "funding_rate")
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 3), market="spot", interval="1m")
    assert loader.views() == ["spot.klines_1m", "um.funding_rate", "um.klines_1h"]
    frame = loader.sql("SELECT * FROM klines_1h ORDER BY symbol, timestamp", output="arrow")
    assert frame.column_names[:3] == ["timestamp", "symbol", "available_at"]
    assert frame["close"].to_pylist() == [row["close"] for symbol in SYMBOLS for row in stored[symbol]]
    known = [row["timestamp"] + HOUR_US for symbol in SYMBOLS for row in stored[symbol]]
    assert frame["available_at"].cast("int64").to_pylist() == known
    assert loader.sql("SELECT count(*) AS n FROM spot.klines_1m")["n"].tolist() == [3]
    query = """
        WITH klines_1h AS (FROM um.klines_1h WHERE symbol = $symbol)
        SELECT count(*) AS n, count(DISTINCT symbol) AS m FROM klines_1h JOIN funding_rate USING (timestamp, symbol)
    """
    assert loader.sql(query, {"symbol": "BUSDT"}).to_numpy().tolist() == [[24 * 14, 1]]


def test_months_are_known_when_the_next_one_begins(world: World, loader: BacktestDataLoader) -> None:
    world.fill("klines", "BTCUSDT", [us("2024-01-01"), us("2024-02-01")], interval="1mo")
    found = loader.sql("SELECT available_at FROM klines_1mo ORDER BY 1", output="arrow")["available_at"]
    assert found.cast("int64").to_pylist() == [us("2024-02-01"), us("2024-03-01")]


def test_only_the_files_of_a_symbol_are_read(world: World, loader: BacktestDataLoader) -> None:
    fill(world)
    relation = loader.sql("SELECT max(close) FROM klines_1h WHERE symbol = 'DUSDT'", output="relation")
    assert "Scanning Files: 2/14" in relation.explain("analyze")


def test_a_row_that_two_archives_have_is_one_row(world: World, loader: BacktestDataLoader) -> None:
    one = series("klines", "BTCUSDT")
    rows = made_up(one, hours("2024-01-30", 72))
    world.put_period(one, Period.parse("2024-01"), rows[:50])
    world.put_period(one, Period.parse("2024-02"), rows[46:])
    world.fill("klines", "ETHUSDT", hours("2024-01-30", 72))
    frame = loader.sql("SELECT symbol, close FROM klines_1h ORDER BY symbol, timestamp")
    assert frame["close"].tolist()[:72] == [row["close"] for row in rows]
    assert len(frame) == 144
    relation = loader.load_data("BTCUSDT", "2024-01-30", "2024-02-02", output="relation")["klines"]
    assert [close for (close,) in relation.project("close").fetchall()] == [row["close"] for row in rows]


def test_days_beside_their_month_count_once(world: World, loader: BacktestDataLoader) -> None:
    one = series("klines", "BTCUSDT")
    rows = made_up(one, hours("2024-01-01", 24 * 31))
    world.put(one, rows[: 24 * 3], Cadence.DAILY)
    world.put_period(one, Period.parse("2024-01"), rows[5:])
    assert loader.sql("SELECT close FROM klines_1h ORDER BY timestamp")["close"].tolist() == [r["close"] for r in rows]


def test_the_index_of_a_contract_is_filed_under_its_pair(world: World, loader: BacktestDataLoader) -> None:
    stored = world.fill("index_price", "BTCUSD_PERP", hours("2024-01-01", 24), market="cm")
    request = ("BTCUSD_PERP", "2024-01-01", "2024-01-01", "index_price")
    relation = loader.load_data(*request, market="cm", output="relation")["index_price"]
    assert relation.project("symbol, close").fetchall() == [("BTCUSD_PERP", row["close"]) for row in stored]
    assert loader.sql("SELECT DISTINCT symbol FROM cm.index_price_1h")["symbol"].tolist() == ["BTCUSD"]


def test_columns_of_one_name_are_told_apart(world: World, loader: BacktestDataLoader) -> None:
    fill(world)
    query = """
        SELECT a.symbol, b.symbol, b.symbol, a.close - b.close AS spread FROM klines_1h AS a JOIN klines_1h AS b
        ON a.timestamp = b.timestamp AND a.symbol = 'AUSDT' AND b.symbol = 'BUSDT'
    """
    for output in ("pandas", "arrow", "polars"):
        frame = loader.sql(query, output=output)
        names = frame.column_names if output == "arrow" else list(frame.columns)
        assert names == ["symbol", "symbol_1", "symbol_2", "spread"]


def test_sums_of_whole_numbers_are_whole_numbers(world: World, loader: BacktestDataLoader) -> None:
    stored = fill(world)
    found = loader.sql("SELECT sum(trades) AS n, sum(trades::HUGEINT << 70) AS huge FROM klines_1h")
    count = sum(row["trades"] for rows in stored.values() for row in rows)
    assert (found["n"].dtype, found["n"][0]) == ("int64", count)
    assert (found["huge"].dtype, found["huge"][0]) == ("float64", float(count << 70))


def test_case_does_not_matter(world: World, loader: BacktestDataLoader) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 2))
    assert loader.sql("SELECT COUNT(*) AS N FROM UM.KLINES_1H")["N"].tolist() == [2]


def test_an_answer_is_of_one_moment(world: World, loader: BacktestDataLoader, monkeypatch: pytest.MonkeyPatch) -> None:
    """A month of days becomes a part of its year while a query reads: until the days go, both are there."""
    one = series("klines", "BTCUSDT")
    rows = made_up(one, hours("2023-11-01", 24 * 61))
    world.put_period(one, Period.parse("2023-11"), rows[: 24 * 30])
    world.put(one, rows[24 * 30 :], Cadence.DAILY)
    days = world.layout.processed(one, Period.parse("2023-12"))
    before = days.read_bytes()
    reads: list[int] = []
    create = Views._create

    def late(self: Views, *arguments: Any) -> None:
        create(self, *arguments)
        if not reads:
            world.put_period(one, Period.parse("2023-12"), rows[24 * 30 :])
            days.write_bytes(before)
        elif days.exists():
            days.unlink()
        reads.append(1)

    monkeypatch.setattr(Views, "_create", late)
    assert loader.sql("SELECT count(*) AS n FROM klines_1h")["n"].tolist() == [24 * 61]
    assert len(reads) > 1


def test_relations_of_one_call_can_be_joined(world: World, loader: BacktestDataLoader) -> None:
    fill(world)
    fill(world, "funding_rate")
    both = loader.load_data(SYMBOLS, "2024-01-01", "2024-01-02", ["klines", "funding_rate"], output="relation")
    joined = both["klines"].join(both["funding_rate"], "symbol, timestamp")
    assert len(joined) == len(SYMBOLS) * 48


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT * FROM klinez_1h", "there is no view klinez_1h; did you mean 'klines_1h'"),
        ("SELECT * FROM klines_1h, nothing", "there is no view nothing; there are klines_1h"),
        ("DELETE FROM klines_1h", "sql\\(\\) takes one SELECT"),
        ("CREATE TABLE x AS FROM klines_1h", "sql\\(\\) takes one SELECT"),
        ("SELECT 1; SELECT 2", "sql\\(\\) takes one SELECT, not 2 statements"),
        ("SELECT", "sql\\(\\) takes one SELECT"),
        ("SELEC 1", "sql\\(\\) takes one SELECT: .*SELEC"),
        ("SELECT prise FROM klines_1h", "the query cannot be run: .*prise"),
        ("SELECT close FROM klines_1h WHERE symbol = $name", "the query cannot be run"),
        ("SELECT CAST(symbol AS INTEGER) FROM klines_1h", "the query cannot be run: Conversion Error"),
        (None, "takes a query as text, not None"),
    ],
)
def test_a_query_that_cannot_be_is_said(world: World, loader: BacktestDataLoader, query: str, said: str) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 2))
    with pytest.raises(ConfigError, match=said):
        loader.sql(query)


def test_values_without_names_are_refused(world: World, loader: BacktestDataLoader) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 2))
    with pytest.raises(ConfigError, match="is no dict"):
        loader.sql("SELECT ?", ["AAA"])  # type: ignore[arg-type]


def test_a_view_of_nothing_is_said(world: World, loader: BacktestDataLoader) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 2))
    with pytest.raises(NoData, match="no um klines of 5m is stored, so there is no view klines_5m"):
        loader.sql("SELECT * FROM klines_5m")
    with pytest.raises(NoData, match="no spot trades is stored"):
        loader.sql("SELECT * FROM spot.trades")


def test_a_value_is_never_sql(world: World, loader: BacktestDataLoader) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 2))
    evil = "' OR 1=1; DROP VIEW klines_1h; --"
    assert len(loader.sql("SELECT * FROM klines_1h WHERE symbol = $s", {"s": evil})) == 0
    with pytest.raises(ConfigError, match="is not a symbol"):
        loader.load_data(evil, "2024-01-01", "2024-01-02", output="relation")


def test_queries_of_threads_do_not_meet(world: World, loader: BacktestDataLoader) -> None:
    stored = fill(world)

    def highest(symbol: str) -> float:
        found = loader.sql("SELECT max(close) AS top FROM klines_1h WHERE symbol = $s", {"s": symbol})["top"]
        return float(found[0])

    with ThreadPoolExecutor(4) as pool:
        tops = list(pool.map(highest, SYMBOLS * 4))
    assert tops == [max(row["close"] for row in stored[symbol]) for symbol in SYMBOLS] * 4


def test_what_is_stored_meanwhile_is_in_the_next_query(world: World, loader: BacktestDataLoader) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 24))
    assert loader.sql("SELECT count(*) AS n FROM klines_1h")["n"].tolist() == [24]
    world.fill("klines", "BTCUSDT", hours("2024-02-01", 24))
    world.fill("klines", "ETHUSDT", hours("2024-02-01", 24))
    assert loader.sql("SELECT count(*) AS n FROM klines_1h")["n"].tolist() == [72]


def test_views_go_with_their_query(world: World, loader: BacktestDataLoader) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 24))

    def databases() -> int:
        gc.collect()
        with loader._reader.duck.cursor() as cursor:
            names = cursor.execute("SELECT database_name FROM duckdb_databases()").fetchall()
        return sum(name.startswith("query_") for (name,) in names)

    kept = [loader.sql("SELECT close FROM klines_1h", output="relation") for _ in range(3)]
    assert [len(relation) for relation in kept] == [24] * 3
    for _ in range(5):
        loader.sql("SELECT close FROM klines_1h")
    assert databases() == 3
    kept.clear()
    assert databases() == 0


def test_a_running_event_loop_does_not_matter(world: World, loader: BacktestDataLoader) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 24))

    async def notebook() -> Any:
        return loader.sql("SELECT count(*) AS n FROM klines_1h")["n"].tolist()

    assert asyncio.run(notebook()) == [24]


def test_rows_of_a_relation_come_as_pythons_own_too(world: World, loader: BacktestDataLoader) -> None:
    world.fill("klines", "BTCUSDT", hours("2024-01-01", 2))
    relation = loader.load_data("BTCUSDT", "2024-01-01", "2024-01-01", output="relation", on_missing="ignore")["klines"]
    times = [row[0] for row in relation.fetchall()]
    assert [time.timestamp() * 10**6 for time in times] == [us("2024-01-01"), us("2024-01-01T01:00")]
