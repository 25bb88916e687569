"""Somebody is told of a failure: over loopback, and by a command."""

import json
import shlex
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from factories import Command, called, publish
from script_world import command

from core.commands import pipeline
from core.commands.notify import notified
from core.errors import ConfigError
from core.layout import Layout
from core.sample.server import running_server
from core.settings import NotifySettings, load_settings
from core.types import Market, Period, Series

KLINES = ("--symbols", "BTCUSDT", "--data-types", "klines", "--start", "2024-12-10", "--end", "2024-12-31")


@dataclass
class Hook:
    """What a webhook on loopback got, and what it answers."""

    url: str = ""
    status: int = 204
    got: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def webhook(status: int = 204) -> Iterator[Hook]:
    hook = Hook(status=status)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == "application/json"
            hook.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(hook.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hook.url = f"http://127.0.0.1:{server.server_port}/hooks/secret"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield hook
        finally:
            server.shutdown()
            thread.join()


def settings_file(folder: Path, hook: Hook | None, *program: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(f"notify: {json.dumps({'webhook': hook and hook.url, 'command': program})}\n")
    return path


def test_a_failed_download_is_told_and_a_good_one_is_not(archive: Path, data: Path, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    program = (
        sys.executable,
        "-c",
        f"import os, sys; open({str(told)!r}, 'w').write(sys.stdin.read() + os.environ['TAPEVAULT_EXIT_CODE'])",
    )
    with webhook() as hook, running_server(archive) as server:
        settings = str(settings_file(tmp_path, hook, *program))
        assert command(server, data, *KLINES, "--settings", settings).run().code == 0
        assert (hook.got, told.exists()) == ([], False)
    broken = tmp_path / "broken"
    publish(broken, "data/futures/um/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-11.zip", b"no zip")
    with webhook() as hook, running_server(broken) as server:
        settings = str(settings_file(tmp_path, hook, *program))
        done = command(server, data, "--symbols", "BTCUSDT", "--data-types", "klines", "--settings", settings).run()
    assert done.code == 1
    [message] = hook.got
    assert message["exit_code"] == 1
    assert message["command"].startswith("python scripts/download_all.py --source ")
    assert message["text"] == message["content"]
    assert message["text"].startswith(f"Tapevault on {message['host']}: python scripts/download_all.py ")
    by_command, code = told.read_text()[:-1], told.read_text()[-1]
    assert (json.loads(by_command), code) == (message, "1")


def test_a_pipeline_that_fails_in_any_step_is_told_once(archive: Path, data: Path, tmp_path: Path) -> None:
    with webhook() as hook, running_server(archive) as server:
        settings = str(settings_file(tmp_path, hook))
        where = ["--source", server.url, "--data-dir", str(data), "--settings", settings, "--quiet"]
        damaged = Layout(data).processed(Series(Market.UM, "klines", "BTCUSDT", "1h"), Period.parse("2020"))
        damaged.parent.mkdir(parents=True)
        damaged.write_bytes(b"no Parquet")
        optimize = called(pipeline.main, ["run", *where, *KLINES])
        download = called(pipeline.main, ["run", *where, "--data-types", "klines", "--symbols", "BTCUSD"])
        alone = called(pipeline.main, ["download", *where, "--data-types", "klines", "--symbols", "BTCUSD"])
    assert [optimize.code, download.code, alone.code] == [1, 2, 2]
    first, second, third = hook.got
    assert shlex.split(first["command"])[2:] == ["run", *where, *KLINES]
    assert first["exit_code"] == 1
    assert first["problems"][-1].startswith("optimize ended with exit code 1; left: validate; again: ")
    assert second["problems"][-1].startswith("download ended with exit code 2; left: convert, optimize, validate; ")
    assert shlex.split(third["command"])[2] == "download"


@pytest.mark.parametrize(
    ("called_as", "command"),
    [("tapevault update", "tapevault update --data-dir 'my data'"), ("tapevault", "tapevault --data-dir 'my data'")],
)
def test_the_command_is_told_as_it_was_typed(called_as: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [called_as])
    with webhook() as hook:
        notified(NotifySettings(webhook=hook.url), ["--data-dir", "my data"], lambda: 1)
    assert hook.got[0]["command"] == command


def test_an_update_that_cannot_begin_is_told(data: Path, tmp_path: Path) -> None:
    with webhook() as hook:
        options = ["--data-dir", str(data), "--settings", str(settings_file(tmp_path, hook))]
        done = Command("scripts/daily_update.py", options).run()
    assert done.code == 3
    assert [message["exit_code"] for message in hook.got] == [3]
    assert hook.got[0]["problems"] == [done.err.removeprefix("error: ").strip()]


def test_that_nobody_could_be_told_is_said_without_the_secret(data: Path, tmp_path: Path) -> None:
    with webhook(status=500) as hook:
        options = ["--data-dir", str(data), "--settings", str(settings_file(tmp_path, hook, "/no/such/program"))]
        done = Command("scripts/daily_update.py", options).run()
    assert done.code == 3
    assert "nobody was told: notify.webhook at 127.0.0.1: it answered 500" in done.err
    assert "nobody was told: notify.command /no/such/program: No such file or directory" in done.err
    assert "secret" not in done.err


def test_an_interruption_is_no_failure_and_a_bug_is_one() -> None:
    def bug() -> int:
        raise ZeroDivisionError("by nought")

    with webhook() as hook:
        settings = NotifySettings(webhook=hook.url)
        assert notified(settings, ["--x"], lambda: 130) == 130
        assert hook.got == []
        with pytest.raises(ZeroDivisionError):
            notified(settings, ["--x"], bug)
    assert hook.got[0]["problems"] == ["ZeroDivisionError: by nought"]


def test_a_webhook_that_is_no_url(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("notify:\n  webhook: hooks.example.com\n")
    with pytest.raises(ConfigError, match=r"settings\.yaml:2: notify\.webhook should be a URL"):
        load_settings(tmp_path / "settings.yaml")
