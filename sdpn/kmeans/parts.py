"""Labels of single chunks on disk, by which several processes share the labelling of many.

``OUT/parts/NNNNN.npz`` holds the labels of a chunk with what they were made from, and appears when it is
whole. The labels of all chunks are put together in their order: the result does not depend on who made them.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from sdpn.errors import InputError
from sdpn.io.arrays import read_npz
from sdpn.io.atomic import atomic_path
from sdpn.io.packed_text import PackedText
from sdpn.kmeans.chunks import Chunk
from sdpn.kmeans.labelling import Assignment, label_chunk
from sdpn.kmeans.model import KMeansModel

#: What damaged files raise.
_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


def label_part(
    number: int,
    chunk: Chunk,
    model: KMeansModel,
    out: Path,
    *,
    backend: Literal["sklearn", "faiss"] = "sklearn",
    sample_size: int = 0,
    seed: int = 0,
) -> bool:
    """Label a chunk and store its part, unless it is there already.

    Args:
        number: of the chunk, from 0.
        chunk: the chunk.
        model: what labels.
        out: folder of ``parts``.
        backend: who computes distances.
        sample_size: rows to sample at most.
        seed: of the sample.

    Returns:
        whether it was labelled now.

    Raises:
        InputError: the chunk or a row is invalid, or the part cannot be written.
    """
    path, made_from = _place(out, number), _made_from(chunk, model, backend, sample_size, seed)
    if _read(path, number, chunk, made_from) is not None:
        return False
    found = label_chunk(number, chunk, model, backend, sample_size, [seed, number])
    keys = np.frombuffer("\n".join(found.keys or ()).encode("utf-8", "surrogateescape"), np.uint8)
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        np.savez(
            stream,
            made_from=made_from,
            has_keys=found.keys is not None,
            keys=keys,
            labels=found.labels_N,
            squares=found.squares_N,
            sample=found.sample_MD,
            tags=found.tags_M,
        )
    return True


def read_parts(
    chunks: Sequence[Chunk],
    model: KMeansModel,
    out: Path,
    *,
    backend: Literal["sklearn", "faiss"] = "sklearn",
    sample_size: int = 0,
    seed: int = 0,
) -> Iterator[Assignment]:
    """The labels of all chunks, in order; arguments are those of `label_part`.

    Raises:
        InputError: before any is read, if parts are missing, damaged or made from something else.
    """
    sources = [_made_from(chunk, model, backend, sample_size, seed) for chunk in chunks]
    missing = [
        chunk.name
        for number, (chunk, made_from) in enumerate(zip(chunks, sources, strict=True))
        if _read(_place(out, number), number, chunk, made_from) is None
    ]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(chunks)} chunks are not labelled with this model, "
            f"the first is {missing[0]}",
            path=out,
            hint="run the shards that are not finished, with the same commands",
        )
    for number, (chunk, made_from) in enumerate(zip(chunks, sources, strict=True)):
        found = _read(_place(out, number), number, chunk, made_from)
        assert found is not None
        yield found


def parts_folder(out: Path) -> Path:
    """Where the parts of an output are."""
    return out / "parts"


def _place(out: Path, number: int) -> Path:
    return parts_folder(out) / f"{number:05d}.npz"


def _made_from(chunk: Chunk, model: KMeansModel, backend: str, sample_size: int, seed: int) -> str:
    """Digest of what the labels of a chunk depend on."""
    try:
        status = os.stat(chunk.name)
    except OSError as error:
        raise InputError(f"cannot be used ({error.strerror})", path=chunk.name) from error
    where = (os.path.realpath(chunk.name), status.st_size, status.st_mtime_ns)
    digest = hashlib.sha256(repr([where, model.space.spherical, backend, sample_size, seed]).encode())
    for array in (model.centres_KD, model.space.mean_D, model.space.scale_D):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _read(path: Path, number: int, chunk: Chunk, made_from: str) -> Assignment | None:
    """A part; None if it is not there, damaged, or made from something else."""
    try:
        stored = read_npz(path)
        if str(stored["made_from"]) != made_from:
            return None
        labels_N, squares_N = stored["labels"], stored["squares"]
        keys = None
        if stored["has_keys"]:
            keys = PackedText(stored["keys"].tobytes().decode("utf-8", "surrogateescape").split("\n"))
        if len(squares_N) != len(labels_N) or (keys is not None and len(keys) != len(labels_N)):
            return None
        return Assignment(number, chunk, keys, labels_N, squares_N, stored["sample"], stored["tags"])
    except _DAMAGED:
        return None
