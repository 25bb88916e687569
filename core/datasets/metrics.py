"""Open interest and long/short ratios of one contract, every five minutes.

The time is the published `create_time`, unshifted, and what it labels has changed without a word (issue 491 of
binance/binance-public-data). W is the window of five minutes that a row speaks of:

    um before 2026-06-25    the END of W: open interest and traders' ratios as they stood at `timestamp`, taker volume
                            of the five minutes before it. A file runs from 00:05 to 00:00 of the next day.
    um from 2026-06-25 on   the START of W: open interest and traders' ratios as they stood five minutes after
    cm, always              `timestamp`, taker volume of those five minutes. A file runs from 00:00 to 23:55.

So a row was known at `timestamp` under the first convention, and at `timestamp` + 5 min under the second. The um files
of 2026-06-24 and 2026-06-25 both have a row of 2026-06-25 00:00:00, of two different windows.
"""

from core.datasets.clock import Beat, Clock
from core.datasets.dataset import BY_DAY_ONLY, REPAIR_OF_FILE, Column, Dataset, Kind
from core.datasets.grid import Ints
from core.dates import MINUTE_US
from core.types import Market

_LABELS_ARE_STARTS_FROM_US = 1_782_345_600_000_000
"""2026-06-25 00:00 UTC, in um."""


def known_from(market: Market, labels_us: Ints) -> Ints:
    """Since when the rows with these labels were known: since the end of their five minutes."""
    is_end = (market is Market.UM) & (labels_us < _LABELS_ARE_STARTS_FROM_US)
    return labels_us + 5 * MINUTE_US * ~is_end


def _number(source: str, name: str, doc: str, unit: str = "ratio") -> Column:
    return Column(source, name, Kind.DECIMAL, doc, unit, nullable=True)


def _columns(interest: Column, value: Column) -> tuple[Column, ...]:
    return (
        Column(
            "create_time",
            "timestamp",
            Kind.TEXT_TIME,
            "label of the five minutes as published: their end in um before 2026-06-25, else their start",
            "UTC microseconds, whole seconds",
        ),
        Column("symbol", None, Kind.SYMBOL, "checked against the file's name"),
        interest,
        value,
        _number(
            "count_toptrader_long_short_ratio",
            "top_trader_account_ratio",
            "top traders by margin balance: accounts net long / accounts net short",
        ),
        _number(
            "sum_toptrader_long_short_ratio",
            "top_trader_position_ratio",
            "top traders by margin balance: their long positions / their short positions",
        ),
        _number("count_long_short_ratio", "account_ratio", "all traders: accounts net long / accounts net short"),
        _number(
            "sum_taker_long_short_vol_ratio",
            "taker_volume_ratio",
            "volume bought by takers / volume sold by takers in the five minutes",
        ),
    )


_INTEREST_DOC = "open interest, one side counted"

METRICS = Dataset(
    name="metrics",
    remote="metrics",
    doc="open interest and long/short ratios of one contract, every five minutes",
    columns={
        Market.UM: _columns(
            _number("sum_open_interest", "open_interest", _INTEREST_DOC, "base asset"),
            _number("sum_open_interest_value", "open_interest_value", "value of the open interest", "quote asset"),
        ),
        Market.CM: _columns(
            _number("sum_open_interest", "open_interest", _INTEREST_DOC, "contracts"),
            _number("sum_open_interest_value", "open_interest_base", "value of the open interest", "base asset"),
        ),
    },
    key=("timestamp",),
    cadences=BY_DAY_ONLY,
    shares_midnight=True,
    notes=(
        "`timestamp` is the published label, unshifted. In um before 2026-06-25 it is the END of the five minutes: "
        "open interest and traders' ratios as they stood at `timestamp`, taker volume of the five minutes before it; "
        "a file runs from 00:05 to 00:00 of the next day, which is not counted as outside its period. In um from "
        "2026-06-25 on, and in cm always, it is the START: open interest and traders' ratios as they stood at "
        "`timestamp` + 5 min, taker volume of those five minutes; a file runs from 00:00 to 23:55. So a row was known "
        "at `timestamp` under the first convention and at `timestamp` + 5 min under the second.",
        "The um files of 2026-06-24 and 2026-06-25 both have a row of 2026-06-25 00:00:00, of two different windows. "
        "Both are stored; readers are given the one of the file in whose day it lies, the second.",
        'An empty cell (nothing, or `""`) is null, never 0: cm files of 2023 have rows without three of the ratios.',
        "288 rows make a whole day. Hours and days are missing in places.",
        "The published `symbol` must be that of the file's name (or, for a settled contract, what stands before "
        "`SETTLED`); else the file is refused.",
    ),
    history={Market.UM: "since 2021-12-01"},
    repair=f"{REPAIR_OF_FILE} Two rows that differ only in the number of written decimals are exact duplicates, and so "
    "are two empty cells. Of two files' rows of one time both are stored, and that of the later file is given to "
    "whoever reads. The exchange publishes many of these files unsorted.",
    usual_repairs=("duplicate-rows", "unsorted-rows"),
    clock=Clock(Beat.STEPS, 5 * MINUTE_US),
)
