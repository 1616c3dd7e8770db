"""Long recordings without an N×N matrix: nearly identical windows become one weighted point.

Shapes: N windows, M points.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from sdpn.clustering.base import by_first_appearance
from sdpn.clustering.linkage import cut_tree, merge_tree
from sdpn.verification.similarity import Similarity

logger = logging.getLogger(__name__)

#: Rows per block, which are merged among themselves; their matrix takes 32 MB.
_BLOCK_ROWS = 2000

#: Reduction per pass; a larger one would have to merge dissimilar windows.
_SHRINK = 4


@dataclass(frozen=True, eq=False)
class Points:
    """The points that are clustered in place of the windows.

    Attributes:
        similarity: between the points, which are means over their windows.
        weights_M: number of windows that each represents.
        point_N: the point that represents each window.
    """

    similarity: Similarity
    weights_M: np.ndarray
    point_N: np.ndarray


def coarsen(windows: Similarity, *, limit: int, method: str, weights_N: np.ndarray | None = None) -> Points:
    """Keep every window as a point if there are at most ``limit``, otherwise merge windows.

    Blocks of neighbouring rows are merged by average linkage to a quarter of their size, and the outcome
    again, until few enough points are left. Since average linkage on a bilinear similarity needs only means
    and weights, these are merges that it could have made itself, in another order. Time is linear in N;
    memory is that of the rows and one block.

    Args:
        windows: their similarity.
        limit: largest number of points.
        method: name of the clusterer, for the log line about the approximation.
        weights_N: number of windows that each row already represents; None is 1.
    """
    ones_N = np.ones(len(windows)) if weights_N is None else weights_N
    points = Points(windows, ones_N, np.arange(len(windows)))
    while (num_points := len(points.similarity)) > limit:
        num_left = max(limit, num_points // _SHRINK)
        num_blocks = -(-num_points // _BLOCK_ROWS)
        starts = np.linspace(0, num_points, num_blocks + 1).astype(np.int64)
        # differences of a rounded-down line: the blocks' shares add up exactly
        shares = np.diff(starts * num_left // num_points)
        groups = []
        for start, end, share in zip(starts[:-1], starts[1:], shares, strict=True):
            block = points.similarity[start:end]
            distance = np.negative(block.matrix())
            labels = cut_tree(
                merge_tree(distance, points.weights_M[start:end], "average")[0], max(int(share), 1)
            )
            groups.append(start + labels)
        group_M = by_first_appearance(np.concatenate(groups))
        points = Points(
            points.similarity.means(group_M, points.weights_M),
            np.bincount(group_M, points.weights_M),
            group_M[points.point_N],
        )
    if len(points.similarity) < len(windows):
        logger.info(
            "%s: %d windows exceed the limit of %d; clustering %d points, each the mean of similar windows",
            method,
            len(windows),
            limit,
            len(points.similarity),
        )
    return points
