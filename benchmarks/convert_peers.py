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
from typing import IO, Any, TypedDict


class Archive(TypedDict):
    """`columns` are those of the text, as (name, name in the output or None, kind); `to_us`: a time's unit."""

    key: str
    path: str
    has_header: bool
    to_us: int
    columns: list[tuple[str, str | None, str]]


class Job(TypedDict):
    """What to convert, into which folder; `encoding` are options of the library's writer, {}: its defaults."""

    archives: list[Archive]
    out: str
    encoding: dict[str, Any]


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


def stored(archive: Archive) -> list[tuple[str, str, str]]:
    """What is kept: (name in the text, name in the output, kind), in the output's order, which is the text's."""
    return [(source, name, kind) for source, name, kind in archive["columns"] if name]


def pyarrow_streaming(job: Job) -> None:
    """open_csv over zipfile, a row group for each block; 8 MB was the fastest of 1, 2, 4, 8, 16 and 32."""
    _pyarrow(job, 8 << 20)


def pyarrow_isal(job: Job) -> None:
    """The same with zipfile inflating by ISA-L."""
    from isal import isal_zlib

    for name in ("zlib", "crc32"):
        assert hasattr(zipfile, name)
    zipfile.zlib = isal_zlib  # type: ignore[attr-defined]
    zipfile.crc32 = isal_zlib.crc32  # type: ignore[attr-defined]
    _pyarrow(job, 8 << 20)


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
        for source, name, kind in stored(archive):
            values = rows.column(source)
            columns[name] = pc.multiply(values, archive["to_us"]).cast(utc) if kind == "time" else values
        return pa.table(columns)

    for archive, target in outputs(job):
        read = csv.ReadOptions(
            column_names=[source for source, _, _ in archive["columns"]],
            skip_rows=int(archive["has_header"]),
            block_size=block_bytes,
        )
        convert = csv.ConvertOptions(
            column_types={source: kinds[kind] for source, _, kind in archive["columns"]},
            include_columns=[source for source, _, _ in stored(archive)],
            true_values=["true", "True"],
            false_values=["false", "False"],
        )
        with opened(archive) as stream:
            if block_bytes is None:
                table = csv.read_csv(stream, read, convert_options=convert)
                pq.write_table(renamed(table, archive), target, **job["encoding"])
                continue
            reader = csv.open_csv(stream, read, convert_options=convert)
            writer = None
            for batch in reader:
                rows = renamed(batch, archive)
                writer = writer or pq.ParquetWriter(target, rows.schema, **job["encoding"])
                writer.write_table(rows)
            assert writer is not None
            writer.close()


def polars(job: Job) -> None:
    """Extract to a file, scan_csv, sink_parquet."""
    import polars as pl

    kinds = {"time": pl.Int64, "integer": pl.Int64, "decimal": pl.Float64, "boolean": pl.Boolean}
    for archive, target in outputs(job):
        text = extracted(archive, Path(job["out"]))
        is_titled = "data/spot/" in archive["key"]  # True and False, which polars takes for text
        schema = {
            source: pl.String if is_titled and kind == "boolean" else kinds[kind]
            for source, _, kind in archive["columns"]
        }
        columns = []
        for source, name, kind in stored(archive):
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
        types = ", ".join(f"'{source}': '{kinds[kind]}'" for source, _, kind in archive["columns"])
        columns = ", ".join(
            f'make_timestamptz("{source}" * {archive["to_us"]}) AS "{name}"'
            if kind == "time"
            else f'"{source}" AS "{name}"'
            for source, name, kind in stored(archive)
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
            names=[source for source, _, _ in archive["columns"]],
            usecols=[source for source, _, _ in stored(archive)],
            dtype={source: kinds[kind] for source, _, kind in archive["columns"]},
        )
        for source, _, kind in stored(archive):
            if kind == "time":
                times = frame[source] * archive["to_us"]
                frame[source] = times.astype("datetime64[us]").dt.tz_localize("UTC")
        frame.columns = pd.Index([name for _, name, _ in stored(archive)])
        frame.to_parquet(target, index=False, **job["encoding"])


PEERS = {each.__name__: each for each in (pyarrow_streaming, pyarrow_isal, pyarrow_whole, polars, duckdb, pandas)}


if __name__ == "__main__":
    PEERS[sys.argv[1]](json.loads(Path(sys.argv[2]).read_text()))
