"""Merging by evidence: from many clusters down to one, with a posterior over the number of speakers.

Shapes: N windows, D embedding dimensions, K speakers, M levels.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sdpn.clustering.agglomerative import Agglomerative
from sdpn.clustering.base import Clusterer, Clustering
from sdpn.clustering.recording_model import RecordingModel, fit_recording
from sdpn.clustering.vbx import forward_backward
from sdpn.verification.similarity import cosine

logger = logging.getLogger(__name__)

#: Loss of evidence that counts as little, in nats, and the dimension for which it is given.
_LITTLE, _DIMENSIONS = 5.0, 192

#: Speakers' means do not become more certain than those of 1 / _SESSION independent windows: whatever else
#: changes in a long recording is no new speaker. Without it, one reader of ten minutes was twelve speakers.
_SESSION = 0.1

#: Levels are refined whenever the number of speakers has fallen by this share.
_FALLEN = 0.1


@dataclass(frozen=True, eq=False)
class Level:
    """A number of speakers on the way from many to one.

    Attributes:
        labels_N: speaker of each window, 0..K-1.
        loss: evidence in nats that is lost by merging the two speakers who are merged next; 0 at one.
        distance: of these two: 0 if the mean cosine between them is that within a speaker, 1 if it is that
            between two speakers.
    """

    labels_N: np.ndarray
    loss: float
    distance: float


@dataclass(frozen=True, kw_only=True)
class Merging(Clusterer):
    """Agglomerative clustering by the evidence for speakers, with a posterior over their number.

    1. The similarity within a speaker is that of windows that touch (`sdpn.clustering.recording_model`).
    2. AHC starts with more clusters than there are speakers.
    3. The two clusters are merged whose merging costs least evidence: the log-likelihood ratio of two
       speakers and one, under Gaussian speakers and windows. After merges, windows are assigned anew. So
       there is a clustering for every number of speakers down to one.
    4. Each step from K-1 to K speakers has log odds, linear in log(1 + loss) and the distance of the two;
       their sums are the log posterior of the number (`STEP_ODDS`, fitted to conversations of training
       speakers).
       Its median among the admissible numbers is taken, since the most probable number is more often too low
       than too high. A given number is a level like any other.
    5. A hidden Markov model assigns the windows to the speakers of that level; without times, windows are
       independent.

    Attributes:
        independence: information of a window relative to an independent one; windows overlap by half, and
            what is said lasts longer than a window.
        start: AHC's threshold, from 0 at the similarity between speakers to 1 at that within one.
        loop_prob: probability of staying with the same speaker in the next window.
        iterations: how often windows are assigned anew after a merge.
        prior_odds: added to the log odds of each further speaker; above 0 for more speakers.
        max_start: maximum number of initial clusters.
        exact_windows: maximum number of windows for AHC without coarsening.
    """

    independence: float = 0.25
    start: float = 0.8
    loop_prob: float = 0.9
    iterations: int = 2
    prior_odds: float = 0.0
    max_start: int = 100
    exact_windows: int = 5000

    def __post_init__(self) -> None:
        if not 0.0 < self.independence <= 1.0:
            raise ValueError(f"independence is {self.independence}; expected a share in (0, 1]")
        if not 0.0 <= self.start <= 1.0:
            raise ValueError(f"start is {self.start}; expected 0 to 1")
        if not 0.0 <= self.loop_prob < 1.0:
            raise ValueError(f"loop_prob is {self.loop_prob}; expected a probability below 1")
        if not -10.0 <= self.prior_odds <= 10.0:
            raise ValueError(f"prior_odds is {self.prior_odds}; expected -10 to 10")
        for name, least in (("iterations", 0), ("max_start", 1), ("exact_windows", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least {least}")

    def _fit(self, emb_ND: np.ndarray, times_N2: np.ndarray | None, low: int, high: int) -> Clustering:
        model = fit_recording(cosine(emb_ND), times_N2)
        loop_N = np.full(len(emb_ND), 0.0 if times_N2 is None else self.loop_prob)
        levels = self.levels(emb_ND, model, loop_N, low)
        posterior_K = count_posterior(levels, self.prior_odds, model.x_ND.shape[1])
        admissible_K = np.where(np.arange(1, len(posterior_K) + 1) >= low, posterior_K, 0.0)
        admissible_K[high:] = 0.0
        if not admissible_K.sum() > 0.0:  # all of it underflowed
            admissible_K[low - 1 : high] = 1.0
        admissible_K /= admissible_K.sum()
        count = 1 + int((admissible_K.cumsum() < 0.5).sum())
        logger.info(
            "merging: %d speakers, probability %.2f (cosine within a speaker %.2f, between two %.2f)",
            count,
            admissible_K[count - 1],
            model.within,
            model.between,
        )
        posteriors_NK = self._refine(model, np.eye(count)[levels[count].labels_N], loop_N)
        return Clustering(posteriors_NK.argmax(axis=1), posteriors_NK, count_posterior_K=admissible_K)

    def levels(
        self, emb_ND: np.ndarray, model: RecordingModel, loop_N: np.ndarray, low: int = 1
    ) -> Mapping[int, Level]:
        """The clustering for every number of speakers from 1 to that of AHC, at least ``low``.

        Args:
            emb_ND: embeddings.
            model: of the recording.
            loop_N: probability of staying with the same speaker from the window before. Ignored beyond
                ``exact_windows``, where a chain for every level would take long.
            low: least number of speakers that AHC starts from.
        """
        if len(emb_ND) > self.exact_windows:
            loop_N = np.zeros(len(emb_ND))
        threshold = model.between + self.start * (model.within - model.between)
        ahc = Agglomerative(threshold=float(np.clip(threshold, -1.0, 1.0)), exact_windows=self.exact_windows)
        most = max(self.max_start, low)
        labels_N = ahc.fit_predict(emb_ND, min_speakers=low, max_speakers=most).labels_N
        unit_ND = cosine(emb_ND).features_NF
        posteriors_NK = np.eye(int(labels_N.max()) + 1)[labels_N]
        levels: dict[int, Level] = {}
        refined_at = np.inf
        while (num := posteriors_NK.shape[1]) > 1:
            if num <= refined_at * (1.0 - _FALLEN) or num <= 1 / _FALLEN:
                posteriors_NK, refined_at = self._refine(model, posteriors_NK, loop_N), num
            sizes_K = posteriors_NK.sum(axis=0)
            sums_KD = posteriors_NK.T @ model.x_ND
            kept, gone = self._cheapest(sizes_K, sums_KD, model.phi)
            ends = posteriors_NK[:, [kept, gone]].T @ unit_ND
            levels[num] = Level(
                posteriors_NK.argmax(axis=1),
                self._loss(sizes_K[[kept, gone]], sums_KD[[kept, gone]], model.phi),
                (model.within - float(ends[0] @ ends[1]) / float(sizes_K[kept] * sizes_K[gone]))
                / (model.within - model.between),
            )
            posteriors_NK[:, kept] += posteriors_NK[:, gone]
            posteriors_NK = np.delete(posteriors_NK, gone, axis=1)
        levels[1] = Level(np.zeros(len(emb_ND), dtype=np.int64), 0.0, 0.0)
        return levels

    def _refine(self, model: RecordingModel, posteriors_NK: np.ndarray, loop_N: np.ndarray) -> np.ndarray:
        """Assign the windows to the speakers anew, as long as every speaker keeps one."""
        for _ in range(self.iterations if posteriors_NK.shape[1] > 1 else 0):
            log_p_NK, pi_K = self._log_likelihoods(model, posteriors_NK)
            again_NK = _posteriors(log_p_NK, pi_K, loop_N)
            if len(np.unique(again_NK.argmax(axis=1))) < posteriors_NK.shape[1]:
                break
            posteriors_NK = again_NK
        return posteriors_NK

    def _log_likelihoods(
        self, model: RecordingModel, posteriors_NK: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Expected log-likelihoods (N, K) of the windows, up to a constant of each, and priors (K,)."""
        sizes_K = posteriors_NK.sum(axis=0)
        variance_K1 = 1.0 / (1.0 + self.independence * sizes_K * model.phi)[:, None]
        mean_KD = self.independence * variance_K1 * (posteriors_NK.T @ model.x_ND) * model.phi
        log_p_NK = model.x_ND @ mean_KD.T
        log_p_NK -= 0.5 * ((mean_KD**2).sum(axis=1) + mean_KD.shape[1] * model.phi * variance_K1[:, 0])
        pi_K = np.maximum(sizes_K, 0.5)
        return self.independence * log_p_NK, pi_K / pi_K.sum()

    def _cheapest(self, sizes_K: np.ndarray, sums_KD: np.ndarray, phi: float) -> tuple[int, int]:
        """The two speakers whose merging loses least evidence, if all windows count alike."""
        counts_K, share = self.independence * sizes_K, self.independence**2
        squares_K = (sums_KD**2).sum(axis=1)
        joint_KK = squares_K[:, None] + squares_K + 2.0 * sums_KD @ sums_KD.T
        alone_K = _evidence(counts_K, share * squares_K, phi, sums_KD.shape[1])
        together_KK = _evidence(counts_K[:, None] + counts_K, share * joint_KK, phi, sums_KD.shape[1])
        loss_KK = alone_K[:, None] + alone_K - together_KK
        np.fill_diagonal(loss_KK, np.inf)
        first, second = np.unravel_index(int(loss_KK.argmin()), loss_KK.shape)
        return int(min(first, second)), int(max(first, second))

    def _loss(self, sizes_2: np.ndarray, sums_2D: np.ndarray, phi: float) -> float:
        """Evidence that merging two speakers loses, with what a session adds to it."""
        counts_2 = self.independence * sizes_2
        counts_2 = counts_2 / (1.0 + _SESSION * counts_2)
        sums_2D = sums_2D / sizes_2[:, None] * counts_2[:, None]
        alone_2 = _evidence(counts_2, (sums_2D**2).sum(axis=1), phi, sums_2D.shape[1])
        both = float((sums_2D.sum(axis=0) ** 2).sum())
        together = _evidence(counts_2.sum(), both, phi, sums_2D.shape[1])
        return float(alone_2.sum() - together)


