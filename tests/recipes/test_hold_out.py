"""Held-out speakers: apart from the others, and all their pairs among the trials."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations
from pathlib import Path

from sdpn.io.kaldi import read_data_dir
from tests.conftest import ROOT


def _hold_out(voices: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        str(ROOT / "egs/mini/local/hold_out.py"),
        "--data",
        str(voices),
        "--out",
        str(out),
    ]
    return subprocess.run([*command, *options], capture_output=True, text=True)


def test_speakers_are_apart_and_trials_complete(voices: Path, tmp_path: Path) -> None:
    assert _hold_out(voices, tmp_path, "--speakers", "2").returncode == 0
    train, valid = ({u.id: u.speaker for u in read_data_dir(tmp_path / part)} for part in ("train", "valid"))
    assert len(train) == 16 and len(valid) == 8
    assert len(set(valid.values())) == 2 and not set(valid.values()) & set(train.values())
    trials = [line.split() for line in (tmp_path / "valid/trials").read_text().splitlines()]
    targets = {frozenset(pair) for kind, *pair in trials if kind == "1"}
    assert targets == {frozenset(p) for p in combinations(valid, 2) if valid[p[0]] == valid[p[1]]}
    others = [pair for kind, *pair in trials if kind == "0"]
    assert len(others) == 10 * len(targets) and all(valid[a] != valid[b] for a, b in others)


def test_more_speakers_than_there_are(voices: Path, tmp_path: Path) -> None:
    result = _hold_out(voices, tmp_path, "--speakers", "6")
    assert result.returncode == 2 and "only 6 speakers" in result.stderr and "Traceback" not in result.stderr
