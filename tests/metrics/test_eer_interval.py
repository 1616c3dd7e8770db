"""sdpn.metrics.eer_interval: against resampling trial by trial, and by how often the truth is inside."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from sdpn.metrics import eer_interval
from sdpn.metrics.eer_interval import eer_interval_over_speakers, eer_interval_over_trials
from sdpn.metrics.verification import equal_error_rate, error_rates


class Sample(NamedTuple):
    scores: np.ndarray
    is_target: np.ndarray
    first_speaker: np.ndarray
    second_speaker: np.ndarray


def sample(seed: int, *, num_speakers: int = 30, per_speaker: int = 6) -> Sample:
    """All trials between utterances of speakers, some of whom are harder than others."""
    rng = np.random.default_rng(seed)
    speakers = np.repeat(np.arange(num_speakers), per_speaker)
    noise = rng.uniform(0.3, 1.5, size=num_speakers)
    rows = rng.normal(size=(num_speakers, 8))[speakers]
    rows += noise[speakers, None] * rng.normal(size=rows.shape)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    first, second = np.triu_indices(len(rows), 1)
    return Sample(
        (rows[first] * rows[second]).sum(axis=1),
        speakers[first] == speakers[second],
        speakers[first],
        speakers[second],
    )


def eer(scores: np.ndarray, is_target: np.ndarray) -> float:
    return equal_error_rate(error_rates(scores, is_target))[0]


def test_speakers_are_drawn_with_all_their_trials() -> None:
    trials = sample(0)
    rng = np.random.default_rng(5)
    rates = []
    for _ in range(400):  # by writing every trial as often as it was drawn
        times = np.bincount(rng.integers(0, 30, size=30), minlength=30)
        repeats = np.where(
            trials.is_target,
            times[trials.first_speaker],
            times[trials.first_speaker] * times[trials.second_speaker],
        )
        drawn = np.repeat(np.arange(len(repeats)), repeats)
        rates.append(eer(trials.scores[drawn], trials.is_target[drawn]))
    expected = np.quantile(rates, [0.025, 0.975])
    found = eer_interval_over_speakers(*trials, resamples=2000)
    width = expected[1] - expected[0]
    assert [found.low, found.high] == pytest.approx(expected, abs=0.12 * width)
    assert found.low < eer(trials.scores, trials.is_target) < found.high
    # the trials alone pretend to know more
    over_trials = eer_interval_over_trials(trials.scores, trials.is_target)
    assert over_trials.high - over_trials.low < 0.6 * width


def test_trials_are_drawn_apart_by_kind() -> None:
    trials = sample(1)
    rng = np.random.default_rng(2)
    kinds = [np.flatnonzero(trials.is_target), np.flatnonzero(~trials.is_target)]
    rates = []
    for _ in range(400):
        drawn = np.concatenate([rng.choice(kind, size=len(kind)) for kind in kinds])
        rates.append(eer(trials.scores[drawn], trials.is_target[drawn]))
    expected = np.quantile(rates, [0.025, 0.975])
    found = eer_interval_over_trials(trials.scores, trials.is_target, resamples=2000)
    assert [found.low, found.high] == pytest.approx(expected, abs=0.12 * (expected[1] - expected[0]))


def test_independent_trials_hold_the_truth_as_often_as_they_say() -> None:
    held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        is_target = np.arange(600) % 3 == 0
        scores = rng.normal(size=600) + 2.0 * is_target  # EER: Phi(-1)
        interval = eer_interval_over_trials(scores, is_target, resamples=200, confidence=0.9, seed=seed)
        held += interval.low <= 0.158655 <= interval.high
    assert 0.83 < held / 200 < 0.96


def test_fewer_thresholds_change_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = sample(2)
    assert len(np.unique(trials.scores)) > 10_000
    coarse = eer_interval_over_speakers(*trials, resamples=300)
    monkeypatch.setattr(eer_interval, "_MAX_THRESHOLDS", 10**6)
    exact = eer_interval_over_speakers(*trials, resamples=300)
    assert [coarse.low, coarse.high] == pytest.approx([exact.low, exact.high], abs=2e-4)


def test_a_seed_decides_and_the_size_of_batches_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = sample(3, num_speakers=12)
    once = eer_interval_over_speakers(*trials, resamples=100, seed=4)
    assert eer_interval_over_speakers(*trials, resamples=100, seed=4) == once
    assert eer_interval_over_speakers(*trials, resamples=100, seed=5) != once
    over_trials = [eer_interval_over_trials(*trials[:2], resamples=100, seed=seed) for seed in (4, 4, 5)]
    assert over_trials[0] == over_trials[1] != over_trials[2]
    monkeypatch.setattr(eer_interval, "_CELLS", 5000)
    small = eer_interval_over_speakers(*trials, resamples=100, seed=4)
    assert [small.low, small.high] == pytest.approx([once.low, once.high], abs=1e-12)


def test_resamples_without_one_kind_are_left_out() -> None:
    # two speakers, and a third who has no target trial: drawing one speaker three times leaves one kind only
    scores = np.array([0.9, 0.8, 0.1, 0.85, 0.2, 0.3])
    first, second = np.array([0, 1, 0, 0, 1, 1]), np.array([0, 1, 1, 1, 2, 2])
    interval = eer_interval_over_speakers(scores, first == second, first, second, resamples=200)
    assert 0 <= interval.low <= interval.high <= 1


def test_labels_and_speakers_must_agree() -> None:
    with pytest.raises(ValueError, match="both speakers are the same"):
        eer_interval_over_speakers(
            np.array([1.0, 0.0]), np.array([True, False]), np.array([0, 0]), np.array([1, 1])
        )
