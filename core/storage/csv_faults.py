"""What is wrong with a line, said cell by cell: the slow second look that every refusal ends in."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from core.datasets import Column, Kind
from core.storage.member import MemberStream
from core.storage.text_cells import EMPTY, TEXT_KINDS, text_fault

LATEST_US: Final = 253_402_300_800_000_000
"""The year 10000, where the calendar ends."""
_BLOCK_BYTES: Final = 1 << 20
_CELLS: Final = {
    Kind.TIME: re.compile(r"\d+", re.ASCII),
    Kind.INTEGER: re.compile(r"-?\d+", re.ASCII),
    Kind.DECIMAL: re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII),
    Kind.BOOLEAN: re.compile("true|True|TRUE|false|False|FALSE"),
}


def fault_of(line: bytes, columns: Sequence[Column], symbol: str) -> str:
    """Why a line cannot be a row of these columns; nothing if it can."""
    cells = line.decode("utf-8", "replace").removesuffix("\r").split(",")
    if len(cells) != len(columns):
        return f"{len(cells)} columns instead of {len(columns)}"
    for cell, column in zip(cells, columns, strict=True):
        if column.nullable and cell in EMPTY:
            continue
        if column.kind in TEXT_KINDS:
            if fault := text_fault(cell, column, symbol):
                return fault
            continue
        if not _CELLS[column.kind].fullmatch(cell):
            return f"{column.source} is {cell!r}"
        if beyond := _beyond(cell, column):
            return f"{column.source} is {cell!r}, beyond {beyond}"
    return ""


def has_number(line: bytes) -> bool:
    """Whether a cell is a number: a header has none."""
    return any(_CELLS[Kind.DECIMAL].fullmatch(cell) for cell in line.decode("utf-8", "replace").strip().split(","))


def lines_of(member: MemberStream) -> Iterator[bytes]:
    """The lines of a member; one that is longer than a block ends there, and the rest is not looked at."""
    rest = b""
    while len(rest) <= _BLOCK_BYTES and (data := member.read(_BLOCK_BYTES)):
        *lines, rest = (rest + data).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _beyond(cell: str, column: Column) -> str:
    """What a number in the right form is too large for."""
    if column.kind is Kind.DECIMAL and column.name and not np.isfinite(float(cell)):
        return "any double"
    if column.kind is Kind.TIME and int(cell[:40]) >= LATEST_US:
        return "the calendar"
    if column.kind is Kind.INTEGER and not -(2**63) <= int(cell[:40]) < 2**63:
        return "64 bits"
    return ""
