"""The catalog: what the footers of all partitions say, kept in the status database.

It is a copy of the footers and never the last word. Runs that write partitions of one series at the same time enter
them in any order, so an entry of an older file never replaces that of a newer one.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, bindparam, delete, func, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from core.datasets import SCHEMA_VERSION
from core.download.rows import series_named
from core.download.tables import PARTITIONS, SOURCES
from core.layout import Layout
from core.types import Partition, Period, Proof, Series, Source, Stamp

_IDENTITY: Final = ("market", "dataset", "symbol", "interval", "period")
_NEW: Final = upsert(PARTITIONS)
_PUT: Final = _NEW.on_conflict_do_update(
    index_elements=_IDENTITY,
    set_={c.name: _NEW.excluded[c.name] for c in PARTITIONS.c if c.name not in (*_IDENTITY, "id")},
    where=func.coalesce(_NEW.excluded.modified_ns, PARTITIONS.c.modified_ns, 0)
    >= func.coalesce(PARTITIONS.c.modified_ns, 0),
).returning(PARTITIONS.c.id)
_FIND: Final = select(PARTITIONS.c.id).where(*(PARTITIONS.c[name] == bindparam(name) for name in _IDENTITY))
_CLEAR: Final = delete(SOURCES).where(SOURCES.c.partition_id == bindparam("row"))
_DROP: Final = delete(PARTITIONS).where(PARTITIONS.c.id == bindparam("row"))
_HOMES: Final = (
    select(SOURCES.c.key, *(PARTITIONS.c[name] for name in _IDENTITY))
    .join(PARTITIONS)
    .where(SOURCES.c.key.in_(bindparam("keys", expanding=True)))
    .distinct()
)
_SOURCE: Final = tuple(c.name for c in SOURCES.c if c.name not in ("id", "partition_id", "place"))


def put(connection: Connection, partitions: Iterable[Partition]) -> None:
    """Enter partitions, in their order, unless what is there is of a newer file."""
    entered: dict[int, Partition] = {}
    for partition in partitions:
        number = connection.execute(_PUT, _partition_row(partition)).scalar_one_or_none()
        if number is not None:
            entered[number] = partition
    if entered:
        connection.execute(_CLEAR, [{"row": number} for number in entered])
        connection.execute(
            insert(SOURCES),
            [
                _source_row(source) | {"place": place, "partition_id": number}
                for number, partition in entered.items()
                for place, source in enumerate(partition.sources)
            ],
        )


def drop(connection: Connection, removed: Iterable[tuple[Series, Period]]) -> None:
    """Forget partitions that have gone."""
    for series, period in removed:
        for (number,) in connection.execute(_FIND, _identity(series, period)).all():
            connection.execute(_CLEAR, {"row": number})
            connection.execute(_DROP, {"row": number})


def read(connection: Connection, layout: Layout, series: Series | None) -> list[Partition]:
    """The partitions of one series, or of all, in order."""
    chosen = select(PARTITIONS, *(SOURCES.c[name].label(f"source_{name}") for name in _SOURCE)).join(SOURCES)
    if series is not None:
        chosen = chosen.where(*_of(series))
    ordered = chosen.order_by(*(PARTITIONS.c[name] for name in _IDENTITY), SOURCES.c.place)
    return [_partition(layout, list(rows)) for _, rows in groupby(connection.execute(ordered), key=lambda row: row.id)]


def stamps(connection: Connection, series: Series) -> dict[Period, Stamp | None]:
    """Of which file each partition of a series is entered."""
    chosen = select(PARTITIONS.c.period, PARTITIONS.c.size, PARTITIONS.c.modified_ns).where(*_of(series))
    return {Period.parse(row.period): _stamp(row.size, row.modified_ns) for row in connection.execute(chosen)}


def homes(connection: Connection, keys: Sequence[str]) -> dict[str, list[tuple[Series, Period]]]:
    """By key of an archive, the partitions that have rows of it."""
    found: dict[str, list[tuple[Series, Period]]] = {}
    for row in connection.execute(_HOMES, {"keys": keys}):
        found.setdefault(row.key, []).append((_series(row), Period.parse(row.period)))
    return found


def _identity(series: Series, period: Period) -> dict[str, Any]:
    return {
        "market": series.market.value,
        "dataset": series.dataset,
        "symbol": series.symbol,
        "interval": series.interval or "",
        "period": period.label,
    }


def _of(series: Series) -> list[ColumnElement[bool]]:
    wanted = _identity(series, Period.parse("1970"))
    return [PARTITIONS.c[name] == wanted[name] for name in _IDENTITY[:4]]


def _partition_row(partition: Partition) -> dict[str, Any]:
    stamp = partition.stamp
    return _identity(partition.series, partition.period) | {
        "rows": partition.rows,
        "first_us": partition.first_us,
        "last_us": partition.last_us,
        "schema_version": SCHEMA_VERSION,
        "writer": partition.writer,
        "size": stamp.size if stamp else None,
        "modified_ns": stamp.modified_ns if stamp else None,
    }


def _partition(layout: Layout, rows: Sequence[Row[Any]]) -> Partition:
    """A partition, from a row for each of its sources."""
    one, period = _series(rows[0]), Period.parse(rows[0].period)
    sources = tuple(_source(row) for row in rows)
    return Partition(
        one, period, layout.processed(one, period), sources, rows[0].writer, _stamp(rows[0].size, rows[0].modified_ns)
    )


def _stamp(size: int | None, modified_ns: int | None) -> Stamp | None:
    return None if size is None or modified_ns is None else Stamp(size, modified_ns)


def _series(row: Row[Any]) -> Series:
    return series_named(row.market, row.dataset, row.symbol, row.interval or None)


def _source_row(source: Source) -> dict[str, Any]:
    row = {name: getattr(source, name) for name in _SOURCE}
    return row | {"period": source.period.label, "proof": source.proof.value}


def _source(row: Row[Any]) -> Source:
    values = {name: getattr(row, f"source_{name}") for name in _SOURCE}
    return Source(**values | {"period": Period.parse(values["period"]), "proof": Proof(values["proof"])})
