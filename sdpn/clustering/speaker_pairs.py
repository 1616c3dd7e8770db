"""Are two clusters of windows two speakers? What a recording says about each pair of its clusters.

Shapes: N windows, D embedding dimensions, K clusters, F features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sdpn.clustering.recording_model import RecordingModel
from sdpn.clustering.two_gaussians import evenly_spaced

#: Share of a cluster's effective windows that are independent, since windows overlap by half and what is said
#: lasts longer; and the most of them that count: whatever else changes in a long recording is no new speaker.
#: Without the latter, one reader of ten minutes was twelve speakers.
_INDEPENDENCE, _MOST = 0.25, 10.0

#: Loss of evidence that counts as little, in nats, and the dimension for which it is given.
_LITTLE, _DIMENSIONS = 5.0, 192

#: The similarity within a cluster counts as that within a speaker in so many pairs of windows.
_PRIOR_PAIRS = 6.0

#: Windows overlap if more than this is common to both, and follow each other if at most that is between them.
_OVERLAP_S, _PAUSE_S = 0.05, 0.5

#: A stay in a cluster of at most so many windows may be a window that straddles two speakers.
_SHORT_STAY = 2

#: Seconds between the starts of the windows that the coefficients were fitted to.
_USUAL_HOP_S = 0.75

#: Windows whose pairs measure the spread between speakers, and its least value.
_MAX_WINDOWS, _LEAST_SPREAD = 2000, 0.03

#: What `PairFeatures` measures, in the order of its last axis:
#:  loss       evidence that merging loses, signed and logarithmic
#:  distance   0 where the mean cosine between both is that within a speaker, 1 where it is that between two
#:  apart      the same, from the cosines within these two clusters instead of within any speaker
#:  smaller    log windows of the smaller
#:  larger     log windows of the larger
#:  contrast   difference of the cosines within and between speakers, in standard deviations of the latter
#:  mixture    distance of the smaller from the nearest mixture of the two clusters most similar to it
#:  stay       log windows in a row of the smaller
#:  passing    share of the smaller's short stays that lie between two different clusters
#:  and three products
FEATURES = (
    "constant",
    "loss",
    "distance",
    "apart",
    "smaller",
    "larger",
    "contrast",
    "mixture",
    "stay",
    "passing",
    "distance · smaller",
    "distance · contrast",
    "mixture · smaller",
)


@dataclass(frozen=True, eq=False)
class Clusters:
    """A partition, by what is known of each cluster.

    Attributes:
        labels_N: cluster of each window, 0..K-1, each used.
        sizes_K: windows.
        sums_KD: sums of the windows' embeddings of length 1.
    """

    labels_N: np.ndarray
    sizes_K: np.ndarray
    sums_KD: np.ndarray

    @classmethod
    def of(cls, labels_N: np.ndarray, rows_ND: np.ndarray) -> Clusters:
        """Of labels 0..K-1."""
        from scipy.sparse import csr_array

        ones = (np.ones(len(labels_N)), (labels_N, np.arange(len(labels_N))))
        sizes_K = np.bincount(labels_N).astype(np.float64)
        return cls(labels_N, sizes_K, csr_array(ones, shape=(len(sizes_K), len(labels_N))) @ rows_ND)

    def cosine(self, one: int, other: int) -> float:
        """Mean cosine of the windows of two clusters."""
        return float(self.sums_KD[one] @ self.sums_KD[other] / (self.sizes_K[one] * self.sizes_K[other]))

    def merged(self, kept: int, gone: int) -> Clusters:
        """With two clusters as one; the clusters behind ``gone`` move up."""
        labels_N = np.where(self.labels_N == gone, kept, self.labels_N)
        labels_N -= labels_N > gone
        sizes_K, sums_KD = self.sizes_K.copy(), self.sums_KD.copy()
        sizes_K[kept] += sizes_K[gone]
        sums_KD[kept] += sums_KD[gone]
        return Clusters(labels_N, np.delete(sizes_K, gone), np.delete(sums_KD, gone, axis=0))


class PairFeatures:
    """Measures all pairs of clusters of a recording.

    Args:
        rows_ND: embeddings of length 1, in chronological order.
        times_N2: start and end in seconds; None: windows follow each other without overlap.
        model: of the recording.
    """

    def __init__(self, rows_ND: np.ndarray, times_N2: np.ndarray | None, model: RecordingModel) -> None:
        self._model = model
        self._mean_D = rows_ND.mean(axis=0)
        gaps_s = np.zeros(len(rows_ND) - 1) if times_N2 is None else times_N2[1:, 0] - times_N2[:-1, 1]
        self._follows_T = gaps_s < _PAUSE_S
        self._unit = windows_in_usual_ones(times_N2)
        #: for each number of windows further, which overlap, and their cosines
        self._overlaps: list[tuple[np.ndarray, np.ndarray]] = []
        for step in range(1, len(rows_ND)):
            if times_N2 is None:
                break
            overlaps_T = times_N2[step:, 0] - times_N2[:-step, 1] < -_OVERLAP_S
            if not overlaps_T.any():
                break
            self._overlaps.append((overlaps_T, np.einsum("td,td->t", rows_ND[step:], rows_ND[:-step])))
        apart = len(self._overlaps) + 1 if self._overlaps else 2
        self._contrast = (model.within - model.between) / _spread_between(rows_ND, model.between, apart)

    def __call__(self, clusters: Clusters) -> np.ndarray:
        """The features (K, K, F), the same for (i, j) and (j, i); the diagonal has no meaning."""
        sizes_K, difference = clusters.sizes_K, self._model.within - self._model.between
        cosines_KK = clusters.sums_KD @ clusters.sums_KD.T / np.outer(sizes_K, sizes_K)
        own_K = self._own_cosines(clusters, cosines_KK.diagonal())
        distance_KK = (self._model.within - cosines_KK) / difference
        apart_KK = (0.5 * (own_K[:, None] + own_K) - cosines_KK) / difference
        loss_KK = self._losses(clusters)
        stay_K, passing_K = self._stays(clusters)
        # of two that are equal, the first
        first_is_smaller_KK = np.triu(sizes_K[:, None] <= sizes_K) | (sizes_K[:, None] < sizes_K)

        def of_smaller(values_K: np.ndarray) -> np.ndarray:
            return np.where(first_is_smaller_KK, values_K[:, None], values_K)

        usual_K = self._unit * sizes_K
        smaller_KK = np.log(np.minimum.outer(usual_K, usual_K) + 0.5)
        distance_KK, apart_KK = np.clip(distance_KK, -0.5, 1.5), np.clip(apart_KK, -0.5, 1.5)
        mixture_KK = np.clip(of_smaller(self._mixture(cosines_KK)), -0.5, 1.5)
        return np.stack(
            [
                np.ones_like(cosines_KK),
                np.sign(loss_KK) * np.log1p(np.abs(loss_KK) / _LITTLE),
                distance_KK,
                apart_KK,
                smaller_KK,
                np.log(np.maximum.outer(usual_K, usual_K) + 0.5),
                np.full_like(cosines_KK, self._contrast),
                mixture_KK,
                of_smaller(stay_K),
                of_smaller(passing_K),
                distance_KK * smaller_KK,
                distance_KK * self._contrast,
                mixture_KK * smaller_KK,
            ],
            axis=-1,
        )

    def _own_cosines(self, clusters: Clusters, mean_K: np.ndarray) -> np.ndarray:
        """Mean cosine within each cluster, of windows that share no samples."""
        sizes_K, labels_N = clusters.sizes_K, clusters.labels_N
        pairs_K, cosines_K = sizes_K**2 - sizes_K, mean_K * sizes_K**2 - sizes_K
        for step, (overlaps_T, cosines_T) in enumerate(self._overlaps, start=1):
            both_T = overlaps_T & (labels_N[step:] == labels_N[:-step])
            of_both = labels_N[step:][both_T]
            pairs_K -= 2 * np.bincount(of_both, minlength=len(sizes_K))
            cosines_K -= 2 * np.bincount(of_both, cosines_T[both_T], minlength=len(sizes_K))
        own_K: np.ndarray = (cosines_K + _PRIOR_PAIRS * self._model.within) / (pairs_K + _PRIOR_PAIRS)
        return own_K

    def _losses(self, clusters: Clusters) -> np.ndarray:
        """Evidence in nats that merging two clusters loses, (K, K), as if there were 192 dimensions.

        The nats grow with the dimension although the directions in which speakers differ do not.
        """
        sizes_K, dimensions = clusters.sizes_K, len(self._mean_D)
        counts_K = _INDEPENDENCE * self._unit * sizes_K
        counts_K = counts_K / (1.0 + counts_K / _MOST)
        means_KD = clusters.sums_KD / sizes_K[:, None] - self._mean_D
        sums_KD = means_KD * (counts_K * np.sqrt(dimensions / self._model.noise))[:, None]
        products_KK = sums_KD @ sums_KD.T
        squares_K = products_KK.diagonal()
        alone_K = evidence(counts_K, squares_K, self._model.phi, dimensions)
        together_KK = evidence(
            np.add.outer(counts_K, counts_K),
            np.add.outer(squares_K, squares_K) + 2.0 * products_KK,
            self._model.phi,
            dimensions,
        )
        losses_KK: np.ndarray = (np.add.outer(alone_K, alone_K) - together_KK) * (_DIMENSIONS / dimensions)
        return losses_KK

    def _mixture(self, cosines_KK: np.ndarray) -> np.ndarray:
        """Distance (K,) of each cluster from the plane of the two that are most similar to it.

        A window of two speakers at once, or first of one and then of the other, lies between the two.
        """
        within, difference = self._model.within, self._model.within - self._model.between
        others_KK = cosines_KK.copy()
        np.fill_diagonal(others_KK, -np.inf)
        if len(cosines_KK) < 3:
            one_K: np.ndarray = (within - others_KK.max(axis=1)) / difference
            return one_K
        nearest_K2 = np.argsort(others_KK, axis=1, kind="stable")[:, :-3:-1]
        first_K, second_K = np.take_along_axis(others_KK, nearest_K2, axis=1).T
        # clipped so that the two span a plane: noise makes cosines of means more extreme than the model has
        cross_K = np.clip(cosines_KK[nearest_K2[:, 0], nearest_K2[:, 1]], -0.95 * within, 0.95 * within)
        square_K = within * (first_K**2 + second_K**2) - 2.0 * cross_K * first_K * second_K
        projected_K = np.sqrt(np.maximum(square_K, 0.0) * within / (within**2 - cross_K**2))
        is_between_K = (second_K > 0.0) & (within * second_K > cross_K * first_K)
        distance_K: np.ndarray = (within - np.where(is_between_K, projected_K, first_K)) / difference
        return distance_K

    def _stays(self, clusters: Clusters) -> tuple[np.ndarray, np.ndarray]:
        """Features ``stay`` and ``passing`` of each cluster, (K,) each."""
        labels_N, num = clusters.labels_N, len(clusters.sizes_K)
        breaks_T = (labels_N[1:] != labels_N[:-1]) | ~self._follows_T
        starts_S = np.flatnonzero(np.concatenate([[True], breaks_T]))
        lengths_S = np.diff(np.append(starts_S, len(labels_N)))
        of_S = labels_N[starts_S]
        follows_N = np.concatenate([[False], self._follows_T, [False]])
        surrounded_S = follows_N[starts_S] & follows_N[starts_S + lengths_S]
        before_S, after_S = np.concatenate([[-1], of_S[:-1]]), np.concatenate([of_S[1:], [-2]])
        passing_S = surrounded_S & (before_S != after_S) & (self._unit * lengths_S <= _SHORT_STAY)
        stay_K = np.log(self._unit * clusters.sizes_K / np.bincount(of_S, minlength=num) + 0.1)
        return stay_K, np.bincount(of_S, passing_S * lengths_S, minlength=num) / clusters.sizes_K


def windows_in_usual_ones(times_N2: np.ndarray | None) -> float:
    """How many of the usual windows, 0.75 s apart, one of these is worth, by how much further it reaches.

    Args:
        times_N2: start and end in seconds; None: they are the usual ones.
    """
    if times_N2 is None or len(times_N2) < 2:
        return 1.0
    lengths_s = np.minimum(np.diff(times_N2[:, 0]), times_N2[1:, 1] - times_N2[1:, 0])
    return float(np.clip(round(float(np.median(lengths_s)) / _USUAL_HOP_S, 2), 0.05, 4.0))


def evidence(counts: np.ndarray, squares: np.ndarray, phi: float, dimensions: int) -> np.ndarray:
    """Log marginal likelihood of windows of one speaker, up to terms that no partition changes.

    Args:
        counts: effective number of windows.
        squares: squared length of their sum.
        phi: variance between speakers in each dimension; that within is 1.
        dimensions: D.
    """
    result: np.ndarray = 0.5 * phi * squares / (1.0 + counts * phi)
    return result - 0.5 * dimensions * np.log1p(counts * phi)


def _spread_between(rows_ND: np.ndarray, between: float, apart: int) -> float:
    """Standard deviation of the cosines of different speakers, from those below their mean.

    Args:
        rows_ND: embeddings of length 1.
        between: their mean.
        apart: windows that are so many further share no samples.
    """
    rows_ND = rows_ND[evenly_spaced(len(rows_ND), _MAX_WINDOWS)]
    cosines_P = (rows_ND @ rows_ND.T)[np.triu_indices(len(rows_ND), apart)]
    below_P = cosines_P[cosines_P < between]
    return max(float(np.sqrt(((below_P - between) ** 2).mean())) if len(below_P) else 0.0, _LEAST_SPREAD)
