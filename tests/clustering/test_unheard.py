"""Speakers who are required without evidence get one window each, and nobody else is divided for them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from sdpn.clustering.registry import CLUSTERERS, make_clusterer
from sdpn.clustering.unheard import among, unheard_warning, with_required
from tests.clustering.conversations import conversation

#: Five windows of three speakers on a circle, of whom the third has lost both windows to the others.
ROWS = np.array([[1.0, 0.0], [1.0, 0.1], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]])
STARTED = np.array([0, 0, 2, 2, 1])
POSTERIORS = np.array([[0.9, 0.1, 0.0], [0.9, 0.1, 0.0], [0.6, 0.3, 0.1], [0.3, 0.5, 0.2], [0.1, 0.9, 0.0]])


def test_whoever_is_not_required_is_dropped() -> None:
    for low in (1, 2):
        posteriors, unheard = with_required(POSTERIORS, STARTED, ROWS, low)
        assert unheard == 0
        assert posteriors.argmax(axis=1).tolist() == [0, 0, 0, 1, 1]
        np.testing.assert_allclose(posteriors.sum(axis=1), 1.0)
        assert posteriors[3, 1] == pytest.approx(0.5 / 0.8)


def test_whoever_is_required_gets_the_window_that_is_most_his_own() -> None:
    """Both windows of the third are equally near their mean; the first in time is taken."""
    posteriors, unheard = with_required(POSTERIORS, STARTED, ROWS, 3)
    assert unheard == 1
    assert posteriors.argmax(axis=1).tolist() == [0, 0, 2, 1, 1]
    assert posteriors[2].tolist() == [0.0, 0.0, 1.0]


def test_speakers_get_the_places_of_those_they_share_windows_with() -> None:
    """The second of two is the first of three, and the first their third."""
    posteriors = np.array([[0.2, 0.8], [0.1, 0.9], [0.7, 0.3], [1.0, 0.0], [0.9, 0.1]])
    found = among(posteriors, np.array([0, 0, 1, 2, 2]))
    np.testing.assert_allclose(found[:, [0, 2]], posteriors[:, [1, 0]])
    assert not found[:, 1].any()


def test_nobody_loses_his_only_window() -> None:
    posteriors = np.array([[0.9, 0.1, 0.0], [0.9, 0.1, 0.0], [0.2, 0.7, 0.1]])
    found, unheard = with_required(posteriors, np.array([0, 1, 2]), np.eye(3), 3)
    assert unheard == 1
    assert sorted(found.argmax(axis=1)) == [0, 1, 2]
    assert found.argmax(axis=1)[2] == 1


@pytest.mark.parametrize("method", CLUSTERERS)
def test_one_too_many_costs_one_window(method: str) -> None:
    """Four people are in the recording, and three speak: without this, one of them was two."""
    emb, times, truth = conversation([60, 45, 30], within=0.55, between=0.15, seed=5)
    clusterer = make_clusterer(method, {"threshold": "calibrated"} if method == "ahc" else {})
    found = clusterer.fit_predict(emb, times_N2=times, num_speakers=4)
    assert found.num_speakers == 4
    assert found.unheard == 1
    assert np.bincount(found.labels_N).min() == 1
    assert adjusted_rand_score(truth, found.labels_N) > 0.97


def test_only_who_is_required_without_evidence_counts() -> None:
    emb, times, _ = conversation([60, 45, 30], within=0.55, between=0.15, seed=5)
    clusterer = make_clusterer("merging")
    assert clusterer.fit_predict(emb, times_N2=times).unheard == 0
    assert clusterer.fit_predict(emb, times_N2=times, num_speakers=3).unheard == 0
    assert clusterer.fit_predict(emb, times_N2=times, min_speakers=5).unheard == 2


def test_the_warning_counts() -> None:
    assert "only 3 are heard apart: 1 of them has a single window" in unheard_warning(1, 4)
    assert "only 2 are heard apart: 2 of them have" in unheard_warning(2, 4)
