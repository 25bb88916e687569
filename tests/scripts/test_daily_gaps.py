"""`daily_update.py --fill-gaps` as cron runs it, on days around today."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from factories import Command
from script_world import command

from core.download.tracker import DownloadTracker
from core.layout import Layout
from core.sample.archive import Shelf, key_of, write_archive
from core.sample.instruments import Instrument, moment
from core.sample.market import SampleMarket
from core.sample.rest import SampleApi
from core.sample.server import ArchiveServer, running_server
from core.settings import QualitySettings, StorageSettings
from core.storage.manager import StorageManager
from core.types import GapStatus, Market, Period, Series, Span

TODAY = datetime.now(UTC).date()
FIRST, LAST = TODAY - timedelta(days=14), TODAY - timedelta(days=1)
MARKET = SampleMarket(
    5, (Instrument(Market.UM, "BTCUSDT", "BTC", 95000.0, 1, 3, 60, 12, moment(f"{FIRST}")),), FIRST, LAST
)
KLINES = Series(Market.UM, "klines", "BTCUSDT", "1h")
MARK = Series(Market.UM, "mark_price", "BTCUSDT", "1h")
LOST = TODAY - timedelta(days=6)


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """Two kinds of candles by the day, of which both lack one."""
    folder = tmp_path / "served"
    write_archive(MARKET, folder, (Shelf("klines", "1h", months=None), Shelf("mark_price", "1h", months=None)))
    for one in (KLINES, MARK):
        path = folder / key_of(one, Period.day(LOST))
        path.unlink()
        path.with_name(f"{path.name}.CHECKSUM").unlink()
    return folder


@contextmanager
def known(served: Path, data: Path, hole: Series | None = None) -> Iterator[tuple[ArchiveServer, Command]]:
    """Downloaded until yesterday; the API lacks the day of one series too."""
    holes = {hole: (Period.day(LOST).span,)} if hole else {}
    with running_server(served, api=SampleApi(MARKET, holes=holes)) as server:
        done = command(server, data, "--data-types", "klines,mark_price", "--start", FIRST.isoformat()).run()
        assert done.code == 0, done.err
        options = ["--source", server.url, "--rest", server.url, "--data-dir", str(data)]
        yield server, Command("scripts/daily_update.py", options)


def rows(data: Path, series: Series) -> pa.Table:
    storage = StorageManager(Layout(data), StorageSettings(), QualitySettings())
    return pa.Table.from_batches(list(storage.scan(series, Span(0, 2**60))))


def test_a_lost_day_comes_from_the_api_and_is_said_nowhere_again(served: Path, data: Path) -> None:
    with known(served, data) as (server, update):
        done = update.run("--fill-gaps", "--json")
        assert done.json["gaps"]["status"] == {"filled": 2}
        assert (done.json["gaps"]["rows"], done.json["gaps"]["failures"]) == (48, [])
        for one in (KLINES, MARK):
            assert rows(data, one).equals(MARKET.truth(one, MARKET.span))
        calls = dict(server.hits)
        again = update.run("--fill-gaps")
        assert (again.code, again.out, again.err) == (0, "", "")
        assert {name: count for name, count in server.hits.items() if "fapi" in name} == {
            name: count for name, count in calls.items() if "fapi" in name
        }


def test_a_hole_at_every_source_is_news_once(served: Path, data: Path) -> None:
    with known(served, data, hole=MARK) as (_, update):
        done = update.run("--fill-gaps", "--json")
        assert (done.code, done.json["gaps"]["status"]) == (1, {"filled": 1, "confirmed-hole": 1})
        again = update.run("--fill-gaps", "--json")
        assert (again.code, again.json["gaps"]["news"]) == (0, [])
    with DownloadTracker(Layout(data).database) as tracker:
        (gap,) = tracker.gaps(MARK)
    assert (gap.status, gap.rows, gap.span) == (GapStatus.CONFIRMED, 24, Period.day(LOST).span)


def test_a_source_that_is_down_leaves_the_gap_open_and_says_so(served: Path, data: Path) -> None:
    with known(served, data) as (_, update):
        done = update.run("--fill-gaps", "--rest", "http://127.0.0.1:9")
        assert done.code == 1
        assert "gap not filled: um/klines/BTCUSDT/1h: the API could not be asked" in done.err
        assert "Traceback" not in done.err
