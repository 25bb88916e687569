"""Find files that are not needed any more, and remove them with --apply."""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from core.commands.command import (
    Parser,
    add_data_options,
    add_run_options,
    local_settings_from,
    prepare_data_root,
    shown,
    status_line,
    words_from,
)
from core.commands.logs import log_to_stderr
from core.download.database import now_us
from core.download.tracker import DownloadTracker
from core.errors import ConfigError, NoData
from core.jobs.alone import alone
from core.jobs.cleanup import KINDS, LINK, Cleaner, Kept, Outcome, Redundant
from core.layout import Layout, is_there
from core.nearest import one_of
from core.storage.manager import StorageManager

EXAMPLES = """examples:
  python scripts/cleanup.py                              what could go, and how large it is
  python scripts/cleanup.py --explain                    and why, and what stays and why
  python scripts/cleanup.py --apply
  python scripts/cleanup.py --raw remove --kinds raw --apply     archives whose rows are stored
  python scripts/cleanup.py --kinds days,temporary --json

Without --apply nothing is changed. With it, each file is removed only after what stands for it has been proved: the
rows of an archive are read from it and from the partitions and compared. Nothing that a run is at work with is touched.
kinds: {kinds}
exit codes: 0 all well, 1 something could not be proved or removed (it stays), 2 wrong usage, 3 nothing is here,
4 another cleanup is at work, 130 interrupted
"""
_SHOWN = 20
COMMAND = "cleanup"


@dataclass(frozen=True, slots=True)
class _Group:
    """Files that are told together."""

    kind: str
    reason: str
    files: int
    size: int
    example: str


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    log_to_stderr(options)
    return cleanup(options)


def cleanup(options: argparse.Namespace) -> int:
    """Look for what is not needed, and remove it where that is asked for."""
    began = time.monotonic()
    settings = local_settings_from(options)
    kinds = _kinds(options)
    layout = Layout(settings.data_root)
    if not is_there(layout.database):
        raise NoData(f"nothing is here, under {layout.root}: there is no status database")
    keep_raw = settings.storage.keep_raw if options.raw is None else options.raw == "keep"
    storage = StorageManager(layout, settings.storage, settings.quality)
    if options.apply:
        prepare_data_root(layout.root)
    with (
        alone(layout, COMMAND) if options.apply else nullcontext(),
        DownloadTracker(layout.database) as tracker,
        status_line(options, "looking at what is here") as says,
    ):
        cleaner = Cleaner(layout, settings, storage, tracker, kinds, keep_raw, now_us())
        outcome = cleaner.remove(says) if options.apply else cleaner.look()
    _report(options, layout, outcome, time.monotonic() - began)
    return 1 if outcome.failures or (options.apply and outcome.kept) else 0


def _kinds(options: argparse.Namespace) -> tuple[str, ...]:
    words = words_from(options.kinds, "--kinds")
    for word in words:
        if word not in KINDS:
            raise ConfigError(f"--kinds: unknown kind {word!r}{one_of(word, KINDS)}")
    return words or tuple(KINDS)


def _report(options: argparse.Namespace, layout: Layout, outcome: Outcome, seconds: float) -> None:
    for failure in outcome.failures:
        print(f"failed: {failure}", file=sys.stderr)
    if options.apply:
        for kept in outcome.kept[:_SHOWN]:
            print(f"kept: {shown(kept.path)}: {kept.reason}", file=sys.stderr)
        if len(outcome.kept) > _SHOWN:
            print(f"kept: {len(outcome.kept) - _SHOWN:,} more; --json has all of them", file=sys.stderr)
    size = sum(one.size for one in outcome.removed)
    if options.json:
        print(json.dumps(_as_json(options, outcome, size, seconds)))
    elif not options.quiet:
        _print(options, layout, outcome, size, seconds)


