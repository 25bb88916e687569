"""ArcticDB and NautilusTrader beside `loader.py`, each in the environment that `make tools` gives it.

    .venv-tools/arctic/bin/python benchmarks/loader_peers.py arctic JOB.json

Nothing of Tapevault is imported here. The job names Parquet files; their rows are kept first, in the library's own form
and by its own writer, and kept for the next run. Then each line on standard input is a question:

    go one/arrow 3       reads the third group of symbols of the task `one`; answered by the seconds that took
    facts one/arrow 3    the same, answered by the rows, the sum of each column and its number of NaN, as JSON
"""

import gc
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HOUR_NS = 3_600_000_000_000
Read = Callable[[list[str]], Any]


class Peer:
    """A library: how it keeps the rows of a symbol, and how it reads those of several. `reads` by name."""

    package = ""
    reads: dict[str, Read]

    def __init__(self, folder: Path) -> None:
        raise NotImplementedError

    def write(self, symbol: str, rows: pa.Table) -> None:
        raise NotImplementedError

    def columns(self, result: Any) -> dict[str, Any]:
        """The columns of what a read gave, times in microseconds."""
        raise NotImplementedError


class Arctic(Peer):
    """A frame of its own for each symbol in one LMDB; many are read as a batch, and left as a list."""

    package = "arcticdb"

    def __init__(self, folder: Path) -> None:
        from arcticdb import Arctic as Database  # type: ignore[import-not-found]

        self._library = Database(f"lmdb://{folder}?map_size=8GB").get_library("klines", create_if_missing=True)
        self.reads = {"pandas": self._reader("PANDAS"), "arrow": self._reader("PYARROW")}

    def write(self, symbol: str, rows: pa.Table) -> None:
        self._library.write(symbol, rows.to_pandas().set_index("timestamp"))

    def _reader(self, form: str) -> Read:
        def read(symbols: list[str]) -> list[Any]:
            if len(symbols) == 1:
                return [self._library.read(symbols[0], output_format=form).data]
            return [item.data for item in self._library.read_batch(symbols, output_format=form)]

        return read

    def columns(self, result: Any) -> dict[str, Any]:
        tables = [each if isinstance(each, pa.Table) else pa.Table.from_pandas(each) for each in result]
        whole = pa.concat_tables(tables)
        times = whole.column("timestamp").cast(pa.int64()).to_numpy() // 1000
        others = [name for name in whole.column_names if name != "timestamp"]
        return {"timestamp": times, **{name: whole.column(name).to_numpy() for name in others}}


class Nautilus(Peer):
    """Bars in a ParquetDataCatalog, queried as its users do: a list of `Bar` is all it gives."""

    package = "nautilus_trader"

    def __init__(self, folder: Path) -> None:
        from nautilus_trader.model.data import Bar  # type: ignore[import-not-found]
        from nautilus_trader.persistence.catalog import ParquetDataCatalog  # type: ignore[import-not-found]

        catalog = ParquetDataCatalog(str(folder))
        self._catalog = catalog
        self.reads = {"bars": lambda symbols: catalog.query(Bar, identifiers=[bar_type(symbol) for symbol in symbols])}

    def write(self, symbol: str, rows: pa.Table) -> None:
        from nautilus_trader.model.data import BarType
        from nautilus_trader.persistence.wranglers import BarDataWrangler  # type: ignore[import-not-found]

        frame = rows.select(["timestamp", "open", "high", "low", "close", "volume"]).to_pandas().set_index("timestamp")
        frame.index += np.timedelta64(HOUR_NS, "ns")  # a bar is stamped with its end
        wrangler = BarDataWrangler(BarType.from_str(bar_type(symbol)), _instrument(symbol))
        self._catalog.write_data(wrangler.process(frame))

    def columns(self, result: Any) -> dict[str, Any]:
        names = ("open", "high", "low", "close", "volume")
        prices = {name: np.array([getattr(bar, name).as_double() for bar in result]) for name in names}
        return {"timestamp": np.array([(bar.ts_event - HOUR_NS) // 1000 for bar in result]), **prices}


def bar_type(symbol: str) -> str:
    return f"{symbol}.BINANCE-1-HOUR-LAST-EXTERNAL"


def _instrument(symbol: str) -> Any:
    from nautilus_trader.model.currencies import BTC, USDT  # type: ignore[import-not-found]
    from nautilus_trader.model.identifiers import InstrumentId, Symbol  # type: ignore[import-not-found]
    from nautilus_trader.model.instruments import CryptoPerpetual  # type: ignore[import-not-found]
    from nautilus_trader.model.objects import Price, Quantity  # type: ignore[import-not-found]

    name = InstrumentId.from_str(f"{symbol}.BINANCE")
    steps = Price(1e-8, 8), Quantity(1e-3, 3)
    return CryptoPerpetual(name, Symbol(symbol), BTC, USDT, USDT, False, 8, 3, *steps, 0, 0)


PEERS: dict[str, type[Peer]] = {"arctic": Arctic, "nautilus": Nautilus}


def opened(name: str, job: dict[str, Any]) -> Peer:
    """The library with the rows of every file of the job in it."""
    kind = PEERS[name]
    folder = Path(job["folder"], f"{name}-{version(kind.package)}")
    mark = folder.with_suffix(".complete")
    wanted = json.dumps(sorted(job["files"]))
    if mark.is_file() and mark.read_text() == wanted:
        return kind(folder)
    mark.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    peer = kind(folder)
    for symbol, path in job["files"].items():
        peer.write(symbol, pq.ParquetFile(path).read(job["columns"]))
    mark.write_text(wanted)
    return peer


def serve(peer: Peer, groups: dict[str, list[list[str]]], questions: Iterable[str], answers: TextIO) -> None:
    """Answer each line by a line, until there are no more."""
    print(f"{peer.package} {version(peer.package)}", file=answers, flush=True)
    for line in questions:
        verb, what, number = line.split()
        task, _, read = what.partition("/")
        symbols = groups[task][int(number)]
        answer = _timed(peer.reads[read], symbols) if verb == "go" else _facts(peer, peer.reads[read](symbols))
        print(json.dumps(answer), file=answers, flush=True)


def _timed(read: Read, symbols: list[str]) -> float:
    gc.collect()
    gc.disable()
    began = time.perf_counter()
    result = read(symbols)
    taken = time.perf_counter() - began
    gc.enable()
    del result
    return taken


def _facts(peer: Peer, result: Any) -> dict[str, Any]:
    columns = peer.columns(result)
    return {
        "rows": len(columns["timestamp"]),
        "sums": {name: np.nansum(values).item() for name, values in columns.items()},
        "nans": {name: int(np.isnan(values).sum()) for name, values in columns.items()},
    }


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    job = json.loads(Path(sys.argv[2]).read_text())
    serve(opened(sys.argv[1], job), job["groups"], sys.stdin, answers)


if __name__ == "__main__":
    main()
