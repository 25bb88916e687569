"""Cells that are no numbers: times written out, words, the symbol. Which bytes they need, what they may say."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from core.datasets import Column, Kind

NUMERIC: Final = b"0123456789.,-+\r\neEtrualsfTRUALSF"
"""Everything that numbers, true and false are written with."""
TEXT_KINDS: Final = frozenset({Kind.TEXT_TIME, Kind.TEXT, Kind.SYMBOL})
EMPTY: Final = ("", '""')
"""How a cell without a value is written."""

_TIME: Final = r"^\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}$"
_WORD: Final = r"^[A-Z0-9_]+$"
_WORD_BYTES: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
_SETTLED: Final = re.compile(r"_?SETTLED\d*$")


def alphabet(columns: Sequence[Column], symbol: str) -> bytes:
    """The bytes that the cells of these columns may be written with, and no others."""
    needed = {
        Kind.TEXT_TIME: b" :",
        Kind.TEXT: _WORD_BYTES,
        Kind.SYMBOL: symbol.encode(),
    }
    empty = b'"' if any(column.nullable for column in columns) else b""
    return NUMERIC + empty + b"".join(needed.get(column.kind, b"") for column in columns)


def from_text(values: pa.Array, column: Column, symbol: str) -> pa.Array:
    """Times as int64 microseconds, words as they are. Raises ArrowInvalid for a cell that is not what it should be."""
    if column.kind is Kind.SYMBOL:
        good = pc.is_in(values, pa.array(_names(symbol)))
    else:
        good = pc.match_substring_regex(values, _TIME if column.kind is Kind.TEXT_TIME else _WORD)
    if not pc.all(good).as_py():
        raise pa.ArrowInvalid(f"{column.source} is not {column.kind.value}")
    return _microseconds(values) if column.kind is Kind.TEXT_TIME else values


def text_fault(cell: str, column: Column, symbol: str) -> str:
    """What is wrong with a cell, "" if nothing is: says no to exactly what `from_text` refuses."""
    if column.kind is Kind.SYMBOL:
        return "" if cell in _names(symbol) else f"{column.source} is {cell!r}, but the name says {symbol}"
    if not re.fullmatch(_TIME if column.kind is Kind.TEXT_TIME else _WORD, cell, re.ASCII):
        return f"{column.source} is {cell!r}"
    if column.kind is Kind.TEXT_TIME and not _is_in_calendar(cell):
        return f"{column.source} is {cell!r}, beyond the calendar"
    return ""


def _names(symbol: str) -> list[str]:
    """A contract that was settled keeps its rows under a new name; they may speak of it by the old one."""
    return [symbol, _SETTLED.sub("", symbol)]


def _microseconds(values: pa.Array) -> pa.Array:
    seconds = values.cast(pa.timestamp("s")).cast(pa.int64())
    if pc.min(seconds).as_py() < 0:
        raise pa.ArrowInvalid("a time is before 1970")
    return pc.multiply(seconds, 1_000_000)


def _is_in_calendar(cell: str) -> bool:
    try:
        return datetime.strptime(cell, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp() >= 0
    except ValueError:
        return False
