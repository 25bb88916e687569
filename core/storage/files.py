"""Which files a series has, by their names and stamps, without a look into any. Needs no Arrow."""

import os
from pathlib import Path

from core.errors import storage_error
from core.layout import Layout, cadences_of, period_in
from core.types import Cadence, Period, Series, Span, Stamp


def files_of(layout: Layout, series: Series) -> dict[Period, Path]:
    """The files of a series by their period. Raises StorageError if its folder cannot be read."""
    folder = layout.processed_folder(series)
    return {period: folder / entry.name for period, entry in entries_of(layout, series).items()}


def entries_of(layout: Layout, series: Series) -> dict[Period, "os.DirEntry[str]"]:
    """The entries of the folder of a series by their period. Raises StorageError if it cannot be read."""
    cadences = list(Cadence)[list(Cadence).index(cadences_of(series)[1]) :]  # merged ones are longer than all others
    return {period: entry for period, entry in every_version_of(layout, series).items() if period.cadence in cadences}


def every_version_of(layout: Layout, series: Series) -> dict[Period, "os.DirEntry[str]"]:
    """The same with files under names that an earlier version gave them."""
    folder = layout.processed_folder(series)
    try:
        entries = [entry for entry in os.scandir(folder) if entry.name.endswith(".parquet")]
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise storage_error(error, folder) from error
    periods = [(period_in(entry.name.removesuffix(".parquet"), series), entry) for entry in entries]
    return {period: entry for period, entry in periods if period is not None}


def stamps_of(layout: Layout, series: Series, span: Span | None = None) -> dict[Period, Stamp]:
    """The files of a series, or those that overlap a span. Raises StorageError if its folder cannot be read."""
    files = entries_of(layout, series)
    chosen = [period for period in files if span is None or period.span.overlaps(span)]
    stamps = {period: stamp_of(files[period]) for period in chosen}
    return {period: stamp for period, stamp in stamps.items() if stamp is not None}


def stamp_of(entry: "os.DirEntry[str]") -> Stamp | None:
    """By what the file of an entry is known again."""
    try:
        return Stamp.of(entry.stat())
    except OSError:
        return None  # it has gone, or reading it will say what is wrong
