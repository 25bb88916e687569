"""Former status databases: what one of them says that the present one does not."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

_UNKNOWN: Final = (
    "SELECT count(*) FROM former.files WHERE sha256 IS NOT NULL AND state NOT IN ('planned', 'active') "
    "AND key NOT IN (SELECT key FROM main.files)"
)
_REVISIONS: Final = (
    "SELECT f.key, r.old_sha256, r.noticed_us FROM {0}.revisions AS r JOIN {0}.files AS f ON f.id = r.file_id"
)


def why_needed(former: Path, present: Path) -> str:
    """Why a former database may still be of use; "" if the present one is sound and knows all archives and revisions
    that the former one had."""
    try:
        with closing(sqlite3.connect(f"{present.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            if connection.execute("PRAGMA main.quick_check(1)").fetchone() != ("ok",):
                return "the present database is damaged"
            log = former.with_name(f"{former.name}-wal")
            alone = "" if log.exists() else "&immutable=1"  # otherwise a log would be made for it
            connection.execute("ATTACH ? AS former", (f"{former.absolute().as_uri()}?mode=ro{alone}",))
            (unknown,) = connection.execute(_UNKNOWN).fetchone()
            if unknown:
                return f"it knows {unknown} archives that the present one does not"
            here, before = (set(connection.execute(_REVISIONS.format(name))) for name in ("main", "former"))
            lost = len(before - here)
            return f"it knows {lost} revisions that the present one does not" if lost else ""
    except sqlite3.Error as error:
        return f"it cannot be read ({error}), so nobody can say what it knows"
