"""Scores of pairs of speakers by PLDA and AS-norm, a block of rows at a time, and what they say.

Shapes: N speakers, B of them in a block, P pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sdpn.verification.back_end import BackEnd
from sdpn.verification.trial_scores import cohort_statistics

#: Scores in a block: 64 MiB of float32.
_CELLS = 1 << 24

#: Pairs that the mixture is fitted to, at least, where there are more; and rounds of EM.
_PAIRS, _ROUNDS = 20_000_000, 200
#: Their scores are counted in bins: the lowest, their width and number.
_LEAST, _WIDTH, _BINS = -20.0, 0.01, 8000

#: Prior of the two distributions, and how many pairs it counts for. Strangers: AS-norm is made so that their
#: scores are about 0 with a deviation of 1. The same person: measured on conversations of training speakers
#: (docs/linking.md).
_STRANGERS, _SAME, _PRIOR_PAIRS = (0.0, 1.0), (5.0, 1.5), 20.0
#: Quantile that says how wide the upper tail of strangers is.
_TAIL = 0.95
#: Least difference of their means, in deviations of strangers.
_APART = 2.0


class PairScores:
    """Normalised scores of N speakers with each other.

    Args:
        emb_ND: their embeddings.
        back_end: of the model that computed them.
    """

    def __init__(self, emb_ND: np.ndarray, back_end: BackEnd) -> None:
        similarity = back_end.similarity(emb_ND)
        means_N, deviations_N = cohort_statistics(similarity, back_end.cohort, top=back_end.top)
        self._features_NF = similarity.features_NF.astype(np.float32)
        self._offsets_N = similarity.offsets_N.astype(np.float32)
        self._share_N = (0.5 / deviations_N).astype(np.float32)
        self._mean_N = (0.5 * means_N / deviations_N).astype(np.float32)

    def __len__(self) -> int:
        """N."""
        return len(self._features_NF)

    def between(self, rows: np.ndarray | slice, columns: np.ndarray | slice) -> np.ndarray:
        """Scores of some with others, float32."""
        raw = self._features_NF[rows] @ self._features_NF[columns].T
        raw += self._offsets_N[rows][:, None]
        raw += self._offsets_N[columns]
        raw *= self._share_N[rows][:, None] + self._share_N[columns]
        raw -= self._mean_N[rows][:, None]
        raw -= self._mean_N[columns]
        return raw

    def of_pairs(self, first_P: np.ndarray, second_P: np.ndarray) -> np.ndarray:
        """Scores of pairs, (P,)."""
        raw_P = np.einsum("pf,pf->p", self._features_NF[first_P], self._features_NF[second_P])
        raw_P += self._offsets_N[first_P] + self._offsets_N[second_P]
        raw_P *= self._share_N[first_P] + self._share_N[second_P]
        scores_P: np.ndarray = raw_P - self._mean_N[first_P] - self._mean_N[second_P]
        return scores_P

    def blocks(self, start: int = 0, *, num_rows: int | None = None) -> Iterator[tuple[int, int]]:
        """First row and the one after the last of each block of the N, or of so many, from a row on."""
        rows = max(1, _CELLS // max(len(self), 1))
        end = len(self) if num_rows is None else num_rows
        for first in range(start, end, rows):
            yield first, min(first + rows, end)


@dataclass(frozen=True, kw_only=True)
class ScoreModel:
    """Scores as a mixture of two normal distributions: of strangers, and of one person.

    Attributes:
        strangers: mean and standard deviation; the latter is that of the upper tail.
        same: the same of pairs of one person.
        share: of the pairs of one person among all.
    """

    strangers: tuple[float, float]
    same: tuple[float, float]
    share: float

    def log_ratio(self, scores: np.ndarray) -> np.ndarray:
        """Log-likelihood ratio, same person to strangers; it does not fall again where scores are extreme."""

        def log_density(mean: float, deviation: float, scores: np.ndarray) -> np.ndarray:
            density: np.ndarray = -0.5 * ((scores - mean) / deviation) ** 2 - np.log(deviation)
            return density

        # beyond both means one of the two tails would win by its width alone
        within = np.clip(scores, self.strangers[0] - self.strangers[1], self.same[0] + self.same[1])
        ratio: np.ndarray = log_density(*self.same, within) - log_density(*self.strangers, within)
        return ratio

    def posterior(self, scores: np.ndarray) -> np.ndarray:
        """Probability that a pair is one person."""
        from scipy.special import expit

        chance: np.ndarray = expit(self.log_ratio(scores) + np.log(self.share / (1 - self.share)))
        return chance

    @property
    def threshold(self) -> float:
        """The score at which the F1 of pairs is highest, as the mixture has it.

        There, the probability of one person is half of that F1 (Lipton, Elkan and Naryanaswamy, "Optimal
        thresholding of classifiers to maximize F1 measure", ECML 2014), less than a half.
        """
        from scipy.stats import norm

        scores = np.linspace(self.strangers[0], self.same[0] + self.same[1], 2001)
        right = self.share * norm.sf(scores, *self.same)
        wrong = (1 - self.share) * norm.sf(scores, *self.strangers)
        return float(scores[(2 * right / (right + wrong + self.share)).argmax()])


def fit_scores(scores: PairScores, recording_N: np.ndarray, *, seed: int = 0) -> ScoreModel:
    """Fit the mixture to an archive, without labels.

    Two speakers of one recording are two people, which gives the distribution of strangers in the archive's
    own rooms and microphones. That of one person is what pairs of different recordings have besides. Both
    have a prior, which decides in small archives.

    Args:
        scores: of the speakers.
        recording_N: index of the recording of each.
        seed: of the speakers who are drawn from large archives.
    """
    rng = np.random.default_rng(seed)
    known_P = _of_one_recording(scores, recording_N, rng)
    open_P, times_P = _of_different_recordings(scores, recording_N, rng)
    both_P = np.concatenate([known_P, open_P])
    order_P = np.argsort(both_P)
    strangers, same = _STRANGERS, _SAME
    share = min(0.3, 2.0 / max(len(scores), 8))
    model = ScoreModel(strangers=strangers, same=same, share=share)
    for _ in range(_ROUNDS if len(open_P) else 0):
        chance_P = model.posterior(open_P)
        of_strangers_P = np.concatenate([np.ones(len(known_P)), times_P * (1 - chance_P)])
        mean, _ = _moments(both_P, of_strangers_P, _STRANGERS)
        # what decides is the upper tail, and these scores are skewed
        strangers = mean, _tail_deviation(both_P[order_P], of_strangers_P[order_P], mean)
        same = _moments(open_P, times_P * chance_P, _SAME)
        same = (max(same[0], strangers[0] + _APART * strangers[1]), same[1])
        found = float(times_P @ chance_P)
        share = float(np.clip((found + 1) / (times_P.sum() + 2 / max(share, 1e-9)), 1e-9, 0.9))
        before, model = model, ScoreModel(strangers=strangers, same=same, share=share)
        if np.allclose(
            [*before.strangers, *before.same, before.share], [*strangers, *same, share], rtol=1e-6
        ):
            break
    return model


def _of_different_recordings(
    scores: PairScores, recording_N: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Scores that pairs of different recordings have, (P,), and how many have each.

    In a large archive these are the pairs of some speakers with all others: few pairs are one person's (two
    of N), so that many have to be looked at.
    """
    num = len(scores)
    drawn = np.arange(num)
    if num * num > _PAIRS:
        drawn = np.sort(rng.choice(num, size=max(_PAIRS // num, 1), replace=False))
    times = np.zeros(_BINS, dtype=np.int64)
    for first, last in scores.blocks(num_rows=len(drawn)):
        rows = drawn[first:last]
        apart = recording_N[rows][:, None] != recording_N
        if len(drawn) == num:
            apart &= rows[:, None] < np.arange(num)
        places = np.clip((scores.between(rows, slice(None))[apart] - _LEAST) / _WIDTH, 0, _BINS - 1)
        times += np.bincount(places.astype(np.int64), minlength=_BINS)
    used = np.flatnonzero(times)
    return _LEAST + _WIDTH * (used + 0.5), times[used].astype(np.float64)


def _of_one_recording(scores: PairScores, recording_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Scores of pairs of speakers of one recording: each with one other one, drawn."""
    order = np.lexsort((rng.random(len(recording_N)), recording_N))
    neighbours = recording_N[order[1:]] == recording_N[order[:-1]]
    return scores.of_pairs(order[:-1][neighbours], order[1:][neighbours]).astype(np.float64)


def _tail_deviation(scores_P: np.ndarray, weights_P: np.ndarray, mean: float) -> float:
    """Standard deviation of the normal distribution that has a mean and the quantile `_TAIL` of scores.

    Args:
        scores_P: of strangers, in ascending order.
        weights_P: how many pairs have each.
        mean: of them.
    """
    from scipy.special import ndtri

    until_P = np.cumsum(weights_P)
    place = min(int(np.searchsorted(until_P, _TAIL * until_P[-1])), len(scores_P) - 1)
    deviation = max(float(scores_P[place]) - mean, 0.0) / float(ndtri(_TAIL))
    total = float(until_P[-1])
    square = total * deviation**2 + _PRIOR_PAIRS * _STRANGERS[1] ** 2
    return float(np.sqrt(square / (total + _PRIOR_PAIRS)))


def _moments(scores_P: np.ndarray, weights_P: np.ndarray, prior: tuple[float, float]) -> tuple[float, float]:
    """Mean and standard deviation with a prior."""
    total = float(weights_P.sum()) + _PRIOR_PAIRS
    mean = (float(weights_P @ scores_P) + _PRIOR_PAIRS * prior[0]) / total
    square = float(weights_P @ (scores_P - mean) ** 2)
    square += _PRIOR_PAIRS * (prior[1] ** 2 + (prior[0] - mean) ** 2)
    return mean, float(np.sqrt(square / total))
