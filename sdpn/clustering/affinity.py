"""Similarities between embeddings, and the affinity graph that spectral clustering cuts.

Shapes: N windows, D embedding dimensions.
"""

from __future__ import annotations

import numpy as np

from sdpn.errors import InputError


def unit_rows(emb_ND: np.ndarray) -> np.ndarray:
    """Scale every embedding to length 1.

    Args:
        emb_ND: (N, D).

    Returns:
        (N, D) float64.

    Raises:
        InputError: not a matrix, or a row is zero, NaN or infinite, and so has no direction.
    """
    rows_ND = np.asarray(emb_ND, dtype=np.float64)
    if rows_ND.ndim != 2:
        raise InputError(f"embeddings have shape {rows_ND.shape}; expected (windows, dimensions)")
    infinite_N = np.any(~np.isfinite(rows_ND), axis=1)
    if infinite_N.any():
        raise InputError(_rows_at_fault("holds NaN or infinite values", infinite_N))
    # the largest entry goes first, so that no row is too long or too short to be squared
    largest_N1 = np.abs(rows_ND).max(axis=1, keepdims=True, initial=0.0)
    if not largest_N1.all():
        raise InputError(_rows_at_fault("is zero", largest_N1[:, 0] == 0))
    rows_ND = rows_ND / largest_N1
    unit_ND: np.ndarray = rows_ND / np.linalg.norm(rows_ND, axis=1, keepdims=True)
    return unit_ND


def cosine_similarity(emb_ND: np.ndarray) -> np.ndarray:
    """Cosine of the angle between every two embeddings.

    Returns:
        (N, N) float64 in [-1, 1], symmetric, its diagonal exactly 1.

    Raises:
        InputError: as in `unit_rows`.
    """
    unit_ND = unit_rows(emb_ND)
    similarity_NN: np.ndarray = unit_ND @ unit_ND.T
    np.clip(similarity_NN, -1.0, 1.0, out=similarity_NN)
    np.fill_diagonal(similarity_NN, 1.0)
    return similarity_NN


def nearest_neighbour_graph(similarity_NN: np.ndarray, num_neighbours: int) -> np.ndarray:
    """Keep each row's strongest similarities, and make the result a graph without loops.

    Pruning per row takes away the weak links through which one speaker leaks into another (Park et al.,
    arXiv 2003.02405, section 2). Ties with the weakest kept neighbour are all kept, so the graph does not
    depend on the order of the rows.

    Args:
        similarity_NN: symmetric (N, N).
        num_neighbours: how many others each row keeps, at least 1; more than N - 1 keeps all.

    Returns:
        (N, N) symmetric, non-negative, zero diagonal: the mean of the pruned matrix and its transpose.
    """
    num_rows = len(similarity_NN)
    affinity_NN = np.maximum(similarity_NN, 0.0)  # opposite directions are no evidence of one speaker
    np.fill_diagonal(affinity_NN, 0.0)
    if num_neighbours < num_rows - 1:
        place = num_rows - num_neighbours
        weakest_kept_N1 = np.partition(affinity_NN, place, axis=1)[:, place, None]
        affinity_NN = np.where(affinity_NN >= weakest_kept_N1, affinity_NN, 0.0)
    symmetric_NN: np.ndarray = (affinity_NN + affinity_NN.T) / 2
    return symmetric_NN


def _rows_at_fault(problem: str, bad_N: np.ndarray) -> str:
    """Name the first bad row, counted from 0, and how many there are."""
    others = int(bad_N.sum()) - 1
    return f"the embedding in row {int(bad_N.argmax())} {problem}" + (
        f" (and {others} more)" if others else ""
    )
