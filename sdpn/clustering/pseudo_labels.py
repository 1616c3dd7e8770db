"""Clusters of a whole corpus as labels to train on; silhouettes tell how many.

Shapes: N embeddings, M points that stand for them, D embedding dimensions, K clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal

import numpy as np

from sdpn.clustering.affinity import unit_rows
from sdpn.clustering.linkage import cut, merge_tree, ward_distances
from sdpn.errors import InputError

#: Points that are clustered with a matrix of all pairs: 16 M² bytes.
MAX_POINTS = 10_000

#: Neighbouring counts of the grid differ by this factor.
_GRID = 1.25


@dataclass(frozen=True, eq=False)
class PseudoLabels:
    """A partition and how its number of clusters was found.

    Attributes:
        labels_N: cluster of each embedding, 0..K-1, none empty.
        silhouettes: mean silhouette of every count that was tried.
    """

    labels_N: np.ndarray
    silhouettes: dict[int, float]

    @property
    def count(self) -> int:
        """Number K of clusters."""
        return int(self.labels_N.max()) + 1


def pseudo_labels(
    emb_ND: np.ndarray,
    *,
    method: Literal["kmeans", "ahc"] = "kmeans",
    counts: Sequence[int] = (),
    points_N: np.ndarray | None = None,
) -> PseudoLabels:
    """Cluster directions by Ward's linkage (1963) and, with ``kmeans``, by k-means from the centres it found.

    Random starts of k-means leave large speakers split and small ones together; from Ward's centres the same
    k-means agrees far better with the speakers (docs/pseudo_labels.md). One tree serves all counts.

    The count is found without labels: from that with the best mean silhouette by cosine distance (Rousseeuw
    1987) upwards, as long as the silhouette stays within one standard error of the best. The curve is flat
    around its top, and a speaker in two classes harms a classifier less than two speakers in one.

    Args:
        emb_ND: embeddings (N, D).
        method: ``ahc`` cuts the tree, ``kmeans`` goes on from there.
        counts: numbers of clusters to choose from, one alone is taken as it is; none: a grid from √M to M / 2
            for M points, with a factor of 1.25 between neighbours. Men against women is a good partition too,
            but not one of speakers.
        points_N: cluster of each embedding in a finer partition, whose means are then clustered in place of
            the embeddings; for corpora of more than ``MAX_POINTS`` utterances.

    Raises:
        InputError: there are too many embeddings or points, too few for a count, or one is not a direction.
    """
    unit_ND = unit_rows(emb_ND)
    point_N = np.arange(len(unit_ND)) if points_N is None else np.unique(points_N, return_inverse=True)[1]
    weights_M = np.bincount(point_N).astype(np.float64)
    num_points = len(weights_M)
    if num_points > MAX_POINTS:
        raise InputError(
            f"{num_points} points to merge; at most {MAX_POINTS} fit in memory with all their pairs",
            hint="cluster finely first (sdpn kmeans), then merge its clusters",
        )
    candidates = sorted(set(counts)) or _grid(num_points)
    if not candidates or candidates[0] < 2 or candidates[-1] >= num_points:
        raise InputError(f"{num_points} points cannot make {candidates or 'any'} clusters", hint="from 2 on")
    points_MD = _means(unit_ND, point_N, np.ones(len(unit_ND)))
    edges, _ = merge_tree(ward_distances(points_MD, weights_M), weights_M, "ward")

    def labels_of(count: int) -> np.ndarray:
        labels_M = cut(edges, count)
        return labels_M if method == "ahc" else _refined(points_MD, weights_M, labels_M)

    tried: dict[int, float] = {}
    best_M = labels_of(candidates[0])
    if len(candidates) > 1:
        best_M = _best(labels_of, candidates, points_MD, weights_M, tried)
    return PseudoLabels(np.unique(best_M, return_inverse=True)[1][point_N], tried)


def _grid(num_points: int) -> list[int]:
    counts, value = [], max(2.0, num_points**0.5)
    while value <= num_points / 2:
        counts.append(round(value))
        value = max(value * _GRID, value + 1)
    return counts


def _best(
    labels_of: Callable[[int], np.ndarray],
    counts: Sequence[int],
    points_MD: np.ndarray,
    weights_M: np.ndarray,
    tried: dict[int, float],
) -> np.ndarray:
    """Labels of the count that `pseudo_labels` describes; fills ``tried``."""
    from sklearn.metrics import silhouette_samples

    unit_MD = unit_rows(points_MD)
    distance_MM = np.maximum(1.0 - unit_MD @ unit_MD.T, 0.0)
    np.fill_diagonal(distance_MM, 0.0)
    tolerance = {}
    for count in counts:
        samples_M = silhouette_samples(distance_MM, labels_of(count), metric="precomputed")
        tried[count] = float(np.average(samples_M, weights=weights_M))
        variance = np.average((samples_M - tried[count]) ** 2, weights=weights_M)
        tolerance[count] = float(np.sqrt(variance / weights_M.sum()))
    best = max(tried, key=tried.__getitem__)
    enough = tried[best] - tolerance[best]
    later = [count for count in counts if count >= best]
    return labels_of(list(takewhile(lambda count: tried[count] >= enough, later))[-1])


def _refined(points_MD: np.ndarray, weights_M: np.ndarray, labels_M: np.ndarray) -> np.ndarray:
    """K-means from the centres of a partition."""
    from sklearn.cluster import KMeans

    centres_KD = _means(points_MD, labels_M, weights_M)
    kmeans = KMeans(n_clusters=len(centres_KD), init=centres_KD, n_init=1)
    refined_M: np.ndarray = kmeans.fit_predict(points_MD, sample_weight=weights_M)
    return refined_M


def _means(rows_MD: np.ndarray, labels_M: np.ndarray, weights_M: np.ndarray) -> np.ndarray:
    """Weighted means of the rows of each label, (K, D)."""
    sums_KD = np.zeros((int(labels_M.max()) + 1, rows_MD.shape[1]))
    np.add.at(sums_KD, labels_M, rows_MD * weights_M[:, None])
    return sums_KD / np.bincount(labels_M, weights_M)[:, None]
