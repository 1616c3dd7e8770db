"""What streaming k-means can be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class StreamSettings:
    """Settings of `fit_stream`; those that scikit-learn's ``MiniBatchKMeans`` has keep their names.

    Attributes:
        n_clusters: number of clusters K.
        init: how centres start on the uniform sample: ``k-means++`` or ``random`` rows of it.
        init_size: rows of the sample of the whole stream; None is ten for each cluster, at least 10,000.
            A stream of fewer rows is its own sample.
        n_init: starts that are tried; the one with the lowest inertia on rows held out is taken.
        init_iter: Lloyd's iterations that each start gets on the sample.
        batch_size: rows of one update; None takes what ``memory_mb`` allows, at least 1 in 50 rows of the
            stream and at least K if that is less.
        memory_mb: memory for reading and for one batch, in megabytes. What is beside them is the sample
            and, on top of the imports, a few times the centres.
        max_iter: passes of mini-batches over the stream (epochs); 0 stops at the sample's centres.
        tol: stop after an epoch that moved the centres by less: sum of squared distances, over the mean
            variance of a dimension. 0 never stops.
        max_no_improvement: stop after so many batches without a lower inertia on the rows held out. It is
            looked at between epochs, so that every row has counted equally often. None never stops.
        reassignment_ratio: a centre with fewer rows than this share of the largest one's starts again at
            a random row of the batch.
        lloyd_passes: exact passes of Lloyd's algorithm over the stream after the mini-batches, at most.
        standardise: divide every dimension by its standard deviation over the stream.
        spherical: compare directions (cosine) and not places.
        backend: who computes distances: ``sklearn``, or ``faiss`` (the extra of that name).
        seed: of everything that is drawn.
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
        """Rows that the starting centres are found on."""
        return max(10_000, 10 * self.n_clusters) if self.init_size is None else self.init_size

    def block_rows(self, dimension: int) -> int:
        """Rows that are read at once: a quarter of the memory, as float64 where a file has that."""
        return max(1, int(self.memory_mb * 1e6 / 4 / (8 * dimension)))

    def batch_rows(self, dimension: int, num_rows: int) -> int:
        """Rows of one update of a stream of ``num_rows``.

        From half of the memory: a float32 row in the batch, and a copy of it in what computes distances.
        More than a fiftieth of the stream would leave an epoch with few updates.
        """
        if self.batch_size is not None:
            return self.batch_size
        fitting = int(self.memory_mb * 1e6 / 2 / (2 * 4 * dimension))
        return max(1, min(fitting, max(self.n_clusters, num_rows // 50)))
