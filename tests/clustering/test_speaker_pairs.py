"""What is measured of a pair of clusters, against sums over pairs of windows and geometry done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from sdpn.clustering.recording_model import RecordingModel, fit_recording
from sdpn.clustering.speaker_pairs import FEATURES, Clusters, PairFeatures, evidence, windows_in_usual_ones
from sdpn.verification.similarity import cosine
from tests.clustering.conversations import conversation


def column(features_KKF: np.ndarray, name: str) -> np.ndarray:
    found: np.ndarray = features_KKF[..., FEATURES.index(name)]
    return found


def measured(labels: np.ndarray, within: float = 0.6, between: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Features of clusters of a conversation, and the cosines of its windows."""
    emb, times, _ = conversation([40, 30, 20], within=within, between=between, seed=3)
    model = fit_recording(cosine(emb), times)
    rows = cosine(emb).features_NF
    return PairFeatures(rows, times, model)(Clusters.of(labels, rows)), rows @ rows.T


def test_evidence_is_the_marginal_likelihood_of_gaussian_windows() -> None:
    """Windows of one speaker share his y: covariance I + phi 11ᵀ in each dimension."""
    x, phi = np.random.default_rng(0).normal(size=(5, 3)), 0.7

    def exact(rows: np.ndarray) -> float:
        covariance = np.eye(len(rows)) + phi
        return float(sum(multivariate_normal(np.zeros(len(rows)), covariance).logpdf(row) for row in rows.T))

    def of(rows: np.ndarray) -> float:
        return float(evidence(np.array(len(rows)), (rows.sum(axis=0) ** 2).sum() * 1.0, phi, 3))

    assert of(x[:2]) + of(x[2:]) - of(x) == pytest.approx(exact(x[:2]) + exact(x[2:]) - exact(x))


def test_distances_are_mean_cosines() -> None:
    labels = np.arange(90) * 3 // 90
    features, cosines = measured(labels)
    emb, times, _ = conversation([40, 30, 20], within=0.6, between=0.1, seed=3)
    model = fit_recording(cosine(emb), times)
    mean = cosines[labels == 0][:, labels == 1].mean()
    expected = (model.within - mean) / (model.within - model.between)
    assert column(features, "distance")[0, 1] == pytest.approx(expected)
    # within a cluster, windows that share samples are left out; six pairs of the usual similarity are added
    own = []
    for label in (0, 1):
        (members,) = np.nonzero(labels == label)
        apart = np.abs(np.subtract.outer(members, members)) > 1
        pairs = cosines[np.ix_(members, members)][apart]
        own.append((pairs.sum() + 6 * model.within) / (len(pairs) + 6))
    apart_by = (np.mean(own) - mean) / (model.within - model.between)
    assert column(features, "apart")[0, 1] == pytest.approx(apart_by)


def test_features_are_symmetric_and_finite() -> None:
    rng = np.random.default_rng(0)
    for num in (2, 3, 17):
        labels = np.concatenate([np.arange(num), rng.integers(0, num, 90 - num)])
        features, _ = measured(labels)
        assert features.shape == (num, num, len(FEATURES))
        assert np.isfinite(features[~np.eye(num, dtype=bool)]).all()
        np.testing.assert_allclose(features, features.transpose(1, 0, 2))


def test_a_window_of_two_speakers_is_no_third() -> None:
    """A cluster between two others lies in their plane, one of a third speaker does not."""
    emb, _, truth = conversation([40, 40, 40], within=0.9, between=0.1, seed=1)
    rows = cosine(emb).features_NF
    blend = rows[truth == 0][:10] + rows[truth == 1][:10]
    for third, far in ((blend, False), (rows[truth == 2][:10], True)):
        part = np.concatenate([rows[truth == 0], rows[truth == 1], third])
        part /= np.linalg.norm(part, axis=1, keepdims=True)
        labels = np.repeat([0, 1, 2], [40, 40, 10])
        starts = 0.75 * np.arange(len(part))
        model = RecordingModel(0.9, 0.1, part, 8.0, 0.1)
        features = PairFeatures(part, np.stack([starts, starts + 1.5], 1), model)(Clusters.of(labels, part))
        assert (column(features, "mixture")[0, 2] > 0.7) == far
        assert column(features, "distance")[0, 2] > 0.2


def test_stays_by_hand() -> None:
    """Cluster 1 passes between 0 and 2 once, and once lies within 0; the windows of 2 are one stay."""
    labels = np.array([0, 0, 1, 2, 2, 2, 0, 0, 1, 0, 0, 0])
    rows = cosine(np.random.default_rng(0).normal(size=(12, 8))).features_NF
    starts = 0.75 * np.arange(12)
    measure = PairFeatures(
        rows, np.stack([starts, starts + 1.5], 1), RecordingModel(0.5, 0.1, rows, 0.8, 0.5)
    )
    features = measure(Clusters.of(labels, rows))
    assert column(features, "stay")[1, 2] == pytest.approx(np.log(1 + 0.1))
    assert column(features, "passing")[0, 1] == pytest.approx(0.5)
    assert column(features, "stay")[0, 2] == pytest.approx(np.log(3 + 0.1))
    assert column(features, "passing")[0, 2] == 0.0


@pytest.mark.parametrize(
    ("hop_s", "window_s", "expected"),
    [(0.75, 1.5, 1.0), (0.24, 1.44, 0.32), (1.5, 1.5, 2.0), (3.0, 1.5, 2.0)],
)
def test_what_a_window_is_worth(hop_s: float, window_s: float, expected: float) -> None:
    """By how much further it reaches than the one before, not by where the next one begins."""
    starts = hop_s * np.arange(20)
    assert windows_in_usual_ones(np.stack([starts, starts + window_s], axis=1)) == pytest.approx(expected)
    assert windows_in_usual_ones(None) == 1.0


def test_merging_keeps_the_sums() -> None:
    rows = cosine(np.random.default_rng(1).normal(size=(20, 4))).features_NF
    clusters = Clusters.of(np.arange(20) % 5, rows).merged(1, 3)
    again = Clusters.of(clusters.labels_N, rows)
    np.testing.assert_allclose(clusters.sums_KD, again.sums_KD)
    np.testing.assert_array_equal(clusters.sizes_K, again.sizes_K)
