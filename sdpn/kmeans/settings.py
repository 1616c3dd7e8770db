"""Settings of streaming k-means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class StreamSettings:
    """Settings of `fit_stream`; those of scikit-learn's ``MiniBatchKMeans`` have the same names.

    Attributes:
        n_clusters: number of clusters K.
        init: initialisation on a uniform sample of rows: ``k-means++`` or ``random`` rows.
        init_size: size of that sample; None is ten rows per cluster, at least 10,000. Smaller data are used
            completely.
        n_init: number of initialisations; the one with the lowest inertia on held-out rows is used.
        init_iter: Lloyd iterations of each initialisation on the sample.
        batch_size: rows per update; None takes as many as ``memory_mb`` allows, between K and a fiftieth of
            the stream.
        memory_mb: memory for reading and for one batch, in megabytes; the sample and a few copies of the
            centres need additional memory.
        max_iter: maximum number of mini-batch passes over the stream (epochs); 0 keeps the initial centres.
        tol: stop after an epoch that moves the centres by less than this, as the sum of squared distances
            over the mean variance of a dimension; 0 disables this.
        max_no_improvement: stop after this many batches without a lower inertia on held-out rows; checked
            between epochs, so that every row is used equally often. None disables this.
        reassignment_ratio: a centre with fewer rows than this share of the largest cluster is moved to a
            random row of the batch.
        lloyd_passes: maximum number of exact passes of Lloyd's algorithm after the mini-batches.
        standardise: divide every dimension by its standard deviation over the stream.
        spherical: cluster by cosine instead of Euclidean distance.
        backend: library that computes distances: ``sklearn``, or ``faiss`` (needs the extra of that name).
        seed: random seed.
    """

    n_clusters: int
    init: Literal["k-means++", "random"] = "k-means++"
    init_size: int | None = None
    n_init: int = 3
    init_iter: int = 10
    batch_size: int | None = None
    memory_mb: float = 64.0
    max_iter: int = 100
    tol: float = 0.0
    max_no_improvement: int | None = 10
    reassignment_ratio: float = 0.01
    lloyd_passes: int = 0
    standardise: bool = False
    spherical: bool = False
    backend: Literal["sklearn", "faiss"] = "sklearn"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check ranges."""
        for name, least in (("n_clusters", 1), ("n_init", 1), ("init_iter", 1), ("max_iter", 0),
                            ("lloyd_passes", 0), ("seed", 0)):  # fmt: skip
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least {least}")
        if self.init not in ("k-means++", "random"):
            raise ValueError(f"init is {self.init!r}; expected 'k-means++' or 'random'")
        if self.backend not in ("sklearn", "faiss"):
            raise ValueError(f"backend is {self.backend!r}; expected 'sklearn' or 'faiss'")
        if self.init_size is not None and self.init_size < self.n_clusters:
            raise ValueError(f"init_size is {self.init_size}, below n_clusters, which is {self.n_clusters}")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}; expected at least 1")
        if self.max_no_improvement is not None and self.max_no_improvement < 1:
            raise ValueError(f"max_no_improvement is {self.max_no_improvement}; expected at least 1")
        if not self.memory_mb > 0:
            raise ValueError(f"memory_mb is {self.memory_mb}; expected more than 0")
        if not self.tol >= 0:
            raise ValueError(f"tol is {self.tol}; expected at least 0")
        if not 0 <= self.reassignment_ratio < 1:
            raise ValueError(f"reassignment_ratio is {self.reassignment_ratio}; expected 0 <= ratio < 1")

    @property
    def sample_size(self) -> int:
        """Rows of the sample for initialisation."""
        return max(10_000, 10 * self.n_clusters) if self.init_size is None else self.init_size

    def block_rows(self, dimension: int) -> int:
        """Rows read at once: a quarter of the memory, as float64."""
        return max(1, int(self.memory_mb * 1e6 / 4 / (8 * dimension)))

    def batch_rows(self, dimension: int, num_rows: int) -> int:
        """Rows per update for a stream of ``num_rows``.

        Half of the memory holds the float32 rows and a copy for computing distances. At most a fiftieth of
        the stream, so that an epoch has enough updates.
        """
        if self.batch_size is not None:
            return self.batch_size
        fitting = int(self.memory_mb * 1e6 / 2 / (2 * 4 * dimension))
        return max(1, min(fitting, max(self.n_clusters, num_rows // 50)))
