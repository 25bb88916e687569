"""Make the loader's cross-sections: a day of all symbols in one read."""

import argparse
import sys
import time

from core.commands.command import local_settings_from, say, status_line
from core.commands.names import as_called
from core.commands.stored import add_local_options, wanted_from
from core.errors import ConfigError, DiskFull, StorageError
from core.layout import Layout
from core.storage.cross_sections import CrossSections, groups_of, is_current, make, periods_of, remove_all
from core.storage.manager import StorageManager

EXAMPLES = """examples:
  python scripts/pipeline.py cross-sections                     # candles of all markets and intervals that are stored
  python scripts/pipeline.py cross-sections --market um --interval 1h --data-types klines,mark_price
  python scripts/pipeline.py cross-sections --remove

A cross-section has the rows of all symbols of a month (of candles shorter than five minutes, of a day), by time: the
loader reads a day of hundreds of symbols from it instead of from as many files. It takes as much room again as the
partitions. One that was made before something else was stored for its time is not used, and made again here; what lies
under data/cache may be deleted at any time.
exit codes: 0 all well, 1 something could not be made, 2 wrong usage, 3 nothing stored, 130 interrupted
"""


def cross_sections(options: argparse.Namespace) -> int:
    """Make what is missing or no longer right of the loader's cross-sections."""
    began = time.monotonic()
    if options.symbols:
        raise ConfigError("--symbols: a cross-section has all symbols that are stored; leave it out")
    settings = local_settings_from(options)
    layout = Layout(settings.data_root)
    if options.remove:
        removed = remove_all(layout)
        say(options, {"removed": removed}, f"{removed:,} cross-sections removed")
        return 0
    storage = StorageManager(layout, settings.storage, settings.quality)
    options.data_types = options.data_types or "klines"
    wanted, _ = wanted_from(options, storage)
    sections = CrossSections(layout)
    counts: dict[str, int] = {"made": 0, "right": 0, "rows": 0, "failed": 0}
    with status_line(options, "looking at what is stored") as says:
        for group in groups_of(wanted):
            for period in periods_of(storage, group):
                if is_current(sections, storage, group, period):
                    counts["right"] += 1
                    continue
                like = group[0]
                says(f"{counts['made']:,} made; now {like.market} {like.dataset} {like.interval} {period.label}")
                if options.dry_run:
                    counts["made"] += 1
                    continue
                try:
                    _, rows = make(layout, storage, group, period)
                except DiskFull:
                    raise
                except StorageError as error:
                    print(as_called(f"failed: {error}"), file=sys.stderr)
                    counts["failed"] += 1
                    continue
                counts["made"] += 1
                counts["rows"] += rows
    seconds = time.monotonic() - began
    done = "would be made" if options.dry_run else f"made of {counts['rows']:,} rows"
    text = f"{counts['made']:,} cross-sections {done}, {counts['right']:,} were right; {seconds:.1f} seconds"
    say(options, {**counts, "dry_run": options.dry_run, "seconds": round(seconds, 3)}, text)
    return 1 if counts["failed"] else 0


def add_options(command: argparse.ArgumentParser) -> None:
    """What `cross-sections` is told."""
    mine = command.add_argument_group("this command")
    mine.add_argument("--dry-run", action="store_true", help="say how many would be made")
    mine.add_argument("--remove", action="store_true", help="delete all cross-sections")
    add_local_options(command)
