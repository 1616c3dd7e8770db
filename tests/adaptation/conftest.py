"""A model that two steps made, and recordings of synthetic voices that have segments already."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import lfilter

from sdpn.io.kaldi import Utterance, write_data_dir
from sdpn.training.config import RunConfig
from sdpn.training.pretrain import pretrain


@pytest.fixture(scope="session")
def base(voices: Path, tiny_run: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model folder with head and prototypes."""
    from dataclasses import replace

    out = tmp_path_factory.mktemp("base")
    run = replace(tiny_run, training=replace(tiny_run.training, steps=2, workers=0))
    pretrain(run, [voices], out, on_progress=lambda _: None)
    return out / "model"


@pytest.fixture(scope="session")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kaldi data directory of 8 recordings of 24 s, in which two voices take turns of 4 s, with segments."""
    folder = tmp_path_factory.mktemp("calls")
    rng = np.random.default_rng(1)
    lines, recordings = [], []
    for number in range(8):
        turns = []
        for turn in range(6):
            poles = np.array([0.95, 0.9]) * np.exp(
                1j * np.pi * np.array([0.05 + 0.03 * number, 0.3 + turn % 2 / 5])
            )
            wave = lfilter(
                [1.0], np.poly(np.concatenate([poles, poles.conj()])).real, rng.standard_normal(64000)
            )
            turns.append(0.2 * wave / np.abs(wave).max())
            lines.append(f"call{number}-{turn} call{number} {4 * turn:.1f} {4 * turn + 4:.1f}\n")
        soundfile.write(folder / f"{number}.wav", np.concatenate(turns), 16000)
        recordings.append(Utterance(f"call{number}", folder / f"{number}.wav"))
    write_data_dir(folder, recordings)
    (folder / "segments").write_text("".join(lines))
    return folder
