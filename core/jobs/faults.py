"""Faults of the source: what is said of them, and what it means that a user accepts one."""

from pathlib import Path
from typing import Final

from core.errors import Disputed, storage_error
from core.layout import sync_folder
from core.types import ArchiveFile, Download, FetchedFile, Finding, Proof, Source, State

KINDS: Final = {
    State.MISSING: "missing",
    State.UNVERIFIED: "no-checksum",
    State.CORRUPT: "corrupt-upstream",
    State.MISMATCH: "mismatch-upstream",
}
"""The kind of finding that each fault is."""
DOUBTS: Final = {Proof.UNVERIFIED: State.UNVERIFIED, Proof.DISPUTED: State.MISMATCH}
"""The fault that an archive has with which only so much vouches for its bytes."""


def without_checksum(key: str) -> str:
    """Why an archive is not stored for which no `.CHECKSUM` is published."""
    return f"{key} has no .CHECKSUM; only size and MD5 agree with the listing; --accept unverified stores it so"


def finding(download: Download, state: State, detail: str) -> Finding:
    """A fault that was not known before."""
    return Finding(download.file.series, download.file.period.span, KINDS[state], detail)


def accepted(download: Download, source: Source) -> Finding | None:
    """What is to be said of an archive that was stored though the source does not vouch for it."""
    doubt = DOUBTS.get(source.proof)
    if doubt is None or not source.rows:
        return None
    key, span = download.file.key, download.file.period.span
    why = "has no .CHECKSUM" if doubt is State.UNVERIFIED else "is not what the exchange's own checksum says"
    return Finding(download.file.series, span, KINDS[doubt], f"{key} {why}; stored as accepted", cause="accepted")


def taken_in(disputed: Disputed, file: ArchiveFile, target: Path) -> FetchedFile:
    """Bytes that were kept apart, under the name of a verified archive. Raises StorageError."""
    try:
        disputed.path.replace(target)
        sync_folder(target.parent)
        size = target.stat().st_size
    except OSError as error:
        raise storage_error(error, target) from error
    return FetchedFile(file, target, size, disputed.sha256, Proof.DISPUTED)
