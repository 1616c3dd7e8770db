"""K-means on directions, with the number of speakers by silhouettes.

Shapes: N windows, M points that represent them, D embedding dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sdpn.clustering.base import Clusterer, Clustering
from sdpn.clustering.coarsen import coarsen
from sdpn.clustering.force_count import at_given_number, with_admissible_count
from sdpn.clustering.linkage import cut_tree, merge_tree, ward_distances
from sdpn.verification.similarity import cosine


@dataclass(frozen=True, kw_only=True)
class KMeans(Clusterer):
    """K-means (Lloyd 1982) on embeddings of length 1, initialised by Ward's linkage.

    Random initialisation would make the result depend on the seed and on the order of the windows.
    The number of speakers is the one with the best mean silhouette (Rousseeuw 1987), by cosine distance.
    The silhouette is undefined for a single cluster: one speaker is found if no count from two on reaches
    ``min_silhouette``.

    Attributes:
        min_silhouette: minimum mean silhouette for more than one speaker. This is a weak test: the windows of
            a single speaker of a real meeting, split in two, reached 0.14 to 0.29.
        max_estimate: maximum number of speakers that may be estimated.
        exact_windows: maximum number of windows that are clustered without coarsening.
    """

    min_silhouette: float = 0.2
    max_estimate: int = 20
    exact_windows: int = 5000

    def __post_init__(self) -> None:
        if not -1.0 <= self.min_silhouette <= 1.0:
            raise ValueError(f"min_silhouette is {self.min_silhouette}; a silhouette lies in [-1, 1]")
        if self.max_estimate < 1:
            raise ValueError(f"max_estimate is {self.max_estimate}; expected at least 1")
        if self.exact_windows < 2:
            raise ValueError(f"exact_windows is {self.exact_windows}; expected at least 2")

    def _fit(self, emb_ND: np.ndarray, times_N2: np.ndarray | None, low: int, high: int) -> Clustering:
        if low == high:
            return at_given_number(self, emb_ND, times_N2, low, method="kmeans")
        from sklearn.cluster import KMeans as SklearnKMeans

        points = coarsen(cosine(emb_ND), limit=max(self.exact_windows, low), method="kmeans")
        rows_MD, weights_M = points.similarity.features_NF, points.weights_M
        # rounded, since equal windows may differ in the last bits of their norm
        num_distinct = len(np.unique(rows_MD.round(12), axis=0))
        edges, _ = merge_tree(ward_distances(rows_MD, weights_M), weights_M, "ward")

        def labels_of(count: int) -> np.ndarray:
            centres = points.similarity.means(cut_tree(edges, count), weights_M).features_NF
            kmeans = SklearnKMeans(n_clusters=count, init=centres, n_init=1)
            labels_M: np.ndarray = kmeans.fit_predict(rows_MD, sample_weight=weights_M)
            return labels_M

        largest = min(high, num_distinct, len(rows_MD) - 1)
        labels_M = self._best_silhouette(labels_of, rows_MD, weights_M, low, largest)
        labels_N = labels_M[points.point_N]
        return with_admissible_count(labels_N, emb_ND, times_N2, low=low, high=high, method="kmeans")

    def _best_silhouette(
        self,
        labels_of: Callable[[int], np.ndarray],
        rows_MD: np.ndarray,
        weights_M: np.ndarray,
        low: int,
        high: int,
    ) -> np.ndarray:
        """Labels of the best count within the bounds; all 0 if none has a sufficient silhouette."""
        from sklearn.metrics import silhouette_samples

        distance_MM = np.maximum(1.0 - rows_MD @ rows_MD.T, 0.0)
        np.fill_diagonal(distance_MM, 0.0)
        best_M, best = np.zeros(len(rows_MD), dtype=np.int64), self.min_silhouette if low == 1 else -np.inf
        for count in range(max(low, 2), min(high, max(low, self.max_estimate)) + 1):
            labels_M = labels_of(count)
            samples_M = silhouette_samples(distance_MM, labels_M, metric="precomputed")
            silhouette = float(np.average(samples_M, weights=weights_M))
            if silhouette > best:
                best_M, best = labels_M, silhouette
        return best_M
