"""Compile what numba compiles, once: three workers that come to it at the same time would each do it.

python tests/kernels.py
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from features_oracle import random_trades  # noqa: E402
from features_tape import tape_of  # noqa: E402

from core.bars.builder import BarBuilder  # noqa: E402
from core.bars.grid import BarGrid  # noqa: E402
from core.bars.spec import BarSpec  # noqa: E402
from core.datasets import DATASETS  # noqa: E402
from core.features import FEATURES, features_of  # noqa: E402
from core.storage.csv_compiled import CompiledReader  # noqa: E402
from core.types import Market  # noqa: E402

TRADES = random_trades(2000, 600, seed=1)


def main() -> None:
    for spec in ("time-1s", "tick-10", "dollar_imbalance-100000", "tick_imbalance-10", "volume_run-10"):
        BarBuilder(BarSpec.parse(spec)).update(TRADES.batch())
    BarGrid([BarSpec.parse(f"tick-{size}") for size in (10, 20)]).update(TRADES.batch())
    features_of(tape_of(TRADES), [one for one in FEATURES.values() if one.needs is None])
    line = b"1,1.5,2.5,3.75,1700000000000,true\n"
    list(CompiledReader(DATASETS["trades"].columns[Market.UM], 100).batches([line * 300]))


if __name__ == "__main__":
    main()
