"""Similarities between embeddings, and the affinity graph that spectral clustering cuts.

Shapes: N windows, D embedding dimensions, F features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sdpn.verification.similarity import checked_rows


@dataclass(frozen=True, eq=False)
class Similarity:
    """A similarity that is bilinear: s(i, j) = f_i · f_j + o_i + o_j.

    The cosine is one (f of length 1, o = 0), and so is the PLDA log-likelihood ratio. The mean over all
    pairs of members of two groups is then the similarity of the two groups' means, so that average
    linkage needs no more than the means: this is what lets long recordings do without an N×N matrix.

    Attributes:
        features_NF: f, (N, F).
        offsets_N: o, (N,).
    """

    features_NF: np.ndarray
    offsets_N: np.ndarray

    def __len__(self) -> int:
        """N."""
        return len(self.features_NF)

    def __getitem__(self, rows: slice | np.ndarray) -> Similarity:
        """Keep some rows."""
        return Similarity(self.features_NF[rows], self.offsets_N[rows])

    def matrix(self) -> np.ndarray:
        """All pairs, (N, N)."""
        similarity_NN: np.ndarray = self.features_NF @ self.features_NF.T
        similarity_NN += self.offsets_N[:, None]
        similarity_NN += self.offsets_N
        return similarity_NN

    def means(self, groups_N: np.ndarray, weights_N: np.ndarray) -> Similarity:
        """Weighted means of the rows of each group; ``groups_N`` (N,) holds 0..M-1, none unused."""
        from scipy.sparse import csr_array

        columns = (weights_N, (groups_N, np.arange(len(self))))
        sums = csr_array(columns, shape=(int(groups_N.max()) + 1, len(self)))
        totals_M = np.bincount(groups_N, weights_N)
        return Similarity((sums @ self.features_NF) / totals_M[:, None], (sums @ self.offsets_N) / totals_M)


def unit_rows(emb_ND: np.ndarray) -> np.ndarray:
    """Scale every embedding to length 1.

    Args:
        emb_ND: (N, D).

    Returns:
        (N, D) float64.

    Raises:
        InputError: not a matrix, or a row is zero, NaN or infinite, and so has no direction.
    """
    rows_ND = checked_rows(emb_ND)
    # the largest entry goes first, so that no row is too long or too short to be squared
    unit_ND: np.ndarray = rows_ND / np.abs(rows_ND).max(axis=1, keepdims=True)
    unit_ND /= np.linalg.norm(unit_ND, axis=1, keepdims=True)
    return unit_ND


def cosine(emb_ND: np.ndarray) -> Similarity:
    """Cosine of the angle between embeddings.

    Raises:
        InputError: as in `unit_rows`.
    """
    unit_ND = unit_rows(emb_ND)
    return Similarity(unit_ND, np.zeros(len(unit_ND)))


def cosine_similarity(emb_ND: np.ndarray) -> np.ndarray:
    """Cosine of the angle between every two embeddings.

    Returns:
        (N, N) float64 in [-1, 1], symmetric, its diagonal exactly 1.

    Raises:
        InputError: as in `unit_rows`.
    """
    similarity_NN = cosine(emb_ND).matrix()
    np.clip(similarity_NN, -1.0, 1.0, out=similarity_NN)
    np.fill_diagonal(similarity_NN, 1.0)
    return similarity_NN


def nearest_neighbour_graph(
    similarity_NN: np.ndarray, num_neighbours: int, *, binary: bool = False
) -> np.ndarray:
    """Keep each row's strongest similarities, and make the result a graph without loops.

    Pruning per row takes away the weak links through which one speaker leaks into another (Park et al.,
    arXiv 2003.02405, section 2). Ties with the weakest kept neighbour are all kept, so the graph does not
    depend on the order of the rows.

    Args:
        similarity_NN: symmetric (N, N).
        num_neighbours: how many others each row keeps, at least 1; more than N - 1 keeps all.
        binary: what is kept counts 1, however strong it is, negative similarities included.

    Returns:
        (N, N) symmetric, non-negative, zero diagonal: the mean of the pruned matrix and its transpose.
    """
    num_rows = len(similarity_NN)
    if binary:
        affinity_NN = similarity_NN.copy()
        np.fill_diagonal(affinity_NN, -np.inf)  # nobody's neighbour
    else:
        affinity_NN = np.maximum(similarity_NN, 0.0)  # opposite directions are no evidence of one speaker
        np.fill_diagonal(affinity_NN, 0.0)
    place = max(num_rows - num_neighbours, 1)
    weakest_kept_N1 = np.partition(affinity_NN, place, axis=1)[:, place, None]
    kept_NN = affinity_NN >= weakest_kept_N1
    affinity_NN = kept_NN.astype(np.float64) if binary else np.where(kept_NN, affinity_NN, 0.0)
    symmetric_NN: np.ndarray = (affinity_NN + affinity_NN.T) / 2
    return symmetric_NN
