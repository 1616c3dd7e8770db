"""NumPy's ``.npz`` files of strangers: no pickles, and no more memory than the file can account for."""

from __future__ import annotations

import math
import os
import zipfile

import numpy as np
from numpy.lib import format as npy

#: Deflated arrays of this size may be any number of times as large as their file; larger ones are looked at.
_FREE_BYTES = 1 << 26

#: Real numbers deflate to a tenth at the very best; a thousandth is a bomb.
_MOST_DEFLATED = 100


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read all arrays of an ``.npz`` file.

    NumPy's own reader believes the shape in a header and allocates it before it reads.

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
                    f"{member.filename!r} unpacks from {member.compress_size} bytes to {member.file_size}"
                )
            with archive.open(member) as stream:
                version = npy.read_magic(stream)
                header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
                if header is None:
                    raise ValueError(f"{member.filename!r} is an array of an unknown version {version}")
                shape, _, dtype = header(stream)
                if stream.tell() + math.prod(shape) * dtype.itemsize != member.file_size:
                    raise ValueError(f"{member.filename!r} is not as large as its shape {shape} says")
            with archive.open(member) as stream:
                arrays[member.filename.removesuffix(".npy")] = npy.read_array(stream, allow_pickle=False)
    return arrays
