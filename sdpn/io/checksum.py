"""Checksums of files, of models and of the package itself."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, in hexadecimal, read a piece at a time."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def files_sha256(path: Path, keep: Callable[[Path], bool] = lambda _: True) -> str:
    """SHA-256 of the names and bytes of the files in a folder, in hexadecimal; of a file, that of its own.

    Args:
        path: a folder, which is searched at any depth, or a file.
        keep: whether a file counts, by its path below the folder.
    """
    if path.is_file():
        return file_sha256(path)
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path)
        if file.is_file() and keep(name):
            digest.update(f"{name.as_posix()} {file_sha256(file)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
