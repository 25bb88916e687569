"""What `convert.py` measures us beside, each in a process of its own.

    python benchmarks/convert_peers.py NAME JOB.json

Each is written as somebody would who knows the library and the columns, and imports nothing else. They check nothing:
no order of rows, no duplicates, no period, no sync to disk.
"""

import json
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, TypedDict

BLOCK_BYTES: Final = 1 << 20
ROW_GROUP_ROWS: Final = 1 << 20
"""Both are pyarrow's own defaults, and the fastest of blocks of 1 to 32 MB and groups of 20,000 rows to a million."""


class Archive(TypedDict):
    """`series` is market, dataset, symbol and interval or "".

    `columns` are those of the text, as (name, kind); `stored` those of the output, in its order, as (name in the text,
    name, kind); `to_us` is how many microseconds the unit of a time has.
    """

    key: str
    series: tuple[str, str, str, str]
    period: str
    path: str
    has_header: bool
    to_us: int
    columns: list[tuple[str, str]]
    stored: list[tuple[str, str, str]]


class Job(TypedDict):
    """What to convert, into which folder; `encoding` are options of the library's writer, {}: its defaults. `parser` is
    our own setting of that name, and `processes` how many processes store for us, 0: the one that is started."""

    archives: list[Archive]
    out: str
    encoding: dict[str, Any]
    parser: str
    processes: int


def opened(archive: Archive) -> IO[bytes]:
    whole = zipfile.ZipFile(archive["path"])
    return whole.open(whole.namelist()[0])


def extracted(archive: Archive, out: Path) -> Path:
    target = out / "extracted.csv"
    with opened(archive) as stream, target.open("wb") as file:
        shutil.copyfileobj(stream, file, 1 << 20)
    return target


def outputs(job: Job) -> Iterator[tuple[Archive, Path]]:
    for archive in job["archives"]:
        target = Path(job["out"]) / f"{archive['key']}.parquet"
        target.parent.mkdir(parents=True, exist_ok=True)
        yield archive, target


def pyarrow_streaming(job: Job) -> None:
    """open_csv over zipfile, written a row group at a time."""
    _pyarrow(job, BLOCK_BYTES)


def pyarrow_isal(job: Job) -> None:
    """The same with zipfile inflating by ISA-L."""
    from isal import isal_zlib

    for name in ("zlib", "crc32"):
        assert hasattr(zipfile, name)
    zipfile.zlib = isal_zlib  # type: ignore[attr-defined]
    zipfile.crc32 = isal_zlib.crc32  # type: ignore[attr-defined]
    _pyarrow(job, BLOCK_BYTES)


def pyarrow_whole(job: Job) -> None:
    """read_csv and write_table: for small archives."""
    _pyarrow(job, None)


def _pyarrow(job: Job, block_bytes: int | None) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
    from pyarrow import csv

    kinds = {"time": pa.int64(), "integer": pa.int64(), "decimal": pa.float64(), "boolean": pa.bool_()}
    utc = pa.timestamp("us", "UTC")

    def renamed(rows: Any, archive: Archive) -> Any:
        columns = {}
        for source, name, kind in archive["stored"]:
            values = rows.column(source)
            columns[name] = pc.multiply(values, archive["to_us"]).cast(utc) if kind == "time" else values
        return pa.table(columns)

    for archive, target in outputs(job):
        read = csv.ReadOptions(
            column_names=[source for source, _ in archive["columns"]],
            skip_rows=int(archive["has_header"]),
            block_size=block_bytes,
        )
        convert = csv.ConvertOptions(
            column_types={source: kinds[kind] for source, kind in archive["columns"]},
            include_columns=[source for source, _, _ in archive["stored"]],
            true_values=["true", "True"],
            false_values=["false", "False"],
        )
        schema = pa.schema([(name, utc if kind == "time" else kinds[kind]) for _, name, kind in archive["stored"]])
        with opened(archive) as stream:
            if block_bytes is None:
                table = csv.read_csv(stream, read, convert_options=convert)
                pq.write_table(renamed(table, archive), target, **job["encoding"])
                continue
            reader = csv.open_csv(stream, read, convert_options=convert)
            with pq.ParquetWriter(target, schema, **job["encoding"]) as writer:
                waiting, count = [], 0
                for batch in reader:
                    waiting.append(renamed(batch, archive))
                    count += batch.num_rows
                    if count >= ROW_GROUP_ROWS:
                        writer.write_table(pa.concat_tables(waiting), count)
                        waiting, count = [], 0
                if waiting:
                    writer.write_table(pa.concat_tables(waiting), count)


