"""NME-SC: spectral clustering that tunes its own pruning by the normalised maximum eigengap.

Shapes: N windows, D embedding dimensions, M eigenvalues, K speakers. Beyond ``exact_windows``, N is the
number of points that represent the windows.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from math import ceil

import numpy as np

from sdpn.clustering.affinity import nearest_neighbour_graph
from sdpn.clustering.base import Clusterer, Clustering
from sdpn.clustering.coarsen import coarsen
from sdpn.clustering.force_count import at_given_number
from sdpn.clustering.spectral import (
    check_estimation,
    count_at_largest_gap,
    high_for_few_windows,
    kmeans_labels,
)
from sdpn.eigen import largest_eigenvalue, smallest_eigenpairs
from sdpn.verification.similarity import cosine, cosine_similarity

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class NmeSc(Clusterer):
    """Auto-tuning spectral clustering (Park, Han, Kumar and Narayanan, arXiv 2003.02405).

    For each candidate p, every row of the cosine similarities keeps its p largest entries as 1, and the
    graph is symmetrised; L = D - A. With its eigenvalues e, ascending, the normalised maximum eigengap is
    g_p = max_k (e_{k+1} - e_k) / e_N, and the p with the smallest p / g_p is chosen: the sparsest graph with
    clear clusters. K is the position of its gap; k-means groups the rows of the first K eigenvectors.

    A given number is reached from there by evidence (`sdpn.clustering.force_count`). Below ``min_windows``
    the count is not estimated, as in `sdpn.clustering.spectral.Spectral`.

    Attributes:
        min_neighbours: smallest p, if there are enough windows. The paper starts lower, but with few
            neighbours per window one speaker splits into clusters as distinct as speakers.
        max_neighbours: largest p, as a share of the windows.
        num_candidates: number of values of p to try between them, geometrically spaced, since the effect of
            one more neighbour depends on their number.
        max_estimate: maximum number of speakers that the eigengap may choose.
        min_windows: minimum number of windows for estimating the number of speakers.
        exact_windows: maximum number of windows that are clustered without coarsening.
        seed: random seed of k-means initialisation and of the eigensolver.
    """

    min_neighbours: int = 10
    max_neighbours: float = 0.25
    num_candidates: int = 20
    max_estimate: int = 20
    min_windows: int = 4
    exact_windows: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 < self.max_neighbours <= 1.0:
            raise ValueError(f"max_neighbours is {self.max_neighbours}; expected a share in (0, 1]")
        for name in ("min_neighbours", "num_candidates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        check_estimation(self.max_estimate, self.min_windows, self.exact_windows, self.seed)

    def _fit(self, emb_ND: np.ndarray, times_N2: np.ndarray | None, low: int, high: int) -> Clustering:
        if low == high:
            return at_given_number(self, emb_ND, times_N2, low, method="nmesc")
        points = coarsen(cosine(emb_ND), limit=max(self.exact_windows, low), method="nmesc")
        similarity_NN = cosine_similarity(points.similarity.features_NF)
        num_rows = len(similarity_NN)
        high = high_for_few_windows(num_rows, self.min_windows, low, high, "nmesc")
        if high == 1:
            return Clustering(np.zeros(len(emb_ND), dtype=np.int64))
        num_values = min(max(low, self.max_estimate) + 1, num_rows)
        best, best_ratio, graph_NN = None, np.inf, np.empty((0, 0))
        for num_neighbours in self._candidates(num_rows):
            sparser_NN = graph_NN
            graph_NN = nearest_neighbour_graph(similarity_NN, num_neighbours, binary=True)
            if np.array_equal(graph_NN, sparser_NN):  # ties: a larger p at the same gap
                continue
            laplacian_NN = _laplacian(graph_NN)
            values_M, vectors_NM = smallest_eigenpairs(laplacian_NN, num_values, seed=self.seed)
            gap = np.diff(values_M).max() / largest_eigenvalue(laplacian_NN, seed=self.seed)
            ratio = num_neighbours / max(gap, 1e-10)  # more pieces than eigenvalues: only rounding is left
            if ratio < best_ratio:
                best, best_ratio = (num_neighbours, values_M, vectors_NM), ratio
        assert best is not None
        num_neighbours, values_M, vectors_NM = best
        count = count_at_largest_gap(values_M, low, high)
        logger.info("nmesc: p = %d of %d, %d speakers", num_neighbours, num_rows, count)
        return Clustering(kmeans_labels(vectors_NM[:, :count], count, self.seed)[points.point_N])

    def _candidates(self, num_rows: int) -> list[int]:
        smallest = min(self.min_neighbours, num_rows - 1)
        largest = max(smallest, ceil(self.max_neighbours * (num_rows - 1)))
        candidates = np.geomspace(smallest, largest, self.num_candidates)
        return [int(candidate) for candidate in np.unique(candidates.round())]


def _laplacian(affinity_NN: np.ndarray) -> np.ndarray:
    """L = D - A, not normalised, as in the paper."""
    laplacian_NN: np.ndarray = np.diag(affinity_NN.sum(axis=1)) - affinity_NN
    return laplacian_NN
