"""The first pass over a stream: validates and counts rows, computes moments and draws a sample.

Shapes: D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sdpn.errors import InputError
from sdpn.kmeans.chunks import SMALLEST, Chunk, checked_blocks
from sdpn.kmeans.settings import StreamSettings


class UniformSample:
    """Reservoir sample: the rows with the smallest random tags.

    Every row draws a tag, and the ``capacity`` smallest are kept: each subset is equally likely, as with
    Vitter's reservoir (1985), the result does not depend on block sizes, and samples of parts can be merged
    (Efraimidis and Spirakis 2006, with equal weights).

    Args:
        capacity: maximum number of rows to keep.
        seed: random seed of the tags.
    """

    def __init__(self, capacity: int, seed: int | list[int]) -> None:
        self._capacity = capacity
        self._rng = np.random.default_rng(seed)
        self._limit = np.inf
        self._rows: list[np.ndarray] = []
        self._tags: list[np.ndarray] = []
        self._held = 0

    def add(self, rows_BD: np.ndarray) -> None:
        """Add a block of rows."""
        self._take(rows_BD, self._rng.random(len(rows_BD)))

    def merge(self, rows_MD: np.ndarray, tags_M: np.ndarray) -> None:
        """Merge the sample of other rows."""
        self._take(rows_MD, tags_M)

    def _take(self, rows_BD: np.ndarray, tags_B: np.ndarray) -> None:
        taken = np.flatnonzero(tags_B < self._limit)
        if len(taken):
            self._rows.append(rows_BD[taken])  # a copy
            self._tags.append(tags_B[taken])
            self._held += len(taken)
        if self._held > 2 * self._capacity:
            self._shrink()

    def _shrink(self) -> None:
        if not self._rows:
            return
        tags, rows = np.concatenate(self._tags), np.concatenate(self._rows)
        kept = np.argsort(tags, kind="stable")[: self._capacity]
        self._rows, self._tags, self._held = [rows[kept]], [tags[kept]], len(kept)
        if len(kept) == self._capacity:
            self._limit = float(self._tags[0][-1])

    @property
    def rows_MD(self) -> np.ndarray:
        """The sample in random order, whatever the order of the stream; (0, 0) before any row."""
        self._shrink()
        return self._rows[0] if self._rows else np.empty((0, 0), dtype=np.float32)

    @property
    def tags_M(self) -> np.ndarray:
        """Tags of the sample, ascending."""
        self._shrink()
        return self._tags[0] if self._tags else np.empty(0)

    def state(self) -> dict[str, Any]:
        """State for `restore`."""
        return {"rows": self.rows_MD, "tags": self.tags_M, "rng": self._rng.bit_generator.state}

    @classmethod
    def restore(cls, capacity: int, state: dict[str, Any]) -> UniformSample:
        """Restore a sample from its state."""
        sample = cls(capacity, 0)
        sample._rng.bit_generator.state = state["rng"]
        if len(state["tags"]):
            sample._rows, sample._tags, sample._held = [state["rows"]], [state["tags"]], len(state["tags"])
            sample._shrink()
        return sample


@dataclass
class Moments:
    """Running mean and variance by blocks (Chan, Golub and LeVeque 1979), in float64.

    Plain sums of squares would cancel if the mean is large compared with the deviation.

    Attributes:
        count: rows so far.
        mean_D: their mean.
        squares_D: sum of squared deviations from it.
    """

    count: int
    mean_D: np.ndarray
    squares_D: np.ndarray

    @classmethod
    def empty(cls, dimension: int) -> Moments:
        """Moments of zero rows."""
        return cls(0, np.zeros(dimension), np.zeros(dimension))

    def add(self, rows_BD: np.ndarray) -> None:
        """Add a block of rows."""
        num = len(rows_BD)
        mean_D = rows_BD.mean(axis=0, dtype=np.float64)
        # float32 deviations from a float32 mean lose no precision; float64 takes twice the time
        rounded_D = mean_D.astype(np.float32)
        deviations_BD = rows_BD - rounded_D
        squares_D = np.einsum("bd,bd->d", deviations_BD, deviations_BD, dtype=np.float64)
        squares_D -= num * (mean_D - rounded_D) ** 2
        delta_D = mean_D - self.mean_D
        total = self.count + num
        self.mean_D = self.mean_D + delta_D * (num / total)
        self.squares_D = self.squares_D + squares_D + delta_D**2 * (self.count * num / total)
        self.count = total

    @property
    def variance_D(self) -> np.ndarray:
        """Variance of each dimension (divided by the count, as standardisation does)."""
        return np.maximum(self.squares_D, 0.0) / max(self.count, 1)

    def state(self) -> dict[str, Any]:
        """State for `restore`."""
        return {"count": self.count, "mean": self.mean_D, "squares": self.squares_D}

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Moments:
        """Restore moments from their state."""
        return cls(state["count"], state["mean"], state["squares"])


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Chunks with known lengths, after the survey.

    Attributes:
        chunks: the chunks in the given order.
        chunk_rows: rows of each.
        dimension: D.
        directions: whether a zero row is an error.
        block_rows: rows read at once.
    """

    chunks: Sequence[Chunk]
    chunk_rows: Sequence[int]
    dimension: int
    directions: bool
    block_rows: int

    @property
    def num_rows(self) -> int:
        """N."""
        return sum(self.chunk_rows)

    def epoch_order(self, seed: int, epoch: int) -> np.ndarray:
        """Order of the chunks in an epoch, a function of seed and epoch."""
        return np.random.default_rng([seed, epoch]).permutation(len(self.chunks))

    def batches(self, order: Sequence[int] | np.ndarray, *, position: int, size: int) -> Iterator[np.ndarray]:
        """Yield all rows from ``position`` on in batches of ``size``, across chunk boundaries.

        Only the last batch may be smaller; no row is left out. Batches only depend on order and size, so that
        reading can resume at any batch.

        Yields:
            float32 (B, D), a buffer that may be modified and is valid until the next batch.

        Raises:
            InputError: as `checked_blocks`, or the length of a chunk has changed.
        """
        batch_BD = np.empty((size, self.dimension), dtype=np.float32)
        filled = 0
        for rows_BD in self._blocks(order, position):
            at = 0
            while at < len(rows_BD):
                taken = min(len(rows_BD) - at, size - filled)
                batch_BD[filled : filled + taken] = rows_BD[at : at + taken]
                at, filled = at + taken, filled + taken
                if filled == size:
                    yield batch_BD
                    filled = 0
        if filled:
            yield batch_BD[:filled]

    def _blocks(self, order: Sequence[int] | np.ndarray, position: int) -> Iterator[np.ndarray]:
        for index in order:
            chunk, num_rows = self.chunks[index], self.chunk_rows[index]
            if position >= num_rows:
                position -= num_rows
                continue
            row = position
            for block in checked_blocks(
                chunk,
                start=position,
                size=self.block_rows,
                dimension=self.dimension,
                directions=self.directions,
            ):
                row += len(block.rows_BD)
                if row > num_rows:
                    raise self._changed(chunk, num_rows, "more")
                yield block.rows_BD
            if row < num_rows:
                raise self._changed(chunk, num_rows, f"{row}")
            position = 0

    @staticmethod
    def _changed(chunk: Chunk, before: int, now: str) -> InputError:
        return InputError(
            f"had {before} rows in the first pass, and {now} now",
            path=chunk.name,
            hint="a stream must give the same rows each time",
        )


