"""How alike embeddings are: the cosine of the angle between them.

Shapes: N, M embeddings, D dimensions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from sdpn.errors import InputError


def similarity(a: ArrayLike, b: ArrayLike) -> float | np.ndarray:
    """Cosine similarity of embeddings, in [-1, 1].

    >>> similarity(model.embed("a.wav"), model.embed("b.wav"))
    0.61

    Args:
        a: (D,), or (N, D).
        b: (D,), or (M, D).

    Returns:
        a number for two vectors; (N,), (M,) or (N, M) float64 where rows are compared, every one of ``a``
        with every one of ``b``.

    Raises:
        InputError: the dimensions differ, or an embedding is zero, NaN or infinite, and so has no direction.
    """
    rows_a, rows_b = _unit(a), _unit(b)
    if rows_a.shape[-1] != rows_b.shape[-1]:
        raise InputError(f"embeddings of {rows_a.shape[-1]} and of {rows_b.shape[-1]} dimensions")
    cosine: np.ndarray = np.clip(rows_a @ rows_b.T, -1.0, 1.0)
    return float(cosine) if cosine.ndim == 0 else cosine


def _unit(embeddings: ArrayLike) -> np.ndarray:
    rows = np.asarray(embeddings, dtype=np.float64)
    if rows.ndim not in (1, 2) or not rows.shape[-1]:
        raise InputError(f"embeddings of shape (D,) or (N, D) were expected, found {rows.shape}")
    if not np.isfinite(rows).all() or not rows.any(axis=-1).all():
        raise InputError("an embedding is zero, NaN or infinite, and has no direction")
    # the largest entry goes first, so that no row is too long or too short to be squared
    rows = rows / np.abs(rows).max(axis=-1, keepdims=True)
    unit: np.ndarray = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return unit
