"""Liquidation orders, each row published twice. Ended in 2024, in both markets.

There is no id. All columns together are the key, so that a row is dropped only if another agrees with it in everything:
distinct liquidations of one millisecond all stay, and two that agree in everything cannot be told from the doubling.
The order of the key puts the fills of one order into the order of their filling.
"""

from datetime import date

from core.datasets.clock import Beat, Clock
from core.datasets.dataset import BY_DAY_ONLY, Column, Dataset, Kind
from core.types import Market


def _columns(quantity_unit: str) -> tuple[Column, ...]:
    price = "quote asset per base asset"
    return (
        Column("time", "timestamp", Kind.TIME, "time of the liquidation", "UTC microseconds, whole milliseconds"),
        Column(
            "side", "side", Kind.TEXT, "of the order: SELL closes a long position, BUY a short one", "word: SELL, BUY"
        ),
        Column("order_type", "order_type", Kind.TEXT, "type of the order", "word; seen: LIMIT"),
        Column("time_in_force", "time_in_force", Kind.TEXT, "how long the order stands", "word; seen: IOC"),
        Column("original_quantity", "original_quantity", Kind.DECIMAL, "quantity to be closed", quantity_unit),
        Column("price", "price", Kind.DECIMAL, "limit of the order", price),
        Column("average_price", "average_price", Kind.DECIMAL, "mean price of the fills", price),
        Column("order_status", "order_status", Kind.TEXT, "state of the order", "word; seen: FILLED"),
        Column("last_fill_quantity", "last_fill_quantity", Kind.DECIMAL, "quantity of the last fill", quantity_unit),
        Column(
            "accumulated_fill_quantity",
            "accumulated_fill_quantity",
            Kind.DECIMAL,
            "quantity filled so far; with `average_price` the size of the liquidation",
            quantity_unit,
        ),
    )


LIQUIDATION_SNAPSHOT = Dataset(
    name="liquidation_snapshot",
    remote="liquidationSnapshot",
    doc="liquidation orders of one contract",
    columns={Market.UM: _columns("base asset"), Market.CM: _columns("contracts")},
    key=(
        "timestamp",
        "side",
        "price",
        "original_quantity",
        "accumulated_fill_quantity",
        "last_fill_quantity",
        "average_price",
        "order_type",
        "time_in_force",
        "order_status",
    ),
    cadences=BY_DAY_ONLY,
    notes=(
        "A sample rather than a census: the exchange's liquidation stream shows at most one order of a symbol per "
        "second, and these files hardly ever have more. Take counts and volumes for lower bounds.",
        "The exchange publishes every row twice, one behind the other.",
        "Ended. The um folder is empty today; files of it that were kept elsewhere are read.",
    ),
    history={Market.UM: "until 2024-03-31, since removed", Market.CM: "2023-06-25 to 2024-10-14"},
    ended={Market.UM: date(2024, 3, 31), Market.CM: date(2024, 10, 14)},
    repair="There is no id, so all columns together are the key: exact duplicates are dropped and counted, which is "
    "half of every file, and rows that differ in anything all stay. Rows out of order are sorted by key and counted. A "
    "row that two files both have is stored with both and given once to whoever reads.",
    usual_repairs=("duplicate-rows",),
    clock=Clock(Beat.RARE),
)
