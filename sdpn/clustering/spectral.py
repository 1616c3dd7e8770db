"""Spectral clustering of a pruned affinity graph; the eigengap gives the number of speakers.

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
from sdpn.eigen import smallest_eigenpairs
from sdpn.verification.similarity import cosine, cosine_similarity

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Spectral(Clusterer):
    """Normalised spectral clustering (Ng, Jordan and Weiss, NIPS 2001; von Luxburg, arXiv 0711.0189).

    1. cosine similarities, each row pruned to its strongest neighbours, then symmetrised;
    2. L = I - D^-1/2 A D^-1/2, with D the diagonal of row sums;
    3. K = argmax_k (λ_{k+1} - λ_k), λ ascending, k from ``min_speakers`` up; more than ``max_speakers``
       is clipped;
    4. k-means on the rows of the first K eigenvectors, scaled to length 1. A given number is reached from
       there by evidence (`sdpn.clustering.force_count`).

    Few windows: an eigengap needs λ_{k+1}, so K = N can never be estimated, and a graph of two nodes has the
    same eigenvalues whatever the similarity. Below ``min_windows`` the count is therefore not estimated: the
    smallest admissible count is used, which is logged. Steps 1, 2 and 4 are unchanged. Up to
    ``exact_windows`` memory is about 40 N² bytes; beyond, see `sdpn.clustering.coarsen`.

    Attributes:
        neighbours: number of neighbours that each window keeps, as a share of the windows.
        min_neighbours: minimum number of neighbours; prevents disconnected graphs for short recordings.
        max_estimate: maximum count that the eigengap may choose; does not limit ``min_speakers`` or a given
            count.
        min_windows: minimum number of windows for estimating the number of speakers.
        exact_windows: maximum number of windows that are clustered without coarsening.
        seed: random seed of k-means initialisation.
    """

    neighbours: float = 0.05
    min_neighbours: int = 10
    max_estimate: int = 20
    min_windows: int = 4
    exact_windows: int = 5000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 < self.neighbours <= 1.0:
            raise ValueError(f"neighbours is {self.neighbours}; expected a share in (0, 1]")
        if self.min_neighbours < 1:
            raise ValueError(f"min_neighbours is {self.min_neighbours}; expected at least 1")
        check_estimation(self.max_estimate, self.min_windows, self.exact_windows, self.seed)

    def _fit(self, emb_ND: np.ndarray, times_N2: np.ndarray | None, low: int, high: int) -> Clustering:
        if low == high:
            return at_given_number(self, emb_ND, times_N2, low, method="spectral")
        points = coarsen(cosine(emb_ND), limit=max(self.exact_windows, low), method="spectral")
        similarity_NN = cosine_similarity(points.similarity.features_NF)
        num_rows = len(similarity_NN)
        high = high_for_few_windows(num_rows, self.min_windows, low, high, "spectral")
        if high == 1:
            return Clustering(np.zeros(len(emb_ND), dtype=np.int64))
        num_neighbours = max(self.min_neighbours, ceil(self.neighbours * (num_rows - 1)))
        laplacian_NN = normalised_laplacian(nearest_neighbour_graph(similarity_NN, num_neighbours))
        largest = max(low, min(self.max_estimate, num_rows - 1))
        values_M, vectors_NM = smallest_eigenpairs(laplacian_NN, largest + 1, seed=self.seed)
        count = count_at_largest_gap(values_M, low, high)
        rows_NK = vectors_NM[:, :count]
        lengths_N1 = np.linalg.norm(rows_NK, axis=1, keepdims=True)
        labels_N = kmeans_labels(rows_NK / np.where(lengths_N1 > 0, lengths_N1, 1.0), count, self.seed)
        return Clustering(labels_N[points.point_N])


def check_estimation(max_estimate: int, min_windows: int, exact_windows: int, seed: int) -> None:
    """Check the settings that all clusterers with an eigengap share.

    Raises:
        ValueError: one is out of range.
    """
    if max_estimate < 1:
        raise ValueError(f"max_estimate is {max_estimate}; expected at least 1")
    if min_windows < 3:
        raise ValueError(f"min_windows is {min_windows}; two windows have no eigengap, expected >= 3")
    if exact_windows < min_windows:
        raise ValueError(f"exact_windows is {exact_windows}; expected at least min_windows ({min_windows})")
    if seed < 0:
        raise ValueError(f"seed is {seed}; expected at least 0")


def high_for_few_windows(num_windows: int, min_windows: int, low: int, high: int, method: str) -> int:
    """``high``, or ``low`` where there are too few windows to estimate a number of speakers; logged."""
    if low == high or num_windows >= min_windows:
        return high
    logger.info(
        "%s: %d windows are too few to estimate the number of speakers (%d needed): using %d",
        method,
        num_windows,
        min_windows,
        low,
    )
    return low


def count_at_largest_gap(values_M: np.ndarray, low: int, high: int) -> int:
    """Estimate K >= ``low`` from ascending eigenvalues; the maximum caps the estimate afterwards.

    Searching only below the maximum would fail: with three well-separated speakers, λ = 0, 0, 0, ..., "at
    most two" would leave no gap.
    """
    return min(low + int(np.argmax(np.diff(values_M)[low - 1 :])), high)


def kmeans_labels(rows_NK: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Group the rows of ``count`` eigenvectors: independent, so no fewer of them differ."""
    from sklearn.cluster import KMeans

    labels_N: np.ndarray = KMeans(n_clusters=count, n_init=10, random_state=seed).fit_predict(rows_NK)
    return labels_N


def normalised_laplacian(affinity_NN: np.ndarray) -> np.ndarray:
    """L_sym = I - D^-1/2 A D^-1/2 (von Luxburg, equation 2); a node without links gets the row 0.

    Such a node is a connected component and adds one eigenvalue 0, as any other component does.
    """
    degrees_N = affinity_NN.sum(axis=1)
    linked_N = degrees_N > 0
    scale_N = np.zeros_like(degrees_N)
    scale_N[linked_N] = degrees_N[linked_N] ** -0.5
    laplacian_NN: np.ndarray = np.diag(linked_N.astype(np.float64)) - scale_N[:, None] * affinity_NN * scale_N
    return laplacian_NN
