"""Rows that come once, such as a network's outputs, kept on disk as chunks that can be read again.

Shapes: B rows of a piece, D dimensions.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.errors import InputError
from sdpn.io.atomic import atomic_directory


def write_chunks(
    pieces: Iterable[Any], folder: str | os.PathLike[str], *, rows_per_chunk: int = 100_000
) -> list[Path]:
    """Write pieces (B, D) as float32 ``folder/chunk-00000.npy``, ...; the folder appears when all is written.

    Args:
        pieces: arrays or CPU tensors of any length; empty ones are passed over.
        folder: where to; one that exists is replaced.
        rows_per_chunk: rows of each chunk but the last. That many are held in memory.

    Returns:
        the chunks' files.

    Raises:
        InputError: there are no rows, pieces of different dimension, or the folder cannot be written.
    """
    names: list[str] = []
    waiting: list[np.ndarray] = []
    held = 0
    with atomic_directory(folder) as temporary:

        def write(rows_ND: np.ndarray) -> None:
            names.append(f"chunk-{len(names):05d}.npy")
            np.save(temporary / names[-1], rows_ND, allow_pickle=False)

        for piece in pieces:
            rows_BD = np.array(piece, dtype=np.float32)  # a copy: a loader may use its buffer again
            if rows_BD.ndim != 2 or (waiting and rows_BD.shape[1] != waiting[0].shape[1]):
                expected = f"(rows, {waiting[0].shape[1]})" if waiting else "(rows, dimensions)"
                raise InputError(f"a piece has shape {rows_BD.shape}; expected {expected}", path=folder)
            waiting.append(rows_BD)
            held += len(rows_BD)
            if held >= rows_per_chunk:
                rows_ND = np.concatenate(waiting)
                whole = held // rows_per_chunk * rows_per_chunk
                for at in range(0, whole, rows_per_chunk):
                    write(rows_ND[at : at + rows_per_chunk])
                waiting, held = [rows_ND[whole:].copy()], held - whole
        if held:
            write(np.concatenate(waiting))
        if not names:
            raise InputError("there are no rows to write", path=folder)
    return [Path(folder) / name for name in names]
