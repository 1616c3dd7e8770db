"""The posterior of the number of speakers, calibrated: what is given 0.8 is right in eight of ten recordings.

The posterior of `sdpn.clustering.merging` decides how many speakers are looked for, and is not sure enough
of it: its steps are fitted one by one. Here its logarithm is one of several terms of the log odds of each
number; the others are whether, and how far, it is the number that was found in the end, and how well the
recording tells voices apart. The weights were fitted by maximum likelihood to simulated conversations of
training speakers in fifteen conditions, with several encoders (docs/confidence.md,
tools/benchmarks/confidence.py), and change no number that is found.

Shapes: K numbers of speakers, T terms.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class CountEvidence(NamedTuple):
    """What a recording says about its number of speakers.

    Attributes:
        posterior_K: probabilities of 1, 2, ... speakers, not calibrated; 0 where a number is not admissible.
        found: the number of speakers that the windows have in the end.
        contrast: similarity within a speaker less that between two (`sdpn.clustering.recording_model`).
        windows: number of windows, in those of usual overlap.
    """

    posterior_K: np.ndarray
    found: int
    contrast: float
    windows: float


#: What the log odds of a number are linear in, see `count_terms`.
TERMS = (
    "posterior",
    "posterior by contrast",
    "posterior by length",
    "found",
    "found by contrast",
    "found by length",
    "found by number",
    "more",
    "fewer",
)

#: Their weights.
COUNT_ODDS = np.array([0.8785, 0.1172, 0.1927, 0.0008636, -0.03714, -0.7309, 0.1392, -1.53, 1.458])

#: Usual contrast and its spread; usual logarithm of the number of windows.
_CONTRAST, _SPREAD, _LENGTH = 0.35, 0.1, 5.0


def count_terms(evidence: CountEvidence) -> np.ndarray:
    """Terms (K, T) of the log odds of 1, 2, ... speakers."""
    number_K = np.arange(1, len(evidence.posterior_K) + 1)
    log_K = np.log(np.maximum(evidence.posterior_K, 1e-300))
    contrast = float(np.clip((evidence.contrast - _CONTRAST) / _SPREAD, -3.0, 3.0))
    length = float(np.clip(np.log(max(evidence.windows, 1.0)) - _LENGTH, -3.0, 3.0))
    is_found_K = (number_K == evidence.found).astype(np.float64)
    apart_K = np.log(number_K / evidence.found)
    return np.stack(
        [
            log_K,
            log_K * contrast,
            log_K * length,
            is_found_K,
            is_found_K * contrast,
            is_found_K * length,
            is_found_K * np.log(evidence.found),
            np.maximum(apart_K, 0.0),
            np.maximum(-apart_K, 0.0),
        ],
        axis=1,
    )


def calibrated_counts(evidence: CountEvidence, odds_T: np.ndarray = COUNT_ODDS) -> np.ndarray:
    """Calibrated probabilities (K,) of 1, 2, ... speakers, 0 where a number is not admissible.

    Args:
        evidence: of a recording.
        odds_T: weights of the terms.
    """
    from scipy.special import softmax

    log_odds_K = np.where(evidence.posterior_K > 0.0, count_terms(evidence) @ odds_T, -np.inf)
    chances_K: np.ndarray = softmax(log_odds_K)
    return chances_K
