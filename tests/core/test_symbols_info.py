"""`symbols_info.json`: what the listing showed of each symbol, widened from run to run."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import StorageError
from core.jobs.symbols_info import cover, record_symbols
from core.types import ArchiveFile, Market, Period, Series

LISTING = "http://127.0.0.1:1/listing"


def listed(symbol: str, label: str, market: Market = Market.UM, dataset: str = "klines") -> ArchiveFile:
    series = Series(market, dataset, symbol, None if dataset in ("funding_rate", "trades") else "1h")
    return ArchiveFile(series, Period.parse(label), f"{series}/{label}", 1, "e", None, "")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metadata" / "symbols_info.json"


def recorded(path: Path) -> dict[str, Any]:
    symbols: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["symbols"]
    return symbols


def statuses(path: Path) -> dict[str, str]:
    return {symbol: entry["status"] for market in recorded(path).values() for symbol, entry in market.items()}


def test_the_record_is_made_with_its_folder_and_says_where_it_is_from(path: Path) -> None:
    record_symbols(path, cover({}, [listed("币安人生USDT", "2025-11")]), LISTING)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert set(content) == {"version", "listing", "updated", "symbols"}
    assert (content["version"], content["listing"]) == (1, LISTING)
    assert len(content["updated"]) == len("2025-02-18T09:00:00Z")
    assert content["symbols"] == {
        "um": {
            "币安人生USDT": {
                "status": "unknown",
                "data_types": {"klines/1h": {"first": "2025-11-01", "last": "2025-11-30"}},
            }
        }
    }
    assert "币安人生USDT" in path.read_text(encoding="utf-8")
    assert list(path.parent.iterdir()) == [path]


def test_later_runs_widen_and_never_narrow(path: Path) -> None:
    record_symbols(path, cover({}, [listed("BTCUSDT", "2024-03"), listed("BTCUSDT", "2024-05-07")]), LISTING)
    record_symbols(path, cover({}, [listed("BTCUSDT", "2024-04")]), LISTING)
    assert recorded(path)["um"]["BTCUSDT"]["data_types"] == {"klines/1h": {"first": "2024-03-01", "last": "2024-05-07"}}
    record_symbols(path, cover({}, [listed("BTCUSDT", "2024-02-29"), listed("BTCUSDT", "2024-06")]), LISTING)
    assert recorded(path)["um"]["BTCUSDT"]["data_types"] == {"klines/1h": {"first": "2024-02-29", "last": "2024-06-30"}}
    record_symbols(path, cover({}, []), LISTING)
    assert list(recorded(path)["um"]) == ["BTCUSDT"]


def test_kinds_and_markets_are_kept_apart(path: Path) -> None:
    files = [
        listed("BTCUSDT", "2024-01"),
        listed("BTCUSDT", "2023-12", dataset="funding_rate"),
        listed("BTCUSDT", "2017-08", Market.SPOT, "trades"),
    ]
    record_symbols(path, cover({}, files), LISTING)
    assert recorded(path) == {
        "um": {
            "BTCUSDT": {
                "status": "unknown",
                "data_types": {
                    "klines/1h": {"first": "2024-01-01", "last": "2024-01-31"},
                    "funding_rate": {"first": "2023-12-01", "last": "2023-12-31"},
                },
            }
        },
        "spot": {
            "BTCUSDT": {"status": "unknown", "data_types": {"trades": {"first": "2017-08-01", "last": "2017-08-31"}}}
        },
    }


def test_a_symbol_more_than_three_days_behind_the_newest_of_its_market_has_ended(path: Path) -> None:
    files = [
        listed("BTCUSDT", "2024-05-10"),
        listed("LATEUSDT", "2024-05-07"),
        listed("GONEUSDT", "2024-05-06"),
        listed("MONTHUSDT", "2024-04"),
        listed("BTCUSD_PERP", "2024-01-02", Market.CM),
        listed("ETHUSD_PERP", "2023-12-01", Market.CM),
    ]
    record_symbols(path, cover({}, files), LISTING)
    assert statuses(path) == {
        "BTCUSDT": "trading",
        "LATEUSDT": "trading",
        "GONEUSDT": "ended",
        "MONTHUSDT": "ended",
        "BTCUSD_PERP": "trading",
        "ETHUSD_PERP": "ended",
    }


def test_a_status_changes_only_by_what_is_shown(path: Path) -> None:
    record_symbols(path, cover({}, [listed("BTCUSDT", "2024-05-10"), listed("NEWUSDT", "2024-05-01")]), LISTING)
    record_symbols(path, cover({}, [listed("BTCUSDT", "2024-04"), listed("NEWUSDT", "2024-04")]), LISTING)
    assert statuses(path) == {"BTCUSDT": "trading", "NEWUSDT": "ended"}
    record_symbols(path, cover({}, [listed("BTCUSDT", "2024-05-20"), listed("NEWUSDT", "2024-05-20")]), LISTING)
    assert statuses(path) == {"BTCUSDT": "trading", "NEWUSDT": "trading"}
    record_symbols(path, cover({}, [listed("BTCUSDT", "2024-07")]), LISTING)
    assert statuses(path) == {"BTCUSDT": "trading", "NEWUSDT": "trading"}  # it was not asked for


def test_a_symbol_alone_or_known_by_its_funding_only_is_not_judged(path: Path) -> None:
    record_symbols(path, cover({}, [listed("LUNAUSDT", "2022-05")]), LISTING)
    assert statuses(path) == {"LUNAUSDT": "unknown"}
    record_symbols(
        path, cover({}, [listed("BTCUSDT", "2024-05"), listed("ETHUSDT", "2024-04", dataset="funding_rate")]), LISTING
    )
    assert statuses(path) == {"LUNAUSDT": "unknown", "BTCUSDT": "trading", "ETHUSDT": "unknown"}
    record_symbols(path, cover({}, [listed("LUNAUSDT", "2022-05")]), LISTING)
    assert statuses(path)["LUNAUSDT"] == "ended"


def test_another_listing_begins_anew(path: Path) -> None:
    record_symbols(path, cover({}, [listed("BTCUSDT", "2024-03")]), LISTING)
    record_symbols(path, cover({}, [listed("ETHUSDT", "2024-03")]), "https://elsewhere")
    assert list(recorded(path)["um"]) == ["ETHUSDT"]


@settings(deadline=None)
@given(runs=st.lists(st.lists(st.dates(date(2017, 1, 1), date(2030, 1, 1)), min_size=1, max_size=4), max_size=4))
def test_what_is_known_spans_everything_that_was_ever_shown(
    tmp_path_factory: pytest.TempPathFactory, runs: list[list[date]]
) -> None:
    path = tmp_path_factory.mktemp("info") / "symbols_info.json"
    for days in runs:
        record_symbols(path, cover({}, [listed("BTCUSDT", day.isoformat()) for day in days]), LISTING)
    everything = [day for days in runs for day in days]
    if everything:
        assert recorded(path)["um"]["BTCUSDT"]["data_types"]["klines/1h"] == {
            "first": min(everything).isoformat(),
            "last": max(everything).isoformat(),
        }


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe", b"BTCUSDT"])
def test_a_record_that_is_no_json_is_named_and_left(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(
        StorageError, match=r"symbols_info\.json is not JSON .*; delete it, the next run writes it anew"
    ):
        record_symbols(path, cover({}, [listed("BTCUSDT", "2024-01")]), LISTING)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "symbols",
    [None, [], {"um": None}, {"um": []}, {"um": {"BTCUSDT": 5}}, {"um": {"BTCUSDT": {"data_types": []}}}],
    ids=["null", "list", "market null", "market list", "symbol number", "kinds list"],
)
def test_a_record_of_another_shape_is_named_and_left(path: Path, symbols: object) -> None:
    path.parent.mkdir()
    before = json.dumps({"listing": LISTING, "symbols": symbols})
    path.write_text(before)
    with pytest.raises(StorageError, match=r"symbols_info\.json is not of our making .*; delete it"):
        record_symbols(path, cover({}, [listed("BTCUSDT", "2024-01")]), LISTING)
    assert path.read_text() == before


@pytest.mark.parametrize("content", ["[]", "null", "5", "{}", '{"symbols": 5}', '{"listing": "x", "symbols": 5}'])
def test_json_that_is_no_record_of_this_listing_is_replaced(path: Path, content: str) -> None:
    path.parent.mkdir()
    path.write_text(content)
    record_symbols(path, cover({}, [listed("BTCUSDT", "2024-01")]), LISTING)
    assert list(recorded(path)["um"]) == ["BTCUSDT"]


def test_what_cannot_be_read_or_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(StorageError, match=r"cannot use .*folder\.json: Is a directory"):
        record_symbols(tmp_path / "folder.json", cover({}, []), LISTING)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot use .*: Not a directory"):
        record_symbols(tmp_path / "file" / "symbols_info.json", cover({}, []), LISTING)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StorageError, match=r"cannot use .*symbols_info\.json: File exists"):
        record_symbols(tmp_path / "dangling" / "symbols_info.json", cover({}, []), LISTING)
