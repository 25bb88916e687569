"""Serve a folder of archives on this machine as the exchange serves its own: listing, checksums, ranges."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from core.commands.command import INTERRUPTED, Parser, port_from
from core.errors import ConfigError, StorageError
from core.sample.archive import DEMO_SHELVES, write_archive
from core.sample.defects import DEFECTS
from core.sample.defects.plan import Plan, Planted, rest_holes
from core.sample.defects.planting import one_of_each, plant, random_plans
from core.sample.defects.site import restore
from core.sample.market import SampleMarket, demo_market
from core.sample.rest import SampleApi
from core.sample.server import ArchiveServer

EXAMPLES = """examples:
  python scripts/serve_archive.py /tmp/exchange --sample
      invent fifteen months of a small market, then serve them and their REST API
  python scripts/serve_archive.py ~/mirror --port 9000
      serve archives that lie as the exchange lays them out: data/spot/daily/klines/...
  python scripts/serve_archive.py /tmp/exchange --sample --seed 8 --latency 0.05 --limit-rate 1000000
  python scripts/serve_archive.py /tmp/exchange --sample --defects D4,D22
      the sample with a month that lacks days and a broken zip, as the real archive has them (docs/defects.md);
      also: --defects all, --defects random:200

exit codes: 2 wrong usage, 130 interrupted (the usual way to stop)
"""


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    folder = options.folder.expanduser().absolute()
    if options.defects and not options.sample:
        raise ConfigError("--defects are planted into the sample only; add --sample")
    planted = _write_sample(folder, options.seed, options.defects) if options.sample else ()
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder; name one that holds data/..., or add --sample to have one made")
    server = ArchiveServer(
        folder,
        port=options.port,
        latency_seconds=options.latency,
        bytes_per_second=options.limit_rate,
        api=SampleApi(demo_market(options.seed), holes=rest_holes(planted)) if options.sample else None,
    )
    # A process started in the background by a shell ignores Ctrl-C; whoever sends it here means it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        asyncio.run(_serve(server, has_api=options.sample))
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        raise  # whoever read our output has gone
    except OSError as error:
        raise ConfigError(f"--port {options.port}: {error.strerror}; choose another, or 0 for any free one") from error
    return INTERRUPTED


async def _serve(server: ArchiveServer, has_api: bool) -> None:
    async with server:
        what = f"{server.bucket.root} and the sample's REST API" if has_api else str(server.bucket.root)
        rest = f" --rest {server.url}" if has_api else ""
        print(f"serving {what} at {server.url} until Ctrl-C")
        print(f"python scripts/download_all.py --source {server.url}{rest}", flush=True)
        await asyncio.Event().wait()


def _write_sample(folder: Path, seed: int, defects: int | tuple[str, ...]) -> tuple[Planted, ...]:
    """Have the sample lie in the folder, and say what was planted into it."""
    print(f"preparing the sample archive in {folder}", file=sys.stderr)
    market = demo_market(seed)
    try:
        restore(folder)
        counts = write_archive(market, folder, DEMO_SHELVES)
        planted = _plant(market, folder, defects) if defects else ()
    except OSError as error:
        raise StorageError(f"cannot write the sample to {folder}: {error.strerror}; choose another folder") from error
    size = f"{counts.size_bytes / 1e6:.1f} MB"
    print(
        f"{counts.zips} archives, {counts.rows} rows, {size}{'' if counts.is_new else ' (already there)'}",
        file=sys.stderr,
    )
    return planted


def _plant(market: SampleMarket, folder: Path, wanted: int | tuple[str, ...]) -> tuple[Planted, ...]:
    """Plant defects, and print a line for each."""
    plans, without_place = _plans(market, folder, wanted)
    planted = plant(market, folder, plans)
    for each in planted:
        print(each)
    for name in without_place:
        print(f"{name}: {DEFECTS[name].what}; this sample has no place for it")
    return planted


def _plans(
    market: SampleMarket, folder: Path, wanted: int | tuple[str, ...]
) -> tuple[tuple[Plan, ...], tuple[str, ...]]:
    """The plans, and the defects for which there is no place."""
    if isinstance(wanted, int):
        return random_plans(market, folder, market.seed, wanted), ()
    found = one_of_each(market, folder, market.seed, wanted)
    return tuple(filter(None, found.values())), tuple(name for name, plan in found.items() if plan is None)


def parser() -> argparse.ArgumentParser:
    made = Parser(
        description=__doc__,
        epilog=EXAMPLES,
    )
    made.add_argument("folder", type=Path, metavar="DIR", help="folder that holds data/spot/..., data/futures/...")
    made.add_argument("--port", type=port_from, default=8000, metavar="N", help="0: any free one (default 8000)")
    made.add_argument(
        "--sample", action="store_true", help="first write the sample archive into DIR; then serve its REST API too"
    )
    made.add_argument("--seed", type=int, default=7, metavar="N", help="of the sample's market (default 7)")
    made.add_argument(
        "--defects",
        type=_defects,
        default=(),
        metavar="LIST",
        help="plant defects into the sample, and say where: D4,D22 or all or random:N",
    )
    made.add_argument("--latency", type=_seconds, default=0.0, metavar="SECONDS", help="before every answer")
    made.add_argument("--limit-rate", type=_rate, metavar="BYTES", help="per second and connection")
    return made


def _defects(text: str) -> int | tuple[str, ...]:
    """How many, or which."""
    number = text.removeprefix("random:")
    if number != text:
        if not (number.isascii() and number.isdigit() and int(number)):
            raise argparse.ArgumentTypeError(f"{text!r}: write random:200 for two hundred of them")
        return int(number)
    names = tuple(DEFECTS) if text == "all" else tuple(dict.fromkeys(text.upper().split(",")))
    unknown = next((name for name in names if name not in DEFECTS), None)
    if unknown is not None:
        raise argparse.ArgumentTypeError(f"{unknown!r} is no defect; they are D1 to D40, all or random:N")
    return names


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return seconds


def _rate(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
