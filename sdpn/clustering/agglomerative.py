"""Agglomerative hierarchical clustering (AHC) on cosine similarities or PLDA scores.

Shapes: N windows, M points that represent them, D embedding dimensions.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sdpn.clustering.base import Clusterer, Clustering
from sdpn.clustering.coarsen import coarsen
from sdpn.clustering.linkage import Linkage, cut_tree, merge_tree, ward_distances
from sdpn.clustering.two_gaussians import fit_to_pairs
from sdpn.verification.plda import Plda
from sdpn.verification.similarity import Similarity, cosine

logger = logging.getLogger(__name__)

#: Default cosine threshold for merging two clusters.
COSINE_THRESHOLD = 0.5


@dataclass(frozen=True, kw_only=True)
class Agglomerative(Clusterer):
    """Merge the two nearest clusters until the mean similarity between any two is too low.

    Average linkage (UPGMA: Sokal and Michener, 1958): the similarity of two clusters is the mean over all
    pairs of their members. Ward's method (1963) merges the clusters that increase the sum of squares least;
    its last merges are then undone as long as they joined clusters whose mean similarity is below the
    threshold, so that the threshold means the same for both.

    Up to ``exact_windows`` memory is 16 N² bytes; beyond, see `sdpn.clustering.coarsen`.

    Attributes:
        threshold: clusters are merged if their mean similarity reaches this: a cosine, or with a PLDA a
            log-likelihood ratio in nats. It depends on the embedding; model folders have a calibrated one.
            ``calibrated`` uses the equal-posterior point of two Gaussians fitted to the similarities of the
            recording. None is 0.5 for the cosine, and ``calibrated`` with a PLDA.
        bias: offset added to a calibrated threshold.
        linkage: ``average`` or ``ward``.
        exact_windows: maximum number of windows that are clustered without coarsening.
        plda: score with this instead of the cosine; the embeddings are in its space.
    """

    threshold: float | Literal["calibrated"] | None = None
    bias: float = 0.0
    linkage: Linkage = "average"
    exact_windows: int = 5000
    plda: Plda | None = None

    def __post_init__(self) -> None:
        if self.plda is None and isinstance(self.threshold, float) and not -1.0 <= self.threshold <= 1.0:
            raise ValueError(f"threshold is {self.threshold}; a cosine similarity lies in [-1, 1]")
        if self.plda is not None and self.linkage == "ward":
            raise ValueError("linkage is 'ward', which needs distances; PLDA scores go with 'average'")
        if self.exact_windows < 2:
            raise ValueError(f"exact_windows is {self.exact_windows}; expected at least 2")

    def _fit(self, emb_ND: np.ndarray, times_N2: np.ndarray | None, low: int, high: int) -> Clustering:
        del times_N2
        windows = cosine(emb_ND) if self.plda is None else self.plda.similarity(emb_ND)
        points = coarsen(windows, limit=max(self.exact_windows, low), method="ahc")
        edges, similarities = self._tree(points.similarity, points.weights_M)
        if low < high:
            threshold = self._threshold(windows)
            if self.linkage == "average":
                wanted = 1 + int((similarities < threshold).sum())
            else:
                reached = np.flatnonzero(similarities[::-1] >= threshold)
                wanted = 1 + (int(reached[0]) if len(reached) else len(similarities))
            low = min(max(wanted, low), high)
        return Clustering(cut_tree(edges, low)[points.point_N])

    def _tree(self, similarity: Similarity, weights_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Merges in order, (M-1, 2), and the mean similarity (M-1,) of the clusters that each one joins."""
        if self.linkage == "average":
            distance_MM = similarity.matrix()
            edges, heights = merge_tree(np.negative(distance_MM, out=distance_MM), weights_M, "average")
            return edges, -heights
        rows_MD = similarity.features_NF
        edges, _ = merge_tree(ward_distances(rows_MD, weights_M), weights_M, "ward")
        return edges, _similarity_at_merges(rows_MD, weights_M, edges)

    def _threshold(self, windows: Similarity) -> float:
        wanted = self.threshold
        if wanted is None:
            wanted = COSINE_THRESHOLD if self.plda is None else "calibrated"
        if wanted != "calibrated":
            return float(wanted)
        threshold = fit_to_pairs(windows).threshold + self.bias
        logger.info("ahc: calibrated threshold %.4f", threshold)
        return threshold


def _similarity_at_merges(rows_MD: np.ndarray, weights_M: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Mean dot product between the members of the two clusters that each merge joins, (M-1,)."""
    sums_MD, weights_M = rows_MD * weights_M[:, None], weights_M.copy()
    root_of = np.arange(len(rows_MD))
    similarities = np.zeros(len(edges))
    for step, edge in enumerate(edges):
        roots = []
        for node in edge:
            while root_of[node] != node:
                root_of[node] = node = root_of[root_of[node]]  # path compression
            roots.append(node)
        kept, gone = roots
        similarities[step] = sums_MD[kept] @ sums_MD[gone] / (weights_M[kept] * weights_M[gone])
        sums_MD[kept] += sums_MD[gone]
        weights_M[kept] += weights_M[gone]
        root_of[gone] = kept
    return similarities
