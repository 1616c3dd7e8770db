"""How similar strangers are: the distribution of scores of different speakers, without speaker labels.

Pairs of utterances of one corpus are more similar than pairs of a mixture of corpora: most of the latter also
differ in language, age, room and microphone. Whoever compares two recordings of one kind is told the share of
strangers *of one kind* that are as similar; of several corpora, that with the most similar strangers counts.

A corpus also holds pairs of one speaker, unknown which. They lie in the upper tail, so only the quantiles up
to 0.9 are taken from the pairs; those above are extrapolated by the normal distribution through the median
and the quantile 0.9.

Shapes: N utterances, C cohort utterances, Q quantiles.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from sdpn.verification.similarity import Similarity
from sdpn.verification.trial_scores import as_norm, cohort_statistics, score_trials

#: Pairs of utterances of each corpus.
_PAIRS = 200_000
#: Number of quantiles: thousandths.
_QUANTILES = 1001
#: Where the normal tail begins, and the probability that stands for 1.
_TAIL, _LAST = 0.9, 0.9999
#: Fewest utterances of a corpus for quantiles of its own.
_FEWEST = 30


def stranger_quantiles(
    utterances: Similarity,
    cohort: Similarity,
    *,
    top: int,
    rng: np.random.Generator,
    corpora_N: np.ndarray | None = None,
    classes_N: np.ndarray | None = None,
) -> np.ndarray:
    """Quantiles 0, 1/(Q-1), …, 1 of the scores of strangers of one corpus, float32 (Q,), ascending.

    Args:
        utterances: N, none of them in the cohort.
        cohort: normalises their scores.
        top: number of most similar cohort members that AS-norm uses.
        rng: draws the pairs.
        corpora_N: corpus of each utterance; None: all are of one. Corpora of few utterances are left out,
            unless all are.
        classes_N: speaker of each utterance as far as known; pairs of one are left out.
    """
    means, deviations = cohort_statistics(utterances, cohort, top=top)
    corpora_N = np.zeros(len(utterances), dtype=np.int64) if corpora_N is None else corpora_N
    members = [np.flatnonzero(corpora_N == corpus) for corpus in np.unique(corpora_N)]
    large = [rows for rows in members if len(rows) >= _FEWEST]
    quantiles = []
    for rows in large or [np.arange(len(utterances))]:
        first = rng.integers(len(rows), size=_PAIRS)
        second = rows[(first + rng.integers(1, len(rows), size=_PAIRS)) % len(rows)]
        first = rows[first]
        if classes_N is not None:
            strangers = classes_N[first] != classes_N[second]
            first, second = first[strangers], second[strangers]
        if len(first):
            scores = score_trials(utterances, first, second)
            quantiles.append(_with_normal_tail(as_norm(scores, first, second, means, deviations)))
    result: np.ndarray = np.max(quantiles, axis=0).astype(np.float32)
    return result


def normalising_half(cohort_CD: np.ndarray, num_recorded: int, top: int) -> tuple[np.ndarray, int]:
    """The half of a cohort that normalises all utterances outside it, so that none is in its own cohort.

    Args:
        cohort_CD: ``num_recorded`` utterances, then degraded copies of them, if any.
        num_recorded: number of the utterances.
        top: as in `BackEnd`, for the whole cohort.

    Returns:
        the second half of the utterances with their copies, and half of ``top``, which are equally similar.
    """
    second_half = np.arange(len(cohort_CD)) % num_recorded >= num_recorded // 2
    return cohort_CD[second_half], max(2, top // 2)


def _with_normal_tail(scores: np.ndarray) -> np.ndarray:
    places = np.linspace(0, 1, _QUANTILES)
    quantiles = np.quantile(scores, places)
    median, high = np.quantile(scores, [0.5, _TAIL])
    above = places > _TAIL
    tail = norm.ppf(np.minimum(places[above], _LAST)) / norm.ppf(_TAIL)
    quantiles[above] = median + (high - median) * tail
    return quantiles
