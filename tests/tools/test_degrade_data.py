"""A degraded copy of a data directory: the same utterances and trials, other samples, the same ones again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sdpn.io.kaldi import Utterance, read_data_dir, write_data_dir
from tests.conftest import ROOT


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "n.wav", 0.1 * np.random.default_rng(0).normal(size=8000), 16000)
    write_data_dir(tmp_path / "noise", [Utterance("n", tmp_path / "n.wav")])
    return tmp_path / "noise"


def degrade(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools/degrade_data.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_copy_in_noise(voices: Path, noise: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        options = ["--noise", str(noise), "--snr-db", "10", "10", "--out", str(tmp_path / name)]
        assert degrade("--data", str(voices), *options).returncode == 0
    before, after = read_data_dir(voices), read_data_dir(tmp_path / "one")
    assert [(one.id, one.speaker) for one in before] == [(one.id, one.speaker) for one in after]
    assert (tmp_path / "one/trials").read_text() == (voices / "trials").read_text()
    for clean, noisy, again in zip(before, after, read_data_dir(tmp_path / "two"), strict=True):
        assert np.array_equal(noisy.read(), again.read())
        added = noisy.read() - clean.read()
        ratio = 10 * np.log10(np.mean(clean.read() ** 2) / np.mean(added**2))
        assert ratio == pytest.approx(10, abs=0.1)


def test_nothing_to_do(voices: Path, tmp_path: Path) -> None:
    done = degrade("--data", str(voices), "--out", str(tmp_path / "out"))
    assert done.returncode != 0 and "neither --noise nor --rir" in done.stderr
    assert not (tmp_path / "out").exists()
