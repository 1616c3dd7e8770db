"""Bootstrap confidence intervals of an equal error rate, over speakers or over trials.

Trials of one speaker are correlated: a difficult speaker is difficult in all of them. Where speakers are
known, they are resampled. Resampling trials assumes that these are independent, and gives intervals that are
too narrow if utterances or speakers occur in several trials.
"""

from __future__ import annotations

import numpy as np

from sdpn.metrics.bootstrap import Interval, percentile_interval
from sdpn.metrics.verification import ErrorRates, equal_error_rate, error_rates

#: Maximum number of thresholds. Between them both error rates are interpolated linearly.
_MAX_THRESHOLDS = 2048

#: Maximum size of a batch of resamples, in numbers: 128 MiB.
_CELLS = 1 << 24


def eer_interval_over_trials(
    scores: np.ndarray,
    is_target: np.ndarray,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of the EER; target and non-target trials are resampled separately.

    Args:
        scores: (N,).
        is_target: bool (N,).
        resamples: number of bootstrap resamples.
        confidence: confidence level of the interval.
        seed: random seed.

    Raises:
        ValueError: as `sdpn.metrics.verification.error_rates`.
    """
    thresholds = _thresholds(error_rates(scores, is_target))
    bins = np.searchsorted(thresholds, scores, side="right")
    rng = np.random.default_rng(seed)
    drawn = []
    for kind in (is_target, ~is_target):
        counts = np.bincount(bins[kind], minlength=len(thresholds))
        drawn.append(rng.multinomial(counts.sum(), counts / counts.sum(), size=resamples).T)
    return percentile_interval(_equal_error_rates(*drawn), confidence)


def eer_interval_over_speakers(
    scores: np.ndarray,
    is_target: np.ndarray,
    first_speaker: np.ndarray,
    second_speaker: np.ndarray,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of the EER that resamples speakers; see `resampled_eers` for method and arguments.

    Args:
        scores: (N,).
        is_target: bool (N,).
        first_speaker: (N,).
        second_speaker: (N,).
        resamples: number of bootstrap resamples.
        confidence: confidence level of the interval.
        seed: random seed.

    Raises:
        ValueError: as `resampled_eers`.
    """
    return percentile_interval(
        resampled_eers(scores, is_target, first_speaker, second_speaker, resamples=resamples, seed=seed),
        confidence,
    )


def resampled_eers(
    scores: np.ndarray,
    is_target: np.ndarray,
    first_speaker: np.ndarray,
    second_speaker: np.ndarray,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """EERs of resamples of the speakers; two systems with the same trials and seed have the same resamples.

    When speaker a is drawn m_a times, the speaker's target trials count m_a times and non-target trials
    between a and b count m_a m_b times: the bootstrap of a graph by its vertices. A resample without target
    or without non-target trials is discarded.
    Source: Fogliato, Patil and Perona, "Confidence intervals for error rates in 1:1 matching tasks",
    arXiv 2306.01198, on the vertex bootstrap.

    Args:
        scores: (N,).
        is_target: bool (N,).
        first_speaker: speaker of the first utterance of each trial, as integers from 0, (N,).
        second_speaker: that of the second; equal to the first in target trials, and only there.
        resamples: their number.
        seed: random seed.

    Returns:
        (R,); R is less than ``resamples`` where resamples were discarded.

    Raises:
        ValueError: as `sdpn.metrics.verification.error_rates`; or speakers and labels contradict each other.
    """
    from scipy.sparse import csr_array

    if not np.array_equal(first_speaker == second_speaker, is_target):
        raise ValueError("a trial must be a target trial if and only if both speakers are the same")
    thresholds = _thresholds(error_rates(scores, is_target))
    bins = np.searchsorted(thresholds, scores, side="right")
    num_speakers = int(max(first_speaker.max(), second_speaker.max())) + 1
    # trials of the same pair of speakers have the same weight
    pair_codes = np.minimum(first_speaker, second_speaker).astype(np.int64) * num_speakers
    pair_codes += np.maximum(first_speaker, second_speaker)
    codes, pairs = np.unique(pair_codes, return_inverse=True)
    low, high = np.divmod(codes, num_speakers)
    shape = (len(thresholds), len(codes))
    counts = [
        csr_array((np.ones(kind.sum()), (bins[kind], pairs[kind])), shape=shape)
        for kind in (is_target, ~is_target)
    ]
    rng = np.random.default_rng(seed)
    batch = max(1, min(resamples, _CELLS // (len(codes) + len(thresholds))))
    shares = np.full(num_speakers, 1 / num_speakers)
    rates = []
    for start in range(0, resamples, batch):
        times = rng.multinomial(num_speakers, shares, size=min(batch, resamples - start)).T.astype(np.float64)
        weights = times[low]
        weights[low != high] *= times[high[low != high]]
        rates.append(_equal_error_rates(*(count @ weights for count in counts)))
    return np.concatenate(rates)


def _thresholds(rates: ErrorRates) -> np.ndarray:
    """Thresholds from the lowest score to infinity, all of them or most of them around the EER."""
    num = len(rates.thresholds)
    if num <= _MAX_THRESHOLDS:
        return rates.thresholds
    gap = rates.miss - rates.false_alarm
    reach = 4 * max(equal_error_rate(rates)[0], 0.01)
    near = np.searchsorted(gap, [-reach, reach])
    half = _MAX_THRESHOLDS // 2
    chosen = [np.linspace(0, num - 1, half), np.linspace(near[0], min(near[1], num - 1), half)]
    return rates.thresholds[np.unique(np.concatenate(chosen).astype(np.int64))]


def _equal_error_rates(targets: np.ndarray, nontargets: np.ndarray) -> np.ndarray:
    """EER of each of B resamples, from its trials below each of K thresholds and above the one before.

    Args:
        targets: weight of the target trials, (K, B).
        nontargets: of the non-target trials, (K, B).

    Returns:
        (B,), or fewer where a resample lacks one of the two.
    """
    miss, rejected = np.cumsum(targets, axis=0), np.cumsum(nontargets, axis=0)
    complete = (miss[-1] > 0) & (rejected[-1] > 0)
    miss, rejected = miss[:, complete], rejected[:, complete]
    miss = miss / miss[-1]
    gap = miss - 1 + rejected / rejected[-1]  # miss less false alarms; ascends from -1 to 1
    columns = np.arange(miss.shape[1])
    after = np.argmax(gap >= 0, axis=0)
    before = after - 1
    part = gap[before, columns] / (gap[before, columns] - gap[after, columns])
    rates: np.ndarray = miss[before, columns] + part * (miss[after, columns] - miss[before, columns])
    return rates