def polars(job: Job) -> None:
    """Extract to a file, scan_csv, sink_parquet."""
    import polars as pl

    kinds = {"time": pl.Int64, "integer": pl.Int64, "decimal": pl.Float64, "boolean": pl.Boolean}
    for archive, target in outputs(job):
        text = extracted(archive, Path(job["out"]))
        is_titled = "data/spot/" in archive["key"]  # True and False, which polars takes for text
        schema = {
            source: pl.String if is_titled and kind == "boolean" else kinds[kind] for source, kind in archive["columns"]
        }
        columns = []
        for source, name, kind in archive["stored"]:
            column = pl.col(source)
            if kind == "time":
                column = (column * archive["to_us"]).cast(pl.Datetime("us", "UTC"))
            elif schema[source] == pl.String:
                column = column == "True"
            columns.append(column.alias(name))
        scan = pl.scan_csv(text, has_header=archive["has_header"], schema=schema)
        scan.select(columns).sink_parquet(target, **job["encoding"])
        text.unlink()


def duckdb(job: Job) -> None:
    """Extract to a file, COPY (SELECT FROM read_csv) TO."""
    import duckdb as db

    kinds = {"time": "BIGINT", "integer": "BIGINT", "decimal": "DOUBLE", "boolean": "BOOLEAN"}
    connection = db.connect()
    options = "".join(f", {name} {value}" for name, value in job["encoding"].items())
    for archive, target in outputs(job):
        text = extracted(archive, Path(job["out"]))
        types = ", ".join(f"'{source}': '{kinds[kind]}'" for source, kind in archive["columns"])
        columns = ", ".join(
            f'make_timestamptz("{source}" * {archive["to_us"]}) AS "{name}"'
            if kind == "time"
            else f'"{source}" AS "{name}"'
            for source, name, kind in archive["stored"]
        )
        connection.execute(
            f"COPY (SELECT {columns} FROM read_csv('{text}', header = {archive['has_header']}, auto_detect = false, "
            f"delim = ',', quote = '', columns = {{{types}}})) TO '{target}' (FORMAT parquet{options})"
        )
        text.unlink()


def pandas(job: Job) -> None:
    """read_csv of the zip, to_parquet."""
    import pandas as pd

    kinds = {"time": "int64", "integer": "int64", "decimal": "float64", "boolean": "bool"}
    for archive, target in outputs(job):
        frame = pd.read_csv(
            archive["path"],
            header=0 if archive["has_header"] else None,
            names=[source for source, _ in archive["columns"]],
            usecols=[source for source, _, _ in archive["stored"]],
            dtype={source: kinds[kind] for source, kind in archive["columns"]},
        )
        for source, _, kind in archive["stored"]:
            if kind == "time":
                times = frame[source] * archive["to_us"]
                frame[source] = times.astype("datetime64[us]").dt.tz_localize("UTC")
        frame = frame[[source for source, _, _ in archive["stored"]]]
        frame.columns = pd.Index([name for _, name, _ in archive["stored"]])
        frame.to_parquet(target, index=False, **job["encoding"])


PEERS = {each.__name__: each for each in (pyarrow_streaming, pyarrow_isal, pyarrow_whole, polars, duckdb, pandas)}


if __name__ == "__main__":
    PEERS[sys.argv[1]](json.loads(Path(sys.argv[2]).read_text()))
