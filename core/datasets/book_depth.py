"""How much stands in the order book within a few percent of the mid price, about every thirty seconds."""

from core.datasets.clock import Beat, Clock
from core.datasets.dataset import BY_DAY_ONLY, Column, Dataset, Kind
from core.dates import MINUTE_US
from core.types import Cadence, Market


def _columns(depth_unit: str, notional_unit: str) -> tuple[Column, ...]:
    return (
        Column("timestamp", "timestamp", Kind.TEXT_TIME, "time of the snapshot", "UTC microseconds, whole seconds"),
        Column(
            "percentage",
            "percentage",
            Kind.DECIMAL,
            "band: all orders from the mid price to this far from it; below 0 bids, above 0 asks",
            "percent of the mid price",
        ),
        Column("depth", "depth", Kind.DECIMAL, "quantity of the orders in the band, cumulative from mid", depth_unit),
        Column("notional", "notional", Kind.DECIMAL, "value of the orders in the band, cumulative", notional_unit),
    )


BOOK_DEPTH = Dataset(
    name="book_depth",
    remote="bookDepth",
    doc="depth of the order book of one contract in bands around the mid price",
    columns={
        Market.UM: _columns("base asset", "quote asset"),
        Market.CM: _columns('"coin terms" (not documented further)', '"notional terms" (not documented further)'),
    },
    key=("timestamp", "percentage"),
    cadences=BY_DAY_ONLY,
    notes=(
        "One snapshot about every 30 seconds, 2,880 a day; a row for each band: -5 to -1 and 1 to 5, in newer files "
        "-0.2 and 0.2 too. The exchange writes `-5` or `-5.00`; both are the same number and so the same key.",
        "Bands are cumulative: the quantity between 1 % and 2 % is the difference of two rows.",
        "Known to be wrong at times, with a good checksum: on 2025-05-19 the values were far from the mark price, and "
        "the ask bands 0.2, 1 and 2 stood still from 2026-09-03 12:00 on. In um `notional / depth` is the mean price "
        "of a band and should lie inside it. Values are stored as published.",
        "A maintainer called the data ended in 2024; in 2026 it is published.",
    ),
    history={Market.UM: "since 2023-01-01"},
    closed=Cadence.MONTHLY,
    open=Cadence.DAILY,
    clock=Clock(Beat.SNAPSHOTS, MINUTE_US // 2),
)
