"""Bars of real trades of the three markets equal the twin's, made of the published text.

Of cm and spot across midnight; of um there is one day.
"""

import csv
import io
import zipfile

import pyarrow as pa
import pytest
from bars_twin import Trade, batch, rows, twin_bars
from factories import real_folder

from core.bars.builder import BarBuilder
from core.bars.spec import BarSpec
from core.dates import DAY_US

CM = [f"data/futures/cm/daily/trades/ETHUSD_PERP/ETHUSD_PERP-trades-2024-08-{day}.zip" for day in ("08", "09")]
UM = ["data/futures/um/daily/trades/BTCUSDT/BTCUSDT-trades-2024-08-08.zip"]
SPOT = [f"data/spot/daily/trades/ETHUSDT/ETHUSDT-trades-2024-08-{day}.zip" for day in ("08", "09")]
AGG = ["data/spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2020-01-02.zip"]
KINDS = [
    *("time-1m", "tick-100", "volume-50", "dollar-250000", "dollar_imbalance-100000"),
    *("tick_imbalance-100", "volume_imbalance-100", "afml_dollar_imbalance-100"),
    *("tick_run-100", "volume_run-100-tick_rule", "dollar_run-100"),
]


def published(key: str, dataset: str) -> list[Trade]:
    """The trades of an archive, as text; columns in the order of the file where it has no header."""
    with zipfile.ZipFile(real_folder() / key) as archive:
        lines = list(csv.reader(io.StringIO(archive.read(archive.namelist()[0]).decode())))
    wanted = (0, 1, 2, 6, 5) if dataset == "agg_trades" else (0, 1, 2, 5, 4)
    cells = [[line[place] for place in wanted] for line in lines if line[0].isdigit()]
    return [
        Trade(int(n), price, size, side.lower() == "true", int(time) * 1000) for n, price, size, side, time in cells
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("keys", "dataset", "contract"),
    [(CM, "trades", 10), (UM, "trades", None), (SPOT, "trades", None), (AGG, "agg_trades", None)],
    ids=("cm", "um", "spot", "aggregated"),
)
def test_bars_of_real_trades_are_the_twins(keys: list[str], dataset: str, contract: int | None, kind: str) -> None:
    first, *later = (published(key, dataset) for key in keys)
    # With days to follow, the evening of the first and the night behind it; else the morning.
    files = [first[-2000:], *(trades[:2000] for trades in later)] if later else [first[:2000]]
    spec, trades = BarSpec.parse(kind), [trade for file in files for trade in file]
    builder = BarBuilder(spec, contract_value=contract)
    tables = []
    for file in files:
        tables.append(builder.update(batch(file, dataset)))
        builder = BarBuilder.resume(spec, builder.state())
    if later:
        assert files[0][-1].time // DAY_US < files[1][0].time // DAY_US
    expected = twin_bars(spec, trades, contract)
    assert rows(pa.concat_tables(tables)) + rows(builder.finish(), True) == expected
    assert len(expected) > 1
