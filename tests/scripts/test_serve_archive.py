"""`serve_archive.py` as a command."""

import hashlib
import re
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "serve_archive.py"


def started(*options: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def failed(*options: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_a_folder_until_it_is_interrupted(tmp_path: Path, stop: signal.Signals) -> None:
    (tmp_path / "a.zip").write_bytes(b"content")
    with started(str(tmp_path), "--port", "0") as process:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found
        assert process.stdout.readline() == f"python scripts/download_all.py --source {found[0]}\n"
        assert httpx.get(f"{found[0]}/a.zip", trust_env=False).content == b"content"
        process.send_signal(stop)
        rest, errors = process.communicate(timeout=30)
        assert (rest, errors, process.returncode) == ("", "", 130)


def test_it_makes_the_sample_first_when_asked(tmp_path: Path) -> None:
    with started(str(tmp_path / "new"), "--sample", "--port", "0") as process:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found
        listing = httpx.get(
            found[0], params={"prefix": "data/futures/um/monthly/klines/", "delimiter": "/"}, trust_env=False
        )
        assert "<Prefix>data/futures/um/monthly/klines/币安人生USDT/</Prefix>" in listing.text
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert re.search(r"^1\d\d\d archives, \d+ rows, \d+\.\d MB$", errors, re.MULTILINE)


def test_it_plants_defects_and_takes_them_back(tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    with started(str(folder), "--sample", "--port", "0", "--defects", "D22,d1,D36") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert re.match(r"D22 \S+/\S+ [0-9-]+: \S", lines[0])
    assert re.match(r"D1 \S+/\S+ [0-9-]+: \S", lines[1])
    assert lines[2] == "D36: the label of metrics moved; this sample has no place for it\n"
    assert lines[3].startswith("serving ")
    zips = len(list((folder / "data").rglob("*.zip")))
    with started(str(folder), "--sample", "--port", "0") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("serving ")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    whole = list((folder / "data").rglob("*.zip"))
    assert len(whole) == zips + 1
    for path in whole:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert path.with_name(f"{path.name}.CHECKSUM").read_text().split()[0] == digest
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None


@pytest.mark.parametrize("text", ["D41", "random:0", "random:x", "D4,,D5"])
def test_defects_that_are_none_are_exit_2(tmp_path: Path, text: str) -> None:
    code, error = failed(str(tmp_path), "--sample", "--defects", text)
    assert code == 2
    assert "--defects" in error
    assert not list(tmp_path.iterdir())


def test_defects_are_for_the_sample_only(tmp_path: Path) -> None:
    code, error = failed(str(tmp_path), "--defects", "D4")
    assert (code, error.count("\n")) == (2, 1)
    assert "add --sample" in error


def test_a_missing_folder_a_taken_port_and_a_strange_folder_are_one_line_and_exit_2(tmp_path: Path) -> None:
    code, error = failed(str(tmp_path / "none"))
    assert (code, error.count("\n")) == (2, 1)
    assert "--sample" in error
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, error = failed(str(tmp_path), "--port", port)
    assert (code, error.count("\n")) == (2, 1)
    assert f"--port {port}" in error
    (tmp_path / "data").mkdir()
    code, error = failed(str(tmp_path), "--sample")
    assert code == 2
    assert "folder of its own" in error


@pytest.mark.parametrize("option", [("--port", "70000"), ("--port", "x"), ("--latency", "-1"), ("--limit-rate", "0")])
def test_a_number_that_is_none_is_exit_2(tmp_path: Path, option: tuple[str, str]) -> None:
    code, error = failed(str(tmp_path), *option)
    assert code == 2
    assert option[0] in error
    assert "Traceback" not in error


def test_help_explains_every_option_and_shows_examples() -> None:
    text = subprocess.run([sys.executable, str(SCRIPT), "--help"], capture_output=True, text=True, check=True).stdout
    for word in ("--port", "--sample", "--seed", "--latency", "--limit-rate", "examples:", "exit codes:"):
        assert word in text
