"""AHC against scikit-learn's, against geometry, and on the x-vectors of a real meeting."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score
from sklearn.metrics.pairwise import cosine_similarity as sklearn_cosine

from sdpn.clustering.agglomerative import Agglomerative


@pytest.mark.parametrize("seed", range(5))
def test_same_partition_as_sklearn(seed: int) -> None:
    emb = np.random.default_rng(seed).normal(size=(80, 12))
    for num in (1, 2, 5, 17, 80):
        theirs = AgglomerativeClustering(n_clusters=num, metric="cosine", linkage="average").fit_predict(emb)
        assert adjusted_rand_score(theirs, Agglomerative().fit_predict(emb, num_speakers=num).labels_N) == 1.0
    for threshold in (-0.2, 0.0, 0.3, 0.9):
        theirs = AgglomerativeClustering(
            n_clusters=None, metric="cosine", linkage="average", distance_threshold=1.0 - threshold
        ).fit_predict(emb)
        ours = Agglomerative(threshold=threshold).fit_predict(emb).labels_N
        assert ours.max() == theirs.max()
        assert adjusted_rand_score(theirs, ours) == 1.0


def test_threshold_is_the_mean_cosine_between_two_clusters() -> None:
    """Directions at 0°, 0° and 60°: the two that agree merge; their mean cosine with the third is 0.5."""
    emb = np.array([[1.0, 0.0], [3.0, 0.0], [0.5, np.sqrt(0.75)]])
    assert Agglomerative(threshold=0.49).fit_predict(emb).labels_N.tolist() == [0, 0, 0]
    assert Agglomerative(threshold=0.51).fit_predict(emb).labels_N.tolist() == [0, 0, 1]


def test_impossible_threshold() -> None:
    with pytest.raises(ValueError, match="cosine"):
        Agglomerative(threshold=1.5)


@pytest.mark.parametrize("seed", range(3))
def test_ward_is_sklearns(seed: int) -> None:
    emb = np.random.default_rng(seed).normal(size=(80, 12))
    unit = emb / np.linalg.norm(emb, axis=1, keepdims=True)
    for num in (1, 2, 5, 17, 79):
        theirs = AgglomerativeClustering(n_clusters=num, linkage="ward").fit_predict(unit)
        ours = Agglomerative(linkage="ward").fit_predict(emb, num_speakers=num)
        assert adjusted_rand_score(theirs, ours.labels_N) == 1.0


@pytest.mark.parametrize("threshold", [-0.1, 0.2, 0.5, 0.9])
def test_wards_last_merges_are_undone_down_to_the_threshold(threshold: float) -> None:
    """Count from one speaker up: as long as the cluster that splits has halves that are not alike."""
    emb = np.random.default_rng(0).normal(size=(40, 3)) + np.array([1.0, 0.5, 0.0])
    cosines = sklearn_cosine(emb)
    ward = Agglomerative(linkage="ward", threshold=threshold)
    expected, labels = 1, np.zeros(40, dtype=int)
    while expected < 40:
        finer = ward.fit_predict(emb, num_speakers=expected + 1).labels_N
        (halves,) = [
            set(finer[labels == label]) for label in set(labels) if len(set(finer[labels == label])) == 2
        ]
        first, second = (finer == half for half in halves)
        if cosines[np.ix_(first, second)].mean() >= threshold:
            break
        expected, labels = expected + 1, finer
    assert ward.fit_predict(emb).num_speakers == expected


def test_a_calibrated_threshold_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    centres = np.linalg.qr(np.random.default_rng(0).normal(size=(16, 16)))[0][:4]
    emb = np.repeat(centres, 20, axis=0) + 0.1 * np.random.default_rng(1).normal(size=(80, 16))
    with caplog.at_level(logging.INFO):
        assert Agglomerative(threshold="calibrated", bias=-0.015).fit_predict(emb).num_speakers == 4
    assert "calibrated threshold" in caplog.text
    with caplog.at_level(logging.INFO):
        caplog.clear()
        Agglomerative(threshold="calibrated").fit_predict(emb, num_speakers=2)
    assert not caplog.records
