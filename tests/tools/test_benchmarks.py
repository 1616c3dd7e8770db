"""Benchmarks of training run through on a small scale, and measure what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


@pytest.mark.slow
def test_counting(shared_data: Path, tmp_path: Path) -> None:
    corpora = [f"--corpus={name}={shared_data / name / 'dev'}" for name in ("speechocean762", "commonvoice")]
    sounds = ["--sounds", str(shared_data), "--held-out"]
    _run("counting.py", "simulate", "--out", str(tmp_path), *corpora, *sounds, "--kind", "meetings")
    of = ["--out", str(tmp_path), "--name", "fast"]
    _run("counting.py", "embed", *of)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "embedded/fast").iterdir()}
    assert len(kept) == 2 * 16
    first = min(kept)
    first.unlink()
    _run("counting.py", "embed", *of)  # goes on with what is missing
    again = {path: path.stat().st_mtime_ns for path in (tmp_path / "embedded/fast").iterdir()}
    assert {path for path in kept if again[path] != kept[path]} == {first}
    row = _columns(_run("counting.py", "table", *of, "--method", "merging"), "meetings")
    assert row[:3] == ["meetings", "merging", "32"]
    assert 0 < int(row[3]) <= 100 and -2 < float(row[4]) < 2
    assert "PAIR_ODDS: " in _run("counting.py", "fit", *of)
