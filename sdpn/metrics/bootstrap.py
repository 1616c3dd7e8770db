"""Bootstrap intervals of totals over recordings, and the paired comparison of two systems.

A total is a sum of errors divided by a sum of scored amounts. Recordings are resampled, since errors within a
recording are correlated. In each resample the components are summed and then divided, as for the total
itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Maximum size of a (resamples, recordings) block: 32 MiB of counts.
_CELLS = 1 << 22


@dataclass(frozen=True)
class Interval:
    """A percentile interval.

    Attributes:
        low: its lower end.
        high: its upper end.
        confidence: confidence level, as a fraction.
    """

    low: float
    high: float
    confidence: float


@dataclass(frozen=True)
class PairedComparison:
    """Two systems on the same recordings.

    Attributes:
        difference: rate of the first minus that of the second; positive if the second is better.
        interval: of the difference.
        p_value: two-sided p-value of the difference.
        is_exact: whether all exchanges were enumerated, instead of a random sample.
    """

    difference: float
    interval: Interval
    p_value: float
    is_exact: bool


def bootstrap_interval(
    errors: np.ndarray,
    totals: np.ndarray,
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval | None:
    """Percentile bootstrap of ``sum(errors) / sum(totals)`` over recordings.

    Source: Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation",
    ICASSP 2004.

    Args:
        errors: (N,), one per recording.
        totals: (N,), not negative.
        resamples: number of bootstrap resamples.
        confidence: confidence level of the interval.
        seed: random seed.

    Returns:
        the interval; None for fewer than two recordings. A resample with a zero denominator counts as 0
        without errors and as 1 otherwise, as for a DER.
    """
    if len(errors) < 2:
        return None
    sums = _resampled_sums(np.stack([errors, totals], axis=1), resamples, seed)
    return percentile_interval(_rates(sums[:, 0], sums[:, 1]), confidence)


def compare_paired(
    errors_a: np.ndarray,
    errors_b: np.ndarray,
    totals: np.ndarray,
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> PairedComparison | None:
    """Compare two systems on the same recordings.

    The interval is a paired bootstrap: each resample has the same recordings for both. The p-value is that of
    a permutation test: under the null hypothesis that the two systems are equal, their results can be
    exchanged in any recording. All 2^N exchanges are enumerated if they are no more than ``resamples``;
    otherwise a random sample is used, to which the observed one is added so that p is never 0.
    Source: Noreen, "Computer-Intensive Methods for Testing Hypotheses", 1989, chapter 2.

    Args:
        errors_a: (N,), of the first system.
        errors_b: (N,), of the second.
        totals: (N,), the same for both.
        resamples: of the bootstrap, and of the permutation test.
        confidence: confidence level of the interval.
        seed: random seed.

    Returns:
        the comparison; None for fewer than two recordings, or if the total is zero.
    """
    if len(totals) < 2 or not totals.sum():
        return None
    sums = _resampled_sums(np.stack([errors_a, errors_b, totals], axis=1), resamples, seed)
    differences = _rates(sums[:, 0], sums[:, 2]) - _rates(sums[:, 1], sums[:, 2])
    p_value, is_exact = _sign_flip_p(errors_a - errors_b, resamples, seed)
    return PairedComparison(
        difference=float((errors_a.sum() - errors_b.sum()) / totals.sum()),
        interval=percentile_interval(differences, confidence),
        p_value=p_value,
        is_exact=is_exact,
    )


def _resampled_sums(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Sums over N rows drawn with replacement from ``values`` (N, K), as (resamples, K)."""
    rng = np.random.default_rng(seed)
    num = len(values)
    chunk = max(1, _CELLS // num)
    shares = np.full(num, 1 / num)
    return np.concatenate(
        [
            rng.multinomial(num, shares, size=min(chunk, resamples - start)) @ values
            for start in range(0, resamples, chunk)
        ]
    )


def _rates(errors: np.ndarray, totals: np.ndarray) -> np.ndarray:
    return np.where(totals > 0, errors / np.where(totals > 0, totals, 1), errors > 0)


def percentile_interval(values: np.ndarray, confidence: float) -> Interval:
    """The middle ``confidence`` of resampled values (B,); equal tails are cut off on both sides."""
    outside = (1 - confidence) / 2
    low, high = np.quantile(values, [outside, 1 - outside])
    return Interval(float(low), float(high), confidence)


def _sign_flip_p(differences: np.ndarray, resamples: int, seed: int) -> tuple[float, bool]:
    """Two-sided p-value of the sum of ``differences`` under random signs, and whether all were enumerated."""
    observed = abs(differences.sum())
    as_large = observed - 1e-9 * np.abs(differences).sum()  # equal but for rounding is as large
    num = len(differences)
    if num < 63 and 1 << num <= resamples:
        flips = (np.arange(1 << num)[:, None] >> np.arange(num)) & 1
        return float((np.abs((1 - 2 * flips) @ differences) >= as_large).mean()), True
    rng = np.random.default_rng(seed)
    hits = 0
    chunk = max(1, _CELLS // num)
    for start in range(0, resamples, chunk):
        signs = 1 - 2 * rng.integers(0, 2, size=(min(chunk, resamples - start), num), dtype=np.int8)
        hits += int((np.abs(signs @ differences) >= as_large).sum())
    return (hits + 1) / (resamples + 1), False
