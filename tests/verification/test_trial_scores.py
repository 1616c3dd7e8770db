"""Scores of trials: trial by trial, by the densities themselves, and by the formula in loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from sdpn.verification import trial_scores
from sdpn.verification.plda import Plda
from sdpn.verification.similarity import Similarity, cosine
from sdpn.verification.trial_scores import as_norm, cohort_statistics, score_trials


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(20, 6))


MEAN = np.random.default_rng(1).normal(size=6)
TRANSFORM = np.random.default_rng(2).normal(size=(6, 6))
PSI = np.array([5.0, 3.0, 1.0, 0.5, 0.1, 0.0])


@pytest.fixture
def plda() -> Plda:
    return Plda(MEAN, TRANSFORM, PSI)


FIRST, SECOND = np.array([0, 3, 3, 7, 19]), np.array([1, 3, 5, 2, 0])


@pytest.mark.parametrize("block", [1, 2, 8192])
def test_cosines_trial_by_trial(rows: np.ndarray, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(trial_scores, "_TRIALS", block)
    expected = [
        rows[a] @ rows[b] / np.linalg.norm(rows[a]) / np.linalg.norm(rows[b])
        for a, b in zip(FIRST, SECOND, strict=True)
    ]
    assert score_trials(cosine(rows), FIRST, SECOND) == pytest.approx(expected, abs=1e-12)


def test_plda_ratios_from_the_densities(rows: np.ndarray, plda: Plda) -> None:
    inverse = np.linalg.inv(TRANSFORM)
    within, between = inverse @ inverse.T, (inverse * PSI) @ inverse.T
    apart = multivariate_normal(MEAN, within + between, allow_singular=True)
    together = multivariate_normal(
        np.tile(MEAN, 2),
        np.block([[within + between, between], [between, within + between]]),
        allow_singular=True,
    )
    expected = [
        together.logpdf(np.concatenate([rows[a], rows[b]])) - apart.logpdf(rows[a]) - apart.logpdf(rows[b])
        for a, b in zip(FIRST, SECOND, strict=True)
    ]
    assert score_trials(plda.similarity(rows), FIRST, SECOND) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("cells", [1, 30, 1 << 22])
@pytest.mark.parametrize("top", [1, 4, 9])
@pytest.mark.parametrize("kind", ["cosine", "plda"])
def test_as_norm_by_its_formula(
    rows: np.ndarray, plda: Plda, monkeypatch: pytest.MonkeyPatch, kind: str, top: int, cells: int
) -> None:
    monkeypatch.setattr(trial_scores, "_CELLS", cells)
    cohort = np.random.default_rng(2).normal(size=(9, 6)) + 0.5

    def similarity(some: np.ndarray) -> Similarity:
        return cosine(some) if kind == "cosine" else plda.similarity(some)

    both = similarity(np.concatenate([rows, cohort])).matrix()
    raw = score_trials(similarity(rows), FIRST, SECOND)
    means, deviations = cohort_statistics(similarity(rows), similarity(cohort), top=top)
    if top == 1:  # one score has no spread
        assert deviations == pytest.approx(np.zeros(len(rows)))
        assert means == pytest.approx(both[:20, 20:].max(axis=1))
        return
    expected = []
    for a, b in zip(FIRST, SECOND, strict=True):
        highest_a, highest_b = (sorted(both[at, 20:])[-top:] for at in (a, b))
        score = both[a, b]
        expected.append(
            0.5
            * (
                (score - np.mean(highest_a)) / np.std(highest_a)
                + (score - np.mean(highest_b)) / np.std(highest_b)
            )
        )
    assert as_norm(raw, FIRST, SECOND, means, deviations) == pytest.approx(expected, rel=1e-9)
