"""Former status databases: what one of them says that the present one does not."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

_LOST: Final[Mapping[str, tuple[str, str]]] = {
    "archives": (
        "files",
        "SELECT count(*) FROM former.files WHERE sha256 IS NOT NULL AND state NOT IN ('planned', 'active') "
        "AND key NOT IN (SELECT key FROM main.files)",
    ),
    "revisions": (
        "revisions",
        "SELECT count(*) FROM (SELECT f.key, r.old_sha256, r.noticed_us FROM former.revisions r "
        "JOIN former.files f ON f.id = r.file_id EXCEPT SELECT f.key, r.old_sha256, r.noticed_us "
        "FROM main.revisions r JOIN main.files f ON f.id = r.file_id)",
    ),
    "faults of the source": (
        "files",
        "SELECT count(*) FROM former.files WHERE key NOT IN (SELECT key FROM main.files) "
        "AND state IN ('missing', 'unverified', 'corrupt-upstream', 'mismatch-upstream')",
    ),
    "gaps": (
        "gaps",
        "SELECT count(*) FROM former.gaps WHERE (market, dataset, symbol, interval) NOT IN "
        "(SELECT market, dataset, symbol, interval FROM main.gap_looks "
        "UNION SELECT market, dataset, symbol, interval FROM main.gaps)",
    ),
    "symbols that were seen": (
        "symbols_seen",
        "SELECT count(*) FROM former.symbols_seen WHERE (market, dataset) NOT IN "
        "(SELECT market, dataset FROM main.symbols_seen)",
    ),
    "past runs": (
        "runs",
        "SELECT count(*) FROM (SELECT host, pid, process_start, started_us FROM former.runs "
        "WHERE finished_us IS NOT NULL EXCEPT SELECT host, pid, process_start, started_us FROM main.runs)",
    ),
}
"""By what is lost: the table that has it, and how much the present one does not know. Gaps of series, and symbols of
kinds, at which somebody has looked with the present one are known as they are now. A run that is not over is that of
the rebuild."""


def why_needed(former: Path, present: Path) -> str:
    """Why a former database may still be of use; "" if the present one is sound and knows all archives, revisions,
    faults, gaps, symbols and runs that the former one had."""
    try:
        with closing(sqlite3.connect(f"{present.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            if connection.execute("PRAGMA main.quick_check(1)").fetchone() != ("ok",):
                return "the present database is damaged"
            log = former.with_name(f"{former.name}-wal")
            alone = "" if log.exists() else "&immutable=1"  # otherwise a log would be made for it
            connection.execute("ATTACH ? AS former", (f"{former.absolute().as_uri()}?mode=ro{alone}",))
            tables = {name for (name,) in connection.execute("SELECT name FROM former.sqlite_master")}
            for what, (table, count) in _LOST.items():  # an older version has fewer tables
                (lost,) = connection.execute(count).fetchone() if table in tables or table == "files" else (0,)
                if lost:
                    return f"it knows {lost} {what} that the present one does not"
            return ""
    except sqlite3.Error as error:
        return f"it cannot be read ({error}), so nobody can say what it knows"
