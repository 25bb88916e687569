"""A bad night: faults in every fifth answer, files replaced while they come, and SIGKILL again and again.

    python benchmarks/chaos.py                                 300 archives, 100 kills, each fault in 5 % of the answers
    python benchmarks/chaos.py --kills 0 --objects 200 --share 0.03        one command, left alone
    python benchmarks/chaos.py --seed 7 --json

Publishes small archives (hourly candles) and large ones (trades, fetched in ranges), serves them badly, and runs
`download_all.py` until every kill is spent and a run ends by itself. Then it looks: does every archive equal what is
published now, does the database agree with the disk, is anything left over, and how many bytes were sent twice? Exit
code 0 only if all of that is well.
"""

import argparse
import hashlib
import io
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from end_to_end import ROOT

sys.path.insert(0, str(ROOT))

from core.download.tracker import DownloadTracker
from core.layout import Layout
from core.sample import faults
from core.sample.archive import key_of
from core.sample.faults import Fault, RequestInfo
from core.sample.server import ArchiveServer, running_server
from core.settings import QualitySettings, StorageSettings
from core.storage.manager import StorageManager
from core.types import Market, Period, Series, State

IN_FLIGHT_BYTES = 256 * 1024
"""What one open connection may lose to one kill."""
RANGES = 4
SETTINGS = f"""download:
  timeout_seconds: 1.0
  backoff_seconds: 0.02
  backoff_cap_seconds: 0.2
  ranges: {RANGES}
  range_bytes: 524288
"""
KINDS = ("reset", "cut", "stall", "503", "429", "flip", "ignored range", "shifted range")
COSTLY = ("flip", "ignored range", "replaced")
"""Faults after which bytes that are here are rightly thrown away."""


@dataclass(frozen=True)
class Published:
    """One archive: where, and its bytes and rows."""

    series: Series
    period: Period
    content: bytes
    rows: int

    @property
    def key(self) -> str:
        return key_of(self.series, self.period)

    @property
    def is_large(self) -> bool:
        return self.series.dataset == "trades"


