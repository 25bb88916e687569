"""What is logged: on stderr, and under `data/logs`; as lines to read or, with `--log-format json`, an object a line."""

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final, TextIO

from filelock import FileLock, Timeout

from core.commands.names import as_called
from core.errors import ConfigError, storage_error
from core.events import LOGGER
from core.nearest import one_of

FILE: Final = "tapevault.log"
FILE_BYTES: Final = 50_000_000
FILES: Final = 10
"""Former files that are kept beside the one that is written."""
FORMATS: Final = ("text", "json")
_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_TURN_SECONDS: Final = 5


def log_to_stderr(options: argparse.Namespace, default: str | None = None) -> None:
    """Log lines with UTC times on stderr, from `--log-level` on.

    Without it from `default` on; without that from info on, or from warning on where somebody wants no talk (`--quiet`)
    or JSON. Raises ConfigError for an unknown level.
    """
    is_still = options.quiet or options.json
    chosen = (options.log_level or default or ("warning" if is_still else "info")).lower()
    if chosen not in _LEVELS:
        raise ConfigError(f"--log-level: {options.log_level!r}{one_of(chosen, _LEVELS)}")
    _listen(_Stderr(), _LEVELS[chosen], _formatter(options, "%H:%M:%S"))


def log_to_file(folder: Path, options: argparse.Namespace) -> None:
    """Every lasting event, one line each, in `tapevault.log`; of former files of 50 MB ten are kept.

    Several processes may write it at once. Raises StorageError where it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handler = _SharedFile(folder / FILE)
    except OSError as error:
        raise storage_error(error, folder) from error
    _listen(handler, logging.INFO, _formatter(options, "%Y-%m-%dT%H:%M:%SZ"))


def _listen(handler: logging.Handler, level: int, formatter: logging.Formatter) -> None:
    handler.setFormatter(formatter)
    handler.setLevel(level)
    handler.handleError = lambda record: None  # type: ignore[method-assign]  # a full disk is told by the run, once
    LOGGER.addHandler(handler)
    LOGGER.setLevel(min(level, LOGGER.level or level))
    LOGGER.propagate = False


def _formatter(options: argparse.Namespace, times: str) -> logging.Formatter:
    if options.log_format == "json":
        return _Json()
    formatter = _Line("%(asctime)s %(levelname)s %(message)s", times)
    formatter.converter = time.gmtime
    return formatter


class _Line(logging.Formatter):
    """One line an event, whatever the text of an error holds."""

    def format(self, record: logging.LogRecord) -> str:
        return as_called(" ".join(super().format(record).splitlines()))


class _Json(logging.Formatter):
    """One object a line: `at` (UTC), `level`, `message`, `pid`; of an event also its name and fields."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        said: dict[str, Any] = {
            "at": at,
            "level": record.levelname.lower(),
            "message": as_called(record.getMessage()),
            "pid": record.process,
        }
        event = getattr(record, "event", None)
        if event is not None and is_dataclass(event) and not isinstance(event, type):
            said |= {"event": type(event).__name__, "fields": _plain(asdict(event))}
        return json.dumps(said, ensure_ascii=False, default=str)


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) if isinstance(value, Mapping) else value for name, value in fields.items()}


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what stderr is when a line comes: a display that is shown meanwhile puts lines above itself."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class _SharedFile(RotatingFileHandler):
    """A rotating file that several processes append to: one of them turns it over, the others follow."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=FILE_BYTES, backupCount=FILES, encoding="utf-8")
        self._turn = FileLock(path.with_name(f".{path.name}.lock"), timeout=_TURN_SECONDS)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if not self._is_current():
                self._open_again()
        except OSError:
            self.handleError(record)
            return
        super().emit(record)

    def doRollover(self) -> None:  # noqa: N802 (what logging calls it)
        """Turn the file over, unless another process has just done so."""
        try:
            with self._turn:
                if self._is_current():
                    super().doRollover()
                else:
                    self._open_again()
        except Timeout:
            return  # the file grows a little beyond its size, and no line is lost

    def _is_current(self) -> bool:
        """Whether the file of that name is still the one that is open here."""
        if self.stream is None:
            return False
        try:
            named = Path(self.baseFilename).stat()
        except FileNotFoundError:
            return False
        here = os.fstat(self.stream.fileno())
        return (named.st_dev, named.st_ino) == (here.st_dev, here.st_ino)

    def _open_again(self) -> None:
        if self.stream is not None:
            self.stream.close()
        self.stream = self._open()
