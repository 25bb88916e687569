"""Funding settlements of perpetual contracts. The archive has them by month only."""

from typing import Final

from core.datasets.clock import Beat, Clock
from core.datasets.dataset import Column, Dataset, Kind
from core.dates import MINUTE_US
from core.types import Cadence, Market

FUNDING_HOURS: Final = (1, 2, 4, 8)
"""Intervals of funding that there are."""
_COLUMNS = (
    Column(
        "calc_time",
        "timestamp",
        Kind.TIME,
        "settlement as published, a few ms after the hour (up to 45 seen)",
        "UTC microseconds, whole milliseconds",
    ),
    Column(
        "funding_interval_hours",
        "funding_interval_hours",
        Kind.INTEGER,
        "time between settlements in force at this one",
        "hours",
    ),
    Column(
        "last_funding_rate",
        "funding_rate",
        Kind.DECIMAL,
        "rate settled: above 0, longs pay shorts this part of the value of their position",
        "ratio, may be negative",
    ),
)

FUNDING_RATE = Dataset(
    name="funding_rate",
    remote="fundingRate",
    doc="funding settlements of one perpetual",
    columns={Market.UM: _COLUMNS, Market.CM: _COLUMNS},
    key=("timestamp",),
    cadences=(Cadence.MONTHLY,),
    grain_us=MINUTE_US,
    notes=(
        "The rate is of one interval, not of a year or a day. The interval of a contract changes: 8 h, 4 h, 1 h.",
        "A settlement equals no candle's open time, for it comes a few milliseconds later; round before joining, or "
        "let `load_aligned_data` join.",
    ),
    history={Market.UM: "since 2020-01"},
    clock=Clock(Beat.FUNDING),
)
