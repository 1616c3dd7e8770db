"""Agglomerative hierarchical clustering (AHC) with average linkage on cosine similarity.

Shapes: N windows, D embedding dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sdpn.clustering.affinity import cosine_similarity
from sdpn.clustering.contract import by_first_appearance, speaker_bounds


@dataclass(frozen=True, kw_only=True)
class Agglomerative:
    """Merge the two most similar clusters until the mean similarity between any two is too low.

    Average linkage (UPGMA: Sokal and Michener, 1958): the similarity of two clusters is the mean over all
    pairs of their members. Memory is 16 N² bytes: 0.4 GB for an hour of speech.

    Attributes:
        threshold: clusters whose mean cosine similarity reaches this are one speaker. It depends on the
            embedding; a model folder's calibration holds its own.
    """

    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not -1.0 <= self.threshold <= 1.0:
            raise ValueError(f"threshold is {self.threshold}; a cosine similarity lies in [-1, 1]")

    def fit_predict(
        self,
        emb_ND: np.ndarray,
        *,
        num_speakers: int | None = None,
        min_speakers: int = 1,
        max_speakers: int | None = None,
    ) -> np.ndarray:
        """See `sdpn.clustering.contract.Clusterer.fit_predict`."""
        num_windows = len(emb_ND)
        low, high = speaker_bounds(
            num_windows, num_speakers=num_speakers, min_speakers=min_speakers, max_speakers=max_speakers
        )
        similarity_NN = cosine_similarity(emb_ND)
        if num_windows == 1:
            return np.zeros(1, dtype=np.int64)
        merges = _average_linkage(similarity_NN)
        wanted = num_windows - int((merges[:, 2] <= 1.0 - self.threshold).sum())
        return by_first_appearance(_cut(merges, num_clusters=min(max(wanted, low), high)))


def _average_linkage(similarity_NN: np.ndarray) -> np.ndarray:
    """Scipy's linkage matrix (N-1, 4): each row merges clusters [0] and [1] at cosine distance [2]."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    distances = squareform(similarity_NN, checks=False)  # the upper triangle, row by row
    merges: np.ndarray = linkage(np.subtract(1.0, distances, out=distances), method="average")
    return merges


def _cut(merges: np.ndarray, *, num_clusters: int) -> np.ndarray:
    """Do the first N - k merges. (Scipy's ``fcluster`` gives fewer than k clusters when distances tie.)"""
    num_rows = len(merges) + 1
    num_done = num_rows - num_clusters
    parent = np.arange(num_rows + num_done)
    for step, (first, second) in enumerate(merges[:num_done, :2].astype(np.int64)):
        parent[[first, second]] = num_rows + step
    for node in range(len(parent) - 1, -1, -1):  # a parent has the larger number, so its own is final
        parent[node] = parent[parent[node]]
    roots: np.ndarray = parent[:num_rows]
    return roots
