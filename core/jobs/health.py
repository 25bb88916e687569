"""Whether this machine, this installation and the source are fit for the work; each finding says how to mend it."""

import contextlib
import os
import resource
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
from sqlalchemy import Connection, func, select

from core.download.looking import look
from core.download.smart import SmartDownloader
from core.download.tables import FILES
from core.download.transport import open_transport
from core.errors import Busy, MarketDataError, Outdated, StorageError, TrackerError
from core.exchanges.apis import APIS
from core.exchanges.binance.listing import listing_url, parse_page
from core.layout import Layout, is_there
from core.settings import CHECKOUT, Settings, load_known_gaps, load_symbols
from core.types import Market, State


class Verdict(StrEnum):
    WELL = "well"
    DOUBTFUL = "doubtful"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Look:
    """One thing that was looked at: what was found, and how to mend it (empty where all is well)."""

    about: str
    verdict: Verdict
    found: str
    mend: str = ""


REMOTE_FILESYSTEMS: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "afs"})
"""On which SQLite's locks and its write-ahead log are not to be trusted."""
_LEAST_FREE: Final = 1_000_000_000
_LITTLE_FREE: Final = 20_000_000_000
_LEAST_MEMORY: Final = 1_500_000_000
_FILES_BESIDE: Final = 256
"""Open files a run needs besides two for each worker: database, storing processes, logs, libraries."""
_CLOCK_OFF_SECONDS: Final = 5.0
_CLOCK_WRONG_SECONDS: Final = 300.0
_SLOW_SYNC_SECONDS: Final = 0.1
_TIMEOUT_SECONDS: Final = 10.0


def look_here(settings: Settings) -> Iterator[Look]:
    """All that can be seen without the network."""
    layout = Layout(settings.data_root)
    checks: tuple[Callable[[], Iterator[Look]], ...] = (
        _python,
        _packages,
        _compiled_code,
        _configuration,
        lambda: _folder(layout.root),
        lambda: _disk(layout.root),
        lambda: _database(layout),
        lambda: _open_files(settings),
        _memory,
        _names,
    )
    for check in checks:
        yield from check()


async def look_there(settings: Settings) -> list[Look]:
    """The source: its listing, its archives, its API, and how far its clock is from ours."""
    try:
        found = _proxies()
        client = httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, follow_redirects=False)
    except OSError as error:
        mend = "mend or unset SSL_CERT_FILE and SSL_CERT_DIR: by what they name the source's certificates are proved"
        return [Look("certificates", Verdict.WRONG, f"cannot be read: {error.strerror or error}", mend)]
    except (ValueError, httpx.InvalidURL) as error:
        mend = "mend or unset HTTP_PROXY, HTTPS_PROXY and ALL_PROXY; a proxy is http://host:port or socks5://host:port"
        return [Look("proxy", Verdict.WRONG, f"a proxy in the environment cannot be used: {error}", mend)]
    listing, archive = settings.download.listing, settings.download.source
    async with client:
        found.append(await _reached(client, "listing", listing_url(listing, "data/", None, most=1), is_listing=True))
        found.append(await _reached(client, "archive", f"{archive}/data/spot/", is_listing=False))
        found += await _clock(client, listing_url(listing, "data/", None, most=1))
    found += await _apis(settings)
    return found


def _python() -> Iterator[Look]:
    here = ".".join(map(str, sys.version_info[:3]))
    yield Look("Python", Verdict.WELL, here)


def _packages() -> Iterator[Look]:
    """What is installed, held against requirements.txt."""
    pinned = CHECKOUT / "requirements.txt"
    if not pinned.exists():
        return
    missing, other, count = [], [], 0
    for line in pinned.read_text(encoding="utf-8").splitlines():
        requirement, _, marker = line.split("#")[0].partition(";")
        name, _, wanted = requirement.strip().partition("==")
        if not wanted or ("win32" in marker and sys.platform == "win32"):
            continue
        count += 1
        try:
            if (here := version(name)) != wanted:
                other.append(f"{name} {here}, not {wanted}")
        except PackageNotFoundError:
            missing.append(name)
    mend = "run: python -m pip install -r requirements.txt"
    if missing:
        yield Look("packages", Verdict.WRONG, f"not installed: {', '.join(missing)}", mend)
    if other:
        yield Look("packages", Verdict.DOUBTFUL, f"not the tested versions: {'; '.join(other)}", mend)
    if not missing and not other:
        yield Look("packages", Verdict.WELL, f"all {count} as requirements.txt pins them")


