"""`monitor.py live`, `pause` and `resume`: a run as another process sees it, and asking it to hold still."""

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from core.commands.command import add_command, add_data_options, local_settings_from, shown
from core.commands.names import as_called
from core.commands.watching import has_colour
from core.download.looking import look
from core.download.overview import Failed, failures
from core.download.tracker import DownloadTracker
from core.errors import MarketDataError, NoData
from core.layout import Layout
from core.monitor.display import SECONDS, Display
from core.monitor.panels import plain_line
from core.monitor.state import Seen, all_seen
from core.monitor.terminal import is_usable
from core.monitor.view import Problem, View
from core.types import Ending

EXAMPLES: Final = """examples:
  python scripts/monitor.py live                          the run that goes on now, until it ends
  python scripts/monitor.py live --follow                 stay, and show the next run too
  python scripts/monitor.py live --interval 60 | tee run.log        a line a minute where there is no terminal
  python scripts/monitor.py live --data-dir /mnt/archive --no-color

Keys: q leaves this view and never touches the run; p pauses the run and has it go on; f shows what has failed, s every
data type and symbol. docs/monitor.md says what each number means.
exit codes: as the run's (0 all well, 1 something failed, 130 interrupted), 1 if it was killed, 0 after q, 2 wrong
usage, 3 no run goes on
"""
PAUSE_EXAMPLES: Final = """examples:
  python scripts/monitor.py pause                         the run that goes on now holds still
  python scripts/monitor.py resume                        and goes on
  python scripts/monitor.py pause --process 4711          one of several

A paused run asks for nothing and reads nothing on; what its source cuts off meanwhile is continued from the exact byte.
The pause stays until somebody resumes, whoever asked for it, and ends with the run.
exit codes: 0 done, 2 wrong usage, 3 no run goes on
"""
PLAIN_SECONDS: Final = 10.0
_MOST_FAILURES: Final = 500


def live(options: argparse.Namespace) -> int:
    """Show a run until it ends."""
    layout = Layout(local_settings_from(options).data_root)
    watching = _Watching(layout, options.follow, options.process)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if is_usable(sys.stdout):
        return _on_screen(watching, options)
    return _in_lines(watching, options.interval or PLAIN_SECONDS)


def pause(options: argparse.Namespace, is_wanted: bool = True) -> int:
    """Ask the runs that go on to hold still, or to go on."""
    layout = Layout(local_settings_from(options).data_root)
    running = [seen for seen in all_seen(layout) if seen.is_alive and _is_meant(seen, options.process)]
    if not running:
        raise NoData(_nothing(layout, options.process))
    for seen in running:
        frame = seen.view.frame
        with DownloadTracker(Path(frame.database)) as tracker:
            tracker.pause(frame.process, is_wanted)
        word = "is to hold still; monitor.py resume has it go on" if is_wanted else "is to go on"
        print(as_called(f"{frame.command} (process {frame.process.pid} on {frame.process.host}) {word}"))
    return 0


def _on_screen(watching: "_Watching", options: argparse.Namespace) -> int:
    display = Display(
        sys.stdout,
        watching.feed,
        watching.toggle,
        watching.failures,
        options.interval or SECONDS,
        has_colour(options),
    )
    with display.suspends():
        is_left = display.run()
    if watching.view is None or is_left:
        if watching.view is not None and watching.view.ended is None:
            print(f"{_name(watching.view)} goes on")
        return 0
    print(_last_words(watching.view))
    return _exit_code(watching.view)


def _in_lines(watching: "_Watching", interval: float) -> int:
    was: View | str | None = ""
    while (view := watching.feed()) is not None:
        if isinstance(view, str):
            if view != was:
                print(view, flush=True)
        else:
            before = None if isinstance(was, str) or was is None or was.frame != view.frame else was
            if before is None:
                print(f"{_name(view)}: {view.frame.line}", flush=True)
            if view.ended is not None and not watching.follows:
                break
            if before is None or before.ended is None:  # of a run that is over there is no more to say
                print(f"{_now()} {plain_line(view)}", flush=True)
        was = view
        watching.wait(interval)
    assert watching.view is not None
    print(f"{_now()} {_last_words(watching.view)}", flush=True)
    return _exit_code(watching.view)


