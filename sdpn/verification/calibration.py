"""Scores as log-likelihood ratios: a line, whose place and slope depend on how much speech was compared.

The longer two recordings are, the farther the scores of one speaker lie from those of two, and what is
scored in twenty seconds weighs more than the same score in two. Such quality measures enter calibration as
in Mandasari et al., "Quality measure functions for calibration of speaker recognition systems in various
duration conditions", IEEE TASLP 21, 2013, and Thienpondt et al., "The IDLab VoxSRC-20 submission", ICASSP
2021. Fitted by logistic regression at equal priors, as Brümmer and du Preez (2006) have it: what comes out
is a natural logarithm of a likelihood ratio.

Shapes: N trials, W weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sdpn.errors import InputError

#: Seconds for which a duration changes nothing, and the range beyond which it changes nothing further.
USUAL_S, _RANGE_S = 4.0, (1.0, 60.0)

#: What the weights belong to.
TERMS = ("constant", "score", "log shorter", "log longer", "score · log shorter")

#: Weight of the penalty on the terms of duration, in trials.
_PENALTY = 10.0


@dataclass(frozen=True, eq=False)
class Calibration:
    """Scores of a back end to log-likelihood ratios.

    Attributes:
        weights_W: of `TERMS`, float64.
    """

    weights_W: np.ndarray

    def __call__(self, scores: np.ndarray, seconds_N2: np.ndarray | None = None) -> np.ndarray:
        """Log-likelihood ratios (N,), "one speaker" to "two".

        Args:
            scores: of the back end, (N,).
            seconds_N2: length of both recordings of each trial; None takes the usual length.
        """
        ratios: np.ndarray = terms(scores, seconds_N2) @ self.weights_W
        return ratios


def terms(scores: np.ndarray, seconds_N2: np.ndarray | None) -> np.ndarray:
    """What the ratio is linear in, (N, W)."""
    scores = np.asarray(scores, dtype=np.float64)
    if seconds_N2 is None:
        seconds_N2 = np.full((len(scores), 2), USUAL_S)
    logs_N2 = np.log(np.clip(np.sort(seconds_N2, axis=1), *_RANGE_S) / USUAL_S)
    shorter_N, longer_N = logs_N2.T
    return np.stack([np.ones(len(scores)), scores, shorter_N, longer_N, scores * shorter_N], axis=1)


def fit_calibration(
    scores: np.ndarray, is_target: np.ndarray, seconds_N2: np.ndarray | None = None
) -> Calibration:
    """Fit to trials whose answer is known.

    Args:
        scores: of the back end, (N,).
        is_target: bool (N,).
        seconds_N2: length of both recordings of each trial; without, only the line is fitted.

    Raises:
        InputError: targets or non-targets are missing, or higher scores are not of one speaker.
    """
    from scipy.optimize import minimize

    is_target = np.asarray(is_target, dtype=bool)
    if is_target.all() or not is_target.any():
        raise InputError("calibration needs trials of one speaker and of two")
    terms_NW = terms(scores, seconds_N2)
    terms_NW[:, 2:] *= seconds_N2 is not None
    signs_N = np.where(is_target, 1.0, -1.0)
    weights_N = np.where(is_target, 0.5 / is_target.sum(), 0.5 / (~is_target).sum())
    penalty_W = _PENALTY / len(scores) * np.array([0.0, 0.0, 1.0, 1.0, 1.0])

    def cost(weights_W: np.ndarray) -> tuple[float, np.ndarray]:
        margins_N = signs_N * (terms_NW @ weights_W)
        shares_N = weights_N / (1.0 + np.exp(np.minimum(margins_N, 500.0)))
        value = float(weights_N @ np.logaddexp(0.0, -margins_N) + 0.5 * penalty_W @ weights_W**2)
        return value, penalty_W * weights_W - terms_NW.T @ (signs_N * shares_N)

    start_W = np.array([0.0, 1.0, 0.0, 0.0, 0.0])
    found_W: np.ndarray = minimize(cost, start_W, jac=True, method="L-BFGS-B").x
    if found_W[1] <= 0:
        raise InputError(
            "scores of one speaker are not higher than those of two: there is nothing to calibrate",
            hint="are the trials and the embeddings of the same utterances?",
        )
    if seconds_N2 is None:
        found_W[2:] = 0.0
    return Calibration(found_W)
