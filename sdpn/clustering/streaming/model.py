"""What streaming k-means has learned: centres, and how rows are compared with them.

Shapes: N rows, K centres, D dimensions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sdpn.clustering.streaming.nearest import nearest
from sdpn.clustering.streaming.space import Space
from sdpn.errors import InputError
from sdpn.io.arrays import read_npz
from sdpn.io.atomic import atomic_path
from sdpn.io.json_text import parse_json
from sdpn.io.parsing import parsing

_ARRAYS = ("centres", "mean", "scale")
_WHAT = "description of a k-means model"


@dataclass(frozen=True, eq=False)
class KMeansModel:
    """Centres that label rows.

    Attributes:
        centres_KD: float64, in the space of the rows as they come; where directions are compared, only
            their direction from the origin (from the mean, if standardised) counts.
        space: standardisation and whether directions are compared.
        source: settings and size of the stream that it was learned from, for people.
    """

    centres_KD: np.ndarray
    space: Space
    source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_clusters(self) -> int:
        """K."""
        return len(self.centres_KD)

    @property
    def dimension(self) -> int:
        """D."""
        return int(self.centres_KD.shape[1])

    def nearest(
        self, rows_ND: np.ndarray, *, backend: Literal["sklearn", "faiss"] = "sklearn"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Label rows.

        Args:
            rows_ND: real numbers of any precision.
            backend: who computes the distances.

        Returns:
            labels (N,) int32, and squared distances (N,) float32 in the space of comparison: standardised,
            or 2 - 2 cosine, where that is asked for.

        Raises:
            InputError: rows of another dimension, or not finite.
        """
        rows_ND = np.array(rows_ND, dtype=np.float32)  # a copy, which may be changed
        if rows_ND.ndim != 2 or rows_ND.shape[1] != self.dimension:
            raise InputError(f"rows have shape {rows_ND.shape}; the model takes (rows, {self.dimension})")
        if not np.isfinite(rows_ND).all():
            raise InputError(
                f"row {int(np.isfinite(rows_ND).all(axis=1).argmin())} holds NaN or infinite values"
            )
        centres_KD = self.space.enter_centres(self.centres_KD)
        return nearest(self.space.enter(rows_ND), centres_KD, backend=backend)

    def predict(self, rows_ND: np.ndarray) -> np.ndarray:
        """Labels (N,) int32; see `nearest`."""
        return self.nearest(rows_ND)[0]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ``.npz`` or ``.safetensors``, neither of which can run code when it is read.

        Raises:
            InputError: another suffix, or the file cannot be written.
        """
        path = Path(path)
        _require_suffix(path)
        arrays = {"centres": self.centres_KD, "mean": self.space.mean_D, "scale": self.space.scale_D}
        meta = json.dumps({"format": 1, "spherical": self.space.spherical, "source": dict(self.source)})
        with atomic_path(path) as temporary:
            if path.suffix == ".npz":
                with open(temporary, "wb") as stream:
                    np.savez(stream, allow_pickle=False, meta=np.array(meta), **arrays)
            else:
                from safetensors.numpy import save_file

                save_file(
                    {name: np.ascontiguousarray(array) for name, array in arrays.items()},
                    temporary,
                    {"sdpn": meta},
                )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> KMeansModel:
        """Read a saved model.

        Raises:
            InputError: the file is missing, is no such model or is damaged.
        """
        path = Path(path)
        _require_suffix(path)
        if not path.is_file():
            raise InputError("no such k-means model", path=path)
        with parsing(path, "is no k-means model, or is damaged"):
            arrays, meta = _read_npz(path) if path.suffix == ".npz" else _read_safetensors(path)
        _check(arrays, meta, path)
        space = Space(arrays["mean"], arrays["scale"], bool(meta["spherical"]))
        source = meta.get("source")
        return cls(arrays["centres"], space, source if isinstance(source, dict) else {})


def _require_suffix(path: Path) -> None:
    if path.suffix not in (".npz", ".safetensors"):
        raise InputError("is no name for a k-means model", path=path, hint="expected .npz or .safetensors")


def _read_npz(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    arrays = read_npz(path)
    return {name: arrays[name] for name in _ARRAYS}, parse_json(str(arrays["meta"]), _WHAT, path=path)


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
        arrays = {name: file.get_tensor(name) for name in _ARRAYS}
    return arrays, parse_json(metadata["sdpn"], _WHAT, path=path)


def _check(arrays: Mapping[str, np.ndarray], meta: Any, path: Path) -> None:
    if meta.get("format") != 1 or "spherical" not in meta:
        raise InputError("is no sdpn k-means model of format 1", path=path)
    centres_KD, mean_D, scale_D = (arrays[name] for name in _ARRAYS)
    whole = (
        centres_KD.ndim == 2
        and centres_KD.size
        and mean_D.shape == scale_D.shape == centres_KD.shape[1:]
        and all(array.dtype.kind == "f" and np.isfinite(array).all() for array in arrays.values())
        and (scale_D > 0).all()
    )
    if not whole:
        raise InputError("is damaged: its arrays do not fit together", path=path)
