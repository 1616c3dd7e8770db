"""Speakers who are required, but have no window of their own.

Whoever says little, or only while others speak, cannot be found: a given number of speakers may be more than
a recording lets hear. To divide somebody for such a speaker costs half of what that one says. To give the
speaker one window, the one that is most his own, costs a second at most, and may be right.

Shapes: N windows, D embedding dimensions, K speakers.
"""

from __future__ import annotations

import numpy as np


def unheard_warning(unheard: int, num_speakers: int) -> str:
    """What a user should know about required speakers of a single window."""
    who = "1 of them has" if unheard == 1 else f"{unheard} of them have"
    return (
        f"{num_speakers} speakers are required, and only {num_speakers - unheard} are heard apart: {who} "
        f"a single window, the most likely one"
    )


def among(posteriors_NK: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    """Posteriors of some speakers as those of the speakers of labels, with the most windows in common.

    Args:
        posteriors_NK: probability of each speaker in each window.
        labels_N: other speakers 0..M-1 of the windows, at least as many.

    Returns:
        the columns in the order of the labels, (N, M); 0 for whoever is none of them.
    """
    from scipy.optimize import linear_sum_assignment

    shared_KM = np.zeros((posteriors_NK.shape[1], int(labels_N.max()) + 1))
    np.add.at(shared_KM, (posteriors_NK.argmax(axis=1), labels_N), 1.0)
    rows, columns = linear_sum_assignment(shared_KM, maximize=True)
    among_NM = np.zeros((len(labels_N), shared_KM.shape[1]))
    among_NM[:, columns] = posteriors_NK[:, rows]
    return among_NM


def with_required(
    posteriors_NK: np.ndarray, labels_N: np.ndarray, rows_ND: np.ndarray, low: int
) -> tuple[np.ndarray, int]:
    """Drop the speakers without a window, but for as many as are required: each of those gets one window.

    The window is, of those that the speaker started with, the one most similar to all of them; nobody loses
    his only one for it. Those who started with most windows are required first.

    Args:
        posteriors_NK: probability of each speaker in each window.
        labels_N: the speakers from which the posteriors were computed, each of 0..K-1 with a window.
        rows_ND: the windows, so that similar ones have a large dot product.
        low: smallest number of speakers, at most K and at most N.

    Returns:
        posteriors (N, at least ``low``) with a window of every speaker, rows adding to 1; how many of the
        speakers were only required.
    """
    num = posteriors_NK.shape[1]
    found_N = posteriors_NK.argmax(axis=1)
    used_K = np.bincount(found_N, minlength=num) > 0
    by_size = np.argsort(-np.bincount(labels_N, minlength=num), kind="stable")
    required = [int(speaker) for speaker in by_size if not used_K[speaker]][: max(low - int(used_K.sum()), 0)]
    posteriors_NK = posteriors_NK.copy()
    for speaker in required:
        free_N = np.bincount(found_N, minlength=num)[found_N] > 1
        own_N = free_N & (labels_N == speaker)
        (places,) = np.nonzero(own_N if own_N.any() else free_N)
        mean_D = rows_ND[labels_N == speaker].mean(axis=0)
        place = places[(rows_ND[places] @ mean_D).argmax()]
        found_N[place] = speaker
        posteriors_NK[place] = np.eye(num)[speaker]
    posteriors_NK = posteriors_NK[:, np.unique(found_N)]
    return posteriors_NK / posteriors_NK.sum(axis=1, keepdims=True), len(required)
