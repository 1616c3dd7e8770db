"""Scores of a back end against the Gaussians and the loops that define them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from sdpn.errors import InputError
from sdpn.verification.back_end import BackEnd


def naive_ratio(back_end: BackEnd, one: np.ndarray, two: np.ndarray) -> float:
    """Log-likelihood ratio by scipy's densities, of embeddings centred and scaled."""
    mean, plda = back_end.mean_D, back_end.plda
    one, two = ((row - mean) / np.linalg.norm(row - mean) for row in (one.astype(float), two.astype(float)))
    inverse = np.linalg.inv(plda.transform_ED.astype(float))
    within = inverse @ inverse.T
    between = inverse @ np.diag(plda.psi_E.astype(float)) @ inverse.T
    both = np.block([[between + within, between], [between, between + within]])
    same = multivariate_normal(np.concatenate([plda.mean_D, plda.mean_D]), both)
    alone = multivariate_normal(plda.mean_D, between + within)
    return float(same.logpdf(np.concatenate([one, two])) - alone.logpdf(one) - alone.logpdf(two))


def test_a_score_follows_its_definition(back_end: BackEnd, parts: np.ndarray) -> None:
    rows = parts[:3, 0]
    expected = 0.0
    ratio = naive_ratio(back_end, rows[0], rows[2])
    for row in (rows[0], rows[2]):
        to_strangers = sorted(naive_ratio(back_end, row, other) for other in back_end.cohort_CD)[-20:]
        expected += float(0.5 * (ratio - np.mean(to_strangers)) / np.std(to_strangers))
    scores = back_end.score(rows, np.array([0, 2, 1]), np.array([2, 0, 1]))
    assert scores[0] == pytest.approx(expected, rel=1e-4)
    assert scores[1] == pytest.approx(scores[0]), "a trial has no order"


def test_the_same_speaker_scores_higher(back_end: BackEnd, parts: np.ndarray) -> None:
    rows = np.concatenate([parts[:, 0], parts[:, 1]])
    index = np.arange(len(parts))
    same = back_end.score(rows, index, index + len(parts))
    different = back_end.score(rows, index, (index + 7) % len(parts) + len(parts))
    assert np.median(same) > np.quantile(different, 0.9)


def test_threshold_and_share_of_strangers_are_inverse(back_end: BackEnd) -> None:
    thresholds = [back_end.threshold(share) for share in (0.5, 0.1, 0.01)]
    assert thresholds == sorted(thresholds)
    for share, threshold in zip((0.5, 0.1, 0.01), thresholds, strict=True):
        assert back_end.strangers_reaching(threshold) == pytest.approx(share, abs=0.005)
    assert back_end.strangers_reaching(-1e9) == 1 and back_end.strangers_reaching(1e9) == 0


def test_the_threshold_lets_as_many_new_strangers_through(back_end: BackEnd) -> None:
    rng = np.random.default_rng(5)  # voices that were not learned from, made like `parts`
    voices = rng.normal(size=(500, 6)) * np.linspace(2, 0.5, 6)
    rows = voices + rng.normal(size=(500, 6)) * np.linspace(0.3, 1, 6) / np.sqrt(2) + 1
    first, second = np.triu_indices(500, 1)
    scores = back_end.score(rows, first, second)
    # 30 strangers of the cohort of 60 show what different speakers reach
    assert (scores >= back_end.threshold(0.1)).mean() == pytest.approx(0.1, abs=0.05)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (np.ones((2, 5)), "of 6 dimensions, these have 5"),
        (np.full((2, 6), np.nan), "NaN"),
    ],
)
def test_embeddings_of_another_model(back_end: BackEnd, rows: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        back_end.score(rows, np.array([0]), np.array([1]))
