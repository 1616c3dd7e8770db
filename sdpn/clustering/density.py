"""Density-based clustering: HDBSCAN, which calls the windows between speakers noise before it assigns them.

Shapes: N windows, M points that stand for them, D embedding dimensions.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from sdpn.clustering.affinity import Similarity, cosine
from sdpn.clustering.condense import condense
from sdpn.clustering.contract import Clusterer, Clustering
from sdpn.clustering.recount import with_admissible_count
from sdpn.errors import InputError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Hdbscan(Clusterer):
    """HDBSCAN (Campello, Moulavi and Sander 2013), as scikit-learn implements it, on embeddings of length 1.

    The number of speakers is what the densities show; a number or bounds that are given are met by merging
    or splitting what was found. What HDBSCAN calls noise goes to the speaker whose mean is most similar.

    Attributes:
        min_cluster_size: fewest windows of a speaker.
        min_share: fewest windows of a speaker, as a share of all; the larger of both counts. Windows that
            overlap are alike, and without it every longer turn is dense enough to be a speaker.
        umap_dimensions: reduce the embeddings by UMAP (McInnes and Healy, arXiv 1802.03426) to so many
            dimensions first, as distances in many dimensions differ little; 0 does not. Needs the
            ``umap`` extra.
        exact_windows: longest recording that is clustered window by window.
        seed: of UMAP.
    """

    min_cluster_size: int = 10
    min_share: float = 0.02
    umap_dimensions: int = 0
    exact_windows: int = 5000
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("min_cluster_size", 2),
            ("umap_dimensions", 0),
            ("exact_windows", 2),
            ("seed", 0),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least {least}")
        if not 0.0 <= self.min_share < 1.0:
            raise ValueError(f"min_share is {self.min_share}; expected a share below 1")

    def _fit(self, emb_ND: np.ndarray, times_N2: np.ndarray | None, low: int, high: int) -> Clustering:
        del times_N2
        points = condense(cosine(emb_ND), limit=max(self.exact_windows, low), method="hdbscan")
        labels_M = self._dense(points.similarity.features_NF, len(emb_ND))
        labels_M = _without_noise(labels_M, points.similarity, points.weights_M)
        labels_M = with_admissible_count(
            labels_M, points.similarity, points.weights_M, low=low, high=high, method="hdbscan"
        )
        return Clustering(labels_M[points.point_N])

    def _dense(self, rows_MD: np.ndarray, num_windows: int) -> np.ndarray:
        """Labels (M,), -1 for noise."""
        from sklearn.cluster import HDBSCAN

        num_points = len(rows_MD)
        wanted = max(self.min_cluster_size, round(self.min_share * num_windows))
        size = max(2, round(wanted * num_points / num_windows))
        if num_points <= size:
            logger.info("hdbscan: %d windows are too few for two speakers of %d: one", num_points, size)
            return np.zeros(num_points, dtype=np.int64)
        if self.umap_dimensions:
            rows_MD = self._umap(rows_MD)
        # the whole as one cluster is not among the choices: it would win nearly always
        labels_M: np.ndarray = HDBSCAN(min_cluster_size=size, copy=True).fit_predict(rows_MD)
        return labels_M

    def _umap(self, rows_MD: np.ndarray) -> np.ndarray:
        try:
            import umap
        except ImportError:
            raise InputError(
                f"umap_dimensions is {self.umap_dimensions}, but UMAP is not installed",
                hint="pip install 'sdpn[umap]'",
            ) from None
        reduce = umap.UMAP(
            n_components=self.umap_dimensions, metric="cosine", min_dist=0.0, random_state=self.seed
        )
        reduced: np.ndarray = np.asarray(reduce.fit_transform(rows_MD), dtype=np.float64)
        return reduced


def _without_noise(labels_M: np.ndarray, similarity: Similarity, weights_M: np.ndarray) -> np.ndarray:
    """Give every point of noise to the speaker whose mean it is most similar to; all noise is one speaker."""
    noise_M = labels_M < 0
    if noise_M.all():
        logger.info("hdbscan: nothing is dense: one speaker")
        return np.zeros_like(labels_M)
    if not noise_M.any():
        return labels_M
    speakers = similarity[~noise_M].means(labels_M[~noise_M], weights_M[~noise_M])
    labels_M = labels_M.copy()
    labels_M[noise_M] = (similarity.features_NF[noise_M] @ speakers.features_NF.T).argmax(axis=1)
    return labels_M
