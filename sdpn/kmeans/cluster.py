"""Chunks to clusters and labels on disk: what ``sdpn kmeans`` does."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from sdpn.errors import InputError
from sdpn.io.atomic import atomic_path
from sdpn.io.kaldi import read_table
from sdpn.kmeans.chunks import Chunk, KaldiChunk
from sdpn.kmeans.fit import Fit, FitProgress, fit_stream, remove_state
from sdpn.kmeans.labelling import Assignment, LabelTable, Quality, QualityTally, assign_chunks, plot_quality
from sdpn.kmeans.model import KMeansModel
from sdpn.kmeans.parts import label_part, parts_folder, read_parts
from sdpn.kmeans.settings import StreamSettings

#: Yields the chunks that are being labelled, with their numbers, and may show the progress.
OnChunks: TypeAlias = Callable[
    [Iterable[tuple[int, Iterator[Assignment]]]], Iterable[tuple[int, Iterator[Assignment]]]
]

#: Rows of each chunk for the silhouette and the picture.
_SAMPLE = 2000


@dataclass(frozen=True, kw_only=True, eq=False)
class ClusteredChunks:
    """What was learned and labelled.

    Attributes:
        model: the clusters.
        path: the file of the model.
        quality: of the clusters on all rows; None where they were not labelled.
        fit: how they were learned; None where the model was given.
        seconds: how long that took.
    """

    model: KMeansModel
    path: Path
    quality: Quality | None
    fit: Fit | None
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain JSON."""
        results: dict[str, Any] = {
            "model": str(self.path),
            "clusters": self.model.n_clusters,
            "dimension": self.model.dimension,
        }
        if self.quality is not None:
            sizes: np.ndarray = self.quality.sizes_K
            results |= {
                "num_rows": self.quality.num_rows,
                "inertia": self.quality.inertia,
                "inertia_per_row": self.quality.inertia / self.quality.num_rows,
                "silhouette": self.quality.silhouette,
                "sizes": sizes.tolist(),
                "empty": int((sizes == 0).sum()),
                "purity": None,
                "nmi": None,
                "ari": None,
            }
        if self.quality is not None and self.quality.agreement is not None:
            results |= {
                "purity": self.quality.agreement.purity,
                "nmi": self.quality.agreement.nmi,
                "ari": self.quality.agreement.ari,
            }
        if self.fit is not None:
            results["learning"] = {
                "epochs": self.fit.epochs,
                "lloyd_passes": len(self.fit.rows_per_pass) - self.fit.epochs,
                "rows_per_pass": list(self.fit.rows_per_pass),
                "held_out": list(self.fit.held_out),
                "seconds": self.seconds,
            }
        return results


def learn_clusters(
    chunks: Sequence[Chunk],
    out: Path,
    settings: StreamSettings,
    *,
    init: Path | None = None,
    format: Literal["npz", "safetensors"] = "npz",
    processes: int = 1,
    classes: Path | None = None,
    units: bool = False,
    label: bool = True,
    on_progress: Callable[[FitProgress], None] = lambda _progress: None,
    progress: OnChunks = iter,
) -> ClusteredChunks:
    """Cluster the rows of chunks, and label them.

    An interrupted call resumes from ``OUT/state.npz`` and ends with the same centres.

    Args:
        chunks: from `sdpn.kmeans.chunks.open_chunk`.
        out: folder for ``model.<format>``, ``quality.png`` and the labels, see `label_chunks`.
        settings: number of clusters, random seed and how they are learned.
        init: a k-means model whose centres come first.
        format: of the model.
        processes: chunks labelled in parallel.
        classes: see `label_chunks`, as for ``units``.
        units: labels that follow each other under one id are one line.
        label: label the rows, too; otherwise only the model is written.
        on_progress: called with the progress of the training.
        progress: see `OnChunks`.

    Raises:
        InputError: a file or a row is invalid. Progress up to then is kept.
    """
    known_classes = None if classes is None else read_table(classes)
    start = None
    if init is not None:
        given = KMeansModel.load(init)
        if given.n_clusters != settings.n_clusters:
            raise InputError(f"has {given.n_clusters} clusters, not {settings.n_clusters}", path=init)
        start = given.centres_KD
    started = time.perf_counter()
    fit = fit_stream(chunks, settings, state=out / "state.npz", centres_KD=start, on_progress=on_progress)
    seconds = time.perf_counter() - started
    path = out / f"model.{format}"
    fit.model.save(path)
    if not label:
        remove_state(out / "state.npz")
        return ClusteredChunks(model=fit.model, path=path, quality=None, fit=fit, seconds=seconds)
    quality = _label(
        fit.model,
        assign_chunks(
            fit.model,
            _unchecked(chunks),
            processes=processes,
            backend=settings.backend,
            sample_size=_SAMPLE,
            seed=settings.seed,
        ),
        chunks,
        out,
        classes=(known_classes, classes),
        units=units,
        progress=progress,
    )
    plot_quality(out / "quality.png", fit.model, quality, fit)
    remove_state(out / "state.npz")
    return ClusteredChunks(model=fit.model, path=path, quality=quality, fit=fit, seconds=seconds)


