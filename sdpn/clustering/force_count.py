"""Bring a clustering to the requested number of speakers, and remove speakers with few windows.

Shapes: N windows, D embedding dimensions.
"""

from __future__ import annotations

import logging

import numpy as np

from sdpn.clustering.base import Clusterer, Clustering, by_first_appearance
from sdpn.clustering.merging import Merging
from sdpn.clustering.recording_model import fit_recording
from sdpn.verification.similarity import Similarity, cosine

logger = logging.getLogger(__name__)


def with_admissible_count(
    labels_N: np.ndarray,
    emb_ND: np.ndarray,
    times_N2: np.ndarray | None,
    *,
    low: int,
    high: int,
    method: str,
) -> Clustering:
    """Merge speakers down to ``high``, or divide them up to ``low``, if there are more or fewer; logged.

    Both by the evidence of `sdpn.clustering.merging`. Speakers who are too many are merged, those that are
    least probably two first. Where there are too few, everything is divided into the clusters that `Merging`
    starts from, and those are merged until as many are left as are required: which speaker has to be divided,
    and where, is decided by all of the recording. Then VBx assigns the windows, and whoever it finds
    nothing for gets a single one (`sdpn.clustering.unheard`).

    Args:
        labels_N: any labels.
        emb_ND: embeddings of the windows.
        times_N2: their times, or None.
        low: smallest admissible number.
        high: largest.
        method: name of the clusterer, for the log.
    """
    labels_N = by_first_appearance(labels_N)
    count = int(labels_N.max()) + 1
    if low <= count <= high:
        return Clustering(labels_N)
    merging, model = Merging(), fit_recording(cosine(emb_ND), times_N2)
    if count > high:
        logger.info("%s: found %d speakers, at most %d are allowed: merging by evidence", method, count, high)
    else:
        logger.info("%s: found %d speakers, at least %d are needed: dividing by evidence", method, count, low)
        parts_N = merging.start_labels(emb_ND, model, low)
        labels_N = by_first_appearance(labels_N * (int(parts_N.max()) + 1) + parts_N)
    levels = merging.levels_from(labels_N, emb_ND, times_N2, model)
    count = min(max(count, low), high)
    posteriors_NK, unheard = merging.settled(model, times_N2, levels, count, low)
    return Clustering(posteriors_NK.argmax(axis=1), posteriors_NK, unheard=unheard)


def at_given_number(
    clusterer: Clusterer, emb_ND: np.ndarray, times_N2: np.ndarray | None, number: int, *, method: str
) -> Clustering:
    """The clusterer's own estimate, brought to a given number of speakers by evidence.

    For methods whose partition into a given number (k-means of so many eigenvectors, say) is worse on average
    than the one into the number they estimate: somebody who speaks much is divided, and two others share.

    Args:
        clusterer: the method.
        emb_ND: embeddings of the windows.
        times_N2: their times, or None.
        number: of speakers.
        method: name of the clusterer, for the log.
    """
    free = clusterer._fit(emb_ND, times_N2, 1, len(emb_ND))
    return with_admissible_count(free.labels_N, emb_ND, times_N2, low=number, high=number, method=method)


def without_minor(labels_N: np.ndarray, similarity: Similarity, *, min_windows: int, low: int) -> np.ndarray:
    """Merge speakers with too few windows into others, the smallest first.

    The whole speaker is merged into the one whose windows are most similar on average.

    Args:
        labels_N: any labels.
        similarity: of the windows.
        min_windows: minimum number of windows per speaker.
        low: minimum number of speakers to keep.
    """
    labels_N = by_first_appearance(labels_N)
    while (sizes_K := np.bincount(labels_N)).min() < min_windows and len(sizes_K) > low:
        speakers_KK = similarity.means(labels_N, np.ones(len(labels_N))).matrix()
        minor = int(sizes_K.argmin())
        speakers_KK[minor, minor] = -np.inf
        labels_N = np.where(labels_N == minor, speakers_KK[minor].argmax(), labels_N)
        labels_N = by_first_appearance(labels_N)
    return labels_N
