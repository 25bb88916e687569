"""A stored sample market for the tests of integrity, and archives of it in which something was changed."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from factories import zip_bytes

from core.exchanges.binance.urls import key_of
from core.integrity.checker import ALWAYS, IntegrityChecker
from core.layout import Layout, home_of
from core.sample.archive import Shelf, files_of
from core.sample.csv_text import csv_bytes
from core.sample.market import SampleMarket, times_of
from core.sample.quirks import as_published
from core.sample.values import Columns, Decimals
from core.settings import KnownGap, QualitySettings, StorageSettings
from core.storage.manager import StorageManager
from core.types import ArchiveFile, FetchedFile, Finding, Period, Proof, Series, Span

Change = Callable[[Columns], Columns]


class Stored:
    """A market's archives, stored; `change` alters the rows of a file before it is published."""

    def __init__(self, folder: Path, market: SampleMarket, shelves: Iterable[Shelf] = ()) -> None:
        self.market = market
        self.layout = Layout(folder)
        self.storage = StorageManager(self.layout, StorageSettings(csv_datasets=(), parser="arrow"), QualitySettings())
        homes: dict[tuple[Series, Period], list[FetchedFile]] = {}
        for series, period in files_of(market, tuple(shelves)):
            fetched = self.published(series, period)
            if fetched is not None:
                homes.setdefault((series, home_of(series, period)), []).append(fetched)
        for files in homes.values():
            assert self.storage.store(files).refused == {}

    def published(self, series: Series, period: Period, change: Change | None = None) -> FetchedFile | None:
        """The archive of a period in `raw/`; None where it has no rows."""
        rows = as_published(self.market.seed, series, period, self.market.file_rows(series, period))
        if change is not None:
            rows = change(rows)
        if not len(times_of(series, rows)):
            return None
        return self.put(series, period, csv_bytes(series, period, rows))

    def put(self, series: Series, period: Period, text: bytes, proof: Proof = Proof.SHA256_BY_ETAG) -> FetchedFile:
        """A CSV as an archive in `raw/`."""
        path = self.layout.raw(series, period)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = zip_bytes({f"{path.stem}.csv": text})
        path.write_bytes(content)
        file = ArchiveFile(series, period, key_of(series, period), len(content), "e", None, "")
        return FetchedFile(file, path, len(content), hashlib.sha256(content).hexdigest(), proof)

    def store(self, series: Series, *periods: Period, change: Change | None = None) -> None:
        """Store the archives of these periods, changed."""
        for period in periods:
            fetched = self.published(series, period, change)
            if fetched is not None:
                assert self.storage.store([fetched], fresh=True).refused == {}

    def checker(self, known: Iterable[KnownGap] = (), now_us: int | None = None) -> IntegrityChecker:
        return IntegrityChecker(self.layout, self.storage, known_gaps=tuple(known), now_us=now_us)

    def found(self, series: Series, deep: bool = False, span: Span = ALWAYS) -> list[Finding]:
        return list(self.checker().check(series, span, deep))


def days(first: str, count: int) -> list[Period]:
    start = Period.parse(first)
    return [Period.day(each) for each in (np.datetime64(start.first) + np.arange(count)).tolist()]


def without(*rows: int | slice) -> Change:
    """Some rows are left out."""

    def change(columns: Columns) -> Columns:
        count = max(len(each) for each in columns.values() if not isinstance(each, Decimals))
        kept = np.ones(count, dtype=np.bool_)
        for each in rows:
            kept[each] = False
        return {name: values[kept] for name, values in columns.items()}

    return change


def altered(name: str, row: int | slice, by: int = 0, to: int | None = None) -> Change:
    """In some rows a value is raised by so many units, or set to so many."""

    def change(columns: Columns) -> Columns:
        values = columns[name]
        if isinstance(values, Decimals):
            units = values.units.copy()
            units[row] = units[row] + by if to is None else to
            return {**columns, name: replace(values, units=units)}
        changed = values.astype(np.int64)
        changed[row] = changed[row] + by if to is None else to
        return {**columns, name: changed}

    return change


def all_of(*changes: Change) -> Change:
    def change(columns: Columns) -> Columns:
        for each in changes:
            columns = each(columns)
        return columns

    return change