def _compiled_code() -> Iterator[Look]:
    """Where numba keeps what it compiles."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    folders = [Path(named)] if named else [CHECKOUT / "core" / "bars" / "__pycache__", Path.home() / ".cache"]
    fit = next((folder for folder in folders if _is_writable(folder)), None)
    if fit is None:
        mend = "set NUMBA_CACHE_DIR to a folder that you can write to; until then each process compiles for a minute"
        yield Look("compiled code", Verdict.DOUBTFUL, f"cannot be kept in {folders[0]}", mend)
    else:
        yield Look("compiled code", Verdict.WELL, f"kept under {fit}")


def _is_writable(folder: Path) -> bool:
    """Whether files can be made there, or in the nearest folder above that exists."""
    there = _nearest(folder)
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _nearest(path: Path) -> Path:
    """The path itself, or the nearest folder above it that is there and can be seen."""
    for one in (path, *path.parents):
        with contextlib.suppress(OSError):  # behind a folder that nobody here may enter
            if one.exists():
                return one
    return path


def _configuration() -> Iterator[Look]:
    for name, load in (("symbols.yaml", load_symbols), ("known_gaps.yaml", load_known_gaps)):
        try:
            load()
        except MarketDataError as error:
            yield Look("configuration", Verdict.WRONG, str(error), f"mend config/{name} there")
            return
    yield Look("configuration", Verdict.WELL, "settings, symbols and known gaps can be read")


def _folder(root: Path) -> Iterator[Look]:
    """Whether the data folder can be written to, by whom, how fast, and on what."""
    closed = next((one for one in reversed(root.parents) if not os.access(one, os.X_OK) and one.is_dir()), None)
    if closed is not None:
        mend = f"run: sudo chmod o+x {shlex.quote(str(closed))}, or name another data folder with --data-dir"
        yield Look("data folder", Verdict.WRONG, f"{root} lies in {closed}, which {_me()} may not enter", mend)
        return
    if not _is_writable(root):
        mend = f"chown or chmod it for {_me()}, or name another one with --data-dir or TAPEVAULT_HOME"
        yield Look("data folder", Verdict.WRONG, f"{root} cannot be written to", mend)
        return
    if not root.exists():
        yield Look("data folder", Verdict.WELL, f"{root} will be made by the first download")
        return
    foreign = [path for path in sorted(root.rglob("*")) if path.is_dir() and not os.access(path, os.W_OK | os.X_OK)]
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        mend = f"run: sudo chown -R {_me()} {shlex.quote(str(root))}"
        yield Look("data folder", Verdict.WRONG, f"{foreign[0]}{more} cannot be written to", mend)
        return
    kind = _filesystem(root)
    try:
        seconds = _sync_seconds(root)
    except OSError as error:
        mend = "free some space: python scripts/cleanup.py shows what is not needed; or the disk is failing (dmesg)"
        yield Look("data folder", Verdict.WRONG, f"{root}: a small write fails: {error.strerror or error}", mend)
        return
    if kind in REMOTE_FILESYSTEMS:
        mend = "keep the data folder on a disk of this machine: SQLite's locks do not hold over a network"
        yield Look("data folder", Verdict.DOUBTFUL, f"{root} is on {kind}", mend)
    elif seconds > _SLOW_SYNC_SECONDS:
        mend = "small archives will come slowly; use another disk if there is one"
        yield Look("data folder", Verdict.DOUBTFUL, f"{root}: a synced write takes {seconds:.2f} s", mend)
    else:
        yield Look("data folder", Verdict.WELL, f"{root}, on {kind}, a synced write takes {seconds * 1000:.1f} ms")


def _me() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else "you"


def _filesystem(path: Path) -> str:
    """The kind of file system that holds a path, as the system's table of mounts calls it."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return "a disk"
    best, kind = "", "a disk"
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        _, place, found, *_ = line.split(" ")
        place = place.replace("\\040", " ")
        if path.resolve().is_relative_to(place) and len(place) >= len(best):
            best, kind = place, found
    return kind


