"""Agglomerative hierarchical clustering of weighted points.

The linkages of scipy and scikit-learn do not support weights, which points that represent many windows need.

Shapes: M points.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Linkage = Literal["average", "ward"]


def merge_tree(
    distance_MM: np.ndarray, weights_M: np.ndarray, linkage: Linkage
) -> tuple[np.ndarray, np.ndarray]:
    """Merge the two nearest clusters until one is left.

    Nearest-neighbour chains (Murtagh 1983; Müllner, arXiv 1109.2378, figure 3) with the updates of Lance and
    Williams (1967): follow nearest neighbours until two clusters are each other's, and merge those. Both
    linkages are reducible, so the tree is that of always merging the nearest two. Time O(M²).

    Args:
        distance_MM: symmetric (M, M); overwritten as working space. For Ward: squared, and already between
            weighted points, 2 w_i w_j / (w_i + w_j) · |x_i - x_j|².
        weights_M: number of windows that each point represents.
        linkage: distance of merged clusters: the mean over pairs of windows, or Ward's (1963) growth of
            the sum of squares.

    Returns:
        edges (M-1, 2): a point of either cluster that is merged, a tree over the points, and heights
        (M-1,): at what distance; both in the order of height.
    """
    num_points = len(weights_M)
    edges = np.zeros((num_points - 1, 2), dtype=np.int64)
    heights = np.zeros(num_points - 1)
    weights_M = weights_M.astype(np.float64)
    np.fill_diagonal(distance_MM, np.inf)
    alive_M = np.ones(num_points, dtype=bool)
    chain: list[int] = []
    for step in range(num_points - 1):
        if not chain:
            chain.append(int(alive_M.argmax()))
        while True:
            last = chain[-1]
            nearest = int(distance_MM[last].argmin())
            # ties prefer the previous element, or the chain would cycle
            if len(chain) > 1 and distance_MM[last, chain[-2]] <= distance_MM[last, nearest]:
                break
            chain.append(nearest)
        kept, gone = sorted((chain.pop(), chain.pop()))
        height = distance_MM[kept, gone]
        edges[step], heights[step] = (kept, gone), height
        kept_weight, gone_weight = weights_M[kept], weights_M[gone]
        total = kept_weight + gone_weight
        if linkage == "average":
            row_M = (kept_weight * distance_MM[kept] + gone_weight * distance_MM[gone]) / total
        else:
            row_M = (
                (kept_weight + weights_M) * distance_MM[kept]
                + (gone_weight + weights_M) * distance_MM[gone]
                - weights_M * height
            ) / (total + weights_M)
        row_M[kept] = np.inf
        distance_MM[kept] = distance_MM[:, kept] = row_M
        distance_MM[gone] = distance_MM[:, gone] = np.inf
        alive_M[gone] = False
        weights_M[kept] = total
    order = np.argsort(heights, kind="stable")
    return edges[order], heights[order]


def ward_distances(points_MD: np.ndarray, weights_M: np.ndarray) -> np.ndarray:
    """Ward's squared distances between weighted points, (M, M), as `merge_tree` expects them."""
    squares_M = np.einsum("md,md->m", points_MD, points_MD)
    distance_MM: np.ndarray = points_MD @ points_MD.T
    distance_MM *= -2.0
    distance_MM += squares_M[:, None]
    distance_MM += squares_M
    np.maximum(distance_MM, 0.0, out=distance_MM)  # rounding
    distance_MM *= 2.0 / np.add.outer(1.0 / weights_M, 1.0 / weights_M)
    return distance_MM


def cut_tree(edges: np.ndarray, num_clusters: int) -> np.ndarray:
    """Labels (M,) after the first M - k merges: exactly k clusters, even with equal heights."""
    num_points = len(edges) + 1
    return components(edges[: num_points - num_clusters], num_points)


def components(edges: np.ndarray, num_points: int) -> np.ndarray:
    """Labels (M,) of the trees that edges (any number, 2) make of ``num_points`` points."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(edges)), tuple(edges.T)), shape=(num_points, num_points))
    labels_M: np.ndarray = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels_M
