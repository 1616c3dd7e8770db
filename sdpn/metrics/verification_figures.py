"""All figures of scored trials at once: EER with its interval, minDCF, Cllr."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sdpn.metrics.bootstrap import Interval
from sdpn.metrics.eer_interval import eer_interval_over_speakers, eer_interval_over_trials
from sdpn.metrics.verification import ErrorRates, cllr, equal_error_rate, error_rates, min_cllr, min_dcf


@dataclass(frozen=True, kw_only=True, eq=False)
class VerificationFigures:
    """How good scores are.

    Attributes:
        eer: equal error rate, a fraction.
        threshold: score at which both error rates are equal.
        interval: confidence interval of the EER.
        min_dcf_001: minimum detection cost at a prior of 0.01, both costs 1, normalised.
        min_dcf_005: the same at 0.05.
        cllr: cost of the scores as log-likelihood ratios, in bits.
        min_cllr: the same after optimal calibration.
        rates: both error rates at every threshold.
    """

    eer: float
    threshold: float
    interval: Interval
    min_dcf_001: float
    min_dcf_005: float
    cllr: float
    min_cllr: float
    rates: ErrorRates


def verification_figures(
    scores: np.ndarray,
    is_target: np.ndarray,
    *,
    speakers: tuple[np.ndarray, np.ndarray] | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> VerificationFigures:
    """Measure scores of trials.

    Args:
        scores: (N,), higher for more similar speakers.
        is_target: bool (N,).
        speakers: number of the speaker on either side of each trial, integer (N,) each: the bootstrap
            then resamples speakers instead of trials.
        resamples: of the bootstrap.
        confidence: share of the resamples that the interval holds.
        seed: of the bootstrap.

    Raises:
        ValueError: as `sdpn.metrics.verification.error_rates`.
    """
    rates = error_rates(scores, is_target)
    eer, threshold = equal_error_rate(rates)
    options: dict[str, Any] = {"resamples": resamples, "confidence": confidence, "seed": seed}
    if speakers is None:
        interval = eer_interval_over_trials(scores, is_target, **options)
    else:
        interval = eer_interval_over_speakers(scores, is_target, *speakers, **options)
    return VerificationFigures(
        eer=eer,
        threshold=threshold,
        interval=interval,
        min_dcf_001=min_dcf(rates, 0.01),
        min_dcf_005=min_dcf(rates, 0.05),
        cllr=cllr(scores, is_target),
        min_cllr=min_cllr(rates),
        rates=rates,
    )
