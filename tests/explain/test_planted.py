"""Planted evidence: a network that hears the voice finds the half, one that hears nothing does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sdpn.errors import InputError
from sdpn.explain.faithfulness import Measured, measure_faithfulness
from sdpn.explain.methods import RelevanceMap
from sdpn.explain.network import ExplainedNetwork
from sdpn.explain.planted import localisation, localisations, plant
from tests.explain.conftest import write_voices


def test_a_network_that_hears_the_voice_finds_its_half(spectral: ExplainedNetwork, tmp_path: Path) -> None:
    utterances = write_voices(tmp_path, [0, 1, 2, 3], 3)
    pairs = list(plant(utterances, 8, seed=0))
    assert [pair.first for pair in pairs] == [True, False] * 4
    assert all(pair.speakers[0] != pair.speakers[1] for pair in pairs)
    shares = localisations(spectral, pairs, ["occlusion", "cam"])
    assert shares["occlusion"].mean() > 0.75


def test_localisation_by_hand() -> None:
    values_FT = np.zeros((2, 40), np.float32)
    values_FT[0, 5], values_FT[1, 35], values_FT[0, 36] = 3.0, 2.0, -1.0
    found = RelevanceMap("cam", "t", 0.0, values_FT, 0.1)  # stretches of two frames
    assert localisation(found, first=True) == pytest.approx(3 / 5)
    assert localisation(found, first=False) == pytest.approx(2 / 5)
    assert localisation(RelevanceMap("cam", "t", 0.0, -np.abs(values_FT), 0.1), first=True) == 0.5


def test_figures_of_methods_on_a_small_corpus(spectral: ExplainedNetwork, tmp_path: Path) -> None:
    utterances = write_voices(tmp_path, [0, 1, 2, 3], 3)
    found = measure_faithfulness(
        spectral.embedder, utterances, methods=["occlusion", "eigen-cam"], num_pairs=6, num_checked=3
    )
    right = found["occlusion"]
    assert right.localisation.mean > 0.75 and right.localisation.count == 6
    assert right.deletion.low > 0 and right.deletion.count == 3
    assert right.stability.mean > 0.8
    assert any("0.75" in fault for fault in found["eigen-cam"].faults) or found["eigen-cam"].faults


def test_two_speakers_are_needed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs two speakers"):
        list(plant(write_voices(tmp_path, [0], 3), 2))


def test_means_have_intervals() -> None:
    found = Measured.of(np.array([0.0, 1.0] * 50))
    assert found.mean == 0.5 and 0.38 < found.low < 0.45 and 0.55 < found.high < 0.62
    assert Measured.of([0.3]) == Measured(0.3, 0.3, 0.3, 1)
