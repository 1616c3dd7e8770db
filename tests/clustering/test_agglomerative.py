"""AHC against scikit-learn's, against geometry, and on the x-vectors of a real meeting."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score

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
