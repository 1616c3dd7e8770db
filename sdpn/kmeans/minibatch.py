"""One batch after the other moves the centres (Sculley 2010): scikit-learn's ``partial_fit``.

Shapes: B rows of a batch, K centres, D dimensions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from sdpn.errors import InputError
from sdpn.kmeans.model import nearest, to_length_1
from sdpn.kmeans.settings import StreamSettings


@dataclass(frozen=True, eq=False)
class Start:
    """Centres (K, D) float32 and the number of the sample's rows that each is the mean of."""

    centres_KD: np.ndarray
    counts_K: np.ndarray


def starting_centres(
    sample_MD: np.ndarray,
    held_out_HD: np.ndarray,
    settings: StreamSettings,
    given_KD: np.ndarray | None = None,
) -> Start:
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


def _with_counts(sample_MD: np.ndarray, centres_KD: np.ndarray, settings: StreamSettings) -> Start:
    labels_M, _ = nearest(sample_MD, centres_KD)
    counts_K = np.bincount(labels_M, minlength=settings.n_clusters)
    return Start(centres_KD, np.maximum(counts_K, 1).astype(np.float32))


#: Of so many rows of a batch one shows the inertia.
_PROBE_EVERY = 64
_PROBE_LEAST = 32


class MiniBatches(ABC):
    """Centres that every batch pulls towards the mean of the rows that chose them.

    A centre is the mean of what it was given, each row with the same weight; ``counts_K`` are those
    weights. From the second epoch on they are of the last epoch only, since the rows of earlier ones were
    given to centres that were elsewhere.
    """

    def __init__(self, counts_K: np.ndarray) -> None:
        self.epoch_counts_K = np.zeros_like(counts_K)

    @property
    @abstractmethod
    def centres_KD(self) -> np.ndarray:
        """The centres now, float32."""

    @property
    @abstractmethod
    def counts_K(self) -> np.ndarray:
        """Rows that each centre is the mean of."""

    @abstractmethod
    def step(self, batch_BD: np.ndarray) -> float:
        """Take in a batch; returns its mean squared distance from the centres."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What `restore` takes."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""

    @abstractmethod
    def _set_counts(self, counts_K: np.ndarray) -> None: ...

    def begin_epoch(self) -> None:
        """Forget the rows of the epoch before the last one."""
        self._set_counts(np.maximum(self.counts_K - self.epoch_counts_K, 1))
        self.epoch_counts_K = self.counts_K.copy()


class SklearnMiniBatches(MiniBatches):
    """``MiniBatchKMeans.partial_fit``, begun and resumed from where we say.

    scikit-learn has no public way to set the counts, the moment of the next reassignment and the random
    state, without which a resumed run would be another run; `state` names all that a step depends on, and a
    test compares it with what the estimator holds.

    Args:
        centres_KD: where to start.
        counts_K: rows that they are the means of.
        settings: as the user gave them.
        batch_rows: rows of a batch.
    """

    def __init__(
        self, centres_KD: np.ndarray, counts_K: np.ndarray, settings: StreamSettings, batch_rows: int
    ) -> None:
        from sklearn.cluster import MiniBatchKMeans

        super().__init__(counts_K)
        self._spherical = settings.spherical
        self._estimator = MiniBatchKMeans(
            n_clusters=settings.n_clusters,
            init=centres_KD,
            n_init=1,
            batch_size=batch_rows,
            reassignment_ratio=settings.reassignment_ratio,
            compute_labels=settings.compute_labels,
            random_state=settings.seed,
        )
        # gives the estimator everything that it sets at its first call, whatever the version; K rows are
        # the fewest that it takes there
        self._estimator.partial_fit(centres_KD)
        self._estimator._batch_size = batch_rows
        self._estimator._n_since_last_reassign = 0
        self._estimator._random_state = np.random.RandomState(settings.seed)
        self._estimator.cluster_centers_ = centres_KD.copy()
        self._set_counts(counts_K)

    @property
    def centres_KD(self) -> np.ndarray:
        """The centres now, float32."""
        centres_KD: np.ndarray = self._estimator.cluster_centers_
        return centres_KD

    @property
    def counts_K(self) -> np.ndarray:
        """Rows that each centre is the mean of."""
        counts_K: np.ndarray = self._estimator._counts
        return counts_K

    def _set_counts(self, counts_K: np.ndarray) -> None:
        self._estimator._counts = counts_K.astype(np.float32)

    def step(self, batch_BD: np.ndarray) -> float:
        """Take in a batch; returns its mean squared distance from the centres, of a part of the rows.

        ``partial_fit`` knows the inertia and keeps it to itself; asking for labels would compute all
        distances a second time.
        """
        if self._estimator.compute_labels:
            self._estimator.partial_fit(batch_BD)
            inertia = float(self._estimator.inertia_) / len(batch_BD)
        else:
            probe = max(1, min(_PROBE_EVERY, len(batch_BD) // _PROBE_LEAST))
            inertia = float(nearest(batch_BD[::probe], self.centres_KD)[1].mean(dtype=np.float64))
            self._estimator.partial_fit(batch_BD)
        if self._spherical:
            to_length_1(self._estimator.cluster_centers_)
        return inertia

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        kind, keys, position, has_gauss, gauss = self._estimator._random_state.get_state()
        return {
            "centres": self.centres_KD,
            "counts": self.counts_K,
            "epoch_counts": self.epoch_counts_K,
            "since_reassign": int(self._estimator._n_since_last_reassign),
            "steps": int(self._estimator.n_steps_),
            "rng_keys": keys,
            "rng": [kind, int(position), int(has_gauss), float(gauss)],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        kind, position, has_gauss, gauss = state["rng"]
        self._estimator.cluster_centers_ = state["centres"].copy()
        self._set_counts(state["counts"])
        self.epoch_counts_K = state["epoch_counts"]
        self._estimator._n_since_last_reassign = state["since_reassign"]
        self._estimator.n_steps_ = state["steps"]
        self._estimator._random_state.set_state((kind, state["rng_keys"], position, has_gauss, gauss))


def start_mini_batches(
    centres_KD: np.ndarray, counts_K: np.ndarray, settings: StreamSettings, batch_rows: int
) -> MiniBatches:
    """The mini-batches of the back end that the settings name."""
    if settings.backend == "faiss":
        from sdpn.kmeans.faiss_minibatch import FaissMiniBatches

        return FaissMiniBatches(centres_KD, counts_K, settings)
    return SklearnMiniBatches(centres_KD, counts_K, settings, batch_rows)
