"""Labelling of any number of rows, chunk by chunk, in several processes.

Shapes: N rows of a chunk, M rows of a sample, D dimensions.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

import numpy as np

from sdpn.clustering.agreement import Agreement, agreement
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_path
from sdpn.io.packed_text import DistinctKeys, PackedText
from sdpn.kmeans.chunks import Chunk, IterableChunk, checked_blocks
from sdpn.kmeans.fit import Fit
from sdpn.kmeans.model import KMeansModel, import_faiss, nearest
from sdpn.kmeans.survey import UniformSample

#: Clusters drawn in their own colour; more could not be distinguished.
_COLOURED = 10


def plot_quality(
    path: str | os.PathLike[str], model: KMeansModel, quality: Quality, fit: Fit | None = None
) -> None:
    """Plot the quality of a clustering in three panels; the suffix of ``path`` selects PNG, SVG or PDF.

    Inertia over the rows processed (with ``fit``), the sizes of the clusters in descending order, and the
    sample and the centres on two principal components, with the ten largest clusters in colour.

    Raises:
        InputError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    FigureCanvasAgg(figure)
    history, sizes, sample = figure.subplots(1, 3)
    _draw_history(history, fit)
    _draw_sizes(sizes, quality)
    _draw_sample(sample, model, quality)
    for axes in (history, sizes, sample):
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)


def _draw_history(axes: Any, fit: Fit | None) -> None:
    axes.set_title("mean inertia", fontsize=10, loc="left")
    if fit is None or not len(fit.history_T2):
        axes.text(0.5, 0.5, "no mini-batches in this run", ha="center", va="center", transform=axes.transAxes)
        axes.set(xticks=[], yticks=[])
        return
    axes.plot(*fit.history_T2.T, color="#3b6fb6", linewidth=1.5, label="batches, smoothed")
    ends = np.arange(1, len(fit.held_out) + 1) * fit.num_rows
    axes.plot(ends, fit.held_out, "o", color="#d1495b", markersize=4, label="held-out rows, after each epoch")
    axes.set_xlabel("rows processed")
    axes.locator_params(axis="x", nbins=5)
    axes.legend(frameon=False, fontsize=8)


def _draw_sizes(axes: Any, quality: Quality) -> None:
    sizes = np.sort(quality.sizes_K)[::-1]
    empty = int((sizes == 0).sum())
    axes.set_title(
        f"rows of each of {len(sizes)} clusters" + (f", {empty} empty" if empty else ""),
        fontsize=10,
        loc="left",
    )
    axes.bar(np.arange(len(sizes)), sizes, width=1.0, color="#3b6fb6")
    axes.set_xlabel("cluster, by size")


def _draw_sample(axes: Any, model: KMeansModel, quality: Quality) -> None:
    rows_MD, labels_M = quality.sample_MD, quality.sample_labels_M
    axes.set_title(f"{len(rows_MD)} rows and the centres, two principal components", fontsize=10, loc="left")
    axes.set(xticks=[], yticks=[])
    if len(rows_MD) < 2:
        return
    mean_D = rows_MD.mean(axis=0)
    _, _, axes_DD = np.linalg.svd(rows_MD - mean_D, full_matrices=False)
    plane_D2 = axes_DD[:2].T
    flat_M2 = (rows_MD - mean_D) @ plane_D2
    centres_K2 = (model.space.enter_centres(model.centres_KD) - mean_D) @ plane_D2
    if plane_D2.shape[1] < 2:  # one-dimensional rows
        flat_M2, centres_K2 = (np.pad(flat, ((0, 0), (0, 1))) for flat in (flat_M2, centres_K2))
    largest = np.argsort(-quality.sizes_K, kind="stable")[:_COLOURED]
    others = ~np.isin(labels_M, largest)
    axes.scatter(*flat_M2[others].T, s=4, color="#c8c8c8")
    for rank, cluster in enumerate(largest):
        axes.scatter(*flat_M2[labels_M == cluster].T, s=4, color=f"C{rank}")
    axes.scatter(*centres_K2.T, s=18, marker="+", color="#202020", linewidths=0.8)


@dataclass(frozen=True, kw_only=True, eq=False)
class Quality:
    """Quality measures computed by `QualityTally`.

    Attributes:
        num_rows: rows labelled.
        inertia: sum of squared distances to the centres, in comparison space.
        sizes_K: rows of each cluster.
        silhouette: mean silhouette of the sample (Rousseeuw 1987); None for a single cluster. It depends on
            the rows per cluster: compare only results with equal K and sample size.
        agreement: agreement with the classes; None without classes.
        sample_MD: the sample in comparison space.
        sample_labels_M: labels of the sample.
    """

    num_rows: int
    inertia: float
    sizes_K: np.ndarray
    silhouette: float | None
    agreement: Agreement | None
    sample_MD: np.ndarray
    sample_labels_M: np.ndarray


