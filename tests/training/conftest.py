"""A small corpus to train on: noise, coloured differently for each of a few voices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import lfilter

from sdpn.io.kaldi import Utterance, write_data_dir


@pytest.fixture(scope="session")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kaldi data directory: 24 utterances of 1.25 s, of 6 voices; with speakers, and trials beside it."""
    folder = tmp_path_factory.mktemp("voices")
    rng = np.random.default_rng(0)
    utterances = []
    for index in range(24):
        voice = index % 6
        # two resonances make a voice, one more the utterance
        poles = np.array([0.95, 0.9, 0.6]) * np.exp(
            1j * np.pi * np.array([0.05 + 0.05 * voice, 0.3 + 0.1 * voice, rng.uniform(0.1, 0.9)])
        )
        wave = lfilter([1.0], np.poly(np.concatenate([poles, poles.conj()])).real, rng.standard_normal(20000))
        path = folder / f"{index:02}.wav"
        soundfile.write(path, 0.2 * wave / np.abs(wave).max(), 16000)
        utterances.append(Utterance(f"u{index:02}", path, speaker=f"voice{voice}"))
    write_data_dir(folder, utterances)
    pairs = [(a, b) for a in range(24) for b in range(a)]
    lines = [f"{int(a % 6 == b % 6)} u{a:02} u{b:02}\n" for a, b in pairs]
    (folder / "trials").write_text("".join(lines))
    return folder
