"""Plain CSV of any data type, one file a series: `<market>/<data type>/<symbol>[-<interval>].csv[.gz]`.

A header with our column names, times as ISO 8601 in UTC with microseconds, floats in the shortest form that reads
back as the same double. Written a batch at a time.
"""

import contextlib
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pc

from core.export.draft import draft
from core.export.format import Options, Rows, Written
from core.types import Series, Span


def write(rows: Rows, series: Sequence[Series], span: Span, folder: Path, options: Options) -> Iterator[Written]:
    """One file for each series that has rows in `span`; gzip if `options` say so (the same rows, the same bytes)."""
    for one in series:
        batches = rows.scan(one, span)
        first = next(batches, None)
        if first is not None:
            yield _file(one, chain([first], batches), first.schema, _path(folder, one, options.gzip))


def _path(folder: Path, one: Series, is_zipped: bool) -> Path:
    stem = f"{one.symbol}-{one.interval}" if one.interval else one.symbol
    return folder / one.market / one.dataset / f"{stem}.csv{'.gz' if is_zipped else ''}"


def _file(one: Series, batches: Iterator[pa.RecordBatch], schema: pa.Schema, path: Path) -> Written:
    count = 0
    options = pc.WriteOptions(quoting_style="none", quoting_header="none")
    with draft(path.parent, path.name) as made:
        with contextlib.ExitStack() as stack:
            sink = stack.enter_context(pa.OSFile(str(made.temporary), "wb"))
            if path.suffix == ".gz":
                sink = stack.enter_context(pa.CompressedOutputStream(sink, "gzip"))
            writer = stack.enter_context(pc.CSVWriter(sink, schema, write_options=options))
            for batch in batches:
                writer.write_batch(batch)
                count += batch.num_rows
        made.publish(path)
    return Written(path, count, (one,))
