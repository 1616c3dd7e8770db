"""Enforce the requested number of speakers where a method's own estimate differs.

Shapes: M points (windows, or means of windows).
"""

from __future__ import annotations

import logging

import numpy as np

from sdpn.clustering.base import by_first_appearance
from sdpn.clustering.coarsen import coarsen
from sdpn.clustering.linkage import components, cut_tree, merge_tree, ward_distances
from sdpn.verification.similarity import Similarity

logger = logging.getLogger(__name__)

#: Windows of a speaker up to which the tree that splits this speaker is exact.
_TREE_POINTS = 2000


def with_admissible_count(
    labels_M: np.ndarray, similarity: Similarity, weights_M: np.ndarray, *, low: int, high: int, method: str
) -> np.ndarray:
    """Merge speakers down to ``high``, or split them up to ``low``, if there are more or fewer.

    The pair whose windows are most similar on average is merged; the speaker whose division in two reduces
    the sum of squares most is split. Both are logged.

    Args:
        labels_M: any labels.
        similarity: similarity of the points; splitting uses its features.
        weights_M: windows per point.
        low: smallest admissible number.
        high: largest.
        method: name of the clusterer, for the log.
    """
    labels_M = by_first_appearance(labels_M)
    count = int(labels_M.max()) + 1
    if count > high:
        logger.info(
            "%s: found %d speakers, at most %d are allowed: merging the most similar", method, count, high
        )
        speakers = similarity.means(labels_M, weights_M)
        edges, _ = merge_tree(-speakers.matrix(), np.bincount(labels_M, weights_M), "average")
        return cut_tree(edges, high)[labels_M]
    if count < low:
        logger.info(
            "%s: found %d speakers, at least %d are required: splitting the most spread out",
            method,
            count,
            low,
        )
        return _split(labels_M, similarity, weights_M, low, method)
    return labels_M


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


def _split(
    labels_M: np.ndarray, similarity: Similarity, weights_M: np.ndarray, num: int, method: str
) -> np.ndarray:
    """Undo the costliest merges in the Ward trees of the individual speakers."""
    edges, heights, place_M, num_places = [], [], np.zeros_like(labels_M), 0
    for speaker in range(int(labels_M.max()) + 1):
        (members,) = np.nonzero(labels_M == speaker)
        points = coarsen(
            similarity[members], limit=max(_TREE_POINTS, num), method=method, weights_N=weights_M[members]
        )
        distance = ward_distances(points.similarity.features_NF, points.weights_M)
        tree, height = merge_tree(distance, points.weights_M, "ward")
        edges.append(num_places + tree)
        heights.append(height)
        place_M[members] = num_places + points.point_N
        num_places += len(points.weights_M)
    kept = np.argsort(np.concatenate(heights), kind="stable")[: num_places - num]
    return components(np.concatenate(edges)[kept], num_places)[place_M]
