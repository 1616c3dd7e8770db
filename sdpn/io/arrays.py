"""Untrusted NumPy ``.npz`` files: no pickles, and no more memory than the file can account for."""

from __future__ import annotations

import math
import os
import zipfile

import numpy as np
from numpy.lib import format as npy

#: Deflated arrays up to this size may expand by any factor; larger ones are checked.
_FREE_BYTES = 1 << 26

#: Real data deflate to a tenth at best; a thousandth is a decompression bomb.
_MOST_DEFLATED = 100


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read all arrays of an ``.npz`` file.

    NumPy's own reader trusts the shape in a header and allocates the array before reading it.

    Returns:
        arrays by name.

    Raises:
        FileNotFoundError: there is no such file.
        Exception: anything that zipfile and NumPy raise for damaged bytes (see `sdpn.io.parsing.parsing`);
            a ValueError for shapes or compression that cannot be.
    """
    arrays: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.file_size > max(_FREE_BYTES, _MOST_DEFLATED * member.compress_size):
                raise ValueError(
                    f"{member.filename!r} expands from {member.compress_size} bytes to {member.file_size}"
                )
            with archive.open(member) as stream:
                version = npy.read_magic(stream)
                header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
                if header is None:
                    raise ValueError(f"{member.filename!r} has the unknown format version {version}")
                shape, _, dtype = header(stream)
                if stream.tell() + math.prod(shape) * dtype.itemsize != member.file_size:
                    raise ValueError(f"{member.filename!r} does not match its shape {shape} in size")
            with archive.open(member) as stream:
                arrays[member.filename.removesuffix(".npy")] = npy.read_array(stream, allow_pickle=False)
    return arrays
