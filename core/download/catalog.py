"""The catalog: what the footers of all partitions say, kept in the status database."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, delete, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from core.datasets import SCHEMA_VERSION
from core.download.rows import series_named
from core.download.tables import PARTITIONS, SOURCES
from core.layout import Layout
from core.types import Partition, Period, Proof, Series, Source

_IDENTITY: Final = ("market", "dataset", "symbol", "interval", "period")
_NEW: Final = upsert(PARTITIONS)
_PUT: Final = _NEW.on_conflict_do_update(
    index_elements=_IDENTITY,
    set_={c.name: _NEW.excluded[c.name] for c in PARTITIONS.c if c.name not in (*_IDENTITY, "id")},
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


def put(connection: Connection, partitions: Iterable[Partition], writer: str) -> None:
    """Enter partitions as they are now; `writer` is of those that do not say who wrote them."""
    for partition in partitions:
        facts = {"rows": partition.rows, "first_us": partition.first_us, "last_us": partition.last_us}
        row = _identity(partition.series, partition.period) | facts
        row |= {"schema_version": SCHEMA_VERSION, "writer": partition.writer or writer}
        number = connection.execute(_PUT, row).scalar_one()
        connection.execute(_CLEAR, {"row": number})
        sources = [_source_row(source) | {"place": place} for place, source in enumerate(partition.sources)]
        connection.execute(insert(SOURCES), [row | {"partition_id": number} for row in sources])


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
        wanted = _identity(series, Period.parse("1970"))
        chosen = chosen.where(*(PARTITIONS.c[name] == wanted[name] for name in _IDENTITY[:4]))
    found: dict[tuple[Series, Period, str], list[Source]] = {}
    for row in connection.execute(chosen.order_by(*(PARTITIONS.c[name] for name in _IDENTITY), SOURCES.c.place)):
        found.setdefault((_series(row), Period.parse(row.period), row.writer), []).append(_source(row))
    return [
        Partition(one, period, layout.processed(one, period), tuple(sources), writer)
        for (one, period, writer), sources in found.items()
    ]


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


def _series(row: Row[Any]) -> Series:
    return series_named(row.market, row.dataset, row.symbol, row.interval or None)


def _source_row(source: Source) -> dict[str, Any]:
    row = {name: getattr(source, name) for name in _SOURCE}
    return row | {"period": source.period.label, "proof": source.proof.value}


def _source(row: Row[Any]) -> Source:
    values = {name: getattr(row, f"source_{name}") for name in _SOURCE}
    return Source(**values | {"period": Period.parse(values["period"]), "proof": Proof(values["proof"])})
