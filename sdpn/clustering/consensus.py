"""Consensus of several VBx models.

Shapes: N windows, F clusters over all models.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np

from sdpn.clustering.base import Clustering
from sdpn.clustering.coarsen import coarsen
from sdpn.clustering.force_count import at_given_number
from sdpn.clustering.linkage import cut_tree, merge_tree
from sdpn.clustering.vbx import Vbx
from sdpn.verification.similarity import Similarity, cosine

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class VbxConsensus(Vbx):
    """VBx without a choice of F_A and F_B: evidence accumulation (Fred and Jain, IEEE TPAMI 27(6), 2005).

    The number of speakers that VBx finds depends on the scales of the evidence and the prior, which cannot be
    tuned without labels. So five models are fitted: with ``fa`` and ``fb`` as given, and with either of them
    divided and multiplied by ``spread``. The similarity of two windows is the share of models that assign
    them to the same speaker; average linkage on it merges windows that a majority assigns together.

    Fields are those of `sdpn.clustering.vbx.Vbx`, and:

    Attributes:
        spread: factor by which ``fa`` and ``fb`` are varied, above 1.
    """

    spread: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1.0 < self.spread < float("inf"):
            raise ValueError(f"spread is {self.spread}; expected a factor above 1")

    def _fit(self, emb_ND: np.ndarray, times_N2: np.ndarray | None, low: int, high: int) -> Clustering:
        if low == high:
            return at_given_number(self, emb_ND, times_N2, low, method="consensus")
        evidence = self._evidence(emb_ND, cosine(emb_ND), times_N2)
        start_N = self._start(emb_ND, low)
        votes = [model._infer(evidence, start_N).labels_N for model in self._models()]
        logger.info("consensus: the models find %s speakers", [int(labels.max()) + 1 for labels in votes])
        one_hot = [np.eye(int(labels_N.max()) + 1)[labels_N] for labels_N in votes]
        features_NF = np.concatenate(one_hot, axis=1) / np.sqrt(len(votes))
        agreement = Similarity(features_NF, np.zeros(len(emb_ND)))
        points = coarsen(agreement, limit=max(self.exact_windows, low), method="consensus")
        edges, heights = merge_tree(-points.similarity.matrix(), points.weights_M, "average")
        count = min(max(1 + int((heights > -0.5).sum()), low), high)
        return Clustering(cut_tree(edges, count)[points.point_N])

    def _models(self) -> list[Vbx]:
        fa, fb = self.scales
        factors = (1.0 / self.spread, self.spread)
        return [
            self,
            *(replace(self, fa=fa * factor) for factor in factors),
            *(replace(self, fb=fb * factor) for factor in factors),
        ]
