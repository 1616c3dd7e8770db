"""The nearest centre of every row.

Shapes: B rows, K centres, D dimensions.
"""

from __future__ import annotations

from types import ModuleType
from typing import Literal

import numpy as np

from sdpn.errors import InputError

#: Products of rows and centres that are held at once: 2 MB, which stays in the cache.
_PRODUCTS = 2**19


def nearest(
    rows_BD: np.ndarray, centres_KD: np.ndarray, *, backend: Literal["sklearn", "faiss"] = "sklearn"
) -> tuple[np.ndarray, np.ndarray]:
    """Find the centre at the smallest Euclidean distance.

    Args:
        rows_BD: float32, in the space of the centres.
        centres_KD: float32.
        backend: ``faiss`` searches with its flat index; else it is a product of matrices and an argmax.

    Returns:
        labels (B,) int32 and squared distances (B,) float32.

    Raises:
        InputError: faiss is asked for and not installed.
    """
    if backend == "faiss":
        index = import_faiss().IndexFlatL2(centres_KD.shape[1])
        index.add(np.ascontiguousarray(centres_KD))
        squares_B1, labels_B1 = index.search(np.ascontiguousarray(rows_BD), 1)
        return labels_B1[:, 0].astype(np.int32), np.maximum(squares_B1[:, 0], 0.0)
    half_K = 0.5 * np.einsum("kd,kd->k", centres_KD, centres_KD)
    labels_B = np.empty(len(rows_BD), dtype=np.int32)
    squares_B = np.einsum("bd,bd->b", rows_BD, rows_BD)
    step = max(16, _PRODUCTS // len(centres_KD))
    for at in range(0, len(rows_BD), step):
        # |x - c|² = |x|² - 2 (xc - |c|²/2): the nearest has the largest bracket
        bracket_SK = rows_BD[at : at + step] @ centres_KD.T
        bracket_SK -= half_K
        best_S = bracket_SK.argmax(axis=1)
        labels_B[at : at + step] = best_S
        squares_B[at : at + step] -= 2 * np.take_along_axis(bracket_SK, best_S[:, None], axis=1)[:, 0]
    return labels_B, np.maximum(squares_B, 0.0, out=squares_B)


def sums_by_label(rows_BD: np.ndarray, labels_B: np.ndarray, num_clusters: int) -> np.ndarray:
    """Sum of the rows of each cluster, (K, D) float64, added up in the order of the rows."""
    from scipy.sparse import csc_matrix

    num = len(rows_BD)
    members_KB = csc_matrix((np.ones(num), labels_B, np.arange(num + 1)), shape=(num_clusters, num))
    sums_KD: np.ndarray = members_KB @ rows_BD
    return sums_KD


def import_faiss() -> ModuleType:
    """Import faiss.

    Raises:
        InputError: it is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise InputError(
            "backend=faiss needs faiss, which is not installed", hint="pip install 'sdpn[faiss]'"
        ) from None
    module: ModuleType = faiss
    return module
