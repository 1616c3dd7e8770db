"""One exact pass of Lloyd's algorithm (1982) over a stream.

Shapes: B rows of a batch, K centres, D dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sdpn.clustering.streaming.nearest import nearest, sums_by_label
from sdpn.clustering.streaming.settings import StreamSettings
from sdpn.clustering.streaming.space import to_length_1


class LloydPass:
    """Gives every row to its nearest centre, and moves the centres when all rows have been given.

    Args:
        centres_KD: float32, fixed during the pass.
        settings: as the user gave them.
    """

    def __init__(self, centres_KD: np.ndarray, settings: StreamSettings) -> None:
        self._settings = settings
        self.centres_KD = centres_KD
        self._sums_KD = np.zeros(centres_KD.shape)
        self._counts_K = np.zeros(len(centres_KD), dtype=np.int64)
        self.inertia = 0.0

    def add(self, batch_BD: np.ndarray) -> None:
        """Give the rows of a batch."""
        labels_B, squares_B = nearest(batch_BD, self.centres_KD, backend=self._settings.backend)
        self._sums_KD += sums_by_label(batch_BD, labels_B, len(self.centres_KD))
        self._counts_K += np.bincount(labels_B, minlength=len(self.centres_KD))
        self.inertia += float(squares_B.sum(dtype=np.float64))

    @property
    def num_rows(self) -> int:
        """Rows given so far."""
        return int(self._counts_K.sum())

    def moved(self) -> np.ndarray:
        """The centres (K, D) float32 after the pass; one without rows stays where it was."""
        means_KD = self._sums_KD / np.maximum(self._counts_K, 1)[:, None]
        moved_KD = np.where(self._counts_K[:, None] > 0, means_KD, self.centres_KD)
        if self._settings.spherical:
            to_length_1(moved_KD)
        return moved_KD.astype(np.float32)

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        return {
            "centres": self.centres_KD,
            "sums": self._sums_KD,
            "counts": self._counts_K,
            "inertia": self.inertia,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self.centres_KD, self._sums_KD = state["centres"], state["sums"]
        self._counts_K, self.inertia = state["counts"], state["inertia"]
