"""The chunks of a stream: read in blocks of rows, as often as needed.

Shapes: B rows of a block, D dimensions.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sdpn.errors import InputError
from sdpn.io.atomic import atomic_directory
from sdpn.io.kaldi import iterate_vectors
from sdpn.io.packed_text import PackedText
from sdpn.io.parsing import parsing

#: Vectors of an archive that are put into one array.
_STACKED = 4096


def write_chunks(
    pieces: Iterable[Any], folder: str | os.PathLike[str], *, rows_per_chunk: int = 100_000
) -> list[Path]:
    """Write pieces (B, D) as float32 ``folder/chunk-00000.npy``, ..., atomically.

    Args:
        pieces: arrays or CPU tensors of any length; empty ones are skipped.
        folder: output folder; an existing one is replaced.
        rows_per_chunk: rows of each chunk except the last; held in memory.

    Returns:
        paths of the chunks.

    Raises:
        InputError: there are no rows, pieces differ in dimension, or the folder cannot be written.
    """
    names: list[str] = []
    waiting: list[np.ndarray] = []
    held = 0
    with atomic_directory(folder) as temporary:

        def write(rows_ND: np.ndarray) -> None:
            names.append(f"chunk-{len(names):05d}.npy")
            np.save(temporary / names[-1], rows_ND, allow_pickle=False)

        for piece in pieces:
            rows_BD = np.array(piece, dtype=np.float32)  # a copy, since loaders may reuse their buffers
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


#: Largest value whose square can be summed over dimensions and rows in float32.
LARGEST = 1e12

#: Smallest difference whose square is not lost in float32.
SMALLEST = 1e-15


class Block(NamedTuple):
    """Consecutive rows (B, D), and their ids if the chunk has ids."""

    rows_BD: np.ndarray
    keys: Sequence[str] | None


@dataclass(frozen=True, kw_only=True)
class Chunk(ABC):
    """Rows that can be read repeatedly, from any row on, in a fixed order.

    Attributes:
        name: name for error messages; the path of a file.
    """

    name: str

    @abstractmethod
    def blocks(self, start: int, size: int) -> Iterator[Block]:
        """Yield the rows from ``start`` (counted from 0) in blocks of at most ``size``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ArrayChunk(Chunk):
    """Rows (N, D) in memory."""

    rows_ND: np.ndarray

    def blocks(self, start: int, size: int) -> Iterator[Block]:
        """Yield slices."""
        for at in range(start, len(self.rows_ND), size):
            yield Block(self.rows_ND[at : at + size], None)


@dataclass(frozen=True, kw_only=True)
class NpyChunk(Chunk):
    """A matrix (N, D) in a ``.npy`` file."""

    def blocks(self, start: int, size: int) -> Iterator[Block]:
        """Yield copies of slices; the file is mapped again for each, to release what was read."""
        end = start + 1
        while start < end:
            rows_ND = self._mapped()
            end = len(rows_ND)
            if start < end:
                yield Block(np.array(rows_ND[start : start + size]), None)
            start += size

    def _mapped(self) -> np.ndarray:
        with parsing(self.name, "is not a complete .npy file"):
            rows_ND: np.ndarray = np.lib.format.open_memmap(self.name, mode="r")
        if rows_ND.ndim != 2:
            raise InputError(f"has shape {rows_ND.shape}; expected (rows, dimensions)", path=self.name)
        return rows_ND


@dataclass(frozen=True, kw_only=True)
class NamedNpyChunk(NpyChunk):
    """A matrix (N, D) in a ``.npy`` file with one or more consecutive rows per utterance.

    Attributes:
        ids: utterance ids in the order of their rows; consecutive equal ids are one utterance.
        counts: number of rows of each.
    """

    ids: tuple[str, ...]
    counts: tuple[int, ...]

    def blocks(self, start: int, size: int) -> Iterator[Block]:
        """Yield copies of slices with the utterance id of each row."""
        ends = np.cumsum(self.counts)
        for rows_BD, _ in super().blocks(start, size):
            places = np.searchsorted(ends, np.arange(start, start + len(rows_BD)), side="right")
            yield Block(rows_BD, [self.ids[place] for place in places.tolist()])
            start += len(rows_BD)


@dataclass(frozen=True, kw_only=True)
class KaldiChunk(Chunk):
    """The vectors of a Kaldi ``.ark`` or ``.scp``.

    Attributes:
        check_ids: refuse an id that occurs twice, at 16 bytes of memory for each while a pass lasts.
    """

    check_ids: bool = True

    def blocks(self, start: int, size: int) -> Iterator[Block]:
        """Yield stacked vectors and their keys; an archive has no index, so rows before are read over."""
        keys = PackedText()
        vectors: list[np.ndarray] = []
        stacked: list[np.ndarray] = []  # a vector of its own costs 100 bytes besides its numbers
        dimension = None
        for row, (key, vector) in enumerate(iterate_vectors(self.name, check_keys=self.check_ids)):
            dimension = len(vector) if dimension is None else dimension
            if len(vector) != dimension:
                raise InputError(
                    f"row {row} ({key!r}) has {len(vector)} dimensions, the rows before it have {dimension}",
                    path=self.name,
                )
            if row < start:
                continue
            keys.append(key)
            vectors.append(vector)
            if len(vectors) == _STACKED or len(keys) == size:
                stacked.append(np.stack(vectors))
                vectors = []
            if len(keys) == size:
                yield Block(np.concatenate(stacked), keys)
                keys, stacked = PackedText(), []
        if keys:
            yield Block(np.concatenate([*stacked, np.stack(vectors)] if vectors else stacked), keys)