class QualityTally:
    """Accumulates quality measures; memory grows only with the number of (cluster, class) pairs.

    Args:
        model: the model that assigned the rows.
        sample_size: rows for the silhouette; time and memory are quadratic in it.
    """

    def __init__(self, model: KMeansModel, *, sample_size: int = 2000) -> None:
        self._model = model
        self._sample = UniformSample(sample_size, 0)
        self._inertia = 0.0
        self._sizes_K = np.zeros(model.n_clusters, dtype=np.int64)
        self._classes: dict[str, int] = {}
        self._pairs: Counter[tuple[int, int]] = Counter()

    def add(self, assignment: Assignment, classes: Sequence[str] | None = None) -> None:
        """Add the assignment of a chunk.

        Args:
            assignment: from `assign_chunks`.
            classes: true class of each of its rows.
        """
        self._inertia += float(assignment.squares_N.sum(dtype=np.float64))
        self._sizes_K += np.bincount(assignment.labels_N, minlength=self._model.n_clusters)
        if len(assignment.sample_MD):
            self._sample.merge(assignment.sample_MD, assignment.tags_M)
        if classes is not None:
            numbers = (self._classes.setdefault(name, len(self._classes)) for name in classes)
            self._pairs.update(zip(assignment.labels_N.tolist(), numbers, strict=True))

    def quality(self) -> Quality:
        """Compute the measures over all chunks; at least one row must have been added."""
        sample_MD = self._model.space.enter(np.array(self._sample.rows_MD))
        centres_KD = self._model.space.enter_centres(self._model.centres_KD)
        labels_M = nearest(sample_MD, centres_KD)[0] if len(sample_MD) else np.empty(0, dtype=np.int32)
        found = None
        if self._pairs:
            clusters_P, classes_P = np.array(list(self._pairs)).T
            found = agreement(clusters_P, classes_P, np.array(list(self._pairs.values())))
        return Quality(
            num_rows=int(self._sizes_K.sum()),
            inertia=self._inertia,
            sizes_K=self._sizes_K,
            silhouette=_silhouette(sample_MD, labels_M),
            agreement=found,
            sample_MD=sample_MD,
            sample_labels_M=labels_M,
        )


def _silhouette(sample_MD: np.ndarray, labels_M: np.ndarray) -> float | None:
    from sklearn.metrics import silhouette_score

    if not 1 < len(np.unique(labels_M)) < len(labels_M):
        return None
    return float(silhouette_score(sample_MD, labels_M))


class LabelTable:
    """Writes ``id cluster`` lines atomically; without any lines, no file is written.

    Args:
        path: the file.
        several: write consecutive rows with the same id as one line, ``id cluster cluster …``; otherwise each
            id has one row.
    """

    def __init__(self, path: str | os.PathLike[str], *, several: bool = False) -> None:
        self._path = path
        self._several = several
        self._seen = DistinctKeys()
        self._open = ExitStack()
        self._stream: IO[str] | None = None
        self._latest: str | None = None

    def __enter__(self) -> LabelTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)
        if self._stream is None and kind is None:  # do not leave the table of an earlier run
            Path(self._path).unlink(missing_ok=True)

    def add(self, assignment: Assignment) -> None:
        """Write the labels of a chunk.

        Raises:
            InputError: an id occurs twice, or the file cannot be written.
        """
        keys = assignment.keys
        assert keys is not None
        labels_N = assignment.labels_N
        if self._stream is None:
            temporary = self._open.enter_context(atomic_path(self._path))
            self._stream = self._open.enter_context(temporary.open("w", encoding="utf-8"))
            self._open.callback(self._stream.write, "\n")
        for first in range(0, len(labels_N), _LINES_AT_ONCE):
            new: list[str] = []
            text: list[str] = []
            lines = slice(first, first + _LINES_AT_ONCE)
            for key, label in zip(keys[lines], labels_N[lines].tolist(), strict=True):
                if self._several and key == self._latest:
                    text.append(f" {label}")
                    continue
                text.append(f"{key} {label}" if self._latest is None else f"\n{key} {label}")
                new.append(key)
                self._latest = key
            again = self._seen.add(new)
            if again is not None:
                raise InputError(
                    f"utterance {new[again]!r} occurs a second time, here or in an earlier chunk",
                    path=assignment.chunk.name,
                )
            self._stream.write("".join(text))


_LINES_AT_ONCE = 65536
_BLOCK_BYTES = 16_000_000


