"""Every message of docs/troubleshooting.md is one that a user gets: each is brought about here, and compared."""

import re
import resource
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest
from factories import ROOT, Command, called, kline_csv, kline_key, publish, zip_bytes

from core.commands import download_all, snapshot
from core.download.tracker import DownloadTracker
from core.errors import MarketDataError
from core.jobs.alone import alone
from core.layout import Layout
from core.sample.faults import on, status
from core.sample.server import ArchiveServer, running_server
from loader import BacktestDataLoader, MissingDataWarning

PAGE = ROOT / "docs" / "troubleshooting.md"
ONE = ("--symbols", "BTCUSDT", "--data-types", "klines", "--start", "2024-01-01", "--end", "2024-01-31")


@dataclass
class Trouble:
    """A small exchange with one month of candles, and an empty data folder."""

    folder: Path
    server: ArchiveServer

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def script(self, name: str, *options: str, source: str | None = None) -> str:
        """What a command says on stderr; it fails, or the test has no subject."""
        where = ["--data-dir", str(self.data)]
        if name in ("download_all", "daily_update"):
            where += ["--source", source or self.server.url]
        main = import_module(f"core.commands.{name}").main
        done = called(main, [*_words_before(options), *where, *_words_behind(options)])
        assert done.code != 0, done.out
        return done.err

    def download(self) -> str:
        """What a download that ends well says on stderr."""
        where = ["--data-dir", str(self.data), "--source", self.server.url, "--json"]
        done = called(download_all.main, [*where, *ONE])
        assert done.code == 0, done.err
        return done.err


def _words_before(options: tuple[str, ...]) -> list[str]:
    """The subcommand."""
    return [word for word in options[:1] if not word.startswith("-")]


def _words_behind(options: tuple[str, ...]) -> tuple[str, ...]:
    return options[len(_words_before(options)) :]


@pytest.fixture
def trouble(tmp_path: Path) -> Iterator[Trouble]:
    archive = tmp_path / "archive"
    publish(archive, kline_key(), zip_bytes({"BTCUSDT-1h-2024-01.csv": kline_csv(rows=744)}))
    with running_server(archive) as server:
        yield Trouble(tmp_path, server)


def damaged_database(trouble: Trouble) -> str:
    path = Layout(trouble.data).database
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no database at all, " * 500)
    return trouble.script("daily_update")


def database_of_tomorrow(trouble: Trouble) -> str:
    with DownloadTracker(Layout(trouble.data).database) as tracker, tracker._engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO schema_steps VALUES (999, 'of_tomorrow')")
    return trouble.script("download_all", *ONE)


def another_update(trouble: Trouble) -> str:
    trouble.download()
    with alone(Layout(trouble.data), "daily_update"):
        return trouble.script("daily_update")


def a_source_that_is_gone(trouble: Trouble) -> str:
    for month in range(2, 7):
        publish(trouble.folder / "archive", kline_key(f"2024-{month:02d}"), zip_bytes({"any.csv": kline_csv()}))
    trouble.server.faults = on(".zip", status(403))
    return trouble.script("download_all", "--symbols", "BTCUSDT", "--data-types", "klines")


def an_archive_published_anew(trouble: Trouble) -> str:
    trouble.download()
    publish(trouble.folder / "archive", kline_key(), zip_bytes({"BTCUSDT-1h-2024-01.csv": kline_csv(rows=700)}))
    return trouble.download()


def no_checksum(trouble: Trouble) -> str:
    (trouble.folder / "archive" / f"{kline_key()}.CHECKSUM").unlink()
    return trouble.script("download_all", *ONE)


def a_full_disk(trouble: Trouble) -> str:
    publish(trouble.folder / "archive", kline_key(), bytes(range(256)) * 2000)

    def limits() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, 250_000))  # what SQLite writes beside it is smaller

    where = ["--data-dir", str(trouble.data), "--source", trouble.server.url]
    done = Command("scripts/download_all.py", where, limits).run(*ONE)
    assert done.code == 1, done.out
    return done.err


def wrong_checksum(trouble: Trouble) -> str:
    content = zip_bytes({"BTCUSDT-1h-2024-01.csv": kline_csv(rows=700)})
    publish(trouble.folder / "archive", kline_key(), content, f"{'0' * 64}  BTCUSDT-1h-2024-01.zip\n")
    return trouble.script("download_all", *ONE)


def empty_archive(trouble: Trouble) -> str:
    publish(trouble.folder / "archive", kline_key(), b"")
    return trouble.script("download_all", *ONE)


def line_at_fault(trouble: Trouble) -> str:
    lines = kline_csv(rows=744).replace(b"42050.25", b"4205x.25", 1)
    publish(trouble.folder / "archive", kline_key(), zip_bytes({"BTCUSDT-1h-2024-01.csv": lines}))
    return trouble.script("download_all", *ONE)