#: Rows read at once while the dimension is unknown; 8 MB for 512 dimensions.
_FIRST_BLOCK = 4096


class Survey:
    """Reads the whole stream once.

    The sample for initialisation is drawn from all chunks, since the first may not be representative. A
    quarter more rows than needed are sampled, as held-out rows.

    Args:
        chunks: the stream.
        settings: settings of the training.
    """

    def __init__(self, chunks: Sequence[Chunk], settings: StreamSettings) -> None:
        self._chunks = chunks
        self._settings = settings
        self._capacity = settings.sample_size + -(-settings.sample_size // 4)
        self.chunk_rows: list[int] = []
        self.rows_of_this = 0
        self.moments: Moments | None = None
        self.sample = UniformSample(self._capacity, settings.seed)

    @property
    def num_rows(self) -> int:
        """Rows read so far."""
        return sum(self.chunk_rows) + self.rows_of_this

    def read(self) -> Iterator[int]:
        """Read the remaining chunks; yields the number of completed chunks after every block.

        Raises:
            InputError: as `checked_blocks`, or a chunk without rows.
        """
        for chunk in self._chunks[len(self.chunk_rows) :]:
            dimension = None if self.moments is None else len(self.moments.mean_D)
            for rows_BD, _ in checked_blocks(
                chunk,
                start=self.rows_of_this,
                size=_FIRST_BLOCK if dimension is None else self._settings.block_rows(dimension),
                dimension=dimension,
                directions=self._settings.spherical,
            ):
                if not len(rows_BD):
                    continue
                if self.moments is None:
                    self.moments = Moments.empty(rows_BD.shape[1])
                self.moments.add(rows_BD)
                self.sample.add(rows_BD)
                self.rows_of_this += len(rows_BD)
                yield len(self.chunk_rows)
            if not self.rows_of_this:
                raise InputError("contains no rows", path=chunk.name, hint="remove it from the chunks")
            self.chunk_rows.append(self.rows_of_this)
            self.rows_of_this = 0

    def stream(self) -> tuple[Stream, Moments]:
        """The stream for the following passes.

        Raises:
            InputError: fewer rows than clusters, or all rows are (nearly) equal.
        """
        num_clusters = self._settings.n_clusters
        if self.moments is None:
            raise InputError("there are no chunks to cluster")
        if self.num_rows < num_clusters:
            raise InputError(
                f"{self.num_rows} rows in {len(self._chunks)} chunks are fewer than {num_clusters} clusters",
                hint=f"use at most {self.num_rows} clusters",
            )
        if num_clusters > 1 and not self.moments.squares_D.any():
            raise InputError(f"all {self.num_rows} rows are equal")
        if num_clusters > 1 and self.moments.variance_D.max() < SMALLEST**2:
            raise InputError(
                f"all {self.num_rows} rows differ by less than {SMALLEST:g}, whose square underflows",
                hint="rescale the rows",
            )
        dimension = len(self.moments.mean_D)
        stream = Stream(
            chunks=self._chunks,
            chunk_rows=tuple(self.chunk_rows),
            dimension=dimension,
            directions=self._settings.spherical,
            block_rows=self._settings.block_rows(dimension),
        )
        return stream, self.moments

    def state(self) -> dict[str, Any]:
        """State for `restore`."""
        return {
            "chunk_rows": list(self.chunk_rows),
            "rows_of_this": self.rows_of_this,
            "moments": None if self.moments is None else self.moments.state(),
            "sample": self.sample.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a saved state."""
        self.chunk_rows, self.rows_of_this = list(state["chunk_rows"]), state["rows_of_this"]
        self.moments = None if state["moments"] is None else Moments.restore(state["moments"])
        self.sample = UniformSample.restore(self._capacity, state["sample"])
