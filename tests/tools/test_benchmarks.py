"""Benchmarks of training run through on a small scale, and measure what they say."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.training.torchrun import one_core


def _run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/benchmarks" / command[0]), *command[1:]],
        env=one_core({}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _columns(table: str, name: str) -> list[str]:
    (row,) = (line for line in table.splitlines() if line.startswith(f"| {name} "))
    return [cell.strip() for cell in row.strip("|").split("|")]


@pytest.mark.slow
def test_a_million() -> None:
    said = _run(
        "million.py", "--utterances", "3000", "--kind", "pack", "--kind", "segments", "--kind", "index"
    )
    for kind in ("pack", "segments", "index"):
        assert float(_columns(said, kind)[1]) < 30


@pytest.mark.slow
def test_a_training_step() -> None:
    small = ["--channels", "16", "--batch", "4", "--global-s", "0.5", "--local-s", "0.3"]
    said = _run("train_step.py", *small, "--turns", "1", "--steps", "1", "--device", "cpu")
    plain, ours = (_columns(said, name) for name in ("plain, as published", "sdpn, fp32"))
    assert plain[2] == "1.00"
    assert int(plain[5]) > 50 and int(ours[5]) == 0  # values that the host reads
    assert int(ours[4]) < int(plain[4])