def _print(options: argparse.Namespace, layout: Layout, outcome: Outcome, size: int, seconds: float) -> None:
    console = Console()
    if outcome.removed:
        console.print(_summary(options, outcome.removed))
    if options.explain:
        if outcome.removed:
            title = "Why, and what proves it" if options.apply else "Why, and what is proved before it goes"
            console.print(_table(layout, title, _grouped(layout, outcome.removed, _reason_and_proof)))
        for title, kept in (("Stays", outcome.stays), ("Kept after all", outcome.kept)):
            if kept:
                console.print(_table(layout, title, _grouped(layout, kept, lambda one: one.reason)))
    for one in _links(outcome):
        console.print(f"not looked at: {shown(one.path)}: {one.reason}", markup=False, soft_wrap=True)
    files = f"{len(outcome.removed):,} files, {decimal(size)}"
    if options.apply:
        said = f"{files} removed; {len(outcome.kept):,} kept after all"
    elif outcome.removed:
        said = f"{files} could go; nothing was changed, --apply removes them"
    else:
        said = "Nothing to remove"
    console.print(f"{said}; {seconds:.1f} seconds", soft_wrap=True)


def _links(outcome: Outcome) -> list[Kept]:
    """Behind these nobody has looked."""
    return [one for one in outcome.stays if one.kind == LINK]


def _reason_and_proof(one: Redundant) -> str:
    return f"{one.reason}: {one.proof}"


def _summary(options: argparse.Namespace, found: Sequence[Redundant]) -> Table:
    table = Table(title="Removed" if options.apply else "Not needed", title_justify="left")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("files", justify="right", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    table.add_column("what", overflow="fold")
    sizes = {kind: [one.size for one in found if one.kind == kind] for kind in KINDS}
    for kind, own in sorted(sizes.items(), key=lambda item: -sum(item[1])):
        if own:
            table.add_row(decimal(sum(own)), f"{len(own):,}", kind, KINDS[kind])
    return table


def _grouped(layout: Layout, found: Iterable[Redundant] | Iterable[Kept], why: object) -> list[_Group]:
    groups: dict[tuple[str, str], list[Redundant | Kept]] = {}
    for one in found:
        groups.setdefault((one.kind, why(one)), []).append(one)  # type: ignore[operator]
    made = [
        _Group(kind, reason, len(own), sum(one.size for one in own), str(own[0].path.relative_to(layout.root)))
        for (kind, reason), own in groups.items()
    ]
    return sorted(made, key=lambda group: -group.size)


def _table(layout: Layout, title: str, groups: Sequence[_Group]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("files", justify="right", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    table.add_column("why, and the first of them", overflow="fold")
    for group in groups[:_SHOWN]:
        said = f"{group.reason}\n{group.example}".replace("[", "\\[")
        table.add_row(decimal(group.size), f"{group.files:,}", group.kind, said)
    if len(groups) > _SHOWN:
        table.add_row("", "", "", f"and {len(groups) - _SHOWN:,} more reasons; --json has every file")
    return table


def _as_json(options: argparse.Namespace, outcome: Outcome, size: int, seconds: float) -> Mapping[str, object]:
    return {
        "applied": options.apply,
        "files": _listed(outcome.removed),
        "bytes": size,
        "stays": _listed(outcome.stays) if options.explain or options.apply else None,
        "not_looked_at": [str(one.path) for one in _links(outcome)],
        "kept_after_all": _listed(outcome.kept),
        "failures": outcome.failures,
        "seconds": round(seconds, 3),
    }


def _listed(found: Iterable[Redundant] | Iterable[Kept]) -> list[Mapping[str, object]]:
    return [asdict(one) | {"path": str(one.path)} for one in found]


def add_options(command: argparse.ArgumentParser) -> None:
    """What `cleanup` is told, under whatever name it is called."""
    mine = command.add_argument_group("this command")
    mine.add_argument("--apply", action="store_true", help="remove what is found, after proving it")
    mine.add_argument("--kinds", metavar="a,b", help=f"only these, of {', '.join(KINDS)}")
    mine.add_argument("--raw", choices=("keep", "remove"), help="archives whose rows are stored (storage.keep_raw)")
    mine.add_argument("--explain", action="store_true", help="also say why, and what is kept and why")
    add_data_options(command.add_argument_group("where"))
    add_run_options(command.add_argument_group("how"))


def examples() -> str:
    """With all kinds, each with what it is."""
    width = max(map(len, KINDS))
    return EXAMPLES.format(kinds="".join(f"\n  {kind:<{width}}  {says}" for kind, says in KINDS.items()))


def parser() -> argparse.ArgumentParser:
    made = Parser(description=__doc__, epilog=examples())
    add_options(made)
    return made
