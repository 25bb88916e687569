"""What several tests make: archives of their own, a served market, a script run as a command."""

import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from core.commands.steps import by_itself
from core.errors import MarketDataError

ROOT = Path(__file__).resolve().parent.parent
REAL = Path(os.environ.get("TAPEVAULT_REAL", ROOT.parent / "shared" / "real"))


def real_folder() -> Path:
    """The folder of real archives; a test that needs it skips, visibly, where it is absent."""
    if not (REAL / "truth.json").exists():
        pytest.skip(f"no real archives at {REAL} (TAPEVAULT_REAL)")
    return REAL


def zip_bytes(members: dict[str, bytes]) -> bytes:
    """A deflated zip with these members; the same members give the same bytes."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def publish(folder: Path, key: str, content: bytes, checksum: str | None = None) -> Path:
    """Put an archive and its `.CHECKSUM` into a folder in the archive's layout; `checksum` overrides the right text."""
    target = folder / key
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    right = f"{hashlib.sha256(content).hexdigest()}  {target.name}\n"
    target.with_name(f"{target.name}.CHECKSUM").write_text(right if checksum is None else checksum)
    return target


def kline_key(month: str = "2024-01", symbol: str = "BTCUSDT", interval: str = "1h") -> str:
    return f"data/futures/um/monthly/klines/{symbol}/{interval}/{symbol}-{interval}-{month}.zip"


def kline_csv(rows: int = 3, start_ms: int = 1_704_067_200_000, step_ms: int = 3_600_000) -> bytes:
    """Hourly candles from 2024-01-01 as the exchange writes them, with a header."""
    lines = [
        "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
    ]
    for number in range(rows):
        at = start_ms + number * step_ms
        lines.append(
            f"{at},42000.1,42100.5,41900,42050.25,12.5,{at + step_ms - 1},525000.125,{100 + number},6.25,262500,0"
        )
    return ("\n".join(lines) + "\n").encode()


@dataclass
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        result: dict[str, Any] = json.loads(self.out)
        return result

    def __post_init__(self) -> None:
        assert "Traceback" not in self.err, self.err


@dataclass
class Command:
    """A script with the options that all its runs share."""

    script: str
    options: Sequence[str] = ()
    limits: Any = None
    env: dict[str, str] = field(default_factory=dict)

    def start(self, *options: str) -> "subprocess.Popen[str]":
        env = {name: value for name, value in os.environ.items() if name != "TAPEVAULT_HOME"} | self.env
        return subprocess.Popen(
            [sys.executable, str(ROOT / self.script), *self.options, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
            preexec_fn=self.limits,
        )

    def run(self, *options: str) -> Outcome:
        """In this process, where nothing asks for one of its own: starting Python takes longer than most commands."""
        if self.limits or self.env or not self.script.startswith("scripts/"):
            return finished(self.start(*options))
        main = import_module(f"core.commands.{Path(self.script).stem}").main
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("default")
            patch.delenv("TAPEVAULT_HOME", raising=False)
            patch.setattr(sys, "argv", [str(ROOT / self.script)])
            return called(main, [*self.options, *options], columns=80)


def finished(process: "subprocess.Popen[str]") -> Outcome:
    out, err = process.communicate(timeout=120)
    return Outcome(process.returncode, out, err)


def called(main: Callable[[Sequence[str]], int], words: Sequence[str], columns: int = 100) -> Outcome:
    """A command within this process, on a screen of so many columns: what a process of its own would say."""
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
        pytest.MonkeyPatch.context() as patch,
        by_itself(),
    ):
        patch.setenv("COLUMNS", str(columns))
        try:
            code = main(words)
        except MarketDataError as error:
            print(f"error: {error}", file=sys.stderr)
            code = error.exit_code
        except SystemExit as end:
            code = int(end.code or 0)
    return Outcome(code, out.getvalue(), err.getvalue())
