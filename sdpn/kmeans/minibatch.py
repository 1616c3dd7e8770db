"""Initialisation of the centres, and mini-batch updates.

Shapes: B rows of a batch, M rows of the sample, H held-out rows, K centres, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sdpn.errors import InputError
from sdpn.kmeans.model import nearest, sums_by_label, to_length_1
from sdpn.kmeans.settings import StreamSettings


@dataclass(frozen=True, eq=False)
class InitialCentres:
    """Centres (K, D) float32 and the number of sample rows assigned to each."""

    centres_KD: np.ndarray
    counts_K: np.ndarray


def initial_centres(
    sample_MD: np.ndarray,
    held_out_HD: np.ndarray,
    settings: StreamSettings,
    given_KD: np.ndarray | None = None,
) -> InitialCentres:
    """Initialise centres by k-means++ (Arthur and Vassilvitskii 2007) and a few Lloyd iterations.

    The iterations are the refinement of Bradley and Fayyad (1998). The counts are carried over to the
    mini-batches: starting from 0, as in scikit-learn, the first rows would replace the initial centres.

    Args:
        sample_MD: rows in comparison space.
        held_out_HD: held-out rows, which select one of ``n_init`` initialisations.
        settings: settings of the training.
        given_KD: initial centres to use instead.

    Raises:
        InputError: the sample has fewer distinct rows than clusters.
    """
    from sklearn.cluster import KMeans

    num_clusters = settings.n_clusters
    if given_KD is not None:
        return _with_counts(sample_MD, given_KD, settings)
    num_different = len(np.unique(sample_MD, axis=0))
    if num_different < num_clusters:
        raise InputError(
            f"the sample has {num_different} distinct rows, too few for {num_clusters} clusters",
            hint=f"use fewer clusters, or raise init_size (the sample has {len(sample_MD)} rows)",
        )
    best, lowest = None, np.inf
    for attempt in range(settings.n_init):
        kmeans = KMeans(
            n_clusters=num_clusters,
            init=settings.init,
            n_init=1,
            max_iter=settings.init_iter,
            random_state=np.random.RandomState([settings.seed, attempt]),
        )
        centres_KD = kmeans.fit(sample_MD).cluster_centers_.astype(np.float32)
        if settings.spherical:
            to_length_1(centres_KD)
        inertia = float(nearest(held_out_HD, centres_KD)[1].sum(dtype=np.float64))
        if inertia < lowest:
            best, lowest = centres_KD, inertia
    assert best is not None
    return _with_counts(sample_MD, best, settings)


def _with_counts(sample_MD: np.ndarray, centres_KD: np.ndarray, settings: StreamSettings) -> InitialCentres:
    labels_M, _ = nearest(sample_MD, centres_KD)
    counts_K = np.bincount(labels_M, minlength=settings.n_clusters)
    return InitialCentres(centres_KD, np.maximum(counts_K, 1).astype(np.float32))


class MiniBatches:
    """Mini-batch k-means (Sculley 2010, algorithm 1).

    Batches are processed as in scikit-learn's ``MiniBatchKMeans.partial_fit``, with its reassignment of small
    clusters every 10 K rows. The estimator itself is not used, since it has no public way to set the counts,
    the next reassignment and the random state, which exact resuming needs.

    A centre is the mean of the rows assigned to it, each with the same weight; ``counts_K`` are their
    numbers. From the second epoch on they only count the last epoch, since earlier rows were assigned to
    other centres.

    Args:
        start: initial centres.
        settings: settings of the training.

    Attributes:
        centres_KD: current centres, float32.
        counts_K: rows assigned to each, float32.
    """

    def __init__(self, start: InitialCentres, settings: StreamSettings) -> None:
        self._settings = settings
        self.centres_KD = start.centres_KD.copy()
        self.counts_K = start.counts_K.astype(np.float32)
        self._epoch_counts_K = np.zeros_like(self.counts_K)
        self._since_reassign = 0
        self._rng = np.random.default_rng(settings.seed)

    def begin_epoch(self) -> None:
        """Drop the counts of the epoch before the last one."""
        self.counts_K = np.maximum(self.counts_K - self._epoch_counts_K, 1)
        self._epoch_counts_K = self.counts_K.copy()

    def step(self, batch_BD: np.ndarray) -> float:
        """Update the centres with a batch; returns its mean squared distance to the previous centres."""
        num_clusters = len(self.centres_KD)
        labels_B, squares_B = nearest(batch_BD, self.centres_KD, backend=self._settings.backend)
        new_K = np.bincount(labels_B, minlength=num_clusters)
        hit_K = new_K > 0
        sums_KD = sums_by_label(batch_BD, labels_B, num_clusters)[hit_K]
        sums_KD += self.centres_KD[hit_K].astype(np.float64) * self.counts_K[hit_K, None]
        self.counts_K = (self.counts_K + new_K).astype(np.float32)
        self.centres_KD[hit_K] = sums_KD / self.counts_K[hit_K, None]
        self._since_reassign += len(batch_BD)
        if self._since_reassign >= 10 * num_clusters:
            self._since_reassign = 0
            self._reassign(batch_BD)
        if self._settings.spherical:
            to_length_1(self.centres_KD)
        return float(squares_B.mean(dtype=np.float64))

    def _reassign(self, batch_BD: np.ndarray) -> None:
        """Move centres of small clusters to random rows of the batch."""
        small = np.flatnonzero(self.counts_K < self._settings.reassignment_ratio * self.counts_K.max())
        small = small[np.argsort(self.counts_K[small], kind="stable")][: len(batch_BD) // 2]
        if len(small):
            others_K = np.setdiff1d(np.arange(len(self.counts_K)), small)
            rows = self._rng.choice(len(batch_BD), size=len(small), replace=False)
            self.centres_KD[small] = batch_BD[rows]
            self.counts_K[small] = self.counts_K[
                others_K
            ].min()  # otherwise they would be reassigned again immediately

    def state(self) -> dict[str, Any]:
        """State for `restore`."""
        return {
            "centres": self.centres_KD,
            "counts": self.counts_K,
            "epoch_counts": self._epoch_counts_K,
            "since_reassign": self._since_reassign,
            "rng": self._rng.bit_generator.state,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a saved state."""
        self.centres_KD = state["centres"].copy()
        self.counts_K = state["counts"].copy()
        self._epoch_counts_K = state["epoch_counts"]
        self._since_reassign = state["since_reassign"]
        self._rng.bit_generator.state = state["rng"]
