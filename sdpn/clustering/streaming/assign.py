"""Label any number of rows, chunk by chunk, in as many processes as wanted.

Shapes: N rows of a chunk, M rows of a sample, D dimensions.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sdpn.clustering.streaming.chunks import Chunk, IterableChunk, checked_blocks
from sdpn.clustering.streaming.model import KMeansModel
from sdpn.clustering.streaming.nearest import import_faiss, nearest
from sdpn.clustering.streaming.sample import UniformSample
from sdpn.errors import InputError

_BLOCK_BYTES = 16_000_000


@dataclass(frozen=True, eq=False)
class Assignment:
    """The labels of one chunk.

    Attributes:
        chunk: the chunk.
        keys: ids of its rows, None where it has none.
        labels_N: cluster of each row, int32.
        squares_N: squared distance from its centre, float32, in the space of comparison.
        sample_MD: a uniform sample of the rows as they came, for pictures and silhouettes.
        tags_M: what `UniformSample.merge` needs beside it.
    """

    chunk: Chunk
    keys: Sequence[str] | None
    labels_N: np.ndarray
    squares_N: np.ndarray
    sample_MD: np.ndarray
    tags_M: np.ndarray


def assign(
    model: KMeansModel,
    chunks: Sequence[Chunk],
    *,
    processes: int = 1,
    backend: Literal["sklearn", "faiss"] = "sklearn",
    sample_size: int = 0,
    seed: int = 0,
) -> Iterator[Assignment]:
    """Label the rows of every chunk; the outcome does not depend on the number of processes.

    Args:
        model: what labels.
        chunks: what is labelled. A process takes one at a time, and needs memory for its labels and a block.
        processes: how many work at once, each with one thread; 1 works in this process. Others are started
            afresh, so that a script that asks for them needs ``if __name__ == "__main__"``.
        backend: who computes distances.
        sample_size: rows of each chunk to sample at most.
        seed: of the samples.

    Yields:
        one assignment for each chunk, in the order of ``chunks``.

    Raises:
        InputError: rows of another dimension than the model's, or bad ones (`checked_blocks`); several
            processes for a chunk that exists in this one only.
    """
    if processes < 1:
        raise InputError(f"the number of processes is {processes}; expected at least 1")
    if backend == "faiss":
        import_faiss()
    work = [(chunk, model, backend, sample_size, [seed, index]) for index, chunk in enumerate(chunks)]
    if processes == 1:
        yield from map(_assign_chunk, work)
        return
    for chunk in chunks:
        if isinstance(chunk, IterableChunk):
            raise InputError(
                "is made in this process, which others cannot read", path=chunk.name, hint="use one process"
            )
    # not forked: threads of BLAS and OpenMP do not survive a fork
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(work) or 1), context, initializer=_one_thread) as pool:
        yield from pool.map(_assign_chunk, work)


def _one_thread() -> None:
    """Processes that each took all cores would only wait for each other."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)


def _assign_chunk(
    work: tuple[Chunk, KMeansModel, Literal["sklearn", "faiss"], int, list[int]],
) -> Assignment:
    chunk, model, backend, sample_size, seed = work
    centres_KD = model.space.enter_centres(model.centres_KD)
    sample = UniformSample(sample_size, seed)
    keys: list[str] = []
    labels: list[np.ndarray] = []
    squares: list[np.ndarray] = []
    has_keys = False
    for rows_BD, block_keys in checked_blocks(
        chunk,
        start=0,
        size=max(1, _BLOCK_BYTES // (4 * model.dimension)),
        dimension=model.dimension,
        directions=model.space.spherical,
    ):
        if sample_size:
            sample.add(rows_BD)
        labels_B, squares_B = nearest(model.space.enter(rows_BD.copy()), centres_KD, backend=backend)
        labels.append(labels_B)
        squares.append(squares_B)
        if block_keys is not None:
            has_keys = True
            keys += block_keys
    if not labels:
        raise InputError("holds no rows", path=chunk.name, hint="leave it out")
    return Assignment(
        chunk,
        keys if has_keys else None,
        np.concatenate(labels),
        np.concatenate(squares),
        sample.rows_MD,
        sample.tags_M,
    )
