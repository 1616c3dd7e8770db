"""The same mini-batches with faiss searching the nearest centres.

Shapes: B rows of a batch, K centres, D dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sdpn.kmeans.minibatch import MiniBatches
from sdpn.kmeans.model import nearest, sums_by_label, to_length_1
from sdpn.kmeans.settings import StreamSettings


class FaissMiniBatches(MiniBatches):
    """Sculley's update (2010, algorithm 1) with a batch's rows taken together, and scikit-learn's rule of
    starting small centres again: each time 10 K rows have passed.

    faiss's own ``Kmeans`` is not used: it wants all rows in memory, and trains on a part of them.

    Args:
        centres_KD: where to start.
        counts_K: rows that they are the means of.
        settings: as the user gave them.
    """

    def __init__(self, centres_KD: np.ndarray, counts_K: np.ndarray, settings: StreamSettings) -> None:
        super().__init__(counts_K)
        self._settings = settings
        self._centres_KD = centres_KD.copy()
        self._counts_K = counts_K.copy()
        self._since_reassign = 0
        self._rng = np.random.default_rng(settings.seed)

    @property
    def centres_KD(self) -> np.ndarray:
        """The centres now, float32."""
        return self._centres_KD

    @property
    def counts_K(self) -> np.ndarray:
        """Rows that each centre is the mean of."""
        return self._counts_K

    def _set_counts(self, counts_K: np.ndarray) -> None:
        self._counts_K = counts_K.astype(np.float32)

    def step(self, batch_BD: np.ndarray) -> float:
        """Take in a batch; returns its mean squared distance from the centres, of all rows."""
        labels_B, squares_B = nearest(batch_BD, self._centres_KD, backend="faiss")
        num_clusters = len(self._centres_KD)
        new_K = np.bincount(labels_B, minlength=num_clusters)
        hit_K = new_K > 0
        sums_KD = sums_by_label(batch_BD, labels_B, num_clusters)[hit_K]
        sums_KD += self._centres_KD[hit_K].astype(np.float64) * self._counts_K[hit_K, None]
        self._counts_K = (self._counts_K + new_K).astype(np.float32)
        self._centres_KD[hit_K] = sums_KD / self._counts_K[hit_K, None]
        self._since_reassign += len(batch_BD)
        if self._since_reassign >= 10 * num_clusters:
            self._since_reassign = 0
            self._reassign(batch_BD)
        if self._settings.spherical:
            to_length_1(self._centres_KD)
        return float(squares_B.mean(dtype=np.float64))

    def _reassign(self, batch_BD: np.ndarray) -> None:
        small = np.flatnonzero(self._counts_K < self._settings.reassignment_ratio * self._counts_K.max())
        small = small[np.argsort(self._counts_K[small], kind="stable")][: len(batch_BD) // 2]
        if len(small):
            others_K = np.setdiff1d(np.arange(len(self._counts_K)), small)
            rows = self._rng.choice(len(batch_BD), size=len(small), replace=False)
            self._centres_KD[small] = batch_BD[rows]
            self._counts_K[small] = self._counts_K[others_K].min()  # or they would be moved again at once

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        return {
            "centres": self._centres_KD,
            "counts": self._counts_K,
            "epoch_counts": self.epoch_counts_K,
            "since_reassign": self._since_reassign,
            "rng": self._rng.bit_generator.state,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._centres_KD = state["centres"].copy()
        self._counts_K = state["counts"].copy()
        self.epoch_counts_K = state["epoch_counts"]
        self._since_reassign = state["since_reassign"]
        self._rng.bit_generator.state = state["rng"]
