"""Where centres start, and mini-batches that move them.

Shapes: B rows of a batch, M rows of the sample, H rows held out, K centres, D dimensions.
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
    """Centres (K, D) float32 and the number of the sample's rows that each is the mean of."""

    centres_KD: np.ndarray
    counts_K: np.ndarray


def initial_centres(
    sample_MD: np.ndarray,
    held_out_HD: np.ndarray,
    settings: StreamSettings,
    given_KD: np.ndarray | None = None,
) -> InitialCentres:
    """Choose centres by k-means++ (Arthur and Vassilvitskii 2007) and a few of Lloyd's iterations.

    The iterations are the refinement of Bradley and Fayyad (1998). The counts go on into the mini-batches:
    if they began with 0, as scikit-learn's do, the first rows would replace the centres, and what was found
    on the sample would be lost.

    Args:
        sample_MD: rows in the space of comparison.
        held_out_HD: other rows, which choose among the ``n_init`` starts.
        settings: as the user gave them.
        given_KD: centres to start from in place of all this.

    Raises:
        InputError: the sample has fewer different rows than there are clusters.
    """
    from sklearn.cluster import KMeans

    num_clusters = settings.n_clusters
    if given_KD is not None:
        return _with_counts(sample_MD, given_KD, settings)
    num_different = len(np.unique(sample_MD, axis=0))
    if num_different < num_clusters:
        raise InputError(
            f"{num_different} different rows cannot be the centres of {num_clusters} clusters",
            hint=f"a sample of {len(sample_MD)} rows holds no more: ask for fewer, or raise init_size",
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
    """Centres that every batch pulls towards the mean of the rows that chose them (Sculley 2010, alg. 1).

    The rows of a batch are taken together, as in scikit-learn's ``MiniBatchKMeans.partial_fit``, and small
    centres start again by its rule, each time 10 K rows have passed. The estimator itself is not used: it has
    no public way to set the counts, the next reassignment and the random state, which an exact resume needs.

    A centre is the mean of what it was given, each row with the same weight; ``counts_K`` are those
    weights. From the second epoch on they are of the last epoch only, since the rows of earlier ones were
    given to centres that were elsewhere.

    Args:
        start: where to start.
        settings: as the user gave them.

    Attributes:
        centres_KD: the centres now, float32.
        counts_K: rows that each is the mean of, float32.
    """

    def __init__(self, start: InitialCentres, settings: StreamSettings) -> None:
        self._settings = settings
        self.centres_KD = start.centres_KD.copy()
        self.counts_K = start.counts_K.astype(np.float32)
        self._epoch_counts_K = np.zeros_like(self.counts_K)
        self._since_reassign = 0
        self._rng = np.random.default_rng(settings.seed)

    def begin_epoch(self) -> None:
        """Forget the rows of the epoch before the last one."""
        self.counts_K = np.maximum(self.counts_K - self._epoch_counts_K, 1)
        self._epoch_counts_K = self.counts_K.copy()

    def step(self, batch_BD: np.ndarray) -> float:
        """Take in a batch; returns its mean squared distance from the centres as they were."""
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
        """InitialCentres centres of few rows again, on rows of the batch."""
        small = np.flatnonzero(self.counts_K < self._settings.reassignment_ratio * self.counts_K.max())
        small = small[np.argsort(self.counts_K[small], kind="stable")][: len(batch_BD) // 2]
        if len(small):
            others_K = np.setdiff1d(np.arange(len(self.counts_K)), small)
            rows = self._rng.choice(len(batch_BD), size=len(small), replace=False)
            self.centres_KD[small] = batch_BD[rows]
            self.counts_K[small] = self.counts_K[others_K].min()  # or they would be moved again at once

    def state(self) -> dict[str, Any]:
        """What `restore` takes: all that a step depends on."""
        return {
            "centres": self.centres_KD,
            "counts": self.counts_K,
            "epoch_counts": self._epoch_counts_K,
            "since_reassign": self._since_reassign,
            "rng": self._rng.bit_generator.state,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self.centres_KD = state["centres"].copy()
        self.counts_K = state["counts"].copy()
        self._epoch_counts_K = state["epoch_counts"]
        self._since_reassign = state["since_reassign"]
        self._rng.bit_generator.state = state["rng"]
