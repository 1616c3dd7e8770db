"""How good a clustering of a stream is, added up chunk by chunk.

Shapes: N rows of a chunk, M rows of the sample, K clusters, D dimensions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sdpn.clustering.agreement import Agreement, agreement
from sdpn.clustering.streaming.assign import Assignment
from sdpn.clustering.streaming.model import KMeansModel
from sdpn.clustering.streaming.nearest import nearest
from sdpn.clustering.streaming.sample import UniformSample


@dataclass(frozen=True, kw_only=True, eq=False)
class Quality:
    """What `QualityTally` found.

    Attributes:
        num_rows: rows labelled.
        inertia: sum of their squared distances from their centres, in the space of comparison.
        sizes_K: rows of each cluster.
        silhouette: mean silhouette of the sample (Rousseeuw 1987), None where it holds one cluster only. The
            fewer of its rows a cluster has, the less it says: compare equal K and equal samples.
        agreement: with the classes, None without.
        sample_MD: the sample in the space of comparison.
        sample_labels_M: its labels.
    """

    num_rows: int
    inertia: float
    sizes_K: np.ndarray
    silhouette: float | None
    agreement: Agreement | None
    sample_MD: np.ndarray
    sample_labels_M: np.ndarray


class QualityTally:
    """Takes in assignments and holds nothing that grows with the rows but the pairs of labels that occur.

    Args:
        model: what assigned.
        sample_size: rows for the silhouette, whose time and memory grow with its square.
    """

    def __init__(self, model: KMeansModel, *, sample_size: int = 2000) -> None:
        self._model = model
        self._sample = UniformSample(sample_size, 0)
        self._inertia = 0.0
        self._sizes_K = np.zeros(model.n_clusters, dtype=np.int64)
        self._classes: dict[str, int] = {}
        self._pairs: Counter[tuple[int, int]] = Counter()

    def add(self, assignment: Assignment, classes: Sequence[str] | None = None) -> None:
        """Take in a chunk.

        Args:
            assignment: of `sdpn.clustering.streaming.assign.assign`.
            classes: true class of each of its rows.
        """
        self._inertia += float(assignment.squares_N.sum(dtype=np.float64))
        self._sizes_K += np.bincount(assignment.labels_N, minlength=self._model.n_clusters)
        if len(assignment.sample_MD):
            self._sample.merge(assignment.sample_MD, assignment.tags_M)
        if classes is not None:
            numbers = (self._classes.setdefault(name, len(self._classes)) for name in classes)
            self._pairs.update(zip(assignment.labels_N.tolist(), numbers, strict=True))

    def quality(self) -> Quality:
        """What was found in all of them; at least one row must have been taken in."""
        sample_MD = self._model.space.enter(np.array(self._sample.rows_MD))
        centres_KD = self._model.space.enter_centres(self._model.centres_KD)
        labels_M = nearest(sample_MD, centres_KD)[0] if len(sample_MD) else np.empty(0, dtype=np.int32)
        found = None
        if self._pairs:
            clusters_P, classes_P = np.array(list(self._pairs)).T
            found = agreement(clusters_P, classes_P, np.array(list(self._pairs.values())))
        return Quality(
            num_rows=int(self._sizes_K.sum()),
            inertia=self._inertia,
            sizes_K=self._sizes_K,
            silhouette=_silhouette(sample_MD, labels_M),
            agreement=found,
            sample_MD=sample_MD,
            sample_labels_M=labels_M,
        )


def _silhouette(sample_MD: np.ndarray, labels_M: np.ndarray) -> float | None:
    from sklearn.metrics import silhouette_score

    if not 1 < len(np.unique(labels_M)) < len(labels_M):
        return None
    return float(silhouette_score(sample_MD, labels_M))
