"""Telling somebody that a command failed: a webhook, a command of the user's, or both (`notify` in the settings)."""

import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from core.commands.command import INTERRUPTED
from core.commands.names import as_called, command_line
from core.errors import MarketDataError
from core.events import LOGGER
from core.settings import NotifySettings

_MOST_PROBLEMS: Final = 20


def notified(
    settings: NotifySettings, arguments: Sequence[str], work: Callable[[], int], said: Sequence[str] = ()
) -> int:
    """The exit code that `work` returns; if it is that of a failure, or an error is raised, somebody is told first.

    What `work` has added to `said` by then is told behind what was logged. An interruption by the user is no failure.
    That nobody could be told is said on stderr, and changes nothing else. Within the work of another command, whose
    step this one is, it is that command that tells.
    """
    is_step = any(isinstance(handler, _Problems) for handler in LOGGER.handlers)
    if is_step or (settings.webhook is None and not settings.command):
        return work()
    problems = _Problems()
    LOGGER.addHandler(problems)
    try:
        code = work()
    except MarketDataError as error:
        _tell(settings, _message(arguments, error.exit_code, [*problems.lines, str(error)]))
        raise
    except Exception as error:
        _tell(settings, _message(arguments, 1, [*problems.lines, f"{type(error).__name__}: {error}"]))
        raise
    finally:
        LOGGER.removeHandler(problems)
    if code not in (0, INTERRUPTED):
        _tell(settings, _message(arguments, code, [*problems.lines, *said]))
    return code


class _Problems(logging.Handler):
    """The last warnings of a run."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines = [*self.lines[1 - _MOST_PROBLEMS :], record.getMessage()]


def _message(arguments: Sequence[str], code: int, problems: Sequence[str]) -> dict[str, Any]:
    """What is told. `text` and `content` are the line that chat services show (Slack and Mattermost, Discord)."""
    command = command_line(arguments)
    problems = [as_called(problem) for problem in problems]
    host = socket.gethostname()
    line = f"Tapevault on {host}: {command} ended with exit code {code}"
    line += f": {problems[-1]}" if problems else ""
    return {
        "text": line,
        "content": line[:2000],  # Discord refuses longer ones
        "command": command,
        "exit_code": code,
        "problems": problems,
        "host": host,
        "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _tell(settings: NotifySettings, message: dict[str, Any]) -> None:
    if settings.webhook is not None:
        _post(settings.webhook, settings.timeout_seconds, message)
    if settings.command:
        _call(settings.command, settings.timeout_seconds, message)


def _post(url: str, timeout: float, message: dict[str, Any]) -> None:
    import httpx  # only of a command that fails

    try:
        answer = httpx.post(url, json=message, timeout=timeout)
        problem = "" if answer.is_success else f"it answered {answer.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        problem = str(error) or type(error).__name__
    if problem:
        # the rest of the address is often the secret that lets one write there
        print(f"nobody was told: notify.webhook at {urlsplit(url).hostname}: {problem}", file=sys.stderr)


def _call(command: Sequence[str], timeout: float, message: dict[str, Any]) -> None:
    told = {"TAPEVAULT_EXIT_CODE": str(message["exit_code"]), "TAPEVAULT_MESSAGE": message["text"]}
    try:
        done = subprocess.run(  # noqa: S603 (the user's own command, without a shell)
            list(command),
            input=json.dumps(message),
            text=True,
            env=os.environ | told,
            timeout=timeout,
            check=False,
            stdout=subprocess.DEVNULL,
        )
        problem = f"it ended with exit code {done.returncode}" if done.returncode else ""
    except subprocess.TimeoutExpired:
        problem = f"it did not end within {timeout:g} s"
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or str(error)
    if problem:
        print(f"nobody was told: notify.command {command[0]}: {problem}", file=sys.stderr)
