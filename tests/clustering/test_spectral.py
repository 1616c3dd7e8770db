"""Spectral clustering: Laplacians by hand, both eigensolvers, few windows, and scikit-learn's partition."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import sklearn.cluster
from sklearn.metrics import adjusted_rand_score

from sdpn.clustering.affinity import nearest_neighbour_graph
from sdpn.clustering.spectral import Spectral, normalised_laplacian
from sdpn.eigen import smallest_eigenpairs
from sdpn.verification.similarity import cosine_similarity


def noisy_speakers(counts: list[int], *, seed: int, noise: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(len(counts), 32))
    return np.repeat(centres, counts, axis=0) + noise * rng.normal(size=(sum(counts), 32))


def test_laplacian_of_a_path_and_of_a_lonely_node() -> None:
    """Path 0-1-2 of weight 1 has degrees 1, 2, 1; node 3 has no link."""
    affinity = np.zeros((4, 4))
    affinity[[0, 1, 1, 2], [1, 0, 2, 1]] = 1.0
    link = -1 / np.sqrt(2)
    expected = [[1, link, 0, 0], [link, 1, link, 0], [0, link, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(normalised_laplacian(affinity), expected)
    # bipartite: 0, 1, 2; and one more 0 for the second component
    np.testing.assert_allclose(np.linalg.eigvalsh(normalised_laplacian(affinity)), [0, 0, 1, 2], atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_same_partition_as_sklearn_on_the_same_graph(seed: int) -> None:
    emb = noisy_speakers([40, 30, 20], seed=seed, noise=0.7)
    graph = nearest_neighbour_graph(cosine_similarity(emb), 10)
    theirs = sklearn.cluster.SpectralClustering(
        n_clusters=3, affinity="precomputed", assign_labels="kmeans", random_state=0
    ).fit_predict(graph)
    ours = Spectral(min_neighbours=10).fit_predict(emb, num_speakers=3).labels_N
    assert adjusted_rand_score(theirs, ours) == 1.0


@pytest.mark.parametrize("noise", [0.3, 1.5])
def test_the_sparse_eigensolver_gives_the_dense_ones_eigenvalues(noise: float) -> None:
    """With little noise the graph falls into five components: an eigenvalue 0 of multiplicity five."""
    emb = noisy_speakers([160, 140, 120, 100, 80], seed=1, noise=noise)
    laplacian = normalised_laplacian(nearest_neighbour_graph(cosine_similarity(emb), 30))
    sparse, vectors = smallest_eigenpairs(laplacian, 21, seed=0)
    np.testing.assert_allclose(sparse, np.linalg.eigvalsh(laplacian)[:21], atol=1e-9)
    np.testing.assert_allclose(laplacian @ vectors, vectors * sparse, atol=1e-7)


@pytest.mark.parametrize("rows", [2, 3])
def test_too_few_windows_for_an_estimate_are_reported(rows: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        labels = Spectral().fit_predict(np.eye(rows)).labels_N
    assert labels.tolist() == [0] * rows
    assert f"{rows} windows are too few" in caplog.text


def test_the_eigengap_stops_at_max_estimate_but_a_given_count_goes_beyond() -> None:
    emb = noisy_speakers([20] * 6, seed=0, noise=0.2)
    clusterer = Spectral(max_estimate=4)
    assert clusterer.fit_predict(emb).labels_N.max() + 1 <= 4
    assert clusterer.fit_predict(emb, num_speakers=6).labels_N.max() + 1 == 6
    assert clusterer.fit_predict(emb, min_speakers=6).labels_N.max() + 1 == 6


@pytest.mark.parametrize(
    "setting",
    [{"neighbours": 0.0}, {"min_neighbours": 0}, {"max_estimate": 0}, {"min_windows": 2}, {"seed": -1}],
)
def test_settings_out_of_range(setting: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        Spectral(**setting)