def archives(count: int, draw: random.Random) -> Iterator[Published]:
    """One in ten is large: a month of trades, which hardly compresses; the others are months of hourly candles."""
    for number in range(count):
        symbol, month = number // 30, number % 30
        period = Period.month(2020 + month // 12, month % 12 + 1)
        kind = ("trades", None) if number % 10 == 9 else ("klines", "1h")
        yield invented(Series(Market.UM, kind[0], f"C{symbol}USDT", kind[1]), period, draw)


def invented(series: Series, period: Period, draw: random.Random) -> Published:
    """Rows as the exchange writes them, with prices that mean nothing."""
    start, end = period.span.start_us // 1000, period.span.end_us // 1000
    lines = []
    if series.dataset == "trades":
        count = draw.randrange(110_000, 150_000)
        for number in range(count):
            at, price = start + number * ((end - start) // count), draw.uniform(1, 100)
            lines.append(
                f"{number + 1},{price:.4f},{number % 9 + 1}.5,{price * 2:.8f},{at},{'true' if at % 2 else 'false'}"
            )
    else:
        for at in range(start, end, 3_600_000):
            low = draw.uniform(1, 100)
            lines.append(
                f"{at},{low:.4f},{low * 2:.4f},{low:.4f},{low * 1.5:.4f},{at % 97}.5,{at + 3_599_999},"
                f"{low * 50:.6f},{at % 89},{at % 53}.25,{low * 20:.6f},0"
            )
    buffer = io.BytesIO()
    method = zipfile.ZIP_STORED if series.dataset == "trades" else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(Path(key_of(series, period)).name.replace(".zip", ".csv"), "\n".join(lines) + "\n")
    return Published(series, period, buffer.getvalue(), len(lines))


def publish(folder: Path, archive: Published, number: int) -> None:
    """Put an archive and its `.CHECKSUM` in place. Every fourth checksum is written so that its ETag alone cannot
    settle it."""
    target = folder / archive.key
    target.parent.mkdir(parents=True, exist_ok=True)
    mark = "*" if number % 4 == 0 else " "
    checksum = f"{hashlib.sha256(archive.content).hexdigest()} {mark}{target.name}\n".encode()
    for path, content in ((target, archive.content), (target.with_name(f"{target.name}.CHECKSUM"), checksum)):
        new = path.with_name(f".{path.name}.new")
        new.write_bytes(content)
        new.replace(path)


@dataclass
class BadNight:
    """The rule of a server's faults, drawn from a seed, the name and the number of the request alone.

    Each kind befalls `share` of the answers. An object of `replacements` is cut off the first time it is asked for,
    and published anew before the second time. `happened` says what befell whom.
    """

    folder: Path
    seed: int
    share: float
    published: dict[str, Published]
    replacements: dict[str, Published]
    happened: Counter[tuple[str, str]] = field(default_factory=Counter)
    is_over: bool = False

    def __call__(self, request: RequestInfo) -> Fault | None:
        if self.is_over:
            return None
        kind, fault = self._drawn(request)
        if fault is not None:
            self.happened[request.name, kind] += 1
        return fault

    def _drawn(self, request: RequestInfo) -> tuple[str, Fault | None]:
        draw = random.Random(f"{self.seed} {request.name} {request.number}")
        number = int(draw.random() / self.share) if self.share else len(KINDS)
        if request.name.endswith(".CHECKSUM"):
            is_missing = request.number == 1 and number < 4
            return "missing checksum", faults.not_found() if is_missing else None
        archive = self.published.get(request.name)
        if archive is None:
            return "listing", [faults.status(503), faults.status(429, 0.1), faults.reset(500)][
                number
            ] if number < 3 else None
        at = draw.randrange(len(archive.content))
        if request.name in self.replacements and request.number <= 2:
            if request.number == 1:
                return "cut", faults.cut(len(archive.content) // 2)
            new = self.published[request.name] = self.replacements[request.name]
            publish(self.folder, new, list(self.published).index(request.name))
            return "replaced", Fault()
        made = {
            "reset": faults.reset(at),
            "cut": faults.cut(at),
            "stall": faults.stall(at),
            "503": faults.status(503),
            "429": faults.status(429, draw.choice([0, 0.1, None])),
            "flip": faults.flip(at),
            "ignored range": faults.ignore_range(),
            "shifted range": faults.shifted(draw.choice([-1, 1, 100])),
        }
        if number >= len(KINDS) or ("range" in KINDS[number] and "range" not in request.headers):
            return "", None
        return KINDS[number], made[KINDS[number]]


@dataclass
class Verdict:
    """What was found; `wrong` lists everything that should not be."""

    archives: int = 0
    bytes_published: int = 0
    bytes_sent: int = 0
    kills: int = 0
    kills_in_transfer: int = 0
    connections_open_at_kills: int = 0
    runs_to_the_end: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    proofs: dict[str, int] = field(default_factory=dict)
    revisions: int = 0
    kib_twice_per_connection_and_kill: float = 0.0
    most_kib_over_its_faults: float = 0.0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


@dataclass
class Chaos:
    """One night: the server, the command, and what was open at each kill."""

    server: ArchiveServer
    night: BadNight
    data: Path
    command: list[str]
    verdict: Verdict
    open_at_kills: Counter[str] = field(default_factory=Counter)

    def kill_again_and_again(self, times: int, draw: random.Random) -> None:
        """A run is given up to two seconds, start-up included: a connection brings some times what a kill may cost."""
        for _ in range(times):
            before = self.server.body_bytes.copy()
            process = self._start()
            time.sleep(draw.uniform(0.3, 2.3))
            sending = {name: count for name, count in self.server.sending.copy().items() if count > 0}
            process.send_signal(signal.SIGKILL)
            _, error = process.communicate()
            if process.returncode not in (-signal.SIGKILL, 0, 1):
                self.verdict.wrong.append(f"a run ended with {process.returncode}: {error[-500:]}")
            self.verdict.kills += process.returncode == -signal.SIGKILL
            self._note_open(sending, before)

    def _note_open(self, sending: dict[str, int], before: Counter[str]) -> None:
        """An answer that had ended may still have been on its way too: what a run asked for, its kill may have cost."""
        archives = {name: count for name, count in sending.items() if name in self.night.published}
        self.verdict.kills_in_transfer += bool(archives)
        self.verdict.connections_open_at_kills += sum(archives.values())
        moved = {name for name, count in self.server.body_bytes.copy().items() if count > before[name]}
        for name in moved | archives.keys():
            if name in self.night.published:
                self.open_at_kills[name] += max(archives.get(name, 0), 1)

    def finish(self, most: int) -> None:
        """Runs left alone until one ends well; then one that may look again at what was replaced while it came, and
        needs no byte for it; then one that has nothing to do."""
        for number in range(1, most + 1):
            code, out, error = self._run()
            if code not in (0, 1):
                self.verdict.wrong.append(f"a run that was left alone ended with {code}: {error[-500:]}")
            if code == 0:
                self.verdict.runs_to_the_end = number
                break
        else:
            self.verdict.wrong.append(f"{most} runs were not enough: {out[-500:]} {error[-500:]}")
            return
        self.night.is_over = True
        for key in ("bytes_downloaded", "downloaded"):
            code, out, error = self._run()
            said = json.loads(out)
            if code or said[key] or said["planned"] != len(self.night.published):
                self.verdict.wrong.append(f"a run after the last one still had work: {code} {out} {error[-500:]}")

    def _start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def _run(self) -> tuple[int, str, str]:
        process = self._start()
        out, error = process.communicate(timeout=600)
        return process.returncode, out, error

    def look(self) -> None:
        """Compare what is here with what is published now."""
        layout, verdict = Layout(self.data), self.verdict
        expected = {layout.raw(each.series, each.period): each for each in self.night.published.values()}
        for path in (self.data / "raw").rglob("*"):
            if path.is_file() and path not in expected:
                verdict.wrong.append(f"left over: {path}")
        for path in (self.data / "processed").rglob("*"):
            if path.is_file() and path.suffix != ".parquet":
                verdict.wrong.append(f"left over: {path}")
        with DownloadTracker(layout.database) as tracker:
            rows = {row.file.key: row for row in tracker.states(list(tracker.plan(self._listed(tracker)).done))}
            verdict.revisions = len(tracker.revisions())
        storage = StorageManager(layout, StorageSettings(), QualitySettings())
        for path, each in expected.items():
            sha256, md5 = (getattr(hashlib, name)(each.content).hexdigest() for name in ("sha256", "md5"))
            if not path.exists() or path.read_bytes() != each.content:
                verdict.wrong.append(f"not what is published: {path}")
            row = rows.get(each.key)
            version = (State.STORED, None, sha256, md5, len(each.content))
            if row is None or (row.state, row.owner, row.sha256, row.file.etag, row.file.size) != version:
                verdict.wrong.append(f"the database does not agree: {each.key} {row}")
            partitions = storage.partitions(each.series, each.period.span)
            sources = [source for one in partitions for source in one.sources if source.key == each.key]
            if (sum(source.rows for source in sources), {s.sha256 for s in sources}) != (each.rows, {sha256}):
                verdict.wrong.append(f"the partition is not of these bytes: {each.key} {sources}")
        verdict.proofs = dict(Counter(str(row.proof) for row in rows.values()))

    def _listed(self, tracker: DownloadTracker) -> list:  # type: ignore[type-arg]
        return list(tracker.known(Market.UM, [State.FETCHED, State.STORED, State.PLANNED, State.FAILED, State.ACTIVE]))

    def count_bytes(self) -> None:
        """What was sent twice, and whether kills and faults account for it, object by object."""
        verdict, night = self.verdict, self.night
        verdict.archives = len(night.published)
        verdict.bytes_published = sum(len(each.content) for each in night.published.values())
        verdict.bytes_sent = sum(self.server.body_bytes[key] for key in night.published)
        verdict.faults = dict(Counter(kind for (_, kind), count in night.happened.items() for _ in range(count)))
        twice = open_at_kills = 0
        for key, each in night.published.items():
            mine = {kind: count for (name, kind), count in night.happened.items() if name == key}
            over = self.server.body_bytes[key] - len(each.content)
            over -= 1000 * (mine.get("503", 0) + mine.get("429", 0))  # the bodies of the errors
            over -= IN_FLIGHT_BYTES * (mine.get("reset", 0) + mine.get("shifted range", 0))
            if any(mine.get(kind) for kind in COSTLY):
                over -= 3 * max(len(each.content), 1) * sum(mine.get(kind, 0) for kind in COSTLY)
            else:
                twice += max(over, 0)
                open_at_kills += self.open_at_kills[key]
            verdict.most_kib_over_its_faults = max(verdict.most_kib_over_its_faults, over / 1024)
            if over > IN_FLIGHT_BYTES * self.open_at_kills[key]:
                verdict.wrong.append(
                    f"{key}: {over} bytes of {len(each.content)} more than faults and {self.open_at_kills[key]} "
                    "connections open at kills account for"
                )
        verdict.kib_twice_per_connection_and_kill = round(twice / 1024 / max(open_at_kills, 1), 1)


def main() -> int:
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="tapevault-chaos-", dir=options.dir))
    draw, verdict, began = random.Random(options.seed), Verdict(), time.monotonic()
    try:
        served = folder / "served"
        published = {each.key: each for each in archives(options.objects, draw)}
        for number, each in enumerate(published.values()):
            publish(served, each, number)
        replaced = draw.sample(sorted(published), round(options.share * options.objects))
        replacements = {key: invented(published[key].series, published[key].period, draw) for key in replaced}
        night = BadNight(served, options.seed, options.share, published, replacements)
        (folder / "settings.yaml").write_text(SETTINGS)
        with running_server(served, faults=night, bytes_per_second=options.rate, latency_seconds=0.01) as server:
            command = [
                *(sys.executable, str(ROOT / "scripts" / "download_all.py"), "--source", server.url, "--json"),
                *("--data-dir", str(folder / "data"), "--settings", str(folder / "settings.yaml")),
                *("--data-types", "klines,trades", "--workers", str(options.workers), "--accept", "unverified"),
            ]
            chaos = Chaos(server, night, folder / "data", command, verdict)
            chaos.kill_again_and_again(options.kills, draw)
            chaos.finish(5 if options.kills else 1)
            chaos.look()
            chaos.count_bytes()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    verdict.seconds = round(time.monotonic() - began, 1)
    _say(verdict, options.json)
    return 1 if verdict.wrong else 0


def _say(verdict: Verdict, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(verdict)))
        return
    for name, value in asdict(verdict).items():
        if name != "wrong":
            print(f"{name.replace('_', ' '):36}{value}")
    print("\n".join(["WRONG:", *verdict.wrong]) if verdict.wrong else "all is well")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=300, help="archives, one in ten large (default 300)")
    parser.add_argument("--kills", type=int, default=100, help="times the process is killed (default 100)")
    parser.add_argument("--share", type=float, default=0.05, help="of the answers, for each fault (default 0.05)")
    parser.add_argument("--seed", type=int, default=1, help="decides everything but when the processes get their turn")
    parser.add_argument("--rate", type=int, default=800_000, help="bytes a second over one connection (default 800000)")
    parser.add_argument("--workers", type=int, default=4, help="of download_all.py (default 4)")
    parser.add_argument("--dir", type=Path, help="where to work (default: the folder for temporary files)")
    parser.add_argument("--json", action="store_true", help="the verdict as one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
