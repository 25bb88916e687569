"""Every change of the best bid and ask. Ended in 2024, in both markets."""

from datetime import date

from core.datasets.clock import Beat, Clock
from core.datasets.dataset import Column, Dataset, Kind
from core.types import Cadence, Market


def _columns(quantity_unit: str) -> tuple[Column, ...]:
    price = "quote asset per base asset"
    return (
        Column("update_id", "update_id", Kind.INTEGER, "id of the change of the order book, rising", "id"),
        Column("best_bid_price", "best_bid_price", Kind.DECIMAL, "highest price bid", price),
        Column("best_bid_qty", "best_bid_qty", Kind.DECIMAL, "quantity bid at it", quantity_unit),
        Column("best_ask_price", "best_ask_price", Kind.DECIMAL, "lowest price asked", price),
        Column("best_ask_qty", "best_ask_qty", Kind.DECIMAL, "quantity asked at it", quantity_unit),
        Column("transaction_time", "timestamp", Kind.TIME, "time of the change in the matching engine", _TIME),
        Column("event_time", "event_time", Kind.TIME, "time at which the change was sent out", _TIME),
    )


_TIME = "UTC microseconds, whole milliseconds"

BOOK_TICKER = Dataset(
    name="book_ticker",
    remote="bookTicker",
    doc="best bid and ask of one contract at every change",
    columns={Market.UM: _columns("base asset"), Market.CM: _columns("contracts")},
    key=("update_id",),
    notes=(
        "Rows are in the order of `update_id`; times need not rise with it. Some files have two days interleaved "
        "(ETHUSDT 2024-01-15), which sorting puts right.",
        "Ids are not without holes: only changes of the best prices or their quantities are rows.",
        "Ended: the um month 2024-04 holds only hours. Large: a busy day of um BTCUSDT is about 185 MB zipped.",
    ),
    history={Market.UM: "2023-05-16 to 2024-03-30", Market.CM: "until 2024-10-15"},
    ended={Market.UM: date(2024, 3, 30), Market.CM: date(2024, 10, 15)},
    closed=Cadence.DAILY,
    open=Cadence.DAILY,
    clock=Clock(Beat.EVENTS),
)
