"""The same rows in another form, or in a file that cannot be trusted: D16 to D24."""

import zipfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from io import BytesIO

import numpy as np

from core.datasets import DATASETS, Column, Kind
from core.layout import stem
from core.sample.archive import sidecar_of, zipped
from core.sample.defects.plan import Planted, Truth
from core.sample.defects.site import Site
from core.types import Cadence

_HONEST_WORDS = {b"quote_volume": b"base_volume", b"taker_buy_quote_volume": b"taker_buy_base_volume"}
_WIDTH = 8


def other_header(site: Site) -> Planted | None:
    """D16: a header where files of that age have none, or none where they have one."""
    text = site.text()
    columns = DATASETS[site.series.dataset].columns[site.series.market][: text.lines[0].count(b",") + 1]
    words = ",".join(column.source for column in columns).encode()
    site.rewrite(site.period, replace(text, header=words if text.header is None else None))
    said = "has a header" if text.header is None else "has no header"
    return site.harmless("header", site.extent(text), len(text.lines), said)


def other_unit(site: Site) -> Planted | None:
    """D17: microseconds where files of that age have milliseconds, or the other way round."""
    text = site.text()
    is_us = text.unit_us == 1
    has_close = site.series.dataset == "klines"
    if is_us and not has_close:
        return None  # trades would lose digits
    everything = np.ones(len(text.lines), dtype=np.bool_)
    time = next(column.source for column in _columns(site) if column.name == "timestamp")
    changes = {time: _shorter if is_us else _longer}
    if has_close:
        changes["close_time"] = _shorter if is_us else _end_in_us
    site.rewrite(site.period, text.with_cells(everything, changes))
    said = f"times in {'milliseconds' if is_us else 'microseconds'}"
    truth = Truth.AS_PUBLISHED if has_close else Truth.MARKET
    return site.harmless("time unit", site.extent(text), len(text.lines), said, truth=truth)


def _columns(site: Site) -> tuple[Column, ...]:
    return DATASETS[site.series.dataset].columns[site.series.market]


def _longer(cell: bytes) -> bytes:
    return cell + b"000"


def _shorter(cell: bytes) -> bytes:
    return cell[:-3]


def _end_in_us(cell: bytes) -> bytes:
    """The last microsecond of a candle by its last millisecond."""
    return str((int(cell) + 1) * 1000 - 1).encode()


def honest_header(site: Site) -> Planted | None:
    """D18: the header of cm candles calls base asset `quote_volume`; here it says what it is."""
    text = site.text()
    if text.header is None:
        return None
    words = [_HONEST_WORDS.get(word, word) for word in text.header.split(b",")]
    site.rewrite(site.period, replace(text, header=b",".join(words)))
    said = "the header says base_volume and taker_buy_base_volume"
    return site.harmless("header words", site.extent(text), len(text.lines), said)


def samples_as_count(site: Site) -> Planted | None:
    """D19: `count` of mark, index and premium is a number of seconds, not of trades."""
    text = site.text()
    said = f"count is {text.cell(0, 'count').decode()} in every row and counts no trades"
    return site.harmless("count of samples", site.extent(text), len(text.lines), said)


def other_spelling(site: Site) -> Planted | None:
    """D20: the same values otherwise written: `True` or `true`, zeros at the end or none, `-5` or `-5.00`."""
    text = site.text()
    changes: dict[str, Callable[[bytes], bytes]] = {}
    for column in _columns(site)[: text.lines[0].count(b",") + 1]:
        if column.kind is Kind.BOOLEAN:
            changes[column.source] = lambda cell: cell.lower() if cell[:1].isupper() else cell.title()
        elif column.kind is Kind.DECIMAL and column.name is not None and any(text.column(column.source)):
            are_padded = any(cell.endswith(b"0") for cell in text.column(column.source) if b"." in cell)
            changes[column.source] = _stripped if are_padded else _padded
    written = text.with_cells(np.ones(len(text.lines), dtype=np.bool_), changes)
    if written == text:
        return None
    site.rewrite(site.period, written)
    return site.harmless("spelling", site.extent(text), len(text.lines), "other case, other zeros at the end")


def _stripped(cell: bytes) -> bytes:
    return cell.rstrip(b"0").rstrip(b".") if b"." in cell else cell


def _padded(cell: bytes) -> bytes:
    if not cell.lstrip(b"-").replace(b".", b"").isdigit():
        return cell  # an empty cell
    whole, _, digits = cell.partition(b".")
    return whole + b"." + digits.ljust(_WIDTH, b"0")


def no_sidecar(site: Site) -> Planted | None:
    """D21: an archive without `.CHECKSUM`, or under a name that nobody asks for (`…-2020-8.zip`) and without one."""
    text = site.text()
    path = site.path(site.period)
    span = site.extent(text)
    is_odd = site.period.cadence is Cadence.MONTHLY and site.period.first.month < 10 and site.random.integers(0, 2)
    if not is_odd:
        site.pending[sidecar_of(path)] = None
        facts = {"truth": Truth.MARKET, "in_archive": True}
        return site.planted("no checksum", span, len(text.lines), "no .CHECKSUM beside it", **facts)
    month = site.period.first
    name = f"{stem(site.series, site.period).removesuffix(site.period.label)}{month.year}-{month.month}"
    when = site.modified(site.period)
    site.remove(site.period)
    site.put(path.with_name(f"{name}.zip"), zipped(f"{name}.csv", text.content(), when), when)
    return site.missing("odd name", span, len(text.lines), f"it is called {name}.zip and has no .CHECKSUM")


def broken_zip(site: Site) -> Planted | None:
    """D22: a zip that cannot be read, of which the checksum speaks as it is: cut off, a wrong byte, or empty."""
    text = site.text()
    content = site.path(site.period).read_bytes()
    way = ("cut off", "damaged", "empty")[int(site.random.integers(0, 3))]
    broken = {"cut off": content[: len(content) // 2], "damaged": _damaged(content), "empty": b""}[way]
    site.replace_zip(site.period, lambda _: broken)
    said = f"the zip is {way}, and its checksum says so too"
    return site.missing("broken archive", site.extent(text), len(text.lines), said)


def _damaged(content: bytes) -> bytes:
    """One wrong byte inside the member, so that its CRC-32 does not agree."""
    with zipfile.ZipFile(BytesIO(content)) as archive:
        info = archive.infolist()[0]
        middle = info.header_offset + 30 + len(info.filename.encode()) + info.compress_size // 2
    wrong = bytearray(content)
    wrong[middle] ^= 0xFF
    return bytes(wrong)


def wrong_checksum(site: Site) -> Planted | None:
    """D23: the `.CHECKSUM` speaks of other bytes; the zip is good."""
    text = site.text()
    path = site.path(site.period)
    said = sidecar_of(path).read_bytes()
    other = sha256(path.read_bytes() + b"\n").hexdigest().encode()
    site.put(sidecar_of(path), other + said[len(other) :], site.modified(site.period))
    detail = f"the checksum says {other[:12].decode()}…, which are other bytes"
    return site.planted("wrong checksum", site.extent(text), len(text.lines), detail, truth=Truth.MARKET)


def foreign_letters(site: Site) -> Planted | None:
    """D24: a symbol that is not ASCII."""
    if site.series.symbol.isascii():
        return None
    text = site.text()
    return site.harmless("symbol", site.extent(text), len(text.lines), f"{site.series.symbol} is not ASCII")
