"""Merging and splitting speakers on geometry small enough to do by hand."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from sdpn.clustering.force_count import with_admissible_count, without_minor
from sdpn.verification.similarity import Similarity, cosine
from tests.clustering.conversations import conversation


def at(*degrees: float) -> Similarity:
    angles = np.radians(degrees)
    return cosine(np.stack([np.cos(angles), np.sin(angles)], axis=1))


def recount(labels: np.ndarray, emb: np.ndarray, times: np.ndarray | None, low: int, high: int) -> np.ndarray:
    return with_admissible_count(labels, emb, times, low=low, high=high, method="x").labels_N


def test_an_admissible_count_stays(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        emb = np.eye(4)
        assert recount(np.array([5, 5, 2, 2]), emb, None, 1, 2).tolist() == [0, 0, 1, 1]
    assert not caplog.records


def test_the_most_similar_speakers_merge_first(caplog: pytest.LogCaptureFixture) -> None:
    """One of four speakers was taken for two."""
    emb, times, truth = conversation([40, 30, 50, 30], within=0.55, between=0.15, seed=0)
    labels = np.where((truth == 2) & (np.arange(len(truth)) % 3 == 0), 4, truth)
    with caplog.at_level(logging.INFO):
        assert adjusted_rand_score(truth, recount(labels, emb, times, 1, 4)) > 0.97
    assert "x: found 5 speakers, at most 4 are allowed" in caplog.text


@pytest.mark.parametrize("with_times", [True, False])
def test_whoever_was_taken_for_one_is_divided(caplog: pytest.LogCaptureFixture, with_times: bool) -> None:
    """Speakers 1 and 3 were taken for one; the widest cluster is another one."""
    emb, times, truth = conversation([40, 30, 200, 30], within=0.55, between=0.15, seed=1)
    labels = np.where(truth == 3, 1, truth)
    with caplog.at_level(logging.INFO):
        found = recount(labels, emb, times if with_times else None, 4, 4)
    assert adjusted_rand_score(truth, found) > 0.95
    assert "x: found 3 speakers, at least 4 are needed" in caplog.text


@pytest.mark.parametrize("num", [2, 5, 6])
def test_equal_windows_are_divided_too(num: int) -> None:
    found = recount(np.zeros(6, dtype=np.int64), np.ones((6, 3)), None, num, num)
    assert sorted(set(found)) == list(range(num))


def test_minor_speakers_go_to_the_most_similar() -> None:
    windows, labels = at(0, 1, 2, 30, 90, 91, 92), np.array([0, 0, 0, 1, 2, 2, 2])
    assert without_minor(labels, windows, min_windows=1, low=1).tolist() == labels.tolist()
    assert without_minor(labels, windows, min_windows=2, low=1).tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert without_minor(labels, windows, min_windows=2, low=3).tolist() == labels.tolist()
    assert without_minor(labels, windows, min_windows=99, low=1).tolist() == [0] * 7
