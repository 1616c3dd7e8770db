"""Density-based clustering with HDBSCAN; windows that it marks as noise are assigned afterwards.

Shapes: N windows, M points that represent them, D embedding dimensions.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from sdpn.clustering.base import Clusterer, Clustering
from sdpn.clustering.force_count import with_admissible_count
from sdpn.errors import InputError
from sdpn.verification.similarity import Similarity, cosine

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Hdbscan(Clusterer):
    """HDBSCAN (Campello, Moulavi and Sander 2013), as scikit-learn implements it, on embeddings of length 1.

    The number of speakers follows from the densities; a given number or bounds are met by merging or
    splitting clusters. Noise is assigned to the speaker whose mean is most similar.

    Attributes:
        min_cluster_size: minimum number of windows per speaker. Overlapping windows are similar, so with a
            small number every longer turn becomes a cluster. None is a fiftieth of the windows, between 10
            and 50.
        umap_dimensions: reduce the embeddings by UMAP (McInnes and Healy, arXiv 1802.03426) to this many
            dimensions first, since distances in high dimensions differ little; 0 disables it. Needs the
            ``umap`` extra.
        exact_windows: maximum number of windows that are clustered. Of a longer recording an evenly spaced
            subset is used, since means of windows would be denser than windows; the others are assigned to
            the speaker whose mean is most similar, and this is logged.
        seed: random seed of UMAP.
    """

    min_cluster_size: int | None = None
    umap_dimensions: int = 0
    exact_windows: int = 5000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.min_cluster_size is not None and self.min_cluster_size < 2:
            raise ValueError(f"min_cluster_size is {self.min_cluster_size}; expected at least 2")
        for name, least in (("umap_dimensions", 0), ("exact_windows", 2), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least {least}")

    def _fit(self, emb_ND: np.ndarray, times_N2: np.ndarray | None, low: int, high: int) -> Clustering:
        windows, num_windows = cosine(emb_ND), len(emb_ND)
        taken = np.arange(num_windows)
        if num_windows > self.exact_windows:
            logger.info("hdbscan: clustering %d of %d windows", self.exact_windows, num_windows)
            taken = np.linspace(0, num_windows - 1, self.exact_windows).astype(np.int64)
        labels_N = np.full(num_windows, -1)
        labels_N[taken] = self._dense(windows.features_NF[taken], len(taken) / num_windows)
        labels_N = _without_noise(labels_N, windows)
        return with_admissible_count(labels_N, emb_ND, times_N2, low=low, high=high, method="hdbscan")

    def _dense(self, rows_MD: np.ndarray, share: float) -> np.ndarray:
        """Labels (M,), -1 for noise, of rows that are a share of the windows."""
        from sklearn.cluster import HDBSCAN

        num_rows = len(rows_MD)
        if self.min_cluster_size is None:
            size = min(max(num_rows // 50, 10), 50)
        else:
            size = max(2, round(self.min_cluster_size * share))
        if num_rows <= size:
            logger.info(
                "hdbscan: %d windows are too few for two speakers of at least %d: one speaker", num_rows, size
            )
            return np.zeros(num_rows, dtype=np.int64)
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
            n_components=min(
                self.umap_dimensions, len(rows_MD) - 2
            ),  # its start is an eigenproblem of M rows
            n_neighbors=min(15, len(rows_MD) - 1),
            metric="cosine",
            min_dist=0.0,
            random_state=self.seed,
            n_jobs=1,
        )
        reduced: np.ndarray = np.asarray(reduce.fit_transform(rows_MD), dtype=np.float64)
        return reduced


def _without_noise(labels_N: np.ndarray, windows: Similarity) -> np.ndarray:
    """Assign noise windows to the speaker with the most similar mean; if all are noise, to one speaker."""
    noise_N = labels_N < 0
    if noise_N.all():
        logger.info("hdbscan: no dense cluster: one speaker")
        return np.zeros_like(labels_N)
    if not noise_N.any():
        return labels_N
    clear_N = ~noise_N
    speakers = windows[clear_N].means(labels_N[clear_N], np.ones(int(clear_N.sum())))
    labels_N = labels_N.copy()
    labels_N[noise_N] = (windows.features_NF[noise_N] @ speakers.features_NF.T).argmax(axis=1)
    return labels_N
