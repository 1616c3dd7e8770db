"""Scores of verification trials by a bilinear similarity (cosine, PLDA), and their normalisation.

Shapes: M utterances, N trials, C cohort utterances, F features of a similarity.
"""

from __future__ import annotations

import numpy as np

from sdpn.verification.similarity import Similarity

#: Trials scored at once: two gathered matrices of this many rows roughly fit into the processor's cache.
_TRIALS = 8192

#: Numbers in a block of similarities to the cohort: 32 MiB.
_CELLS = 1 << 22


def score_trials(utterances: Similarity, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Similarity of the two utterances of each trial.

    Args:
        utterances: the similarity of the M utterances.
        first: index of the first utterance of each trial, integer (N,).
        second: that of the second.

    Returns:
        float64 (N,).
    """
    features, offsets = utterances.features_NF, utterances.offsets_N
    scores = np.empty(len(first))
    for start in range(0, len(first), _TRIALS):
        block = slice(start, start + _TRIALS)
        np.einsum("nf,nf->n", features[first[block]], features[second[block]], out=scores[block])
    scores += offsets[first] + offsets[second]
    return scores


def cohort_statistics(
    utterances: Similarity, cohort: Similarity, *, top: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each utterance's highest similarities to a cohort.

    Args:
        utterances: the similarity of the M utterances.
        cohort: the same similarity of the C cohort utterances.
        top: how many of the highest, at most C.

    Returns:
        mean (M,) and standard deviation (M,), float64.
    """
    means, deviations = np.empty(len(utterances)), np.empty(len(utterances))
    rows = max(1, _CELLS // len(cohort))
    for start in range(0, len(utterances), rows):
        block = slice(start, start + rows)
        # the offset of the utterance is constant in its row and added at the end
        similarity = utterances.features_NF[block] @ cohort.features_NF.T + cohort.offsets_N
        if top < len(cohort):
            similarity.partition(len(cohort) - top, axis=1)
        highest = similarity[:, len(cohort) - top :]
        means[block] = highest.mean(axis=1) + utterances.offsets_N[block]
        deviations[block] = highest.std(axis=1)
    return means, deviations


def as_norm(
    scores: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    means: np.ndarray,
    deviations: np.ndarray,
) -> np.ndarray:
    """Adaptive symmetric normalisation: a score in standard deviations of cohort scores.

    The mean of (s - mean) / deviation over both utterances, with statistics against their most similar cohort
    utterances (AS-norm1).
    Source: Matějka et al., "Analysis of score normalization in multilingual speaker recognition",
    Interspeech 2017.

    Args:
        scores: (N,), of `score_trials`.
        first: index of the first utterance of each trial, integer (N,).
        second: that of the second.
        means: (M,), of `cohort_statistics`.
        deviations: the same, none of them 0.

    Returns:
        float64 (N,).
    """
    normalised: np.ndarray = 0.5 * (
        (scores - means[first]) / deviations[first] + (scores - means[second]) / deviations[second]
    )
    return normalised
