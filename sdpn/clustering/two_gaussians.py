"""Two Gaussians fitted to similarities: an unsupervised same-speaker threshold.

Shapes: P pairs, N windows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sdpn.verification.similarity import Similarity

#: Maximum number of windows whose pairs are used; two million pairs determine the parameters well.
_MAX_WINDOWS = 2000


@dataclass(frozen=True)
class TwoGaussians:
    """A mixture of two Gaussians with one variance: pairs of different speakers, and of the same.

    Attributes:
        low_mean: mean of the lower one.
        high_mean: mean of the upper one.
        variance: of both; 0 if all scores are equal.
        high_weight: share of the upper one.
    """

    low_mean: float
    high_mean: float
    variance: float
    high_weight: float

    @property
    def threshold(self) -> float:
        """The score at which both are equally probable."""
        middle = (self.low_mean + self.high_mean) / 2
        if self.variance == 0.0:
            return middle
        log_odds = np.log(self.high_weight / (1.0 - self.high_weight))
        return float(middle - log_odds * self.variance / (self.high_mean - self.low_mean))


def fit_two_gaussians(scores_P: np.ndarray, *, iterations: int = 20) -> TwoGaussians:
    """Fit the mixture by expectation-maximisation, starting one standard deviation around the mean.

    This is the unsupervised calibration of scores in the published VBx recipe (Landini et al.,
    arXiv 2012.14952); the method is that of Brümmer and Garcia-Romero (Odyssey 2014) with two Gaussians.

    Args:
        scores_P: similarities, at least one.
        iterations: maximum number of EM iterations. The recipe uses 20. With many speakers, few pairs
            are of the same speaker, and the upper Gaussian converges more slowly.
    """
    from scipy.special import expit

    mean, spread = float(scores_P.mean()), float(scores_P.std())
    if spread <= 1e-9 * max(abs(mean), 1.0):  # only rounding errors
        return TwoGaussians(mean, mean, 0.0, 0.5)
    scores_P = scores_P - mean  # centred first, or squares would cancel
    mean_square = spread**2
    fit = TwoGaussians(-spread, spread, mean_square, 0.5)
    for _ in range(iterations):
        slope = (fit.high_mean - fit.low_mean) / fit.variance
        high_P = expit(slope * (scores_P - fit.threshold))  # responsibility of the upper Gaussian
        weight = float(high_P.mean())
        if not 0.0 < weight < 1.0:
            break
        high = float((high_P @ scores_P) / len(scores_P))
        low_mean, high_mean = -high / (1.0 - weight), high / weight
        variance = mean_square - weight * high_mean**2 - (1.0 - weight) * low_mean**2
        if not (variance > 0.0 and high_mean > low_mean):  # no variance around the means
            break
        moved = abs(variance - fit.variance)
        fit = TwoGaussians(low_mean, high_mean, variance, weight)
        if moved <= 1e-9 * variance:
            break
    return replace(fit, low_mean=fit.low_mean + mean, high_mean=fit.high_mean + mean)


def evenly_spaced(num: int, most: int) -> slice | np.ndarray:
    """Which of so many rows to take: all, or ``most`` evenly spaced ones if there are more."""
    return slice(None) if num <= most else np.linspace(0, num - 1, most).astype(np.int64)


def fit_to_pairs(similarity: Similarity, *, iterations: int = 20) -> TwoGaussians:
    """Fit the mixture to all pairs of windows, or of 2,000 evenly spaced ones if there are more."""
    similarity = similarity[evenly_spaced(len(similarity), _MAX_WINDOWS)]
    return fit_two_gaussians(of_pairs(similarity.matrix()), iterations=iterations)


def of_pairs(matrix_NN: np.ndarray) -> np.ndarray:
    """The values of a symmetric matrix for all pairs (N (N - 1) / 2,), row after row.

    As `scipy.spatial.distance.squareform`, whose import takes longer than diarizing a minute of audio.
    """
    above_NN = np.triu(np.ones(matrix_NN.shape, dtype=bool), 1)
    pairs_P: np.ndarray = matrix_NN[above_NN]
    return pairs_P
