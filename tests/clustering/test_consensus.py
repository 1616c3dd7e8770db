"""Consensus: pairs that a majority of models holds together."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from sdpn.clustering.base import Clustering
from sdpn.clustering.consensus import VbxConsensus
from sdpn.clustering.vbx import Vbx


def vote(monkeypatch: pytest.MonkeyPatch, *ballots: list[int]) -> list[int]:
    """What the consensus makes of five models' labels."""
    remaining = [Clustering(np.array(ballot)) for ballot in ballots]
    monkeypatch.setattr(Vbx, "_infer", lambda *_: remaining.pop(0))
    rows = np.random.default_rng(0).normal(size=(len(ballots[0]), 4))
    return VbxConsensus().fit_predict(rows).labels_N.tolist()


def test_three_of_five_are_a_majority(monkeypatch: pytest.MonkeyPatch) -> None:
    apart, together = [0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 1, 1]
    assert vote(monkeypatch, apart, apart, apart, together, together) == [0, 0, 1, 1, 2, 2]
    assert vote(monkeypatch, apart, apart, together, together, together) == [0, 0, 0, 0, 1, 1]


def test_models_need_not_name_speakers_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    ballots = [[0, 0, 1, 1], [1, 1, 0, 0], [2, 2, 0, 1], [0, 0, 1, 1], [3, 3, 1, 1]]
    assert vote(monkeypatch, *ballots) == [0, 0, 1, 1]


def test_the_five_models() -> None:
    models = VbxConsensus(fa=0.4, fb=10.0, spread=2.0, loop_prob=0.9)._models()
    assert [(model.fa, model.fb) for model in models] == [
        (0.4, 10),
        (0.2, 10),
        (0.8, 10),
        (0.4, 5),
        (0.4, 20),
    ]
    assert {model.loop_prob for model in models} == {0.9}
    for spread in (1.0, float("inf")):
        with pytest.raises(ValueError, match="spread"):
            VbxConsensus(spread=spread)


def test_a_real_meeting(shared_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    from tests.clustering.test_vbx import xvectors

    emb, times, plda = xvectors(shared_data / "xvectors")
    with caplog.at_level(logging.INFO):
        found = VbxConsensus(plda=plda).fit_predict(emb, times_N2=times)
    assert "the models find [5, 3, 5, 5, 3] speakers" in caplog.text
    assert np.sort(np.bincount(found.labels_N))[-4:].tolist() == [99, 207, 232, 485]
