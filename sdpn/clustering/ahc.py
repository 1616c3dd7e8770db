"""AHC as a clusterer of its own, for which a given number of speakers is no mere cut of the tree.

Shapes: N windows, D embedding dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sdpn.clustering.agglomerative import Agglomerative
from sdpn.clustering.base import Clustering
from sdpn.clustering.force_count import at_given_number


@dataclass(frozen=True, kw_only=True)
class Ahc(Agglomerative):
    """Agglomerative clustering until the mean similarity between any two clusters is too low.

    A given number of speakers is reached by evidence from there (`sdpn.clustering.force_count`). The last
    merges of the tree join outlying windows: undone, as a cut at that number does, these become speakers, and
    real ones share a cluster. Fields are those of `sdpn.clustering.agglomerative.Agglomerative`.
    """

    def _fit(self, emb_ND: np.ndarray, times_N2: np.ndarray | None, low: int, high: int) -> Clustering:
        if low == high:
            return at_given_number(self, emb_ND, times_N2, low, method="ahc")
        return super()._fit(emb_ND, times_N2, low, high)
