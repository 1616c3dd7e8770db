"""Rows for the tests of streaming k-means."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sdpn.kmeans.chunks import ArrayChunk


def blobs(
    num_rows: int, num_classes: int, *, dimension: int = 16, noise: float = 0.5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Rows (N, D) float32 around class centres, sorted by class, and the class of each."""
    rng = np.random.default_rng(seed)
    truth = np.sort(rng.integers(num_classes, size=num_rows))
    centres = rng.normal(size=(num_classes, dimension))
    rows = centres[truth] + noise * rng.normal(size=(num_rows, dimension))
    return rows.astype(np.float32), truth


def chunks_of(arrays: Sequence[np.ndarray]) -> list[ArrayChunk]:
    return [ArrayChunk(name=f"chunk {number}", rows_ND=rows) for number, rows in enumerate(arrays)]


def inertia(rows: np.ndarray, centres: np.ndarray) -> float:
    """Sum of squared distances from the nearest centre, in float64 and one by one."""
    rows, centres = rows.astype(np.float64), centres.astype(np.float64)
    return float(sum(min(((row - centres) ** 2).sum(axis=1)) for row in rows))
