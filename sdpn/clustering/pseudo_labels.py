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

#: ``average``: average linkage; ``ahc``: Ward's; ``kmeans``: k-means from the centres of Ward's.
Method = Literal["average", "kmeans", "ahc"]

#: What ``auto`` chooses from.
_AUTOMATIC: tuple[Method, ...] = ("average", "kmeans")

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


@dataclass(frozen=True)
class HalvesAgreement:
    """How well clusters of first halves and of second halves agree, by one method.

    Attributes:
        ari: adjusted Rand index (Hubert and Arabie 1985) for every candidate number of clusters.
        count: the number that was chosen by it.
        ami: adjusted mutual information (Vinh et al., JMLR 2010) for that number, by which methods are
            compared: it weighs utterances; the Rand index weighs pairs, most of which are in large clusters.
    """

    ari: dict[int, float]
    count: int
    ami: float


@dataclass(frozen=True, eq=False)
class Partition:
    """Clusters of one corpus and how they were chosen.

    Attributes:
        labels_N: cluster of each embedding, 0..K-1, none empty.
        method: how they were clustered.
        agreement: that of halves, of every method that was tried; empty if method and number were given.
    """

    labels_N: np.ndarray
    method: Method
    agreement: dict[Method, HalvesAgreement]

    @property
    def count(self) -> int:
        """Number K of clusters."""
        return int(self.labels_N.max()) + 1


@dataclass(frozen=True, eq=False)
class PseudoLabels:
    """Clusters of corpora that share no speaker.

    Attributes:
        corpora: their partitions.
        space: what was clustered, see `speaker_rows`.
    """

    corpora: tuple[Partition, ...]
    space: Space

    @property
    def labels_N(self) -> np.ndarray:
        """Cluster of each embedding of all corpora, 0..K-1, none empty."""
        starts = np.cumsum([0, *(corpus.count for corpus in self.corpora[:-1])])
        return np.concatenate(
            [corpus.labels_N + start for corpus, start in zip(self.corpora, starts, strict=True)]
        )

    @property
    def count(self) -> int:
        """Number K of clusters."""
        return sum(corpus.count for corpus in self.corpora)


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
    corpora: Sequence[int] | None = None,
    method: Method | Literal["auto"] = "auto",
    counts: Sequence[int] = (),
) -> PseudoLabels:
    """Cluster utterances, each corpus by itself.

    What is clustered are the `speaker_rows`, one space for all corpora. More than ``MAX_POINTS`` utterances
    of a corpus are first clustered into points, whose means take their place in the tree; k-means then goes
    over the utterances.

    Ward's linkage (1963), and k-means from its centres, make clusters of similar size: right for a corpus
    with as many utterances of every speaker. Average linkage leaves a speaker of one utterance alone and a
    speaker of three hundred together (docs/pseudo_labels.md). One tree serves all counts.

    The number of clusters is the one with which separate clusterings of first and second halves agree best:
    with too few clusters they merge different speakers, with too many they split speakers differently (the
    stability of Lange et al., Neural Computation 2004, with halves as samples). Among counts within 2 % of
    the best, the largest is chosen: a speaker in two classes harms a classifier less than two speakers in
    one. The method is the one whose halves agree best with the number so chosen.

    Args:
        whole_ND: embeddings of utterances (N, D).
        halves_N2D: those of their halves.
        corpora: number of utterances of each corpus, in order; none: they are one.
        method: ``auto`` chooses between ``average`` and ``kmeans``.
        counts: candidate numbers of clusters of each corpus; a single one is used as it is; none: a grid from
            √M to M / 2 for M points, with a factor of 1.25 between neighbours. The lower bound excludes
            partitions such as men and women.

    Raises:
        InputError: there are too few utterances for a count, or an embedding has no direction.
    """
    sizes = list(corpora or [len(whole_ND)])
    candidates = [_candidates(size, counts) for size in sizes]
    rows, space = speaker_rows(whole_ND, halves_N2D)
    methods = _AUTOMATIC if method == "auto" else (method,)
    ends = np.cumsum(sizes)
    partitions = tuple(
        _cluster([rows_NE[end - size : end] for rows_NE in rows], methods, among)
        for size, end, among in zip(sizes, ends, candidates, strict=True)
    )
    return PseudoLabels(partitions, space)


