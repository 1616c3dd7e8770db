"""Pseudo-labels: clusters of a whole corpus as training targets; their number is found without labels.

The two halves of an utterance have the same speaker. Differences between them are unrelated to the speaker,
and agreement between the clusters of first and of second halves measures how good a partition is.

Shapes: N embeddings, M points that represent them, D embedding dimensions, E of their space, K clusters.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sdpn.clustering.linkage import cut_tree, merge_tree, ward_distances
from sdpn.errors import InputError
from sdpn.verification.plda import train_plda_of_parts
from sdpn.verification.similarity import unit_rows

logger = logging.getLogger(__name__)

Space = Literal["plda", "cosine"]

#: Maximum number of points that are clustered with a matrix of all pairs, which takes 8 M² bytes.
MAX_POINTS = 20_000

#: Iterations of k-means over the utterances of a corpus that was clustered as points.
_ITERATIONS = 20

#: Utterances per dimension from which a PLDA of their halves is better than the cosine.
_ENOUGH = 4

#: Maximum number of utterances for training the PLDA, evenly spaced: more only cost time and memory.
_MOST_FOR_PLDA = 20_000

#: Share of the best agreement that counts as equally good.
_AS_GOOD = 0.98

#: Neighbouring counts of the grid differ by this factor.
_GRID = 1.25


@dataclass(frozen=True, eq=False)
class PseudoLabels:
    """A partition and how its number of clusters was chosen.

    Attributes:
        labels_N: cluster of each embedding, 0..K-1, none empty.
        agreement: for every candidate count, the agreement between clusters of first halves and of second
            halves: adjusted Rand index (Hubert and Arabie 1985).
        space: what was clustered, see `speaker_rows`.
    """

    labels_N: np.ndarray
    agreement: dict[int, float]
    space: Space

    @property
    def count(self) -> int:
        """Number K of clusters."""
        return int(self.labels_N.max()) + 1


def speaker_rows(whole_ND: np.ndarray, halves_N2D: np.ndarray) -> tuple[list[np.ndarray], Space]:
    """Utterances, first halves and second halves as rows for Euclidean clustering, each (N, E).

    With a PLDA of the halves these are `Plda.speaker_space`, in which directions along which the halves of an
    utterance differ have little weight. With fewer utterances than four times the dimensions such a PLDA is
    unreliable, and embeddings are only length-normalised.

    Args:
        whole_ND: embeddings of utterances.
        halves_N2D: those of their halves.

    Raises:
        InputError: an embedding has no direction, or all are equal.
    """
    sets = [whole_ND, halves_N2D[:, 0], halves_N2D[:, 1]]
    num_utterances, dimension = whole_ND.shape
    if num_utterances < _ENOUGH * dimension:
        return [unit_rows(emb_ND) for emb_ND in sets], "cosine"
    mean_D = whole_ND.mean(axis=0, dtype=np.float64)
    chosen = np.linspace(0, num_utterances - 1, min(num_utterances, _MOST_FOR_PLDA)).astype(int)
    plda = train_plda_of_parts(halves_N2D[chosen], mean_D)
    return [plda.speaker_space(unit_rows(emb_ND - mean_D)) for emb_ND in sets], "plda"


def pseudo_labels(
    whole_ND: np.ndarray,
    halves_N2D: np.ndarray,
    *,
    method: Literal["kmeans", "ahc"] = "kmeans",
    counts: Sequence[int] = (),
) -> PseudoLabels:
    """Cluster utterances by Ward's linkage (1963) and, with ``kmeans``, refine it by k-means.

    What is clustered are the `speaker_rows`. More than ``MAX_POINTS`` utterances are first clustered into
    points, whose means take their place in the tree; k-means then goes over the utterances.

    Randomly initialised k-means splits large speakers and merges small ones; from Ward's centres it agrees
    far better with the speakers (docs/pseudo_labels.md). One tree serves all counts.

    The number of clusters is the one with which separate clusterings of first and second halves agree best:
    with too few clusters they merge different speakers, with too many they split speakers differently (the
    stability of Lange et al., Neural Computation 2004, with halves as samples). Among counts within 2 % of
    the best, the largest is chosen: a speaker in two classes harms a classifier less than two speakers in
    one.

    Args:
        whole_ND: embeddings of utterances (N, D).
        halves_N2D: those of their halves.
        method: ``ahc`` cuts the tree, ``kmeans`` also refines the result.
        counts: candidate numbers of clusters; a single one is used as it is; none: a grid from √M to M / 2
            for M points, with a factor of 1.25 between neighbours. The lower bound excludes partitions such
            as men and women.

    Raises:
        InputError: there are too few utterances for a count, or an embedding has no direction.
    """
    large = len(whole_ND) > MAX_POINTS
    num_points = min(MAX_POINTS, len(whole_ND) // 2) if large else len(whole_ND)
    candidates = sorted(set(counts)) or _grid(num_points)
    if not candidates or candidates[0] < 2 or candidates[-1] >= num_points:
        raise InputError(
            f"{num_points} points cannot form {candidates or 'any'} clusters", hint="expected at least 2"
        )
    rows, space = speaker_rows(whole_ND, halves_N2D)
    point_N = _points(rows[0], num_points) if large else np.arange(num_points)
    weights_M = np.bincount(point_N).astype(np.float64)

    def partitions_of(rows_NE: np.ndarray) -> Callable[[int], np.ndarray]:
        return _partitions(_means(rows_NE, point_N, np.ones(len(point_N))), weights_M, method)

    agreement: dict[int, float] = {}
    best = candidates[0]
    if len(candidates) > 1:
        from sklearn.metrics import adjusted_rand_score

        first, second = (partitions_of(half_NE) for half_NE in rows[1:])
        agreement = {count: float(adjusted_rand_score(first(count), second(count))) for count in candidates}
        enough = _AS_GOOD * max(agreement.values())
        best = max(count for count in candidates if agreement[count] >= enough)
    labels_N = partitions_of(rows[0])(best)[point_N]
    if large and method == "kmeans":
        labels_N = _refined(rows[0], np.ones(len(labels_N)), labels_N, max_iter=_ITERATIONS)
    return PseudoLabels(np.unique(labels_N, return_inverse=True)[1], agreement, space)


def _points(rows_NE: np.ndarray, count: int) -> np.ndarray:
    """Clusters (N,) that stand for their utterances: so many that few hold two speakers."""
    from sklearn.cluster import MiniBatchKMeans

    logger.info("%d utterances exceed %d: merging %d points", len(rows_NE), MAX_POINTS, count)
    kmeans = MiniBatchKMeans(
        count, init="random", n_init=1, batch_size=max(4096, count), max_iter=10, random_state=0
    )
    return np.unique(kmeans.fit_predict(rows_NE.astype(np.float32)), return_inverse=True)[1]


def _grid(num_points: int) -> list[int]:
    counts, value = [], max(2.0, num_points**0.5)
    while value <= num_points / 2:
        counts.append(round(value))
        value = max(value * _GRID, value + 1)
    return counts


def _partitions(
    points_ME: np.ndarray, weights_M: np.ndarray, method: Literal["kmeans", "ahc"]
) -> Callable[[int], np.ndarray]:
    """Labels (M,) as a function of the number of clusters."""
    # in single precision, since memory is what limits the number of points
    distance_MM = ward_distances(points_ME.astype(np.float32), weights_M.astype(np.float32))
    edges, _ = merge_tree(distance_MM, weights_M, "ward")

    def labels_of(count: int) -> np.ndarray:
        labels_M = cut_tree(edges, count)
        return labels_M if method == "ahc" else _refined(points_ME, weights_M, labels_M)

    return labels_of


def _refined(
    points_ME: np.ndarray, weights_M: np.ndarray, labels_M: np.ndarray, *, max_iter: int = 300
) -> np.ndarray:
    """K-means from the centres of a partition."""
    from sklearn.cluster import KMeans

    centres_KE = _means(points_ME, labels_M, weights_M)
    kmeans = KMeans(n_clusters=len(centres_KE), init=centres_KE, n_init=1, max_iter=max_iter)
    refined_M: np.ndarray = kmeans.fit_predict(points_ME, sample_weight=weights_M)
    return refined_M


def _means(rows_ME: np.ndarray, labels_M: np.ndarray, weights_M: np.ndarray) -> np.ndarray:
    """Weighted means of the rows of each label, (K, E)."""
    sums_KE = np.zeros((int(labels_M.max()) + 1, rows_ME.shape[1]))
    np.add.at(sums_KE, labels_M, rows_ME * weights_M[:, None])
    return sums_KE / np.bincount(labels_M, weights_M)[:, None]
