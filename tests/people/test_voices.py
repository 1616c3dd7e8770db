"""Embeddings of voices are those of their turns, cut out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sdpn.features.log_mel import FeatureConfig
from sdpn.models.ecapa import Ecapa, EcapaConfig
from sdpn.models.embedder import Embedder
from sdpn.models.folder import ModelFolder
from sdpn.people.voices import embed_voices

RATE_HZ = 16000


@pytest.fixture(scope="module")
def model() -> Embedder:
    torch.manual_seed(0)
    config = EcapaConfig(channels=16, aggregation_channels=24, embedding_dim=8, bottleneck=4)
    return Embedder(ModelFolder(Ecapa(config, 80).eval(), config, FeatureConfig()))


def by_hand(model: Embedder, wave_S: np.ndarray, pieces: list[tuple[float, float]]) -> np.ndarray:
    rows, seconds = [], []
    for start_s, end_s in pieces:
        cut_S = wave_S[round(start_s * RATE_HZ) : round(end_s * RATE_HZ)]
        cut_S = cut_S * 10 ** (-23 / 20) / np.sqrt(np.mean(np.square(cut_S, dtype=np.float64)))
        rows.append(model.embed(cut_S.astype(np.float32), RATE_HZ))
        seconds.append(end_s - start_s)
    mean_D: np.ndarray = np.average(rows, axis=0, weights=seconds)
    return mean_D


def test_the_turns_of_each_voice(model: Embedder, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wave_S = 0.1 * rng.standard_normal(100 * RATE_HZ) * np.repeat(rng.uniform(0.1, 1, 100), RATE_HZ)
    soundfile.write(tmp_path / "a.wav", wave_S, RATE_HZ, subtype="FLOAT")
    spans_of = {
        "B": [(90.0, 93.0), (2.0, 4.0), (50.0, 50.5)],  # the last is short, and there is more
        "A": [(4.0, 29.0)],  # in three pieces
        "C": [(95.5, 95.9)],  # all there is
        "D": [],
    }
    found = embed_voices(model, tmp_path / "a.wav", spans_of)
    assert list(found) == ["B", "A", "C"]
    wave_S = wave_S.astype(np.float32)
    thirds = [(4 + 25 * k / 3, 4 + 25 * (k + 1) / 3) for k in range(3)]
    for voice, pieces in (("B", [(2.0, 4.0), (90.0, 93.0)]), ("A", thirds), ("C", [(95.5, 95.9)])):
        np.testing.assert_allclose(found[voice], by_hand(model, wave_S, pieces), rtol=1e-3, atol=1e-4)


def test_a_minute_is_enough(model: Embedder) -> None:
    wave_S = (0.1 * np.random.default_rng(0).standard_normal(90 * RATE_HZ)).astype(np.float32)
    found = embed_voices(model, (wave_S, RATE_HZ), {"A": [(0.0, 40.0), (45.0, 90.0)]})
    first = [(45 + 9.0 * k, 54 + 9.0 * k) for k in range(5)]  # the longer one first
    second = [(7.5 * k, 7.5 * k + 7.5) for k in range(2)]  # what is left of the minute
    np.testing.assert_allclose(found["A"], by_hand(model, wave_S, first + second), rtol=1e-3, atol=1e-4)


def test_nobody(model: Embedder) -> None:
    assert embed_voices(model, (np.zeros(RATE_HZ, dtype=np.float32), RATE_HZ), {}) == {}
    past_the_end = {"A": [(5.0, 6.0)], "B": [(0.2, 0.9)]}
    wave_S = (0.1 * np.random.default_rng(0).standard_normal(RATE_HZ)).astype(np.float32)
    assert list(embed_voices(model, (wave_S, RATE_HZ), past_the_end)) == ["B"]
    assert embed_voices(model, (wave_S, RATE_HZ), {"A": [(5.0, 6.0)]}) == {}
