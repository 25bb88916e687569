"""What a rebuilt status database takes over from the one before: what neither files nor listings can tell again."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Table, bindparam, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from core.download.database import chunks
from core.download.tables import FILES, GAP_LOOKS, GAPS, REVISIONS, RUNS, SYMBOLS_SEEN
from core.types import FAULTS, State

TakeOver = Callable[[Connection, Connection], None]
"""Reads the old database and writes the new one."""
_FAULT: Final = ("state", "sha256", "proof", "error", "fault", "asks", "asked_us")
_STANDS_AGAIN: Final = (
    update(FILES).where(FILES.c.id == bindparam("row")).values({name: bindparam(f"old_{name}") for name in _FAULT})
)


def runs(old: Connection, new: Connection) -> None:
    """Runs that are over under their numbers, into a database that has none yet."""
    _copy(old, new, RUNS, RUNS.c.finished_us.is_not(None))


def gaps(old: Connection, new: Connection) -> None:
    """How gaps ended, and which partitions were looked through for them."""
    _copy(old, new, GAPS)
    _copy(old, new, GAP_LOOKS)


def symbols(old: Connection, new: Connection) -> None:
    """Which symbols are no news."""
    _copy(old, new, SYMBOLS_SEEN)


def revisions(old: Connection, new: Connection) -> None:
    """What the exchange has replaced, of archives that the new database knows."""
    rows = old.execute(select(FILES.c.key, REVISIONS).join(FILES, FILES.c.id == REVISIONS.c.file_id))
    for chunk in chunks([dict(row) for row in rows.mappings()]):
        known = new.execute(select(FILES.c.id, FILES.c.key).where(FILES.c.key.in_([row["key"] for row in chunk])))
        ids = {row.key: row.id for row in known}
        kept = [_without(row, "id", "key") | {"file_id": ids[row["key"]]} for row in chunk if row["key"] in ids]
        if kept:
            new.execute(insert(REVISIONS), kept)


def faults(old: Connection, new: Connection) -> None:
    """Faults of the source, and when it is asked again: of archives that are not here, and of those that are here, as
    they were listed then, and not stored."""
    rows = old.execute(select(FILES).where(FILES.c.state.in_(FAULTS)))
    for chunk in chunks([dict(row) for row in rows.mappings()]):
        known = new.execute(select(FILES).where(FILES.c.key.in_([row["key"] for row in chunk])))
        here = {row["key"]: dict(row) for row in known.mappings()}
        absent = [_without(row, "id") | {"owner": None} for row in chunk if row["key"] not in here]
        if absent:
            new.execute(insert(FILES), absent)
        same = [row for row in chunk if row["key"] in here and _is_same(row, here[row["key"]])]
        if same:
            new.execute(
                _STANDS_AGAIN,
                [{f"old_{name}": row[name] for name in _FAULT} | {"row": here[row["key"]]["id"]} for row in same],
            )


INHERITED: Final[Mapping[str, TakeOver]] = {
    "revisions": revisions,
    "gaps": gaps,
    "seen symbols": symbols,
    "faults of the source": faults,
}
"""What is taken over once the archives on disk are entered."""


def _is_same(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether what was wrong with an archive is wrong with the one that is here."""
    is_listed_so = (old["etag"], old["size"]) == (new["etag"], new["size"])
    are_bytes_so = new["sha256"] in (None, old["sha256"])
    return is_listed_so and are_bytes_so and new["state"] in (State.FETCHED, State.FAILED)


def _copy(old: Connection, new: Connection, table: Table, *which: ColumnElement[bool]) -> None:
    kept = [dict(row) for row in old.execute(select(table).where(*which)).mappings()]
    if table is GAPS:
        kept = [_without(row, "id") for row in kept]
    for chunk in chunks(kept):
        new.execute(upsert(table).on_conflict_do_nothing(), list(chunk))


def _without(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}
