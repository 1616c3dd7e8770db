"""Long recordings: fewer points than windows, and the labels that the exact method gives."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from sdpn.clustering import coarsen as coarsen_module
from sdpn.clustering.coarsen import coarsen
from sdpn.clustering.registry import CLUSTERERS, make_clusterer
from sdpn.verification.similarity import Similarity, cosine

every_clusterer = pytest.mark.parametrize("name", sorted(CLUSTERERS))


def turns(
    num_windows: int, num_speakers: int, *, noise: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Windows in order of time: turns of 1 to 20 windows, speakers with different shares."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(num_speakers, 32))
    shares = rng.uniform(0.5, 2.0, num_speakers)
    speakers = rng.choice(num_speakers, size=num_windows, p=shares / shares.sum())
    truth = np.repeat(speakers, rng.integers(1, 21, size=num_windows))[:num_windows]
    return centres[truth] + noise * rng.normal(size=(num_windows, 32)), truth


def test_up_to_the_limit_every_window_is_a_point(caplog: pytest.LogCaptureFixture) -> None:
    emb, _ = turns(50, 3, noise=0.5)
    windows = cosine(emb)
    with caplog.at_level(logging.INFO):
        points = coarsen(windows, limit=50, method="ahc")
    np.testing.assert_array_equal(points.point_N, np.arange(50))
    np.testing.assert_array_equal(points.similarity.features_NF, windows.features_NF)
    assert not caplog.records


@pytest.mark.parametrize("limit", [1, 7, 100, 299])
def test_points_are_the_means_of_their_windows(
    limit: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(coarsen_module, "_BLOCK_ROWS", 64)
    emb, truth = turns(300, 4, noise=0.3)
    windows = Similarity(cosine(emb).features_NF, np.linspace(0, 1, 300))
    with caplog.at_level(logging.INFO):
        points = coarsen(windows, limit=limit, method="ahc")
    assert "300 windows exceed the limit of" in caplog.text
    assert len(points.weights_M) <= limit
    assert points.weights_M.sum() == 300
    for point, weight in enumerate(points.weights_M):
        members = points.point_N == point
        assert members.sum() == weight
        np.testing.assert_allclose(points.similarity.features_NF[point], windows.features_NF[members].mean(0))
        np.testing.assert_allclose(points.similarity.offsets_N[point], windows.offsets_N[members].mean())
        if limit >= 100:
            assert len(set(truth[members])) == 1


@every_clusterer
@pytest.mark.parametrize("num", [None, pytest.param(5, marks=pytest.mark.slow)])
def test_the_labels_are_those_of_the_exact_method(
    name: str, num: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As much noise as the exact method's estimate of the number of speakers can stand."""
    monkeypatch.setattr(coarsen_module, "_BLOCK_ROWS", 300)
    num_windows = 600 if name == "nmesc" else 1200  # whose exact method tries many graphs
    emb, truth = turns(num_windows, 5, noise={"ahc": 0.7, "hdbscan": 0.5}.get(name, 1.0))
    exact = make_clusterer(name).fit_predict(emb, num_speakers=num)
    condensed = make_clusterer(name, {"exact_windows": 300}).fit_predict(emb, num_speakers=num)
    assert adjusted_rand_score(exact.labels_N, condensed.labels_N) >= 0.95
    assert adjusted_rand_score(truth, condensed.labels_N) >= 0.9


@every_clusterer
def test_numbers_and_bounds_hold_for_long_recordings_too(name: str) -> None:
    emb, _ = turns(400, 4, noise=0.5)
    clusterer = make_clusterer(name, {"exact_windows": 60})
    for num in (1, 3, 6, 80):
        labels = clusterer.fit_predict(emb, num_speakers=num).labels_N
        assert sorted(set(labels)) == list(range(num))
    assert clusterer.fit_predict(emb, max_speakers=2).num_speakers == 2
    assert clusterer.fit_predict(emb, min_speakers=7).num_speakers >= 7
    assert clusterer.fit_predict(np.ones((400, 8))).num_speakers == 1
