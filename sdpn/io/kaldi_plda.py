r"""Kaldi's ``<Plda>`` file: mean, transform and between-speaker variances, binary or text.

Binary: ``\0B<Plda> ``, a vector, a matrix, a vector, ``</Plda> ``. A vector is ``DV `` (or ``FV ``), ``\4``,
its length as little-endian int32, and the values; a matrix is ``DM `` (or ``FM ``), ``\4``, rows, ``\4``,
columns, and the numbers row by row. Text: ``<Plda>  [ 1 2 ]``, `` [``, a line for each row, ``]``, and so on.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from sdpn.errors import InputError
from sdpn.io.atomic import atomic_path

_TYPES: dict[bytes, np.dtype[np.floating]] = {b"F": np.dtype("<f4"), b"D": np.dtype("<f8")}
_OPEN, _CLOSE = b"<Plda>", b"</Plda>"


def read(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read mean (D,), transform (D, D) and psi (D,), float64.

    Raises:
        InputError: the file is missing, truncated or not a PLDA, contains values that are not finite or a
            negative variance, or its parts differ in dimension.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", path=path) from error
    try:
        if data[:2] == b"\0B":
            mean, transform, psi = _read_binary(data)
        else:
            mean, transform, psi = _read_text(data)
    except ValueError as error:
        raise InputError(f"is not a complete Kaldi PLDA ({error})", path=path) from error
    dimension = mean.size
    if mean.ndim != 1 or transform.shape != (dimension, dimension) or psi.shape != (dimension,):
        raise InputError(
            f"has a mean of {mean.shape}, a transform of {transform.shape} and variances of {psi.shape};"
            " expected (D,), (D, D) and (D,)",
            path=path,
        )
    if not all(np.isfinite(part).all() for part in (mean, transform, psi)) or (psi < 0).any():
        raise InputError("contains NaN, infinite values or negative variances", path=path)
    return mean, transform, psi


def write(
    path: str | os.PathLike[str], mean: np.ndarray, transform: np.ndarray, psi: np.ndarray, *, binary: bool
) -> None:
    """Write mean (D,), transform (D, D) and psi (D,) so that `read` gives the same bits.

    Raises:
        InputError: the folder is not writable.
    """
    parts = [np.ascontiguousarray(part, dtype="<f8") for part in (mean, transform, psi)]
    if binary:
        body = b"".join(_binary(part) for part in parts)
        data = b"\0B" + _OPEN + b" " + body + _CLOSE + b" "
    else:
        data = _OPEN + b" " + b"".join(_text(part) for part in parts) + _CLOSE + b" "
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def _binary(array: np.ndarray) -> bytes:
    sizes = b"".join(b"\4" + size.to_bytes(4, "little") for size in array.shape)
    return (b"DV " if array.ndim == 1 else b"DM ") + sizes + array.tobytes()


def _text(array: np.ndarray) -> bytes:
    rows = [" ".join(repr(float(value)) for value in row) for row in np.atleast_2d(array)]
    body = f" [ {rows[0]} ]\n" if array.ndim == 1 else " [\n  " + "\n  ".join(rows) + " ]\n"
    return body.encode()


def _read_binary(data: bytes) -> tuple[np.ndarray, ...]:
    at = _expect(data, 2, _OPEN + b" ")
    parts = []
    for kind in (b"V", b"M", b"V"):
        dtype = _TYPES.get(data[at : at + 1])
        if dtype is None or data[at + 1 : at + 3] != kind + b" ":
            raise ValueError(f"no {'matrix' if kind == b'M' else 'vector'} of floats at byte {at}")
        at += 3
        sizes = []
        for _ in range(2 if kind == b"M" else 1):
            at = _expect(data, at, b"\4")
            sizes.append(int.from_bytes(data[at : at + 4], "little", signed=True))
            at += 4
        count = int(np.prod(sizes))
        end = at + count * dtype.itemsize
        if min(sizes) <= 0 or end > len(data):
            raise ValueError(f"empty or truncated at byte {at}")
        parts.append(np.frombuffer(data, dtype, count, at).reshape(sizes).astype(np.float64))
        at = end
    _expect(data, at, _CLOSE)
    return tuple(parts)


def _expect(data: bytes, at: int, token: bytes) -> int:
    """Skip ``token``, which must come next."""
    if data[at : at + len(token)] != token:
        raise ValueError(f"{token!r} is missing at byte {at}")
    return at + len(token)


def _read_text(data: bytes) -> tuple[np.ndarray, ...]:
    body = data.strip()
    if not body.startswith(_OPEN):
        raise ValueError(f"it does not begin with {_OPEN.decode()}")
    if not body.endswith(_CLOSE):
        raise ValueError(f"it does not end with {_CLOSE.decode()}")
    pieces = body[len(_OPEN) : -len(_CLOSE)].split(b"]")
    if len(pieces) != 4 or pieces[3].strip():
        raise ValueError(f"it has {len(pieces) - 1} of the 3 arrays")
    parts = []
    for piece in pieces[:3]:
        head, bracket, numbers = piece.partition(b"[")
        if head.strip() or not bracket:
            raise ValueError("an array does not begin with '['")
        rows = [[float(value) for value in line.split()] for line in numbers.splitlines() if line.strip()]
        is_matrix = b"\n" in numbers
        array = np.array(rows, dtype=np.float64)  # rows of different lengths are a ValueError
        if array.size == 0:
            raise ValueError("an array is empty")
        parts.append(array if is_matrix else array[0])
    return tuple(parts)
