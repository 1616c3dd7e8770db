"""Where centres start: on a uniform sample of the whole stream, never on its first chunk.

Shapes: M rows of the sample, K centres, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sdpn.clustering.streaming.nearest import nearest
from sdpn.clustering.streaming.settings import StreamSettings
from sdpn.clustering.streaming.space import to_length_1
from sdpn.errors import InputError


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
