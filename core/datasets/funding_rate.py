"""Funding settlements of perpetual contracts. The archive has them by month only."""

from core.datasets.dataset import Column, Dataset, Kind
from core.types import Cadence, Market

_COLUMNS = (
    Column("calc_time", "timestamp", Kind.TIME, "settlement, a few ms after the hour, as published"),
    Column("funding_interval_hours", "funding_interval_hours", Kind.INTEGER, "hours since the settlement before"),
    Column("last_funding_rate", "funding_rate", Kind.DECIMAL, "rate settled (a ratio, may be negative)"),
)

FUNDING_RATE = Dataset(
    name="funding_rate",
    remote="fundingRate",
    doc="funding settlements of one perpetual",
    columns={Market.UM: _COLUMNS, Market.CM: _COLUMNS},
    key=("timestamp",),
    cadences=(Cadence.MONTHLY,),
)
