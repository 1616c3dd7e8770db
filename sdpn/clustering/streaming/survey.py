"""The first pass: how many rows there are, whether they will do, their moments, and a sample of them.

Shapes: D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sdpn.clustering.streaming.chunks import SMALLEST, Chunk, checked_blocks
from sdpn.clustering.streaming.moments import Moments
from sdpn.clustering.streaming.sample import UniformSample
from sdpn.clustering.streaming.settings import StreamSettings
from sdpn.clustering.streaming.stream import Stream
from sdpn.errors import InputError

#: Rows are read at once before their dimension is known; 8 MB where it is 512.
_FIRST_BLOCK = 4096


class Survey:
    """Reads the whole stream once.

    Centres that start on the first chunk know only what is in it, so the sample has to be of everything.
    A quarter more rows are sampled than the start needs: those are held out.

    Args:
        chunks: the stream.
        settings: as the user gave them.
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
        """Read what is left; yields the number of whole chunks after every block.

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
                raise InputError("holds no rows", path=chunk.name, hint="leave it out")
            self.chunk_rows.append(self.rows_of_this)
            self.rows_of_this = 0

    def stream(self) -> tuple[Stream, Moments]:
        """What the passes to come need to know.

        Raises:
            InputError: fewer rows than clusters, or all rows are the same, or as good as the same.
        """
        num_clusters = self._settings.n_clusters
        if self.moments is None:
            raise InputError("there are no chunks to cluster")
        if self.num_rows < num_clusters:
            raise InputError(
                f"{self.num_rows} rows in {len(self._chunks)} chunks are fewer than {num_clusters} clusters",
                hint=f"ask for at most {self.num_rows}",
            )
        if num_clusters > 1 and not self.moments.squares_D.any():
            raise InputError(f"all {self.num_rows} rows are the same: there is nothing to tell apart")
        if num_clusters > 1 and self.moments.variance_D.max() < SMALLEST**2:
            raise InputError(
                f"all {self.num_rows} rows differ by less than {SMALLEST:g}, too little to be squared",
                hint="scale them first",
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
        """What `restore` takes."""
        return {
            "chunk_rows": list(self.chunk_rows),
            "rows_of_this": self.rows_of_this,
            "moments": None if self.moments is None else self.moments.state(),
            "sample": self.sample.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self.chunk_rows, self.rows_of_this = list(state["chunk_rows"]), state["rows_of_this"]
        self.moments = None if state["moments"] is None else Moments.restore(state["moments"])
        self.sample = UniformSample.restore(self._capacity, state["sample"])
