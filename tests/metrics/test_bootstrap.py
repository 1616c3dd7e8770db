"""sdpn.metrics.bootstrap: against normal theory, scipy, and all that can be drawn from a few recordings."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from sdpn.metrics import bootstrap
from sdpn.metrics.bootstrap import bootstrap_interval, compare_paired


@pytest.fixture(scope="module")
def recordings() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    totals = rng.uniform(50, 500, size=120)
    return totals * rng.beta(2, 10, size=120), totals


def test_the_interval_is_that_of_scipys_bootstrap(recordings: tuple[np.ndarray, np.ndarray]) -> None:
    errors, totals = recordings
    found = bootstrap_interval(errors, totals, resamples=20_000)
    expected = stats.bootstrap(
        recordings,
        lambda errors, totals, axis: errors.sum(axis=axis) / totals.sum(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert found is not None
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.03 * width)
    assert found.high == pytest.approx(expected.high, abs=0.03 * width)
    narrow = bootstrap_interval(errors, totals, confidence=0.5)
    assert narrow is not None
    assert found.low < narrow.low < errors.sum() / totals.sum() < narrow.high < found.high
    assert (found.confidence, narrow.confidence) == (0.95, 0.5)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for at in range(300):
        totals = rng.uniform(50, 500, size=80)
        interval = bootstrap_interval(
            totals * rng.beta(2, 8, size=80), totals, resamples=400, confidence=0.9, seed=at
        )
        assert interval is not None
        held += interval.low <= 0.2 <= interval.high
    assert 0.83 < held / 300 < 0.95


def test_few_recordings_draw_everything_there_is_to_draw() -> None:
    errors, totals = np.array([0.0, 3.0, 1.0]), np.array([10.0, 10.0, 20.0])
    rates = sorted(
        sum(errors[at] for at in drawn) / sum(totals[at] for at in drawn)
        for drawn in product(range(3), repeat=3)
    )
    interval = bootstrap_interval(errors, totals)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((rates[0], rates[-1]))  # each 1 in 27, over 2.5 %
    assert bootstrap_interval(errors[:1], totals[:1]) is None


def test_a_resample_of_silence_has_the_ders_conventions() -> None:
    # two of three recordings are silent, one of them with false alarms
    interval = bootstrap_interval(np.array([0.0, 2.0, 1.0]), np.array([0.0, 0.0, 10.0]))
    assert interval is not None
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_the_permutation_test_of_few_recordings_is_exact() -> None:
    a, b = np.array([5.0, 4, 6, 1]), np.array([3.0, 3, 3, 2])
    comparison = compare_paired(a, b, np.full(4, 10.0))
    assert comparison is not None
    d = a - b
    as_large = [abs(np.dot(signs, d)) >= abs(d.sum()) for signs in product((1, -1), repeat=4)]
    assert comparison.p_value == sum(as_large) / 16
    assert comparison.is_exact
    assert comparison.difference == pytest.approx(5 / 40)


def test_the_permutation_test_of_many_is_scipys(recordings: tuple[np.ndarray, np.ndarray]) -> None:
    errors, totals = recordings
    others = errors + np.random.default_rng(8).normal(1.5, 8, size=len(errors))
    comparison = compare_paired(errors, others, totals, resamples=20_000)
    expected = stats.permutation_test(
        (errors, others),
        lambda a, b, axis: (a - b).sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    )
    assert comparison is not None
    assert not comparison.is_exact
    assert 0.001 < expected.pvalue < 0.3
    assert comparison.p_value == pytest.approx(expected.pvalue, abs=0.02)
    assert comparison.difference == pytest.approx((errors.sum() - others.sum()) / totals.sum())
    assert comparison.interval.low < comparison.difference < comparison.interval.high


def test_pairing_shows_what_two_intervals_hide(recordings: tuple[np.ndarray, np.ndarray]) -> None:
    errors, totals = recordings
    better = 0.95 * errors  # everywhere
    comparison = compare_paired(errors, better, totals)
    assert comparison is not None
    assert comparison.interval.low > 0
    assert comparison.p_value == pytest.approx(1 / 10_001)
    apart = [bootstrap_interval(side, totals) for side in (errors, better)]
    assert apart[0] is not None
    assert apart[1] is not None
    assert apart[0].low < apart[1].high
    swapped = compare_paired(better, errors, totals)
    assert swapped is not None
    assert swapped.interval.low == pytest.approx(-comparison.interval.high)


def test_equal_systems_do_not_differ(recordings: tuple[np.ndarray, np.ndarray]) -> None:
    errors, totals = recordings
    comparison = compare_paired(errors, errors, totals)
    assert comparison is not None
    assert (comparison.difference, comparison.p_value) == (0, 1)
    assert (comparison.interval.low, comparison.interval.high) == (0, 0)
    assert compare_paired(errors[:1], errors[:1], totals[:1]) is None
    assert compare_paired(errors, errors, np.zeros_like(totals)) is None


def test_a_seed_decides_and_the_size_of_chunks_does_not_matter(
    recordings: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    errors, totals = recordings
    once = bootstrap_interval(errors, totals, resamples=500, seed=7)
    assert bootstrap_interval(errors, totals, resamples=500, seed=7) == once
    assert bootstrap_interval(errors, totals, resamples=500, seed=8) != once
    paired = compare_paired(errors, errors[::-1], totals, resamples=500, seed=7)
    monkeypatch.setattr(bootstrap, "_CELLS", 1000)
    assert bootstrap_interval(errors, totals, resamples=500, seed=7) == once
    assert compare_paired(errors, errors[::-1], totals, resamples=500, seed=7) == paired