@dataclass(frozen=True, kw_only=True)
class IterableChunk(Chunk):
    """The output of a loader or generator.

    Attributes:
        pieces: called for each pass; returns pieces (n, D) of any length, arrays or CPU tensors, the same in
            every pass.
    """

    pieces: Callable[[], Iterable[Any]]

    def blocks(self, start: int, size: int) -> Iterator[Block]:
        """Yield the pieces in blocks of at most ``size`` rows; rows before ``start`` are skipped."""
        skip = start
        for piece in self.pieces():
            rows_BD = np.asarray(piece)
            if rows_BD.ndim != 2:
                raise InputError(
                    f"a piece has shape {rows_BD.shape}; expected (rows, dimensions)", path=self.name
                )
            rows_BD, skip = rows_BD[skip:], max(skip - len(rows_BD), 0)
            for at in range(0, len(rows_BD), size):
                yield Block(rows_BD[at : at + size], None)


def open_chunk(path: str | os.PathLike[str]) -> Chunk:
    """Open a chunk file: ``.npy``, or Kaldi ``.ark`` or ``.scp``.

    Raises:
        InputError: another suffix, or no such file.
    """
    path = Path(path)
    kinds: dict[str, type[NpyChunk] | type[KaldiChunk]] = {
        ".npy": NpyChunk,
        ".ark": KaldiChunk,
        ".scp": KaldiChunk,
    }
    if path.suffix not in kinds:
        raise InputError("is not a chunk file", path=path, hint=f"expected one of: {', '.join(kinds)}")
    if not path.is_file():
        raise InputError("no such chunk file", path=path)
    return kinds[path.suffix](name=str(path))


def checked_blocks(
    chunk: Chunk, *, start: int, size: int, dimension: int | None, directions: bool
) -> Iterator[Block]:
    """Read a chunk as validated float32 rows.

    Args:
        chunk: the chunk.
        start: first row, counted from 0.
        size: maximum rows of a block.
        dimension: required dimension; None takes that of the first block.
        directions: reject zero rows, which have no direction.

    Raises:
        InputError: values that are not integers or real numbers, another dimension, or a row with NaN,
            infinite or huge values or, with ``directions``, of zeros; with the chunk and the row (from 0).
    """
    row = start
    for rows_BD, keys in chunk.blocks(start, size):
        if rows_BD.dtype.kind not in "fiu":
            raise InputError(f"contains {rows_BD.dtype}; expected integers or real numbers", path=chunk.name)
        dimension = rows_BD.shape[1] if dimension is None else dimension
        if rows_BD.shape[1] != dimension or not dimension:
            raise InputError(
                f"rows have {rows_BD.shape[1]} dimensions; expected {dimension or 'at least 1'}",
                path=chunk.name,
            )
        with np.errstate(over="ignore"):  # values beyond float32 become infinite and are reported below
            floats_BD = np.ascontiguousarray(rows_BD, dtype=np.float32)
        if unfit := invalid_rows(floats_BD):
            raise _bad_row(chunk, row, keys, *unfit)
        if directions:
            short_B = np.logical_not((np.abs(floats_BD) >= SMALLEST).any(axis=1))
            if short_B.any():
                zero = not floats_BD[short_B.argmax()].any()
                problem = "is zero" if zero else f"has no value of at least {SMALLEST:g}"
                raise _bad_row(chunk, row, keys, short_B, f"{problem}: it has no direction")
        yield Block(floats_BD, keys)
        row += len(floats_BD)


def invalid_rows(rows_BD: np.ndarray) -> tuple[np.ndarray, str] | None:
    """Mask of float32 rows with values that distances cannot be computed from, and a description."""
    finite_BD = np.isfinite(rows_BD)
    if not finite_BD.all():
        return np.logical_not(finite_BD.all(axis=1)), "contains NaN or infinite values"
    if len(rows_BD) and max(rows_BD.max(), -rows_BD.min()) > LARGEST:
        huge_B = (np.abs(rows_BD) > LARGEST).any(axis=1)
        largest = np.abs(rows_BD[huge_B.argmax()]).max()
        return (
            huge_B,
            f"contains {largest:.3g}, whose square overflows (limit {LARGEST:g})",
        )
    return None


def _bad_row(
    chunk: Chunk, first: int, keys: Sequence[str] | None, bad_B: np.ndarray, problem: str
) -> InputError:
    at = int(bad_B.argmax())
    key = "" if keys is None else f" ({keys[at]!r})"
    return InputError(f"row {first + at}{key} {problem}", path=chunk.name, hint="rows are counted from 0")
