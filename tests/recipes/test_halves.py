"""Halves of utterances as a data directory: together they are the utterance; what is left out is named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sdpn.io.kaldi import read_data_dir
from tests.conftest import ROOT


def _halves(data: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "egs/mini/local/halves.py"), "--data", str(data), "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True)


def test_two_halves_are_the_utterance(voices: Path, tmp_path: Path) -> None:
    assert _halves(voices, tmp_path).returncode == 0
    found = {utterance.id: utterance for utterance in read_data_dir(tmp_path)}
    utterances = read_data_dir(voices)
    assert found.keys() == {f"{utterance.id}-{half}" for utterance in utterances for half in (1, 2)}
    for utterance in utterances:
        first, second = (found[f"{utterance.id}-{half}"].read() for half in (1, 2))
        assert abs(len(first) - len(second)) <= 2
        whole = utterance.read()
        np.testing.assert_array_equal(np.concatenate([first, second])[: len(whole) - 2], whole[:-2])


def test_segments_are_halved_where_they_lie(write_tone: Callable[..., Path], tmp_path: Path) -> None:
    path = write_tone(tmp_path / "long.wav", duration_s=10)
    (tmp_path / "wav.scp").write_text(f"rec {path}\n")
    (tmp_path / "segments").write_text("a rec 1 3\nb rec 4 9.5\nc rec 5 5.5\n")
    result = _halves(tmp_path, tmp_path / "halves")
    lines = [line.split() for line in (tmp_path / "halves/segments").read_text().splitlines()]
    times = {name: (float(start), float(end)) for name, _, start, end in lines}
    assert times == {"a-1": (1, 2), "a-2": (2, 3), "b-1": (4, 6.75), "b-2": (6.75, 9.5)}
    assert "2 of 3 utterances" in result.stdout and "c: shorter than 1 s" in result.stdout


def test_what_cannot_be_read_is_named(write_tone: Callable[..., Path], tmp_path: Path) -> None:
    write_tone(tmp_path / "good.wav", duration_s=2)
    (tmp_path / "bad.wav").write_text("no audio")
    (tmp_path / "wav.scp").write_text("a good.wav\nb bad.wav\n")
    result = _halves(tmp_path, tmp_path / "halves")
    assert result.returncode == 0 and "b: " in result.stdout and "bad.wav" in result.stdout
    (tmp_path / "wav.scp").write_text("b bad.wav\n")
    result = _halves(tmp_path, tmp_path / "none")
    assert result.returncode == 2 and "no utterance can be halved" in result.stderr
    assert "Traceback" not in result.stderr and not (tmp_path / "none").exists()
