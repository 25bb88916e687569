"""What listed archives come to: new rows, rows planned again, and revisions of archives that were here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, Update, bindparam, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from core.download.asking import Asking
from core.download.rows import file_row, to_download
from core.download.tables import FILES, REVISIONS
from core.types import FAULTS, ArchiveFile, Download, Proof, State

_NAMES: Final = ("id", "key", "size", "etag", "checksum_etag", "state", "owner", "sha256", "proof", "asks", "asked_us")
KNOWN: Final = select(*(FILES.c[name] for name in _NAMES)).where(FILES.c.key.in_(bindparam("keys", expanding=True)))
_NEW: Final = upsert(FILES).on_conflict_do_nothing()
_LISTED: Final = ("size", "etag", "checksum_etag", "modified", "changed_us")
_ASK_AGAIN: Final = (
    update(FILES)
    .where(FILES.c.key == bindparam("file_key"), FILES.c.owner.is_(None))
    .values(
        {name: bindparam(name) for name in _LISTED}
        | {"state": State.PLANNED, "attempts": 0, "bytes_done": 0, "sha256": None, "proof": None, "error": None}
    )
)
_PLAN_AGAIN: Final = _ASK_AGAIN.values(fault=None, asks=0, asked_us=None)
_STORE_AGAIN: Final = (
    update(FILES)
    .where(FILES.c.key == bindparam("file_key"), FILES.c.owner.is_(None))
    .values(state=State.FETCHED, attempts=0, error=None, changed_us=bindparam("changed_us"))
)
_ROWS: Final = select(FILES).where(FILES.c.key.in_(bindparam("keys", expanding=True)))
# Statements are built once: building one costs more than running it.


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request comes to: rows to fetch, rows whose verified bytes only need storing, rows that are done.

    `to_fetch` are the files of the rows `fetch`; `process`, `done` and `waiting` say which file each row is. What is
    `waiting` had a fault at the source, which is not asked again yet. `changed` are the rows, as they were, of files
    that the exchange has replaced since they were planned.
    """

    fetch: tuple[int, ...]
    to_fetch: tuple[ArchiveFile, ...]
    process: Mapping[int, ArchiveFile]
    done: Mapping[int, ArchiveFile]
    waiting: Mapping[int, ArchiveFile]
    changed: tuple[Download, ...]
    fetch_bytes: int

    @property
    def files(self) -> int:
        return len(self.fetch) + len(self.process) + len(self.done) + len(self.waiting)


def plan_chunk(
    connection: Connection, files: Sequence[ArchiveFile], asking: Asking
) -> tuple[list[tuple[Row[Any] | None, ArchiveFile]], list[Download]]:
    """The rows of these files as they are planned now, and the old view of those that were replaced."""
    known = known_rows(connection, files)
    now = asking.now_us
    new = [file_row(file, now) for file in files if file.key not in known]
    if new:
        connection.execute(_NEW, new)
    again = [file for file in files if file.key in known and _is_stale(known[file.key], file, asking)]
    if not (new or again):
        return [(known[file.key], file) for file in files], []
    keys = [file.key for file in again if _is_replaced(known[file.key], file)]
    replaced = [to_download(row) for row in connection.execute(_ROWS, {"keys": keys})] if keys else []
    by_key = {file.key: file for file in again}
    _note_revisions(connection, [(row, by_key[row.file.key]) for row in replaced], now)
    for statement, group in _ways(known, again, asking).items():
        listed = [file_row(file, now) if statement is not _STORE_AGAIN else {"changed_us": now} for file in group]
        connection.execute(statement, [row | {"file_key": file.key} for row, file in zip(listed, group, strict=True)])
    known = known_rows(connection, files)
    return [(known[file.key], file) for file in files], replaced


def _ways(
    known: Mapping[str, Row[Any]], again: Sequence[ArchiveFile], asking: Asking
) -> dict[Update, list[ArchiveFile]]:
    """How these files are planned again: stored from the bytes that are here, asked for once more, or begun anew."""
    ways: dict[Update, list[ArchiveFile]] = {}
    for file in again:
        row = known[file.key]
        if _is_only_unstored(row, file, asking):
            way = _STORE_AGAIN
        else:
            way = _ASK_AGAIN if row.state in FAULTS and not _is_changed(row, file) else _PLAN_AGAIN
        ways.setdefault(way, []).append(file)
    return ways


def _note_revisions(connection: Connection, replaced: Sequence[tuple[Download, ArchiveFile]], now: int) -> None:
    """A row for each archive that was here; one that is replaced again before it came only gets its newer ETag."""
    for row, file in replaced:
        if row.sha256 is not None:
            values = {"old_etag": row.file.etag, "old_size": row.file.size, "old_sha256": row.sha256}
            connection.execute(insert(REVISIONS).values(file_id=row.id, noticed_us=now, new_etag=file.etag, **values))
        else:
            open_one = (REVISIONS.c.file_id == row.id) & REVISIONS.c.new_sha256.is_(None)
            connection.execute(update(REVISIONS).where(open_one).values(new_etag=file.etag))


def known_rows(connection: Connection, files: Sequence[ArchiveFile]) -> dict[str, "Row[Any]"]:
    """What planning needs of the rows of these files, by key."""
    rows: Iterable[Row[Any]] = connection.execute(KNOWN, {"keys": [file.key for file in files]})
    return {row.key: row for row in rows}


def _is_replaced(row: Row[Any], file: ArchiveFile) -> bool:
    return (row.etag, row.size) != (file.etag, file.size)


def _is_changed(row: Row[Any], file: ArchiveFile) -> bool:
    """Another archive, or another checksum: then bytes that are here are proved anew, and not fetched for it."""
    return _is_replaced(row, file) or row.checksum_etag != file.checksum_etag


def _is_stale(row: Row[Any], file: ArchiveFile, asking: Asking) -> bool:
    if row.owner is not None:
        return False
    if row.state == State.FAILED or _is_changed(row, file):
        return True
    return row.state in FAULTS and (row.state in asking.accept or asking.is_due(row.asks, row.asked_us))


def _is_only_unstored(row: Row[Any], file: ArchiveFile, asking: Asking) -> bool:
    """Whether nothing but storing is left to do: it failed, or a fault of these bytes is accepted now."""
    if row.sha256 is None or row.proof in (None, Proof.DISPUTED) or _is_changed(row, file):
        return False
    if row.state == State.CORRUPT:
        return row.state in asking.accept and not asking.is_due(row.asks, row.asked_us)
    return row.state == State.FAILED or (row.state == State.UNVERIFIED and row.state in asking.accept)


def current(row: Row[Any] | None, file: ArchiveFile, asking: Asking) -> Row[Any] | None:
    """The row if `plan` would leave it as it is."""
    return None if row is None or _is_stale(row, file, asking) else row


def as_plan(rows: Sequence[tuple[Row[Any] | None, ArchiveFile]], changed: Sequence[Download]) -> Plan:
    fetch = [(row, file) for row, file in rows if row is None or row.state in (State.PLANNED, State.ACTIVE)]
    return Plan(
        fetch=tuple(0 if row is None else row.id for row, _ in fetch),
        to_fetch=tuple(file for _, file in fetch),
        process={row.id: file for row, file in rows if row is not None and row.state == State.FETCHED},
        done={row.id: file for row, file in rows if row is not None and row.state == State.STORED},
        waiting={row.id: file for row, file in rows if row is not None and row.state in FAULTS},
        changed=tuple(changed),
        fetch_bytes=sum(file.size for _, file in fetch),
    )
