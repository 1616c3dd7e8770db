"""Similarities of embeddings: the cosine, and any other bilinear similarity.

Shapes: N, M embeddings, D dimensions, F features of a similarity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sdpn.errors import InputError


@dataclass(frozen=True, eq=False)
class Similarity:
    """A similarity that is bilinear: s(i, j) = f_i · f_j + o_i + o_j.

    The cosine is one (f of length 1, o = 0), and so is the PLDA log-likelihood ratio. The mean over all
    pairs of members of two groups is then the similarity of the two groups' means, so that average linkage
    only needs the means: this avoids an N×N matrix for long recordings.

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
        """Weighted means of the rows of each group; ``groups_N`` (N,) contains each of 0..M-1."""
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
    # scale by the largest entry first, so that squares neither overflow nor underflow
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


def checked_rows(emb_ND: np.ndarray) -> np.ndarray:
    """Validated embeddings as float64: every row has a direction.

    Raises:
        InputError: not a matrix, or a row is zero, NaN or infinite.
    """
    rows_ND = np.asarray(emb_ND, dtype=np.float64)
    if rows_ND.ndim != 2 or not rows_ND.shape[1]:
        raise InputError(f"embeddings have shape {rows_ND.shape}; expected (embeddings, dimensions)")
    for problem, bad_N in (
        ("contains NaN or infinite values", ~np.isfinite(rows_ND).all(axis=1)),
        ("is zero", ~rows_ND.any(axis=1)),
    ):
        if bad_N.any():
            others = int(bad_N.sum()) - 1
            raise InputError(
                f"the embedding in row {int(bad_N.argmax())} {problem}"
                + (f" (and {others} more)" if others else "")
            )
    return rows_ND


def similarity(a: ArrayLike, b: ArrayLike) -> float | np.ndarray:
    """Cosine similarity of embeddings, in [-1, 1].

    >>> similarity(model.embed("a.wav"), model.embed("b.wav"))
    0.61

    Args:
        a: (D,), or (N, D).
        b: (D,), or (M, D).

    Returns:
        a number for two vectors; (N,), (M,) or (N, M) float64 for matrices, every row of ``a`` with every row
        of ``b``.

    Raises:
        InputError: the dimensions differ, or an embedding is zero, NaN or infinite.
    """
    a, b = (np.asarray(embeddings, dtype=np.float64) for embeddings in (a, b))
    rows_a, rows_b = (unit_rows(np.atleast_2d(embeddings)) for embeddings in (a, b))
    if rows_a.shape[1] != rows_b.shape[1]:
        raise InputError(f"the embeddings have {rows_a.shape[1]} and {rows_b.shape[1]} dimensions")
    cosines = np.clip(rows_a @ rows_b.T, -1.0, 1.0).reshape(a.shape[:-1] + b.shape[:-1])
    return cosines if cosines.ndim else float(cosines)
