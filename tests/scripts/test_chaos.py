"""A short bad night, by the program that `benchmarks/` keeps for the long one: all that it looks at must be well."""

import json
import subprocess
import sys
from typing import Any

from factories import ROOT


def night(*options: str) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "benchmarks" / "chaos.py"), "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout, done.stderr
    verdict: dict[str, Any] = json.loads(done.stdout)
    assert verdict["wrong"] == []
    assert done.returncode == 0
    return verdict


def test_kills_and_faults_lose_nothing_and_double_nothing() -> None:
    verdict = night("--objects", "30", "--kills", "6", "--rate", "800000", "--workers", "4", "--seed", "11")
    assert verdict["kills"] >= 1  # a quick machine may be done before the last
    assert sum(verdict["proofs"].values()) == verdict["archives"] == 30
    assert {"cut", "replaced"} <= verdict["faults"].keys()


def test_two_hundred_archives_from_a_bad_source_come_in_one_command() -> None:
    verdict = night("--objects", "200", "--kills", "0", "--share", "0.03", "--rate", "4000000", "--workers", "32")
    assert (verdict["archives"], verdict["runs_to_the_end"]) == (200, 1)
    assert {"reset", "cut", "flip", "stall", "replaced"} <= verdict["faults"].keys()  # drawn for the first requests
