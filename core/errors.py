"""Everything that can go wrong in a way a caller may handle.

MarketDataError
  ConfigError                                   wrong settings, options or arguments            exit 2
  RemoteError                                   the source answered wrongly, or not at all      exit 1
    NotPublished                                404: the source has no such object
    Throttled *                                 429, 418, 503: asked to wait (`retry_after`)
    ConnectionLost *                            refused, reset, cut, timed out, 5xx
    SourceDown                                  nothing but failures from a host: the run stops
  ContentError                                  the bytes are not what they should be           exit 1
    ChecksumMismatch *                          digest or length differs (`expected`, `actual`)
      Disputed                                  the source's own bytes and checksum disagree
    MalformedArchive                            zip or CSV cannot be trusted
      FaultyLine                                only some of its lines cannot: `--salvage` stores the others
    SnapshotMismatch                            the stored rows are not those of a snapshot
  StorageError                                  this machine's disk                             exit 1
    DiskFull
    FilesChanged *                              an update replaced what was being read
    WorkersLost                                 processes that do the work are ended: the run stops
  TrackerError                                  the status database                             exit 1
    Busy *                                      another process holds it, or left it half done
    Outdated                                    an older version wrote it, and this only reads
  NoData                                        nothing there for the request                   exit 3
  AlreadyRunning                                another process does the same on this folder    exit 4
                                                                                  * worth another try
Every message names the file, series or option and says what to do next.
"""

import errno
from pathlib import Path
from typing import Any, Final


class MarketDataError(Exception):
    """The parent of all; scripts print it as one line on stderr and exit with `exit_code`."""

    exit_code = 1
    retryable = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Between processes an error travels as it is, whatever its class takes to be made."""
        return _as_it_was, (type(self), self.args, self.__dict__)


def _as_it_was(kind: type[MarketDataError], args: tuple[Any, ...], said: dict[str, Any]) -> MarketDataError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(said)
    return error


class ConfigError(MarketDataError):
    """A setting, option or argument is wrong."""

    exit_code = 2


class RemoteError(MarketDataError):
    """The source answered with something we cannot use, or did not answer."""


class NotPublished(RemoteError):
    """The source has no such object (404)."""


class Throttled(RemoteError):
    """The source asks us to slow down; `retry_after` is its wish in seconds, or None."""

    retryable = True

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ConnectionLost(RemoteError):
    """No connection, or it broke, or the server failed (5xx)."""

    retryable = True


class SourceDown(RemoteError):
    """A host that has answered nothing well for a while, or wants to be left alone: asking for more files would only
    fail them one by one."""


class ContentError(MarketDataError):
    """The bytes are there but are not what they should be."""


class ChecksumMismatch(ContentError):
    """Length or digest of the fetched bytes differs from the published one."""

    retryable = True

    def __init__(self, message: str, expected: str, actual: str) -> None:
        super().__init__(message)
        self.expected = expected
        self.actual = actual


class Disputed(ChecksumMismatch):
    """The bytes are those that the source lists, whole and twice the same, and its own `.CHECKSUM` says otherwise.

    They are kept in `path`; `sha256` is theirs.
    """

    retryable = False

    def __init__(self, message: str, expected: str, actual: str, path: Path, sha256: str) -> None:
        super().__init__(message, expected, actual)
        self.path = path
        self.sha256 = sha256


class MalformedArchive(ContentError):
    """A zip, or the CSV inside it, that cannot be trusted."""


class FaultyLine(MalformedArchive):
    """A line of a CSV that is no row; the other lines can be stored without it."""

    def __init__(self, message: str) -> None:
        super().__init__(f"{message}; run again with --salvage to store the other rows")


class SnapshotMismatch(ContentError):
    """What is stored is not what a snapshot locked, so a load with it would give other frames."""


class StorageError(MarketDataError):
    """This machine could not read or write a file."""


class DiskFull(StorageError):
    """No space, quota or file size left."""


class FilesChanged(StorageError):
    """Partitions were replaced while they were read, after rows had been given already, or again and again."""

    retryable = True


class WorkersLost(StorageError):
    """Processes that store end before they have stored anything, again and again, or one that looks at it is ended."""


class TrackerError(MarketDataError):
    """The status database cannot be used."""


class Busy(TrackerError):
    """The status database cannot be read just now: another process holds it alone, or was killed in the middle."""

    retryable = True


class Outdated(TrackerError):
    """An older version wrote the status database, which the next run brings up to date; who only looks does not."""


class NoData(MarketDataError):
    """Nothing is published, or stored, for what was asked."""

    exit_code = 3


class AlreadyRunning(MarketDataError):
    """Another process does the same on this data folder, and one is enough."""

    exit_code = 4


_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def storage_error(error: OSError, path: Path) -> StorageError:
    """What an operating system's refusal to read or write `path` means to a user."""
    if error.errno in _NO_ROOM:
        return DiskFull(f"no room left for {path} ({error.strerror}); free some space and run the same command again")
    return StorageError(f"cannot use {path}: {error.strerror or error}; check the folder and its permissions")