def label_chunks(
    chunks: Sequence[Chunk],
    out: Path,
    model: KMeansModel,
    *,
    path: Path,
    backend: Literal["sklearn", "faiss"] = "sklearn",
    processes: int = 1,
    classes: Path | None = None,
    units: bool = False,
    seed: int = 0,
    merge: bool = False,
    progress: OnChunks = iter,
) -> ClusteredChunks:
    """Label the rows of chunks with a k-means model.

    Args:
        chunks: from `sdpn.kmeans.chunks.open_chunk`.
        out: folder for ``quality.png`` and the labels: ``utt2cluster`` ('id cluster' lines) where rows have
            ids, ``labels/NNNNN-<name>.npy`` otherwise.
        model: the clusters.
        path: its file, for the result.
        backend: library that computes distances.
        processes: chunks labelled in parallel.
        classes: 'id class' lines; the clusters are scored against them.
        units: rows that follow each other under one id are one line, in ``units`` in place of
            ``utt2cluster``.
        seed: of the sample for silhouette and picture.
        merge: label nothing, and put together what `label_shard` has labelled: the same files.
        progress: see `OnChunks`.

    Raises:
        InputError: a file or a row is invalid, a row has no class, or with ``merge`` a chunk is not labelled.
    """
    how: dict[str, Any] = {"backend": backend, "sample_size": _SAMPLE, "seed": seed}
    chunks = _unchecked(chunks)
    quality = _label(
        model,
        read_parts(chunks, model, out, **how)
        if merge
        else assign_chunks(model, chunks, processes=processes, **how),
        chunks,
        out,
        classes=(None if classes is None else read_table(classes), classes),
        units=units,
        progress=progress,
    )
    if merge:
        shutil.rmtree(parts_folder(out))
    plot_quality(out / "quality.png", model, quality, None)
    return ClusteredChunks(model=model, path=path, quality=quality, fit=None, seconds=0.0)


def label_shard(
    chunks: Sequence[Chunk],
    numbers: Sequence[int],
    out: Path,
    model: KMeansModel,
    *,
    backend: Literal["sklearn", "faiss"] = "sklearn",
    seed: int = 0,
) -> int:
    """Label some of the chunks, for `label_chunks` with ``merge``; what is labelled already is passed over.

    Args:
        chunks: all chunks.
        numbers: those to label, counted from 0.
        out: as in `label_chunks`, like the rest.
        model: the clusters.
        backend: library that computes distances.
        seed: of the sample for silhouette and picture.

    Returns:
        the number of chunks labelled now.

    Raises:
        InputError: a file or a row is invalid.
    """
    chunks = _unchecked(chunks)
    how: dict[str, Any] = {"backend": backend, "sample_size": _SAMPLE, "seed": seed}
    return sum(label_part(number, chunks[number], model, out, **how) for number in numbers)


def _unchecked(chunks: Sequence[Chunk]) -> list[Chunk]:
    """Chunks that do not look for ids that occur twice: the table does, in all chunks together."""
    return [replace(chunk, check_ids=False) if isinstance(chunk, KaldiChunk) else chunk for chunk in chunks]


def _label(
    model: KMeansModel,
    assignments: Iterator[Assignment],
    chunks: Sequence[Chunk],
    out: Path,
    *,
    classes: tuple[Mapping[str, str] | None, Path | None],
    units: bool,
    progress: OnChunks,
) -> Quality:
    """Write the labels of all chunks and judge them."""
    tally = QualityTally(model)
    with LabelTable(out / ("units" if units else "utt2cluster"), several=units) as table:
        for number, blocks in progress(groupby(assignments, key=attrgetter("number"))):
            of_rows_without_ids: list[np.ndarray] = []
            for block in blocks:
                tally.add(block, _classes_of(block, *classes))
                if block.keys is None:
                    of_rows_without_ids.append(block.labels_N)
                else:
                    table.add(block)
            if of_rows_without_ids:
                name = Path(chunks[number].name).stem
                with atomic_path(out / "labels" / f"{number:05d}-{name}.npy") as labels:
                    np.save(labels, np.concatenate(of_rows_without_ids), allow_pickle=False)
    return tally.quality()


def _classes_of(
    assignment: Assignment, classes: Mapping[str, str] | None, path: Path | None
) -> list[str] | None:
    if classes is None:
        return None
    if assignment.keys is None:
        raise InputError(
            "has no utterance ids, which --utt2spk needs",
            path=assignment.chunk.name,
            hint="use scp or ark chunks",
        )
    missing = [key for key in assignment.keys if key not in classes]
    if missing:
        raise InputError(f"has no class for {missing[0]!r} of {assignment.chunk.name}", path=path)
    return [classes[key] for key in assignment.keys]