def _posteriors(log_p_NK: np.ndarray, pi_K: np.ndarray, loop_N: np.ndarray) -> np.ndarray:
    """Posteriors (N, K) of a chain that stays with probability ``loop_N``; of independent windows at 0."""
    from scipy.special import softmax

    if not loop_N.any():
        independent_NK: np.ndarray = softmax(log_p_NK + np.log(pi_K), axis=1)
        return independent_NK
    posteriors_NK, _, _ = forward_backward(log_p_NK, pi_K, loop_N)
    return posteriors_NK / posteriors_NK.sum(axis=1, keepdims=True)


def _evidence(counts: np.ndarray, squares: np.ndarray | float, phi: float, dimensions: int) -> np.ndarray:
    """Log marginal likelihood of windows of one speaker, up to terms that no partition changes.

    Args:
        counts: effective number of windows.
        squares: squared length of their sum.
        phi: variance between speakers in each dimension; that within is 1.
        dimensions: D.
    """
    evidence: np.ndarray = 0.5 * phi * squares / (1.0 + counts * phi)
    return evidence - 0.5 * dimensions * np.log1p(counts * phi)


@dataclass(frozen=True)
class StepOdds:
    """Log odds of K against K-1 speakers, linear in the features of the two speakers who are merged.

    Attributes:
        constant: of every step.
        loss: slope in the loss of evidence, on a logarithmic scale.
        distance: slope in the distance.
        second: added to the step from one speaker to two.
    """

    constant: float
    loss: float
    distance: float
    second: float

    def __call__(self, num: int, level: Level, dimensions: int) -> float:
        """Of the step to this level of ``num`` speakers."""
        constant, loss, distance, second = step_features(num, level, dimensions)
        return self.constant * constant + self.loss * loss + self.distance * distance + self.second * second


