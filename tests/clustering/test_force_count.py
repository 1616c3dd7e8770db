"""Merging and splitting speakers on geometry small enough to do by hand."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from sdpn.clustering import force_count as force_count_module
from sdpn.clustering.force_count import with_admissible_count, without_minor
from sdpn.verification.similarity import Similarity, cosine


def at(*degrees: float) -> Similarity:
    angles = np.radians(degrees)
    return cosine(np.stack([np.cos(angles), np.sin(angles)], axis=1))


def recount(labels: list[int], similarity: Similarity, low: int, high: int) -> list[int]:
    ones = np.ones(len(labels))
    found = with_admissible_count(np.array(labels), similarity, ones, low=low, high=high, method="x")
    return found.tolist()


def test_an_admissible_count_stays(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert recount([5, 5, 2, 2], at(0, 1, 90, 91), 1, 2) == [0, 0, 1, 1]
    assert not caplog.records


def test_the_most_similar_speakers_merge_first(caplog: pytest.LogCaptureFixture) -> None:
    """Speakers around 0°, 20°, 100° and 160°: the first two, then the last two."""
    windows, labels = at(0, 1, 20, 21, 100, 101, 160, 161), [0, 0, 1, 1, 2, 2, 3, 3]
    with caplog.at_level(logging.INFO):
        assert adjusted_rand_score([0, 0, 0, 0, 2, 2, 3, 3], recount(labels, windows, 1, 3)) == 1.0
    assert "x: found 4 speakers, at most 3 are allowed" in caplog.text
    assert adjusted_rand_score([0, 0, 0, 0, 2, 2, 2, 2], recount(labels, windows, 1, 2)) == 1.0


def test_the_widest_speaker_is_split_first(caplog: pytest.LogCaptureFixture) -> None:
    """One speaker at 0° and 4°, one at 90° and 130°, taken for two in all."""
    windows, labels = at(0, 0, 4, 90, 90, 130), [0, 0, 0, 1, 1, 1]
    with caplog.at_level(logging.INFO):
        assert adjusted_rand_score([0, 0, 0, 1, 1, 2], recount(labels, windows, 3, 9)) == 1.0
    assert "x: found 2 speakers, at least 3 are required" in caplog.text
    assert adjusted_rand_score([0, 0, 3, 1, 1, 2], recount(labels, windows, 4, 9)) == 1.0
    assert sorted(recount([0] * 6, at(*[7] * 6), 6, 6)) == list(range(6))


def test_a_speaker_with_many_windows_is_split_by_the_means_of_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(force_count_module, "_TREE_POINTS", 10)
    degrees = np.random.default_rng(0).uniform(-2, 2, 200) + np.repeat([0, 40, 80], [100, 60, 40])
    found = recount([0] * 160 + [1] * 40, at(*degrees), 3, 3)
    assert adjusted_rand_score(np.repeat(range(3), [100, 60, 40]), found) == 1.0


def test_minor_speakers_go_to_the_most_similar() -> None:
    windows, labels = at(0, 1, 2, 30, 90, 91, 92), np.array([0, 0, 0, 1, 2, 2, 2])
    assert without_minor(labels, windows, min_windows=1, low=1).tolist() == labels.tolist()
    assert without_minor(labels, windows, min_windows=2, low=1).tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert without_minor(labels, windows, min_windows=2, low=3).tolist() == labels.tolist()
    assert without_minor(labels, windows, min_windows=99, low=1).tolist() == [0] * 7
