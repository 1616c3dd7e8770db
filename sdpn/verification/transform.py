"""The transform from x-vectors to the space of a PLDA.

Shapes: N embeddings, D their dimensions, E dimensions after the projection.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from sdpn.errors import InputError
from sdpn.io.arrays import read_npz
from sdpn.io.parsing import parsing
from sdpn.verification.similarity import unit_rows


@dataclass(frozen=True, eq=False)
class Transform:
    """Subtract ``mean1``, scale to length 1, project on ``lda``, subtract ``mean2``, scale to length 1.

    Attributes:
        mean1_D: mean of the x-vectors.
        lda_DE: projection on the directions in which speakers differ.
        mean2_E: mean of the projections.
    """

    mean1_D: np.ndarray
    lda_DE: np.ndarray
    mean2_E: np.ndarray

    def __call__(self, emb_ND: np.ndarray) -> np.ndarray:
        """Transform embeddings (N, D) to (N, E).

        Raises:
            InputError: another dimension, or a row that is zero or not finite, before or on the way.
        """
        dimension = len(self.mean1_D)
        if emb_ND.shape[1:] != (dimension,):
            raise InputError(
                f"the transform expects {dimension} dimensions, but the embeddings have shape {emb_ND.shape}"
            )
        return unit_rows(unit_rows(emb_ND - self.mean1_D) @ self.lda_DE - self.mean2_E)


def read_transform(path: str | os.PathLike[str]) -> Transform:
    """Read ``mean1``, ``lda`` and ``mean2`` from an npz file.

    Raises:
        InputError: the file is missing, truncated or not an npz; an array is missing, contains values that
            are not finite, or does not match the others.
    """
    with parsing(path, "is not a complete npz file"):
        arrays = read_npz(path)
        missing = {"mean1", "lda", "mean2"} - arrays.keys()
        if missing:
            raise InputError(
                f"has no array {min(missing)!r}", path=path, hint="expected mean1, lda and mean2"
            )
        mean1, lda, mean2 = (np.asarray(arrays[key], np.float64) for key in ("mean1", "lda", "mean2"))
    if lda.ndim != 2 or mean1.shape != lda.shape[:1] or mean2.shape != lda.shape[1:]:
        raise InputError(
            f"has mean1 of {mean1.shape}, lda of {lda.shape} and mean2 of {mean2.shape};"
            " expected (D,), (D, E) and (E,)",
            path=path,
        )
    if not all(np.isfinite(part).all() for part in (mean1, lda, mean2)):
        raise InputError("contains NaN or infinite values", path=path)
    return Transform(mean1, lda, mean2)
