"""Finished cells on disk, so that a killed benchmark continues where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

import sdpn
from sdpn.benchmark.measure import ModelFile
from sdpn.benchmark.plan import Cell
from sdpn.io.atomic import atomic_path
from sdpn.io.checksum import files_sha256

#: Parts of the package that no cell depends on.
_IRRELEVANT = {"adaptation", "cli", "data", "distill", "kmeans", "report", "tracking", "training"}

#: Files of the benchmark that cells depend on; the others schedule, store and summarise them.
_MEASURING = {"groups.py", "held_out.py", "evaluation_sets.py", "measure.py", "plan.py"}


class FinishedParts:
    """The finished cells of one model.

    Args:
        work: folder of the benchmark.
        made_from: everything that a cell depends on apart from its own name, as JSON values.
    """

    def __init__(self, work: Path, made_from: Callable[[Cell], object]) -> None:
        self._folder = work / "cells"
        self._made_from = made_from

    def find(self, cell: Cell) -> dict[str, np.ndarray] | None:
        """The arrays of a cell; None if it is not finished, or the file is damaged."""
        try:
            with np.load(self._path(cell), allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except (OSError, ValueError, EOFError, BadZipFile):
            return None  # what cannot be read is measured again

    def keep(self, cell: Cell, outcome: Mapping[str, np.ndarray]) -> None:
        """Store a cell.

        Raises:
            InputError: the folder cannot be written.
        """
        with atomic_path(self._path(cell)) as temporary, open(temporary, "wb") as stream:
            np.savez_compressed(stream, **outcome)  # type: ignore[arg-type]

    def _path(self, cell: Cell) -> Path:
        made_from = json.dumps([cell, self._made_from(cell)], sort_keys=True)
        key = hashlib.sha256(made_from.encode()).hexdigest()[:16]
        return self._folder / f"{cell.name}.{key}.npz"


def model_digest(model: ModelFile) -> str:
    """Digest of the files of a model, its back end included; texts about it do not count."""
    digest = hashlib.sha256(str(None if model.format == "sdpn" else model.format).encode())  # it is detected
    digest.update(files_sha256(model.found, lambda name: name.suffix != ".md").encode())
    return digest.hexdigest()[:16]


@cache
def code_digest() -> str:
    """Digest of the source that figures depend on."""
    return files_sha256(Path(sdpn.__file__).parent, _matters)[:16]


def _matters(name: Path) -> bool:
    if name.suffix != ".py" or name.parts[0] in _IRRELEVANT:
        return False
    return name.parts[0] != "benchmark" or name.name in _MEASURING