def _candidates(num_utterances: int, counts: Sequence[int]) -> list[int]:
    """Numbers of clusters to compare.

    Raises:
        InputError: there are too few utterances for them.
    """
    num_points = _num_points(num_utterances)
    candidates = sorted(set(counts)) or _grid(num_points)
    if not candidates or candidates[0] < 2 or candidates[-1] >= num_points:
        raise InputError(
            f"{num_points} points cannot form {candidates or 'any'} clusters", hint="expected at least 2"
        )
    return candidates


def _num_points(num_utterances: int) -> int:
    return num_utterances if num_utterances <= MAX_POINTS else min(MAX_POINTS, num_utterances // 2)


def _cluster(rows: Sequence[np.ndarray], methods: Sequence[Method], candidates: Sequence[int]) -> Partition:
    """Cluster one corpus: utterances, first halves and second halves, each (N, E)."""
    num_utterances = len(rows[0])
    large = num_utterances > MAX_POINTS
    point_N = _points(rows[0], _num_points(num_utterances)) if large else np.arange(num_utterances)
    weights_M = np.bincount(point_N).astype(np.float64)
    whole_ME, *halves = (_means(rows_NE, point_N, np.ones(num_utterances)) for rows_NE in rows)
    agreement: dict[Method, HalvesAgreement] = {}
    best, method = candidates[0], methods[0]
    if len(candidates) > 1 or len(methods) > 1:
        agreement = {
            tried: _agreement_of_halves(
                [_partitions(half_ME, weights_M, tried) for half_ME in halves], candidates
            )
            for tried in methods
        }
        method = max(methods, key=lambda tried: agreement[tried].ami)
        best = agreement[method].count
    labels_N = _partitions(whole_ME, weights_M, method)(best)[point_N]
    if large and method == "kmeans":
        labels_N = _refined(rows[0], np.ones(num_utterances), labels_N, max_iter=_ITERATIONS)
    return Partition(np.unique(labels_N, return_inverse=True)[1], method, agreement)


def _agreement_of_halves(
    halves: Sequence[Callable[[int], np.ndarray]], candidates: Sequence[int]
) -> HalvesAgreement:
    """Compare clusterings of first and of second halves, each a function of the number of clusters."""
    from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

    labels = {count: [of_half(count) for of_half in halves] for count in candidates}
    ari = {count: float(adjusted_rand_score(*pair)) for count, pair in labels.items()}
    enough = _AS_GOOD * max(ari.values())
    best = max(count for count in candidates if ari[count] >= enough)
    return HalvesAgreement(ari, best, float(adjusted_mutual_info_score(*labels[best])))


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


def _partitions(points_ME: np.ndarray, weights_M: np.ndarray, method: Method) -> Callable[[int], np.ndarray]:
    """Labels (M,) as a function of the number of clusters."""
    edges = _average_tree(points_ME, weights_M) if method == "average" else _ward_tree(points_ME, weights_M)

    def labels_of(count: int) -> np.ndarray:
        labels_M = cut_tree(edges, count)
        return _refined(points_ME, weights_M, labels_M) if method == "kmeans" else labels_M

    return labels_of


# both in single precision, since memory is what limits the number of points
def _average_tree(points_ME: np.ndarray, weights_M: np.ndarray) -> np.ndarray:
    from sklearn.metrics.pairwise import euclidean_distances

    return merge_tree(euclidean_distances(points_ME.astype(np.float32)), weights_M, "average")[0]


def _ward_tree(points_ME: np.ndarray, weights_M: np.ndarray) -> np.ndarray:
    distance_MM = ward_distances(points_ME.astype(np.float32), weights_M.astype(np.float32))
    return merge_tree(distance_MM, weights_M, "ward")[0]


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
