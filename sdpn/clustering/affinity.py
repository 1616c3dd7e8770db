"""The affinity graph that spectral clustering cuts.

Shapes: N windows.
"""

from __future__ import annotations

import numpy as np


def nearest_neighbour_graph(
    similarity_NN: np.ndarray, num_neighbours: int, *, binary: bool = False
) -> np.ndarray:
    """Keep each row's strongest similarities, and make the result a graph without loops.

    Pruning per row takes away the weak links through which one speaker leaks into another (Park et al.,
    arXiv 2003.02405, section 2). Ties with the weakest kept neighbour are all kept, so the graph does not
    depend on the order of the rows.

    Args:
        similarity_NN: symmetric (N, N).
        num_neighbours: number of neighbours that each row keeps, at least 1; more than N - 1 keeps all.
        binary: set all kept similarities to 1, including negative ones.

    Returns:
        (N, N) symmetric, non-negative, zero diagonal: the mean of the pruned matrix and its transpose.
    """
    num_rows = len(similarity_NN)
    if binary:
        affinity_NN = similarity_NN.copy()
        np.fill_diagonal(affinity_NN, -np.inf)  # a window is not its own neighbour
    else:
        affinity_NN = np.maximum(similarity_NN, 0.0)  # negative ones are no evidence
        np.fill_diagonal(affinity_NN, 0.0)
    place = max(num_rows - num_neighbours, 1)
    weakest_kept_N1 = np.partition(affinity_NN, place, axis=1)[:, place, None]
    kept_NN = affinity_NN >= weakest_kept_N1
    affinity_NN = kept_NN.astype(np.float64) if binary else np.where(kept_NN, affinity_NN, 0.0)
    symmetric_NN: np.ndarray = (affinity_NN + affinity_NN.T) / 2
    return symmetric_NN
