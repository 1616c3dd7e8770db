"""VBx against sums over all sequences of speakers, and against the figures of the published example."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from sdpn.clustering.hmm import forward_backward
from sdpn.clustering.variational import variational_bayes
from sdpn.clustering.vbx import Vbx, recording_model
from sdpn.io.kaldi import read_vectors
from sdpn.verification.plda import Plda, read_plda
from sdpn.verification.similarity import cosine
from sdpn.verification.transform import read_transform

PHI = np.array([4.0, 1.5, 0.5])


def transition(pi: np.ndarray, loop: float) -> np.ndarray:
    """Equation 1 as a matrix."""
    return loop * np.eye(len(pi)) + (1 - loop) * np.tile(pi, (len(pi), 1))


def sequences(pi: np.ndarray, loops: np.ndarray) -> list[tuple[tuple[int, ...], float]]:
    """Every sequence of speakers and its log-probability."""
    found = []
    for path in itertools.product(range(len(pi)), repeat=len(loops)):
        log_p = np.log(pi[path[0]])
        for t in range(1, len(path)):
            log_p += np.log(transition(pi, loops[t])[path[t - 1], path[t]])
        found.append((path, float(log_p)))
    return found


def test_forward_backward_is_the_sum_over_all_sequences() -> None:
    rng = np.random.default_rng(0)
    log_p, pi, loops = rng.normal(size=(6, 3)) * 3, np.array([0.5, 0.3, 0.2]), rng.uniform(0.3, 0.99, 6)
    paths = sequences(pi, loops)
    scores = np.array([prior + sum(log_p[t, s] for t, s in enumerate(path)) for path, prior in paths])
    weights = np.exp(scores - logsumexp(scores))
    posteriors, draws = np.zeros((6, 3)), np.zeros(3)
    for (path, _), weight in zip(paths, weights, strict=True):
        posteriors[np.arange(6), path] += weight
        for t in range(1, 6):  # of all ways from one state to itself, only some were draws
            drawn = (1 - loops[t]) * pi[path[t]]
            stayed = loops[t] * (path[t] == path[t - 1])
            draws[path[t]] += weight * drawn / (drawn + stayed)
    gamma, changes, evidence = forward_backward(log_p, pi, loops)
    np.testing.assert_allclose(gamma, posteriors, atol=1e-12)
    np.testing.assert_allclose(changes, draws, atol=1e-12)
    assert evidence == pytest.approx(logsumexp(scores), abs=1e-10)


def test_hopeless_windows_do_not_make_the_chain_divide_by_zero() -> None:
    log_p = np.full((50, 4), -1e5)
    log_p[np.arange(50), np.arange(50) % 4] = 0.0
    pi = np.array([1 - 3e-9, 1e-9, 1e-9, 1e-9])
    gamma, changes, evidence = forward_backward(log_p, pi, np.full(50, 0.99))
    np.testing.assert_array_equal(gamma.argmax(axis=1), np.arange(50) % 4)
    np.testing.assert_allclose(gamma.sum(axis=1), 1.0)
    assert np.isfinite([*changes, evidence]).all()


@pytest.mark.parametrize("seed", range(5))
def test_the_bound_rises_to_below_the_evidence(seed: int) -> None:
    """With F_A = F_B = 1 it bounds ln p(X): the sum over all sequences, speakers integrated out."""
    rng = np.random.default_rng(seed)
    speakers = rng.normal(size=(2, 3)) * np.sqrt(PHI)
    x = speakers[[0, 0, 1, 1, 0]] + rng.normal(size=(5, 3))
    start = np.array([[0.8, 0.2], [0.7, 0.3], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]])
    fit = variational_bayes(
        x, PHI, start, loop_N=np.full(5, 0.8), fa=1.0, fb=1.0, max_iterations=60, epsilon=-1.0
    )
    assert (np.diff(fit.elbos) > -1e-9).all()
    terms = []
    for path, prior in sequences(fit.priors_K, np.full(5, 0.8)):
        log_p = prior
        for speaker in range(len(fit.priors_K)):
            rows = x[np.array(path) == speaker]
            if len(rows):
                for d in range(3):  # windows of one speaker share one y: covariance I + Φ 11ᵀ
                    covariance = np.eye(len(rows)) + PHI[d]
                    log_p += multivariate_normal(np.zeros(len(rows)), covariance).logpdf(rows[:, d])
        terms.append(log_p)
    evidence = logsumexp(terms)
    assert evidence - 6.0 < fit.elbos[-1] <= evidence + 1e-9


def test_one_iteration_by_hand() -> None:
    """Hard responsibilities, published F_A and F_B: speakers by Bayes' rule, windows by all 16 sequences."""
    x, fa, fb = np.random.default_rng(0).normal(size=(4, 3)), 0.3, 17.0
    log_p = np.zeros((4, 2))
    for speaker, rows in enumerate((x[:2], x[2:])):
        precision = 1 + fa / fb * len(rows) * PHI  # (17)
        mean = fa / fb * np.sqrt(PHI) * rows.sum(axis=0) / precision  # (16)
        expected = multivariate_normal(np.sqrt(PHI) * mean, np.eye(3)).logpdf(x)
        log_p[:, speaker] = fa * (expected - 0.5 * (PHI / precision).sum())  # (23): the mean over q(y)
    loops, posteriors, total = np.full(4, 0.8), np.zeros((4, 2)), -np.inf
    for path, prior in sequences(np.array([0.5, 0.5]), loops):
        score = prior + log_p[np.arange(4), path].sum()
        posteriors[np.arange(4), path] += np.exp(score)
        total = np.logaddexp(total, score)
    fit = variational_bayes(
        x, PHI, np.eye(2)[[0, 0, 1, 1]], loop_N=loops, fa=fa, fb=fb, max_iterations=1, epsilon=0.0
    )
    np.testing.assert_allclose(fit.posteriors_NK, posteriors / np.exp(total), atol=1e-12)


