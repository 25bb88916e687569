"""Checks while an update replaces what they read: they look again, and say so where that never ends."""

from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pyarrow as pa
import pytest
from integrity_world import Stored, altered, days, without

from core.errors import FilesChanged
from core.integrity.checker import ALWAYS, Examined
from core.sample.instruments import Instrument, moment
from core.sample.market import SampleMarket
from core.storage import holding
from core.types import GapStatus, Market, Series, Span

HALT = Span(moment("2025-01-02 22:00"), moment("2025-01-03 03:00"))
MARKET = SampleMarket(
    11,
    (Instrument(Market.SPOT, "ETHUSDT", "ETH", 3400.0, 2, 4, 6000, 24, moment("2025-01-01"), halts=(HALT,)),),
    date(2025, 1, 1),
    date(2025, 1, 4),
)
ALL = days("2025-01-01", 4)
FOURTH = ALL[3]
CANDLES, TRADES = (Series(Market.SPOT, *rest) for rest in (("klines", "ETHUSDT", "1h"), ("trades", "ETHUSDT")))
PART = Span(moment("2025-01-04 03:00"), FOURTH.span.end_us)
LOOKS: dict[str, Callable[[Stored], Examined]] = {
    "a halt that trades explain": lambda stored: stored.checker().examine(CANDLES),
    "a part whose gap began before it": lambda stored: stored.checker().examine(TRADES, PART),
    "candles beside their trades": lambda stored: stored.checker().examine(CANDLES, ALWAYS, deep=True),
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """One candle is wrong, and of the last day's trades the first are lost."""
    stored = Stored(tmp_path_factory.mktemp("changing"), MARKET)
    stored.store(CANDLES, ALL[0], change=altered("quote_volume", 20, by=1))
    stored.store(CANDLES, *ALL[1:])
    stored.store(TRADES, *ALL[:3])
    stored.store(TRADES, FOURTH, change=without(slice(0, 300)))
    return stored


@pytest.fixture
def update(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """From now on, so many times, the trades of a day are replaced while they are read, as a download does that stores
    them again. Files are opened one by one, as where they are too many to be held open."""
    monkeypatch.setattr(holding, "HELD", 0)
    scan = stored.storage.scan
    replaced: list[int] = []

    def started(times: int) -> list[int]:
        def scan_while_updating(series: Series, *rest: Any) -> Iterator[pa.RecordBatch]:
            rows = scan(series, *rest)
            first = next(rows, None)
            if first is None:
                return
            yield first
            if series == TRADES and len(replaced) < times:
                for path in sorted(stored.layout.processed(TRADES, each) for each in ALL):
                    again = path.with_suffix(".again")
                    again.write_bytes(path.read_bytes())
                    again.replace(path)
                replaced.append(len(replaced))
            yield from rows

        monkeypatch.setattr(stored.storage, "scan", scan_while_updating)
        return replaced

    return started


def test_the_world_has_what_a_wrong_look_would_miss(stored: Stored) -> None:
    halt, part, deep = (look(stored) for look in LOOKS.values())
    assert [gap.status for gap in halt.gaps] == [GapStatus.HALT]
    assert [(gap.status, gap.span.start_us < PART.start_us < gap.span.end_us) for gap in part.gaps] == [
        (GapStatus.OPEN, True)
    ]
    differ = [finding.span for finding in deep.findings if finding.kind == "candle-differs"]
    assert [ALL[0].span.contains(differ[0]), *map(FOURTH.span.contains, differ[1:])] == [True, True]


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_check_looks_again_where_files_were_replaced(
    stored: Stored, update: Callable[[int], list[int]], look: Callable[[Stored], Examined], times: int
) -> None:
    calm = look(stored)
    replaced = update(times)
    assert look(stored) == calm
    assert len(replaced) == times


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_what_never_rests_is_said(
    stored: Stored, update: Callable[[int], list[int]], look: Callable[[Stored], Examined]
) -> None:
    update(10**6)
    with pytest.raises(FilesChanged, match="spot/trades/ETHUSDT was read; try again after the update"):
        look(stored)