@dataclass(frozen=True, eq=False)
class Assignment:
    """The labels of some rows of a chunk that follow each other.

    Attributes:
        number: of the chunk, from 0.
        chunk: the chunk.
        keys: ids of the rows, None where it has none.
        labels_N: cluster of each row, int32.
        squares_N: squared distance from its centre, float32, in the space of comparison.
        sample_MD: with the last rows of the chunk, a uniform sample of all of its rows as they came, for
            pictures and silhouettes; otherwise empty.
        tags_M: what `UniformSample.merge` needs beside it.
    """

    number: int
    chunk: Chunk
    keys: Sequence[str] | None
    labels_N: np.ndarray
    squares_N: np.ndarray
    sample_MD: np.ndarray
    tags_M: np.ndarray


def assign_chunks(
    model: KMeansModel,
    chunks: Sequence[Chunk],
    *,
    processes: int = 1,
    backend: Literal["sklearn", "faiss"] = "sklearn",
    sample_size: int = 0,
    seed: int = 0,
) -> Iterator[Assignment]:
    """Label the rows of every chunk; the result does not depend on the number of processes.

    Args:
        model: what labels.
        chunks: what is labelled. One process holds a block of rows at a time; several take a chunk each, and
            need memory for its labels and ids.
        processes: how many work at once, each with one thread; 1 works in this process. Others are started
            afresh, so that a script that asks for them needs ``if __name__ == "__main__"``.
        backend: who computes distances.
        sample_size: rows of each chunk to sample at most.
        seed: of the samples.

    Yields:
        the labels of the rows in the order of ``chunks``: block by block, or with several processes chunk by
        chunk.

    Raises:
        InputError: rows of another dimension than the model's, or invalid rows (`checked_blocks`); several
            processes for a chunk that only exists in this process.
    """
    if processes < 1:
        raise InputError(f"the number of processes is {processes}; expected at least 1")
    if backend == "faiss":
        import_faiss()
    work = [(chunk, model, backend, sample_size, [seed, index]) for index, chunk in enumerate(chunks)]
    if processes == 1:
        for number, task in enumerate(work):
            yield from _assign_blocks(number, *task)
        return
    for chunk in chunks:
        if isinstance(chunk, IterableChunk):
            raise InputError(
                "only exists in this process, so that other processes cannot read it",
                path=chunk.name,
                hint="use one process",
            )
    # spawned: threads of BLAS and OpenMP do not survive a fork
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(work) or 1), context, initializer=_one_thread) as pool:
        running: deque[Future[Assignment]] = deque()
        for number, task in enumerate(work):
            running.append(pool.submit(label_chunk, number, *task))
            if len(running) > processes:  # what is finished must not pile up
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def _one_thread() -> None:
    """Use one thread, since the processes share the cores."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)


def label_chunk(
    number: int,
    chunk: Chunk,
    model: KMeansModel,
    backend: Literal["sklearn", "faiss"],
    sample_size: int,
    seed: list[int],
) -> Assignment:
    """The labels of a whole chunk, as of `assign_chunks`; the seed is followed by the number of the chunk."""
    keys = PackedText()
    labels: list[np.ndarray] = []
    squares: list[np.ndarray] = []
    has_keys = False
    for block in _assign_blocks(number, chunk, model, backend, sample_size, seed):
        labels.append(block.labels_N)
        squares.append(block.squares_N)
        if block.keys is not None:
            has_keys = True
            keys.extend(block.keys)
    return replace(
        block,
        keys=keys if has_keys else None,
        labels_N=np.concatenate(labels),
        squares_N=np.concatenate(squares),
    )


def _assign_blocks(
    number: int,
    chunk: Chunk,
    model: KMeansModel,
    backend: Literal["sklearn", "faiss"],
    sample_size: int,
    seed: list[int],
) -> Iterator[Assignment]:
    centres_KD = model.space.enter_centres(model.centres_KD)
    sample = UniformSample(sample_size, seed)
    nothing = UniformSample(0, seed)
    before: Assignment | None = None
    for rows_BD, keys in checked_blocks(
        chunk,
        start=0,
        size=min(max(1, _BLOCK_BYTES // (4 * model.dimension)), _LINES_AT_ONCE),
        dimension=model.dimension,
        directions=model.space.spherical,
    ):
        if before is not None:
            yield before
        if sample_size:
            sample.add(rows_BD)
        labels_B, squares_B = nearest(model.space.enter(rows_BD.copy()), centres_KD, backend=backend)
        before = Assignment(number, chunk, keys, labels_B, squares_B, nothing.rows_MD, nothing.tags_M)
    if before is None:
        raise InputError("contains no rows", path=chunk.name, hint="remove it from the chunks")
    yield replace(before, sample_MD=sample.rows_MD, tags_M=sample.tags_M)