def xvectors(folder: Path) -> tuple[np.ndarray, np.ndarray, Plda]:
    rows = [line.split() for line in (folder / "ES2005a.seg").read_text().splitlines()]
    vectors = read_vectors(folder / "ES2005a.ark")
    emb = read_transform(folder / "transform.npz")(np.stack([vectors[key] for key, *_ in rows]))
    return emb, np.array([[float(start), float(end)] for *_, start, end in rows]), read_plda(folder / "plda")


def test_posteriors_belong_to_the_labels(shared_data: Path) -> None:
    emb, times, plda = xvectors(shared_data / "xvectors")
    found = Vbx(plda=plda).fit_predict(emb, times_N2=times)
    assert found.posteriors_NK is not None
    assert found.num_speakers == 5
    np.testing.assert_allclose(found.posteriors_NK.sum(axis=1), 1.0)
    np.testing.assert_array_equal(found.posteriors_NK.argmax(axis=1), found.labels_N)
    assert np.bincount(found.labels_N).tolist() == [437, 98, 211, 233, 46]


def test_time_matters_only_where_it_is_asked_for(shared_data: Path) -> None:
    emb, times, plda = xvectors(shared_data / "xvectors")
    plain = Vbx(plda=plda).fit_predict(emb)
    np.testing.assert_array_equal(
        Vbx(plda=plda).fit_predict(emb, times_N2=10 * times).labels_N, plain.labels_N
    )
    timed = Vbx(plda=plda, step_s=0.24)
    np.testing.assert_array_equal(timed.fit_predict(emb).labels_N, plain.labels_N)
    assert timed._loop_probabilities(3, np.array([[0, 1], [0.24, 1.24], [2.4, 3.4]])) == pytest.approx(
        [1 - 1e-9, 0.99, 0.99**9]
    )


def test_a_given_number_is_not_the_models_to_refuse(caplog: pytest.LogCaptureFixture) -> None:
    emb = np.random.default_rng(0).normal(size=(60, 16)) * 0.1 + np.ones(16)
    with caplog.at_level(logging.INFO):
        found = Vbx().fit_predict(emb, num_speakers=4)
    assert found.num_speakers == 4
    assert "at least 4 are needed: dividing by evidence" in caplog.text
    assert found.unheard == 3
    assert sorted(np.bincount(found.labels_N)) == [1, 1, 1, 57]
    assert found.posteriors_NK is not None


def test_more_speakers_than_allowed_are_merged_and_modelled_again(
    shared_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    emb, _, plda = xvectors(shared_data / "xvectors")
    with caplog.at_level(logging.INFO):
        found = Vbx(plda=plda).fit_predict(emb, max_speakers=4)
    assert "found 5 speakers, at most 4 are allowed" in caplog.text
    assert found.num_speakers == 4
    assert found.posteriors_NK is not None


def test_without_a_plda_the_recording_gives_both_variances() -> None:
    """20 orthogonal speakers of length 1, noise of variance 0.25 in all: cosines 0 and 1 / 1.25."""
    rng = np.random.default_rng(0)
    centres = np.linalg.qr(rng.normal(size=(200, 200)))[0][:20]
    emb = np.repeat(centres, 30, axis=0) + rng.normal(size=(600, 200)) * np.sqrt(0.25 / 200)
    x, phi = recording_model(cosine(emb))
    assert phi == pytest.approx(np.full(200, 0.8 / 0.2), rel=0.03)
    within = x - np.repeat(x.reshape(20, 30, 200).mean(axis=1), 30, axis=0)
    assert within.var(axis=0).mean() * 30 / 29 == pytest.approx(1.0, rel=0.03)


@pytest.mark.parametrize(
    "setting",
    [
        {"fa": 0.0},
        {"fb": float("inf")},
        {"smoothing": -1.0},
        {"loop_prob": 1.0},
        {"step_s": 0.0},
        {"max_iterations": 0},
        {"num_dimensions": 0},
        {"max_start": 0},
        {"threshold": 2.0},
        {"exact_windows": 1},
    ],
)
def test_settings_out_of_range(setting: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        Vbx(**setting)  # type: ignore[arg-type]
