"""Rows are looked at while they are stored, by a function of another room that is named and not imported here.

It is loaded where rows are, which may be another process, and only when there are some.
"""

import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

import pyarrow as pa

from core.settings import QualitySettings
from core.types import Finding, Series, Span


class Check(Protocol):
    """What is wrong with some rows of a series in the order of its key."""

    def __call__(self, series: Series, table: pa.Table, quality: QualitySettings) -> Sequence[Finding]: ...


class Looking:
    """What the check named as `module:function` finds in the rows of some archives; nothing where none is named."""

    def __init__(self, name: str, series: Series, quality: QualitySettings) -> None:
        self._check = _loaded(name) if name else None
        self._series = series
        self._quality = quality
        self._found: dict[tuple[str, str | None], Finding] = {}

    def at(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Look at rows that follow each other."""
        rows = [batch for batch in batches if batch.num_rows] if self._check is not None else []
        if rows and self._check is not None:
            for finding in self._check(self._series, pa.Table.from_batches(rows), self._quality):
                self._add(finding)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """One of each kind and cause, with the count of all."""
        return tuple(self._found.values())

    def _add(self, finding: Finding) -> None:
        key = finding.kind, finding.cause
        before = self._found.get(key)
        if before is None:
            self._found[key] = finding
            return
        start_us = min(before.span.start_us, finding.span.start_us)
        span = Span(start_us, max(before.span.end_us, finding.span.end_us))
        self._found[key] = replace(before, span=span, count=before.count + finding.count)


def _loaded(name: str) -> Check:
    module, _, function = name.partition(":")
    check: Callable[..., Sequence[Finding]] = getattr(importlib.import_module(module), function)
    return check
