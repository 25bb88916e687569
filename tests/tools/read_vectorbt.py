"""Run by vectorbt's Python: frames as pandas reads them, and a portfolio over the closes. Times are nanoseconds."""

import json
import sys
from pathlib import Path

import pandas as pd
import vectorbt as vbt

folder = Path(sys.argv[1])
frames = {str(path.relative_to(folder)): pd.read_parquet(path) for path in sorted(folder.rglob("*.parquet"))}
out = {
    name: {
        "index": [str(frame.index.name), str(frame.index.tz), frame.index.as_unit("ns").astype("int64").tolist()],
        "columns": frame.columns.tolist(),
        "rows": [[None if cell != cell else cell for cell in row] for row in frame.to_numpy().tolist()],
    }
    for name, frame in frames.items()
}
close = next(frame for name, frame in frames.items() if name.endswith("/close.parquet"))
held = vbt.Portfolio.from_holding(close.ffill().bfill(), init_cash=100.0, freq=sys.argv[2])
averages = vbt.MA.run(close, 2).ma.to_numpy()[-1].tolist()
print(json.dumps({"frames": out, "returns": held.total_return().to_numpy().tolist(), "averages": averages}))
