"""The interface of all clusterers, and the rules that they share.

Shapes: N windows, D embedding dimensions, K speakers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np

from sdpn.errors import InputError
from sdpn.verification.similarity import checked_rows

#: Numbers of speakers that are less probable are not reported.
_LEAST_PROBABILITY = 0.001


@dataclass(frozen=True, eq=False)
class Clustering:
    """The speakers of the windows.

    Attributes:
        labels_N: (N,) int64 in 0..K-1, numbered by first appearance, none of them unused.
        posteriors_NK: (N, K) probability of each speaker in each window, rows adding to 1; None if the method
            gives no probabilities or had nothing to decide.
        count_posterior_K: probabilities of 1, 2, ... speakers, adding to 1 over the admissible numbers;
            None if the method gives none or had nothing to decide.
        unheard: how many of the speakers have a single window, and only since so many speakers were required
            (`sdpn.clustering.unheard`).
    """

    labels_N: np.ndarray
    posteriors_NK: np.ndarray | None = None
    count_posterior_K: np.ndarray | None = None
    unheard: int = 0

    @property
    def num_speakers(self) -> int:
        """K."""
        return int(self.labels_N.max()) + 1

    @property
    def likely_counts(self) -> dict[int, float] | None:
        """Numbers of speakers with a probability of at least 0.001, and that; None without a posterior."""
        if self.count_posterior_K is None:
            return None
        return {
            count: float(probability)
            for count, probability in enumerate(self.count_posterior_K, start=1)
            if probability >= _LEAST_PROBABILITY
        }


@dataclass(frozen=True, kw_only=True)
class Clusterer(ABC):
    """Finds the speakers among embeddings.

    An implementation is a frozen dataclass whose fields are its settings, and implements `_fit`. It is
    deterministic. Deviations from the documented method are logged.
    """

    def fit_predict(
        self,
        emb_ND: np.ndarray,
        *,
        times_N2: np.ndarray | None = None,
        num_speakers: int | None = None,
        min_speakers: int = 1,
        max_speakers: int | None = None,
    ) -> Clustering:
        """Assign every embedding to a speaker.

        Args:
            emb_ND: embeddings (N, D), finite and not zero, in chronological order.
            times_N2: start and end of the windows in seconds; only used by sequence models.
            num_speakers: exact number of speakers; overrides the bounds and the method's own estimate.
            min_speakers: minimum number of speakers.
            max_speakers: maximum number of speakers; None for no limit.

        Raises:
            InputError: no rows; a row that is zero or not finite; more speakers requested than there are
                rows; contradictory bounds; times of another shape.
        """
        num_windows = len(emb_ND)
        low, high = speaker_bounds(
            num_windows, num_speakers=num_speakers, min_speakers=min_speakers, max_speakers=max_speakers
        )
        rows_ND = checked_rows(emb_ND)
        if times_N2 is not None and np.shape(times_N2) != (num_windows, 2):
            raise InputError(
                f"the windows' times have shape {np.shape(times_N2)}; expected ({num_windows}, 2)"
            )
        if high == 1 or low == num_windows:  # one speaker, or each window its own
            return Clustering(np.arange(num_windows, dtype=np.int64) % low)
        return numbered_by_first_appearance(self._fit(rows_ND, times_N2, low, high))

    @abstractmethod
    def _fit(self, emb_ND: np.ndarray, times_N2: np.ndarray | None, low: int, high: int) -> Clustering:
        """Cluster validated rows.

        Args:
            emb_ND: (N, D) float64, finite, no row zero, N > 1.
            times_N2: as in `fit_predict`.
            low: smallest admissible number of speakers, below N.
            high: largest, above 1 and at least ``low``; equal to it if the number is given.

        Returns:
            labels in any numbering, as many as there are columns of posteriors if there are any.
        """


def speaker_bounds(
    num_windows: int, *, num_speakers: int | None, min_speakers: int, max_speakers: int | None
) -> tuple[int, int]:
    """Turn the three ways of stating a speaker count into the smallest and largest admissible count.

    A given ``num_speakers`` sets both and overrides the bounds.

    Raises:
        InputError: see `Clusterer.fit_predict`.
    """
    if num_windows < 1:
        raise InputError("there are no embeddings to cluster")
    if num_speakers is not None:
        check_counts(num_speakers=num_speakers, min_speakers=1, max_speakers=None)
        low, high = num_speakers, num_speakers
    else:
        check_counts(num_speakers=None, min_speakers=min_speakers, max_speakers=max_speakers)
        low, high = min_speakers, num_windows if max_speakers is None else min(max_speakers, num_windows)
    if low > num_windows:
        windows = f"{num_windows} window" + ("s" if num_windows > 1 else "")
        raise InputError(
            f"{low} speakers are requested, but the speech gives only {windows} to cluster",
            hint=f"request at most {num_windows}",
        )
    return low, high


def check_counts(*, num_speakers: int | None, min_speakers: int, max_speakers: int | None) -> None:
    """Reject counts that cannot be satisfied by any recording.

    Raises:
        InputError: a count below 1, or a minimum above the maximum.
    """
    for name, value in (("num", num_speakers), ("min", min_speakers), ("max", max_speakers)):
        if value is not None and value < 1:
            raise InputError(f"the number of speakers ({name}_speakers) is {value}; expected at least 1")
    if max_speakers is not None and min_speakers > max_speakers:
        raise InputError(f"min_speakers is {min_speakers}, above max_speakers, which is {max_speakers}")


def by_first_appearance(labels_N: np.ndarray) -> np.ndarray:
    """Renumber any labels (N,) as 0..k-1 in the order in which they first appear."""
    _, first, inverse = np.unique(labels_N, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    renumbered: np.ndarray = rank[inverse]
    return renumbered


def numbered_by_first_appearance(clustering: Clustering) -> Clustering:
    """Renumber labels in the order in which they first appear, and the columns of posteriors with them."""
    posteriors_NK = clustering.posteriors_NK
    if posteriors_NK is not None:
        used, first = np.unique(clustering.labels_N, return_index=True)
        posteriors_NK = posteriors_NK[:, used[np.argsort(first)]]
    labels_N = by_first_appearance(clustering.labels_N)
    return replace(clustering, labels_N=labels_N, posteriors_NK=posteriors_NK)