@dataclass(slots=True)
class _Watching:
    """Which run is looked at, and what it shows. `wish` is what was asked of it and it has not heard yet."""

    layout: Layout
    follows: bool
    process: int | None
    seen: Seen | None = None
    view: View | None = None
    wish: bool | None = None
    trouble: str | None = None

    def feed(self) -> View | str | None:
        """What there is to see now; words while there is no run, None after its end. Raises NoData."""
        if self.seen is None or (self.follows and not self.seen.is_alive):
            self._find()
        if self.seen is None:
            return f"{_nothing(self.layout, self.process)}\nwaiting for one; q or Ctrl-C leaves"
        was_alive = self.seen.is_alive
        self.seen.again()  # read after it was asked: what it wrote last is not missed
        if not was_alive:
            is_seen = self.view is not None and self.view.ended is not None
            self.view = _ended(self.seen.view)
            return None if not self.follows and is_seen else self._shown()
        self.view = self.seen.view
        return self._shown()

    def _shown(self) -> View:
        assert self.view is not None
        view = self.view
        if self.wish is not None and (view.ended is not None or view.is_pause_wanted == self.wish):
            self.wish = None
        if self.wish is not None:
            view = replace(view, is_pause_wanted=self.wish)
        return view if self.trouble is None else replace(view, waiting=self.trouble)

    def _find(self) -> None:
        running = [seen for seen in all_seen(self.layout) if seen.is_alive and _is_meant(seen, self.process)]
        if running:
            self.seen, self.view, self.wish = running[0], None, None
        elif self.seen is None and not self.follows:
            raise NoData(_nothing(self.layout, self.process))

    def wait(self, seconds: float) -> None:
        """Until the next look, or until the run has ended."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.5))
            if self.seen is not None and self.view is not None and self.view.ended is None and not self.seen.is_alive:
                return

    def toggle(self, view: View) -> None:
        """Pause the run, or have it go on."""
        wish = not (view.is_paused or view.is_pause_wanted) if self.wish is None else not self.wish
        try:
            with DownloadTracker(Path(view.frame.database)) as tracker:
                tracker.pause(view.frame.process, wish)
            self.wish, self.trouble = wish, None
        except MarketDataError as error:
            self.trouble = f"not paused: {error}"

    def failures(self, view: View) -> Sequence[Problem]:
        """All that the database knows, and what the run tries again."""
        known: list[Failed] = []
        with contextlib.suppress(MarketDataError):
            known = look(Path(view.frame.database), partial(failures, most=_MOST_FAILURES))
        final = [Problem(one.at_us / 1e6, one.download.file.key, _why(one), is_final=True) for one in known]
        here = {problem.key for problem in final}
        return [*final, *(problem for problem in view.problems if problem.key not in here)]


def _why(failed: Failed) -> str:
    return failed.download.error or failed.download.state.value


def _ended(view: View) -> View:
    """The last view of a run that is over; of one that was killed it does not say so."""
    if view.ended is not None:
        return view
    return replace(view, ended=Ending.KILLED.value, active=(), is_paused=False, is_pause_wanted=False, sources=())


def _exit_code(view: View) -> int:
    return 1 if view.exit_code is None else view.exit_code


def _last_words(view: View) -> str:
    """How it ended, and what continues it where that is needed."""
    code = "" if view.exit_code is None else f", exit code {view.exit_code}"
    says = f"{_name(view)}: {plain_line(view)}{code}"
    if view.ended == Ending.FINISHED and not view.exit_code:
        return says
    return f"{says}\ncontinue with: {view.frame.line}"


def _name(view: View) -> str:
    number = f"run {view.run}" if view.run else f"process {view.frame.process.pid}"  # not entered yet
    return f"{view.frame.command}, {number}"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _is_meant(seen: Seen, process: int | None) -> bool:
    return process is None or seen.view.frame.process.pid == process


def _nothing(layout: Layout, process: int | None) -> str:
    what = "no run goes on" if process is None else f"no run of process {process} goes on"
    return as_called(
        f"{what} in {shown(layout.root)}; begin one with download_all.py, or see what was with monitor.py history"
    )


def add_live(commands: Any) -> None:
    """The subcommands of this module."""
    says = "watch the run that goes on"
    command = add_command(commands, "live", live, says, f"{says.capitalize()}, and pause it.", EXAMPLES)
    mine = command.add_argument_group("this command")
    mine.add_argument("--follow", action="store_true", help="stay when the run ends, and wait for the next")
    mine.add_argument(
        "--interval",
        type=_seconds,
        metavar="S",
        help=f"seconds between looks (default {SECONDS:g}; {PLAIN_SECONDS:g} where there is no terminal)",
    )
    mine.add_argument("--no-color", action="store_true", help="no colours; so does the environment's NO_COLOR")
    for name, is_wanted in (("pause", True), ("resume", False)):
        says = "have the run hold still" if is_wanted else "have a paused run go on"
        run = partial(pause, is_wanted=is_wanted)
        other = add_command(commands, name, run, says, f"{says.capitalize()}.", PAUSE_EXAMPLES)
        _add_where(other)
    _add_where(command)


def _add_where(command: argparse.ArgumentParser) -> None:
    where = command.add_argument_group("where")
    where.add_argument("--process", type=int, metavar="PID", help="of several runs, that of this process")
    add_data_options(where)
    command.set_defaults(json=False, quiet=False, log_level=None, log_format="text")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0.1 to 86400")
    return seconds
