"""What one speaker's windows have in common, from the windows of a recording that touch.

Two windows that follow each other within a second and share no samples are nearly always of one speaker:
their similarity is the similarity within a speaker, whatever the network, the room or the telephone did to
the level of all similarities. The mixture of `sdpn.clustering.two_gaussians` has to find it among all pairs,
which fails where both Gaussians overlap: over a telephone it took most pairs for one speaker's.

Shapes: N windows, D embedding dimensions, P pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sdpn.clustering.two_gaussians import evenly_spaced, fit_to_pairs, of_pairs
from sdpn.verification.similarity import Similarity

#: Windows whose gap is at most this, in seconds, touch; rounding may make them overlap a little.
_MAX_GAP_S, _ROUNDING_S = 1.0, 0.05

#: Fewest touching pairs to estimate from.
_MIN_PAIRS = 5

#: Smallest difference of the similarity within and between speakers.
_MIN_DIFFERENCE = 0.1

#: Prior: the speaker's share of the variance, (within - between) / (1 - between), and the share of all pairs
#: that it counts for. Over two networks, three corpora, close, far and over a telephone, the former was 0.25
#: to 0.52. With one speaker, the lower Gaussian describes part of him: only the prior knows how far a second
#: one would be.
_SPEAKER_SHARE, _PRIOR_WEIGHT = 0.38, 0.03

#: Windows whose pairs are used, evenly spaced, and bins of their similarities.
_MAX_WINDOWS, _BINS, _ITERATIONS = 2000, 1000, 60
#: Cosines that lie this close to their middle are of one sound, again and again.
_ALIKE = 5e-4


@dataclass(frozen=True, eq=False)
class RecordingModel:
    """Windows as x = y + e with isotropic covariances, of speakers y and windows e.

    Attributes:
        within: mean cosine of two windows of one speaker.
        between: mean cosine of two windows of different speakers.
        x_ND: windows less their mean, scaled to a variance within speakers of 1 in each dimension.
        phi: variance between speakers in each dimension.
        noise: variance within speakers before that scaling, all dimensions together.
    """

    within: float
    between: float
    x_ND: np.ndarray
    phi: float
    noise: float


def fit_recording(windows: Similarity, times_N2: np.ndarray | None) -> RecordingModel:
    """Estimate the model.

    For unit-length embeddings x = m + y + e, the mean cosine is |m|² between two speakers and |m|² + tr B
    within one, and tr B + tr W = 1 - |m|².

    Args:
        windows: their cosine, at least two.
        times_N2: start and end in seconds, in chronological order. None, or too few windows that touch: the
            mixture of two Gaussians is used.
    """
    rows_ND = windows.features_NF
    touching_P = np.zeros(0) if times_N2 is None else touching_similarities(rows_ND, np.asarray(times_N2))
    if len(touching_P) < _MIN_PAIRS:
        fit = fit_to_pairs(windows, iterations=200)
        within, between = fit.high_mean, (fit.low_mean + usual_between(fit.high_mean)) / 2
    else:
        within = float(np.median(touching_P))
        spread = 1.4826 * float(np.median(np.abs(touching_P - within)))
        between = _lower_mean(windows, within, max(spread, 0.01))
    between = min(between, within - _MIN_DIFFERENCE)
    noise = max(1.0 - within, 1e-6)
    centred_ND = rows_ND - rows_ND.mean(axis=0)
    scale = np.sqrt(centred_ND.shape[1] / noise)
    return RecordingModel(within, between, centred_ND * scale, (within - between) / noise, noise)


def usual_between(within: float) -> float:
    """Mean cosine of two speakers that the prior expects."""
    return (within - _SPEAKER_SHARE) / (1.0 - _SPEAKER_SHARE)


def touching_similarities(rows_ND: np.ndarray, times_N2: np.ndarray) -> np.ndarray:
    """Cosines (P,) of windows that touch without overlapping, of rows of length 1 in chronological order."""
    found = [np.zeros(0)]
    for step in range(1, len(rows_ND)):
        gaps_s = times_N2[step:, 0] - times_N2[:-step, 1]
        if not (gaps_s < _MAX_GAP_S).any():
            break
        (touch,) = np.nonzero((gaps_s > -_ROUNDING_S) & (gaps_s < _MAX_GAP_S))
        found.append(np.einsum("pd,pd->p", rows_ND[touch + step], rows_ND[touch]))
    return np.concatenate(found)


def _lower_mean(windows: Similarity, within: float, spread: float) -> float:
    """Mean of the lower of two Gaussians over all pairs, by EM with a prior; the rest is known."""
    from scipy.special import expit

    scores_P = of_pairs(windows[evenly_spaced(len(windows), _MAX_WINDOWS)].matrix())
    middle = float(scores_P.min() + scores_P.max()) / 2
    alike = float(np.ptp(scores_P)) < 2 * _ALIKE  # rounding would leave bins without width
    counts_B, edges = np.histogram(
        scores_P, bins=_BINS, range=(middle - _ALIKE, middle + _ALIKE) if alike else None
    )
    scores_B = (edges[1:] + edges[:-1]) / 2
    variance = min(spread**2, max(float(scores_P.var()), 1e-8))
    usual, prior = usual_between(within), _PRIOR_WEIGHT * counts_B.sum()
    lower, weight = min(usual, within - 2 * float(scores_P.std())), 0.3
    for _ in range(_ITERATIONS):
        log_odds_B = ((scores_B - lower) ** 2 - (scores_B - within) ** 2) / (2 * variance)
        upper_B = expit(log_odds_B + np.log(weight / (1 - weight)))
        rest_B = counts_B * (1 - upper_B)
        weight = float(np.clip((counts_B @ upper_B) / counts_B.sum(), 1e-3, 1 - 1e-3))
        lower = float((rest_B @ scores_B + prior * usual) / (rest_B.sum() + prior))
    return lower
