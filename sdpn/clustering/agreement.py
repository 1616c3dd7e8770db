"""How well clusters agree with known classes, from counts alone: purity, NMI and ARI.

Shapes: P pairs of a cluster and a class that share items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Clusters against classes; 1 is perfect.

    Attributes:
        purity: share of items whose cluster has their class as its most frequent one. It increases with the
            number of clusters alone.
        nmi: mutual information over the mean of both entropies (Strehl and Ghosh 2002, arithmetic mean).
        ari: Rand index of pairs, corrected for chance (Hubert and Arabie 1985).
    """

    purity: float
    nmi: float
    ari: float


def agreement(clusters_P: np.ndarray, classes_P: np.ndarray, counts_P: np.ndarray) -> Agreement:
    """Compare two partitions of the same items.

    Counts suffice, so that millions of labels need not be in memory: they add up over parts.

    Args:
        clusters_P: cluster of each pair, integers from 0.
        classes_P: class of each pair, integers from 0.
        counts_P: items that have both, positive; no pair occurs twice.
    """
    counts_P = counts_P.astype(np.float64)
    total = counts_P.sum()
    by_cluster_K = np.bincount(clusters_P, counts_P)
    by_class_C = np.bincount(classes_P, counts_P)
    largest_K = np.zeros(len(by_cluster_K))
    np.maximum.at(largest_K, clusters_P, counts_P)
    expected_P = by_cluster_K[clusters_P] * by_class_C[classes_P] / total
    information = float((counts_P / total * np.log(counts_P / expected_P)).sum())
    entropy = (_entropy(by_cluster_K / total) + _entropy(by_class_C / total)) / 2
    both, of_clusters, of_classes = (_pairs(counts) for counts in (counts_P, by_cluster_K, by_class_C))
    by_chance = of_clusters * of_classes / max(_pairs(np.array([total])), 1.0)
    at_best = (of_clusters + of_classes) / 2
    return Agreement(
        purity=float(largest_K.sum() / total),
        nmi=max(0.0, information / entropy) if entropy > 0 else 1.0,
        ari=(both - by_chance) / (at_best - by_chance) if at_best > by_chance else 1.0,
    )


def agreement_of_labels(clusters_N: np.ndarray, classes: Sequence[str]) -> Agreement:
    """Compare clusters with the names of classes, item by item."""
    classes_N = np.unique(classes, return_inverse=True)[1]
    pairs_P2, counts_P = np.unique(np.stack([clusters_N, classes_N], 1), axis=0, return_counts=True)
    return agreement(pairs_P2[:, 0], pairs_P2[:, 1], counts_P)


def _entropy(shares: np.ndarray) -> float:
    """In nats."""
    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum())


def _pairs(counts: np.ndarray) -> float:
    """Pairs of items within the groups of these sizes."""
    return float((counts * (counts - 1) / 2).sum())
