"""Two Gaussians fitted to similarities: scikit-learn's mixture, and the densities themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm
from sklearn.mixture import GaussianMixture

from sdpn.clustering.two_gaussians import TwoGaussians, fit_to_pairs, fit_two_gaussians
from sdpn.verification.similarity import cosine


def mixture(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(0.1, 0.08, 3000), rng.normal(0.6, 0.08, 900)])


@pytest.mark.parametrize("seed", range(3))
def test_same_mixture_as_sklearn(seed: int) -> None:
    scores = mixture(seed)
    fit = fit_two_gaussians(scores, iterations=300)
    start = scores.mean() + scores.std() * np.array([[-1.0], [1.0]])
    theirs = GaussianMixture(
        2, covariance_type="tied", means_init=start, weights_init=[0.5, 0.5], tol=1e-10, max_iter=500,
        precisions_init=[[1 / scores.var()]], reg_covar=0.0,
    ).fit(scores[:, None])  # fmt: skip
    low, high = np.argsort(theirs.means_[:, 0])
    assert fit.low_mean == pytest.approx(theirs.means_[low, 0], abs=1e-5)
    assert fit.high_mean == pytest.approx(theirs.means_[high, 0], abs=1e-5)
    assert fit.variance == pytest.approx(theirs.covariances_[0, 0], rel=1e-4)
    assert fit.high_weight == pytest.approx(theirs.weights_[high], abs=1e-5)


def test_at_the_threshold_both_are_equally_probable() -> None:
    fit = fit_two_gaussians(mixture(0))
    spread = np.sqrt(fit.variance)
    low = (1 - fit.high_weight) * norm.pdf(fit.threshold, fit.low_mean, spread)
    high = fit.high_weight * norm.pdf(fit.threshold, fit.high_mean, spread)
    assert low == pytest.approx(high, rel=1e-9)
    assert fit.low_mean < fit.threshold < fit.high_mean


def test_equal_scores_have_their_value_as_threshold() -> None:
    assert fit_two_gaussians(np.full(8, 0.25)) == TwoGaussians(0.25, 0.25, 0.0, 0.5)
    assert fit_two_gaussians(np.full(8, 0.25)).threshold == 0.25
    assert fit_two_gaussians(np.full(10, 0.3)).threshold == pytest.approx(0.3)  # whose mean is not quite 0.3


@given(scores=arrays(float, st.integers(1, 40), elements=st.floats(-1, 1)))
def test_any_scores_give_a_finite_threshold(scores: np.ndarray) -> None:
    fit = fit_two_gaussians(scores)
    assert np.isfinite(fit.threshold)
    assert fit.variance >= 0
    assert fit.low_mean <= fit.high_mean
    assert 0 < fit.high_weight < 1


def test_each_pair_counts_once_and_long_recordings_are_sampled() -> None:
    emb = np.random.default_rng(0).normal(size=(40, 8))
    similarity = cosine(emb)
    upper = similarity.matrix()[np.triu_indices(40, 1)]
    assert fit_to_pairs(similarity) == fit_two_gaussians(upper)
    many = np.random.default_rng(0).normal(size=(9000, 3))
    sample = cosine(many[np.linspace(0, 8999, 2000).astype(int)])
    assert fit_to_pairs(cosine(many)) == fit_to_pairs(sample)
