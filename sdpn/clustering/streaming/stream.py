"""Chunks as one row of batches that knows where it is.

Shapes: N rows in all, B rows of a batch, D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sdpn.clustering.streaming.chunks import Chunk, checked_blocks
from sdpn.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Chunks whose lengths are known, since they have been read once.

    Attributes:
        chunks: in the order in which they were given.
        chunk_rows: rows of each.
        dimension: D.
        directions: whether a row of zeros is an error.
        block_rows: rows that are read at once.
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
        """The order of the chunks in an epoch; the same whenever it is asked for."""
        return np.random.default_rng([seed, epoch]).permutation(len(self.chunks))

    def batches(self, order: Sequence[int] | np.ndarray, *, position: int, size: int) -> Iterator[np.ndarray]:
        """Yield all rows from the ``position``-th on, ``size`` at a time, across the ends of chunks.

        Only the last batch may be smaller; nothing is left out. Batches depend on the order and the size
        alone, so that a reader that starts at a batch's first row gets the same ones.

        Yields:
            float32 (B, D), valid until the next one is asked for, and free to be changed.

        Raises:
            InputError: as `checked_blocks`, or a chunk is not as long as it was.
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
            f"gave {before} rows when it was first read, and {now} now",
            path=chunk.name,
            hint="a stream must give the same rows each time",
        )
