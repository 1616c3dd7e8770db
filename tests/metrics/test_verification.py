"""sdpn.metrics.verification: by hand, against sklearn and theory, and at the size of VoxCeleb."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_curve

from sdpn.metrics.verification import cllr, equal_error_rate, error_rates, min_cllr, min_dcf


def eer(targets: list[float], nontargets: list[float]) -> tuple[float, float]:
    scores = np.array(targets + nontargets)
    return equal_error_rate(error_rates(scores, np.arange(len(scores)) < len(targets)))


def random_trials(seed: int, *, num: int = 2000, decimals: int = 9) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    is_target = rng.random(num) < 0.2
    return np.round(rng.normal(size=num) + 1.5 * is_target, decimals), is_target


def test_the_rates_at_every_threshold_by_hand() -> None:
    rates = error_rates(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False]))
    assert rates.thresholds.tolist() == [0.1, 0.5, 0.9, np.inf]
    assert rates.miss.tolist() == [0.0, 0.0, 0.5, 1.0]
    assert rates.false_alarm.tolist() == [1.0, 0.5, 0.0, 0.0]


@pytest.mark.parametrize(
    ("targets", "nontargets", "rate", "threshold"),
    [
        ([2, 3], [0, 1], 0.0, 2.0),  # apart
        ([0, 1], [2, 3], 1.0, 2.0),  # upside down
        ([1, 1, 1], [1, 1], 0.5, 1.0),  # all alike: from (0, 1) straight to (1, 0)
        ([0, 2, 3, 4], [-1, 0.5, 1, 2.5], 0.25, 2.0),  # at 2: one of four misses, one of four false alarms
        ([1, 2], [0, 1, 1], 2 / 7, 11 / 7),  # 4/7 of the way from (0, 2/3) at 1 to (1/2, 0) at 2
    ],
)
def test_equal_error_rate_by_hand(
    targets: list[float], nontargets: list[float], rate: float, threshold: float
) -> None:
    assert eer(targets, nontargets) == pytest.approx((rate, threshold))


@pytest.mark.parametrize("decimals", [9, 1, 0])  # none, many and hardly anything but ties
@pytest.mark.parametrize("seed", range(3))
def test_equal_error_rate_against_sklearn(seed: int, decimals: int) -> None:
    scores, is_target = random_trials(seed, decimals=decimals)
    false_alarm, hit, _ = roc_curve(is_target, scores, drop_intermediate=False)
    expected = np.interp(0.0, false_alarm - (1 - hit), false_alarm)
    assert equal_error_rate(error_rates(scores, is_target))[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("p_target", [0.01, 0.05, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_min_dcf_against_sklearn(seed: int, p_target: float) -> None:
    scores, is_target = random_trials(seed, decimals=2)
    false_alarm, hit, _ = roc_curve(is_target, scores, drop_intermediate=False)
    cost = p_target * (1 - hit) + (1 - p_target) * false_alarm
    expected = cost.min() / min(p_target, 1 - p_target)
    assert min_dcf(error_rates(scores, is_target), p_target) == pytest.approx(expected, rel=1e-12)


def test_min_dcf_by_hand() -> None:
    # at the threshold 2: one of two targets missed, no false alarm; at 0.5: none missed, one false alarm of 4
    rates = error_rates(np.array([2.0, 0.5, 1.0, 0, 0, 0]), np.array([1, 1, 0, 0, 0, 0], dtype=bool))
    assert min_dcf(rates, 0.01) == pytest.approx(0.5)  # 0.01 * 0.5 / 0.01, cheaper than 0.99 / 4 / 0.01
    assert min_dcf(rates, 0.9) == pytest.approx(0.25)  # 0.1 / 4 / 0.1
    assert min_dcf(rates, 0.5, cost_miss=1, cost_false_alarm=10) == pytest.approx(0.5)


def test_scores_as_large_as_numbers_get() -> None:
    """Their differences and sums are not finite, the results are: by hand."""
    scores = 1.5e308 * np.array([-1, -1, 1, -1, 1])
    is_target = np.array([True, True, True, False, False])
    # misses 0 and 2/3, false alarms 1 and 1/2 at the two scores: the lines cross after 6/7 of the way
    assert equal_error_rate(error_rates(scores, is_target)) == pytest.approx((4 / 7, 1.5e308 * (5 / 7)))
    assert cllr(scores, is_target) == pytest.approx((2 / 3 + 1 / 2) / 2 / math.log(2) * 1.5e308, rel=1e-12)
    assert 0 < min_cllr(error_rates(scores, is_target)) <= 1


def test_perfect_is_zero_and_useless_is_one() -> None:
    apart = error_rates(np.array([1.0, 0.0]), np.array([True, False]))
    assert min_dcf(apart, 0.01) == 0
    upside_down = error_rates(np.array([0.0, 1.0]), np.array([True, False]))
    assert min_dcf(upside_down, 0.01) == 1
    assert min_dcf(upside_down, 0.99) == 1


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_trials_and_the_scale_of_scores_do_not_matter(seed: int) -> None:
    scores, is_target = random_trials(seed, decimals=1)
    shuffled = np.random.default_rng(seed).permutation(len(scores))
    expected = error_rates(scores, is_target)
    for other in (
        error_rates(scores[shuffled], is_target[shuffled]),
        error_rates(np.exp(scores), is_target),
        error_rates(-scores, ~is_target),  # misses and false alarms change places
    ):
        assert equal_error_rate(other)[0] == pytest.approx(equal_error_rate(expected)[0], abs=1e-12)


def test_a_million_trials_are_as_good_as_their_distribution() -> None:
    rng = np.random.default_rng(0)
    is_target = np.arange(1_000_000) % 2 == 0
    scores = (rng.normal(size=1_000_000) + 2.0 * is_target).astype(np.float32)
    rate, threshold = equal_error_rate(error_rates(scores, is_target))
    assert rate == pytest.approx(0.158655, abs=1e-3)  # Phi(-1)
    assert threshold == pytest.approx(1.0, abs=1e-2)


@pytest.mark.parametrize(
    ("scores", "is_target", "message"),
    [
        ([1.0, 2.0], [True, True], "2 target and 0 non-target"),
        ([1.0, 2.0], [False, False], "0 target and 2 non-target"),
        ([], [], "0 target and 0 non-target"),
        ([1.0, np.nan], [True, False], "must be finite"),
        ([1.0], [True, False], "vectors of equal length"),
    ],
)
def test_trials_that_cannot_be_scored_are_refused(
    scores: list[float], is_target: list[bool], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        error_rates(np.array(scores), np.array(is_target, dtype=bool))
    apart = error_rates(np.array([1.0, 0.0]), np.array([True, False]))
    with pytest.raises(ValueError, match="p_target"):
        min_dcf(apart, 1.0)


def test_cllr_by_hand() -> None:
    is_target = np.array([True, True, False])
    assert cllr(np.zeros(3), is_target) == pytest.approx(1)  # uninformative
    # a target with ratio 3 costs log2(1 + 1/3), one with 1/3 log2(1 + 3), a non-target with 1/7 log2(1 + 1/7)
    scores = np.log([3, 1 / 3, 1 / 7])
    expected = ((math.log2(4 / 3) + math.log2(4)) / 2 + math.log2(8 / 7)) / 2
    assert cllr(scores, is_target) == pytest.approx(expected)
    # certain and wrong: the cost is the score itself, in bits, without an overflow
    assert cllr(np.array([-5000.0, 0, 0]), is_target) == pytest.approx(((5000 / math.log(2) + 1) / 2 + 1) / 2)


def test_calibrated_scores_have_the_theoretical_cost() -> None:
    # log-likelihood ratios of two normals with the same variance are normal: N(±m, 2m)
    mean = 4.0
    rng = np.random.default_rng(0)
    is_target = np.arange(400_000) % 2 == 0
    scores = rng.normal(np.where(is_target, mean, -mean), math.sqrt(2 * mean))
    expected, _ = integrate.quad(
        lambda s: stats.norm.pdf(s, mean, math.sqrt(2 * mean)) * np.logaddexp(0, -s) / math.log(2), -40, 60
    )
    assert cllr(scores, is_target) == pytest.approx(expected, rel=0.01)
    # they cannot be calibrated any better
    assert min_cllr(error_rates(scores, is_target)) == pytest.approx(expected, rel=0.01)
    # worse scores cost more, calibrated anew they cost the same
    worse = 3 * scores + 7
    assert cllr(worse, is_target) > 2 * expected
    assert min_cllr(error_rates(worse, is_target)) == pytest.approx(
        min_cllr(error_rates(scores, is_target)), rel=1e-9
    )


@pytest.mark.parametrize("decimals", [9, 1, 0])
def test_min_cllr_against_an_isotonic_fit_of_single_trials(decimals: int) -> None:
    scores, is_target = random_trials(4, decimals=decimals)
    weight = np.where(is_target, 1 / is_target.sum(), 1 / (~is_target).sum())
    fit = IsotonicRegression().fit(scores, is_target.astype(float), sample_weight=weight)
    posterior = fit.predict(scores)
    with np.errstate(divide="ignore"):
        ratios = np.log(posterior) - np.log(1 - posterior)
    assert min_cllr(error_rates(scores, is_target)) == pytest.approx(cllr(ratios, is_target), abs=1e-9)


def test_min_cllr_of_the_perfect_and_the_useless() -> None:
    assert min_cllr(error_rates(np.array([1.0, 0.0]), np.array([True, False]))) == 0
    assert min_cllr(error_rates(np.array([0.0, 1.0]), np.array([True, False]))) == pytest.approx(1)
    assert min_cllr(error_rates(np.array([1.0, 1.0, 1.0]), np.array([True, False, True]))) == pytest.approx(1)
