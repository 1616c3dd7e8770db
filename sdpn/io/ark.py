r"""Float vectors inside Kaldi archives, binary and text.

An archive is a sequence of ``key value`` pairs. A binary vector is ``\0B``, ``FV `` or ``DV ``, ``\4``, its
dimension as little-endian int32, and the numbers; a text vector is `` [ 1 2 3 ]`` and a line end.

Archives are not read with kaldiio, which runs ``command |`` entries in a shell and unpickles values: opening
untrusted embeddings could execute code.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator

import numpy as np

_BINARY_TYPES: dict[bytes, np.dtype[np.floating]] = {b"FV ": np.dtype("<f4"), b"DV ": np.dtype("<f8")}
_BLANKS = b" \t\r\n"


def open_ark(path: str | os.PathLike[str]) -> mmap.mmap | bytes:
    """Map an archive into memory.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as stream:
        if os.fstat(stream.fileno()).st_size == 0:
            return b""  # which mmap refuses
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)


def iterate_ark(data: mmap.mmap | bytes) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (key, float32 vector (D,)) in file order.

    Raises:
        ValueError: the archive is malformed or cut short; the message gives the position.
    """
    at = 0
    while True:
        while at < len(data) and data[at] in _BLANKS:
            at += 1
        if at == len(data):
            return
        blank = data.find(b" ", at)
        if blank < 0:
            raise ValueError(f"no value after the key at byte {at}")
        key = data[at:blank].decode()
        vector, at = vector_at(data, blank + 1)
        yield key, vector


def vector_at(data: mmap.mmap | bytes, at: int) -> tuple[np.ndarray, int]:
    """Read the vector that starts at byte ``at``, where an scp points to.

    Returns:
        float32 vector (D,), D > 0, and the offset of the first byte after it.

    Raises:
        ValueError: there is no complete vector.
    """
    if at >= len(data):
        raise ValueError(f"it ends before byte {at}")
    if data[at : at + 2] != b"\0B":
        return _text_vector_at(data, at)
    dtype = _BINARY_TYPES.get(data[at + 2 : at + 5])
    if dtype is None or data[at + 5 : at + 6] != b"\4":
        raise ValueError(
            f"found {data[at + 2 : at + 5]!r} at byte {at}, which does not start a vector of floats"
        )
    dimension = int.from_bytes(data[at + 6 : at + 10], "little", signed=True)
    end = at + 10 + dimension * dtype.itemsize
    if dimension <= 0 or end > len(data):
        raise ValueError(f"the vector at byte {at} is empty or cut short")
    with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, which the caller refuses
        return np.frombuffer(data, dtype, dimension, at + 10).astype(np.float32), end


def vector_entry(key: str, vector: np.ndarray) -> bytes:
    """An archive's entry of one float32 vector (D,): key, blank, binary vector."""
    dimension = len(vector).to_bytes(4, "little", signed=True)
    return key.encode() + b" \0BFV \4" + dimension + np.asarray(vector, dtype="<f4").tobytes()


def _text_vector_at(data: mmap.mmap | bytes, at: int) -> tuple[np.ndarray, int]:
    closing = data.find(b"]", at)
    head, bracket, body = data[at : max(at, closing)].partition(b"[")
    values = body.split()
    if closing < 0 or head.strip() or not bracket or not values:
        raise ValueError(f"no vector starts at byte {at}")
    if b"\n" in body:
        raise ValueError(f"a matrix starts at byte {at} where a vector was expected")
    with np.errstate(over="ignore"):
        return np.array([float(value) for value in values]).astype(np.float32), closing + 1