def _sync_seconds(root: Path) -> float:
    """How long a small write takes until it is on the disk: the median of five. Raises OSError."""
    probe = root / f".doctor.{os.getpid()}.tmp"
    times = []
    try:
        with probe.open("wb") as file:
            for _ in range(5):
                began = time.perf_counter()
                file.write(b"x" * 4096)
                file.flush()
                os.fsync(file.fileno())
                times.append(time.perf_counter() - began)
    finally:
        probe.unlink(missing_ok=True)
    return sorted(times)[2]


def _disk(root: Path) -> Iterator[Look]:
    there = _nearest(root)
    usage = shutil.disk_usage(there)
    says = f"{usage.free / 1e9:,.1f} GB free of {usage.total / 1e9:,.1f}"
    inodes = os.statvfs(there)
    if inodes.f_files and inodes.f_favail < 100_000:
        yield Look("disk", Verdict.DOUBTFUL, f"room for {inodes.f_favail:,} more files only", "free some inodes")
    if usage.free < _LEAST_FREE:
        yield Look("disk", Verdict.WRONG, says, "free some space: python scripts/cleanup.py shows what is not needed")
    elif usage.free < _LITTLE_FREE:
        mend = "enough for a few symbols; docs/operations.md says what a symbol and kind of data take"
        yield Look("disk", Verdict.DOUBTFUL, says, mend)
    else:
        yield Look("disk", Verdict.WELL, says)


def _database(layout: Layout) -> Iterator[Look]:
    """Whether the status database can be read and written, is whole, and is of a version that this program knows.

    Looked at as those do who only look: nothing is written, and no file is left beside it.
    """
    path = layout.database
    about = "status database"
    rebuild = "run: python scripts/download_all.py --rebuild-status (it downloads nothing)"
    try:
        if not is_there(path):
            yield Look(about, Verdict.WELL, "none yet; the first download makes it")
            return
        whole, failed = look(path, _soundness)
    except (Busy, Outdated) as error:
        yield _told(about, Verdict.DOUBTFUL, error)
        return
    except (TrackerError, StorageError) as error:
        yield _told(about, Verdict.WRONG, error)
        return
    if whole != "ok":
        yield Look(about, Verdict.WRONG, f"{path}: {whole}", rebuild)
    elif not os.access(path, os.W_OK):
        mend = f"run: sudo chown {_me()} {shlex.quote(str(path))}"
        yield Look(about, Verdict.WRONG, f"{path} cannot be written to", mend)
    elif failed:
        mend = "python scripts/monitor.py failures says why; the next download tries them again"
        yield Look(about, Verdict.DOUBTFUL, f"{failed:,} archives failed", mend)
    else:
        yield Look(about, Verdict.WELL, f"{path}, whole, {path.stat().st_size / 1e6:,.1f} MB")


def _soundness(connection: Connection) -> tuple[str, int]:
    """What SQLite finds wrong first ("ok": nothing), and how many archives failed."""
    whole = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one())
    failed = select(func.count()).where(FILES.c.state == State.FAILED.value)
    return whole, connection.execute(failed).scalar_one() if whole == "ok" else 0


def _told(about: str, verdict: Verdict, error: MarketDataError) -> Look:
    """An error that says behind its last semicolon what to do."""
    found, _, mend = str(error).rpartition("; ")
    return Look(about, verdict, found or mend, mend if found else "")


def _open_files(settings: Settings) -> Iterator[Look]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * settings.download.workers + settings.download.listing_workers + _FILES_BESIDE
    if soft != resource.RLIM_INFINITY and soft < needed:
        can = hard == resource.RLIM_INFINITY or hard >= needed
        mend = f"run: ulimit -n {needed}" if can else f"raise the limit of open files to {needed}, or use --workers 8"
        yield Look("open files", Verdict.WRONG if soft < _FILES_BESIDE else Verdict.DOUBTFUL, f"at most {soft}", mend)
    else:
        yield Look("open files", Verdict.WELL, f"at most {soft:,}; {needed:,} may be needed")


def _memory() -> Iterator[Look]:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    total = min(total, int(text)) if text.isdigit() else total
    says = f"{total / 1e9:,.1f} GB, {os.cpu_count()} processors"
    if total < _LEAST_MEMORY:
        yield Look("memory", Verdict.DOUBTFUL, says, "large archives of trades may not fit; add memory or swap")
    else:
        yield Look("memory", Verdict.WELL, says)