#: Fitted by maximum likelihood to two embeddings together (docs/clustering.md, tools/benchmarks/counting.py).
STEP_ODDS = StepOdds(constant=-0.134, loss=0.971, distance=0.641, second=-3.0)


def step_features(num: int, level: Level, dimensions: int) -> tuple[float, float, float, float]:
    """What `StepOdds` is linear in, in the order of its attributes.

    Args:
        num: number of speakers of the level, at least 2.
        level: the level.
        dimensions: D. The loss grows with it although the directions in which speakers differ do not.
    """
    loss = level.loss * _DIMENSIONS / dimensions
    return (
        1.0,
        float(np.sign(loss) * np.log1p(abs(loss) / _LITTLE)),
        float(np.clip(level.distance, -0.5, 1.5)),
        float(num == 2),
    )


def count_posterior(levels: Mapping[int, Level], prior_odds: float, dimensions: int) -> np.ndarray:
    """Posterior probabilities of 1, 2, ... speakers.

    Args:
        levels: from `Merging.levels`.
        prior_odds: added to each step.
        dimensions: D.
    """
    from scipy.special import softmax

    steps = [STEP_ODDS(num, levels[num], dimensions) + prior_odds for num in range(2, max(levels) + 1)]
    posterior_K: np.ndarray = softmax(np.concatenate([[0.0], np.cumsum(steps)]))
    return posterior_K