def a_file_in_the_way(trouble: Trouble) -> str:
    trouble.data.write_text("not a folder")
    return trouble.script("download_all", *ONE)


def settings_with_a_wrong_key(trouble: Trouble) -> str:
    path = trouble.folder / "settings.yaml"
    path.write_text("download:\n  workrs: 3\n")
    return trouble.script("download_all", *ONE, "--settings", str(path))


def more_than_is_stored(trouble: Trouble) -> str:
    trouble.download()
    with warnings.catch_warnings(record=True) as told, BacktestDataLoader(data_dir=trouble.data) as loader:
        warnings.simplefilter("always", MissingDataWarning)
        loader.load_data(["BTCUSDT"], "2024-01-20", "2024-02-10", ["klines"])
    return str(told[0].message)


def what_is_not_stored(trouble: Trouble) -> str:
    trouble.download()
    with BacktestDataLoader(data_dir=trouble.data) as loader, pytest.raises(MarketDataError) as told:
        loader.load_data(["ETHUSDT"], "2024-01-01", "2024-01-31", ["klines"], on_missing="raise")
    return str(told.value)


def a_lock_and_other_rows(trouble: Trouble) -> str:
    trouble.download()
    lock = trouble.folder / "data.lock"
    made = called(snapshot.main, ["create", "--data-dir", str(trouble.data), "--output", str(lock)])
    assert made.code == 0, made.err
    content = zip_bytes({"BTCUSDT-1h-2024-01.csv": kline_csv(rows=744).replace(b"42050.25", b"42051.25")})
    publish(trouble.folder / "archive", kline_key(), content)
    trouble.download()
    with BacktestDataLoader(data_dir=trouble.data, snapshot=lock) as loader, pytest.raises(MarketDataError) as told:
        loader.load_data(["BTCUSDT"], "2024-01-01", "2024-01-31", ["klines"])
    return str(told.value)


SCENARIOS: dict[str, Callable[[Trouble], str]] = {
    "… has no symbol …; did you mean …?": lambda trouble: trouble.script(
        "download_all", "--symbols", "BTCUSD", "--data-types", "klines"
    ),
    "unknown data type …; did you mean …? There are …": lambda trouble: trouble.script(
        "download_all", "--data-types", "kline"
    ),
    "unrecognized arguments: …; did you mean …?": lambda trouble: trouble.script("download_all", "--symbol", "BTCUSDT"),
    "--end … lies before --start …": lambda trouble: trouble.script(
        "download_all", "--start", "2024-02-01", "--end", "2024-01-01"
    ),
    "…: unknown key …; did you mean …?": settings_with_a_wrong_key,
    "connection to … failed: …": lambda trouble: trouble.script("download_all", *ONE, source="http://127.0.0.1:1"),
    "the source does not answer any more (…); all that is here is kept, run the same command again when it does": (
        a_source_that_is_gone
    ),
    "finding republished …: …": an_archive_published_anew,
    "finding no-checksum …: …": no_checksum,
    "mismatch-upstream …: the exchange's SHA-256 is …, ours is …": wrong_checksum,
    "corrupt-upstream …: … has zero bytes; the exchange's file is broken": empty_archive,
    "corrupt-upstream …: …, line …: …; run again with --salvage to store the other rows": line_at_fault,
    "cannot write to the data folder …: …; choose another --data-dir": a_file_in_the_way,
    "no room left for … (…); free some space and run the same command again": a_full_disk,
    "… is damaged (…); download_all.py --rebuild-status makes a new one …": damaged_database,
    "… was written by a newer Tapevault; update it, or use another --data-dir": database_of_tomorrow,
    "another daily_update is at work on …: process … on …; nothing was done": another_update,
    "nothing is here yet, under …; run download_all.py first, with what you want to keep": lambda trouble: (
        trouble.script("daily_update")
    ),
    "nothing of that is stored; get it with download_all.py": lambda trouble: trouble.script("pipeline", "validate"),
    "partly missing: …: … ends at …. To get it: …": more_than_is_stored,
    "no data: …: … is not stored; did you mean …? (stored: …). To get it: …": what_is_not_stored,
    "what is stored is not what … locked: …: an archive was revised: …. To see all: …": a_lock_and_other_rows,
}


@pytest.mark.parametrize("message", SCENARIOS)
def test_the_message_is_what_a_user_gets(message: str, trouble: Trouble) -> None:
    pattern = ".+".join(re.escape(part) for part in message.split("…"))
    said = SCENARIOS[message](trouble)
    before = r"(?:error: |\d\d:\d\d:\d\d [A-Z]+ )?"  # also of a line that is logged
    assert any(re.fullmatch(f"{before}{pattern}.*", line) for line in said.splitlines()), said


def test_the_page_has_these_messages_and_no_others() -> None:
    assert re.findall(r"^### `(.+)`$", PAGE.read_text(encoding="utf-8"), re.MULTILINE) == list(SCENARIOS)