def _names() -> Iterator[Look]:
    """Symbols may be written in any script, and are names of folders."""
    encoding = sys.getfilesystemencoding()
    if encoding.lower() != "utf-8":
        yield Look("names of files", Verdict.WRONG, f"are {encoding} here", "set LANG=C.UTF-8 or PYTHONUTF8=1")


def _proxies() -> list[Look]:
    named = {name: os.environ[name] for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY") if os.environ.get(name)}
    if not named:
        return []
    host = urlsplit(next(iter(named.values()))).hostname
    return [Look("proxy", Verdict.WELL, f"{', '.join(named)} names {host}: everything goes through it")]


async def _reached(client: httpx.AsyncClient, about: str, url: str, *, is_listing: bool) -> Look:
    """Whether a host answers, and as what it should be."""
    began = time.perf_counter()
    host = urlsplit(url).netloc
    try:
        answer = await client.get(url)
        if is_listing and answer.is_success:
            parse_page(answer.content, url)
    except httpx.InvalidURL as error:
        return Look(about, Verdict.WRONG, f"{url}: {error}", "mend download.source or download.listing in the settings")
    except httpx.HTTPError as error:
        why = str(error) or type(error).__name__
        mend = "is this machine online? Behind a proxy set HTTPS_PROXY; another mirror is named with --source"
        return Look(about, Verdict.WRONG, f"{host} cannot be reached: {why}", mend)
    except MarketDataError as error:
        return Look(about, Verdict.WRONG, str(error), "name the bucket's own listing with --listing")
    spent = f"{(time.perf_counter() - began) * 1000:.0f} ms"
    if answer.status_code in (403, 451) and is_listing:
        mend = "the source refuses this address; use another network or mirror (--source, --listing)"
        return Look(about, Verdict.WRONG, f"{host} answers {answer.status_code}", mend)
    if answer.status_code >= 500 or (is_listing and not answer.is_success):
        return Look(about, Verdict.WRONG, f"{host} answers {answer.status_code}", "try again later")
    return Look(about, Verdict.WELL, f"{host} answers in {spent}")


async def _clock(client: httpx.AsyncClient, url: str) -> list[Look]:
    """How far our clock is from the source's, which says whole seconds."""
    try:
        before = time.time()
        answer = await client.get(url)
        here = (before + time.time()) / 2
        there = parsedate_to_datetime(answer.headers["Date"]).timestamp() + 0.5
    except (httpx.HTTPError, httpx.InvalidURL):
        return []  # that it cannot be reached is said already
    except (KeyError, ValueError, TypeError):
        return [Look("clock", Verdict.DOUBTFUL, "the source does not say what time it is", "look at it yourself")]
    off = here - there
    says = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC, {abs(off):.1f} s {'before' if off > 0 else 'behind'} the source"
    mend = "set it by NTP (timedatectl set-ntp true): which days are over, and which candles are open, goes by it"
    if abs(off) > _CLOCK_OFF_SECONDS:
        return [Look("clock", Verdict.WRONG if abs(off) > _CLOCK_WRONG_SECONDS else Verdict.DOUBTFUL, says, mend)]
    return [Look("clock", Verdict.WELL, says)]


async def _apis(settings: Settings) -> list[Look]:
    """The REST API of each market, which fills what the archive lacks."""
    hasty = settings.replace(download={"max_attempts": 1, "timeout_seconds": _TIMEOUT_SECONDS}).download
    found = []
    async with open_transport(hasty.workers, hasty.http2) as transport:
        api = APIS["binance"](hasty, SmartDownloader(transport, hasty, lambda event: None))
        for market in Market:
            began = time.perf_counter()
            try:
                await api.server_time_us(market)
            except MarketDataError as error:
                mend = "only --fill-gaps needs it; elsewhere all is well without"
                found.append(Look(f"API of {market}", Verdict.DOUBTFUL, str(error), mend))
            else:
                spent = f"{(time.perf_counter() - began) * 1000:.0f} ms"
                found.append(Look(f"API of {market}", Verdict.WELL, f"answers in {spent}"))
    return found
