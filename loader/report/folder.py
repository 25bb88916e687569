"""A report's folder: made under a temporary name, whole or not at all, and only ever in the place of another report."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from core.errors import ConfigError, storage_error
from core.layout import make_folder, sync_folder

ABOUT: Final = "report.json"
MARK: Final = "tapevault-eda-report"


def refuse_taken(folder: Path, force: bool) -> None:
    """Raises ConfigError where something stands in the folder's place that may not go."""
    if not folder.exists() and not folder.is_symlink():
        return
    if folder.is_symlink() or not folder.is_dir():
        raise ConfigError(f"--out: {folder} is no folder; name another")
    there = _names(folder)
    if not there:
        return
    own = _files_of(folder)
    if own is None:
        raise ConfigError(f"--out: {folder} is there already and is no report of ours; name another folder")
    others = sorted(there - own)
    if others:
        raise ConfigError(f"--out: {folder} has {others[0]}, which is not the report's; move it away, or name another")
    if not force:
        raise ConfigError(f"--out: {folder} has a report already; replace it with --force, or name another folder")


def write(folder: Path, files: Mapping[str, bytes], about: Mapping[str, Any], force: bool) -> int:
    """Put a report of these files, by their paths in it, in place; how many bytes it has. Raises ConfigError,
    StorageError, DiskFull."""
    names = sorted([*files, ABOUT])
    text = json.dumps({"report": MARK, **about, "files": names}, indent=1, allow_nan=False, ensure_ascii=False)
    content = {**files, ABOUT: f"{text}\n".encode()}
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    former = folder.with_name(f".{folder.name}.{os.getpid()}.former")
    try:
        make_folder(folder.parent)
        shutil.rmtree(draft, ignore_errors=True)
        for name, each in content.items():
            _write(draft / name, each)
        for one in [*(path for path in draft.rglob("*") if path.is_dir()), draft]:
            sync_folder(one)
        refuse_taken(folder, force)
        is_replaced = folder.exists()
        if is_replaced:
            folder.rename(former)
        try:
            draft.rename(folder)
        except OSError:
            if is_replaced:
                former.rename(folder)
            raise
        sync_folder(folder.parent)
    except OSError as error:
        raise storage_error(error, folder) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    shutil.rmtree(former, ignore_errors=True)
    return sum(map(len, content.values()))


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}


def _files_of(folder: Path) -> set[str] | None:
    """What a report says it consists of; None for a folder that is none."""
    try:
        said = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(said, dict) or said.get("report") != MARK or not isinstance(said.get("files"), list):
        return None
    return set(map(str, said["files"]))
