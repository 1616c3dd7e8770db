"""The label-free clustering threshold."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sdpn.io.kaldi import Utterance
from sdpn.models.embedder import Embedder
from sdpn.training.clustering_threshold import measure_clustering_threshold


class _Pitch(Embedder):
    """An embedder that knows: it maps a window of a pure tone to a direction that the tone decides."""

    def __init__(self, noise: float) -> None:
        self._rng = np.random.default_rng(0)
        self._noise = noise
        self.device = torch.device("cpu")
        self.encoder = torch.nn.Identity()  # type: ignore[assignment]

    def embed_windows(self, wave_S: np.ndarray, windows_N2: np.ndarray) -> np.ndarray:
        rows = []
        for start, end in windows_N2:
            piece = wave_S[round(start * 16000) : round(end * 16000)]
            hz = np.abs(np.fft.rfft(piece)).argmax() * 16000 / len(piece)
            row = np.random.default_rng(round(hz)).standard_normal(64)
            rows.append(row + self._noise * self._rng.standard_normal(64))
        return np.array(rows)


def _tones(folder: Path, count: int, seconds: float = 3.5) -> list[Utterance]:
    utterances = []
    for index in range(count):
        time = np.arange(int(seconds * 16000)) / 16000
        soundfile.write(folder / f"{index}.wav", 0.1 * np.sin(2 * np.pi * (200 + 20 * index) * time), 16000)
        utterances.append(Utterance(str(index), folder / f"{index}.wav"))
    return utterances


def test_the_threshold_lies_between_both_kinds_of_pairs(tmp_path: Path) -> None:
    result = measure_clustering_threshold(_Pitch(noise=0.5), _tones(tmp_path, 40), seed=0)
    # Cosine of x + a and x + b for independent noise of half the length: 1 / (1 + 0.25) = 0.8; else about 0.
    assert result["same_cosine"] == pytest.approx(0.8, abs=0.03)
    assert result["different_cosine"] == pytest.approx(0.0, abs=0.03)
    assert result["ahc_threshold"] == pytest.approx(0.55 * 0.8, abs=0.03)


def test_too_few_utterances_give_none_and_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    short = _tones(tmp_path, 30, seconds=2.0)
    with caplog.at_level(logging.WARNING):
        assert measure_clustering_threshold(_Pitch(noise=0.5), short, seed=0) == {}
    assert "clustering threshold of the model is not calibrated" in caplog.text
