"""K-means: a fixed point of Lloyd's, silhouettes of scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, silhouette_score

from sdpn.clustering.kmeans import KMeans


def blobs(counts: list[int], *, noise: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(len(counts), 24))
    emb = np.repeat(centres, counts, axis=0) + noise * rng.normal(size=(sum(counts), 24))
    return emb / np.linalg.norm(emb, axis=1, keepdims=True)


@pytest.mark.parametrize("num", [2, 3, 7])
def test_every_window_is_nearest_to_the_mean_of_its_own(num: int) -> None:
    emb = blobs([30, 30, 30], noise=1.0)
    labels = KMeans().fit_predict(emb, min_speakers=num, max_speakers=num + 1).labels_N
    means = np.stack([emb[labels == speaker].mean(axis=0) for speaker in range(labels.max() + 1)])
    distances = np.linalg.norm(emb[:, None] - means, axis=2)
    np.testing.assert_array_equal(distances.argmin(axis=1), labels)


def test_the_number_is_that_of_the_best_silhouette() -> None:
    emb = blobs([40, 25, 25, 10], noise=0.8)
    clusterer = KMeans()
    silhouettes = {
        num: silhouette_score(emb, clusterer.fit_predict(emb, num_speakers=num).labels_N, metric="cosine")
        for num in range(2, 21)
    }
    assert clusterer.fit_predict(emb).num_speakers == max(silhouettes, key=silhouettes.__getitem__)


def test_one_speaker_where_no_silhouette_is_good_enough() -> None:
    emb = blobs([40, 40], noise=0.5)
    assert KMeans().fit_predict(emb).num_speakers == 2
    assert KMeans(min_silhouette=0.99).fit_predict(emb).num_speakers == 1
    assert KMeans(min_silhouette=0.99).fit_predict(emb, min_speakers=2).num_speakers == 2


def test_fewer_different_windows_than_speakers() -> None:
    emb = np.repeat(np.eye(3), 4, axis=0)
    labels = KMeans().fit_predict(emb, num_speakers=5).labels_N
    assert len(set(labels)) == 5
    assert adjusted_rand_score(np.repeat(range(3), 4), KMeans().fit_predict(emb).labels_N) == 1.0


@pytest.mark.parametrize("setting", [{"min_silhouette": 2.0}, {"max_estimate": 0}, {"exact_windows": 1}])
def test_settings_out_of_range(setting: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        KMeans(**setting)  # type: ignore[arg-type]
