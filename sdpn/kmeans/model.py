"""The model of streaming k-means: centres, and the space in which distances are computed.

Shapes: N rows, K centres, D dimensions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

from sdpn.errors import InputError
from sdpn.io.arrays import read_npz
from sdpn.io.atomic import atomic_path
from sdpn.io.json_text import parse_json
from sdpn.io.parsing import parsing
from sdpn.kmeans.chunks import invalid_rows
from sdpn.kmeans.survey import Moments

#: Dot products of rows and centres held at once: 2 MB, which fits in the processor cache.
_PRODUCTS = 2**19


def nearest(
    rows_BD: np.ndarray, centres_KD: np.ndarray, *, backend: Literal["sklearn", "faiss"] = "sklearn"
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest centre by Euclidean distance.

    Args:
        rows_BD: float32, in the space of the centres.
        centres_KD: float32.
        backend: ``faiss`` uses its flat index, ``sklearn`` a matrix product and an argmax.

    Returns:
        labels (B,) int32 and squared distances (B,) float32.

    Raises:
        InputError: faiss is requested but not installed.
    """
    if backend == "faiss":
        index = import_faiss().IndexFlatL2(centres_KD.shape[1])
        index.add(np.ascontiguousarray(centres_KD))
        squares_B1, labels_B1 = index.search(np.ascontiguousarray(rows_BD), 1)
        return labels_B1[:, 0].astype(np.int32), np.maximum(squares_B1[:, 0], 0.0)
    half_K = 0.5 * np.einsum("kd,kd->k", centres_KD, centres_KD)
    labels_B = np.empty(len(rows_BD), dtype=np.int32)
    squares_B = np.einsum("bd,bd->b", rows_BD, rows_BD)
    step = max(16, _PRODUCTS // len(centres_KD))
    for at in range(0, len(rows_BD), step):
        # |x - c|² = |x|² - 2 (xc - |c|²/2): the nearest centre has the largest term in parentheses
        bracket_SK = rows_BD[at : at + step] @ centres_KD.T
        bracket_SK -= half_K
        best_S = bracket_SK.argmax(axis=1)
        labels_B[at : at + step] = best_S
        squares_B[at : at + step] -= 2 * np.take_along_axis(bracket_SK, best_S[:, None], axis=1)[:, 0]
    return labels_B, np.maximum(squares_B, 0.0, out=squares_B)


def sums_by_label(rows_BD: np.ndarray, labels_B: np.ndarray, num_clusters: int) -> np.ndarray:
    """Sum of the rows of each cluster, (K, D) float64, added up in the order of the rows."""
    from scipy.sparse import csc_matrix

    num = len(rows_BD)
    members_KB = csc_matrix((np.ones(num), labels_B, np.arange(num + 1)), shape=(num_clusters, num))
    sums_KD: np.ndarray = members_KB @ rows_BD
    return sums_KD


def import_faiss() -> ModuleType:
    """Import faiss.

    Raises:
        InputError: it is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise InputError(
            "backend=faiss needs faiss, which is not installed", hint="pip install 'sdpn[faiss]'"
        ) from None
    module: ModuleType = faiss
    return module


@dataclass(frozen=True, eq=False)
class Space:
    """The comparison space: rows are centred, optionally standardised, and optionally scaled to length 1.

    Centring does not change distances, but ``|x|² - 2xc + |c|²`` in float32 loses precision for rows far from
    the origin.

    Attributes:
        mean_D: subtracted first, float64.
        scale_D: divided by next, float64, positive.
        spherical: whether rows and centres have length 1.
    """

    mean_D: np.ndarray
    scale_D: np.ndarray
    spherical: bool

    @classmethod
    def of(cls, moments: Moments, *, standardise: bool, spherical: bool) -> Space:
        """The comparison space of a stream with these moments.

        Constant dimensions are not scaled. Directions are relative to the origin, or with standardisation to
        the mean.
        """
        deviation_D = np.sqrt(moments.variance_D)
        scale_D = np.where(deviation_D > 0, deviation_D, 1.0) if standardise else np.ones_like(deviation_D)
        moved = standardise or not spherical
        return cls(moments.mean_D if moved else np.zeros_like(scale_D), scale_D, spherical)

    def enter(self, rows_BD: np.ndarray) -> np.ndarray:
        """Transform float32 rows into the space, in place; returns them."""
        if self.mean_D.any():
            rows_BD -= self.mean_D.astype(np.float32)
        if (self.scale_D != 1).any():
            rows_BD *= (1.0 / self.scale_D).astype(np.float32)
        return to_length_1(rows_BD) if self.spherical else rows_BD

    def enter_centres(self, centres_KD: np.ndarray) -> np.ndarray:
        """Transform centres from input space, to float32."""
        moved_KD = (np.asarray(centres_KD, dtype=np.float64) - self.mean_D) / self.scale_D
        if self.spherical:
            to_length_1(moved_KD)
        return moved_KD.astype(np.float32)

    def leave(self, centres_KD: np.ndarray) -> np.ndarray:
        """Transform centres back to input space, float64.

        In a spherical space only the direction of the result has a meaning.
        """
        outside_KD: np.ndarray = centres_KD.astype(np.float64) * self.scale_D + self.mean_D
        return outside_KD


def to_length_1(rows_BD: np.ndarray) -> np.ndarray:
    """Scale rows to length 1, in place, except zero rows; returns them."""
    lengths_B = np.sqrt(np.einsum("bd,bd->b", rows_BD, rows_BD))
    lengths_B[lengths_B == 0] = 1.0
    rows_BD /= lengths_B[:, None]
    return rows_BD


_ARRAYS = ("centres", "mean", "scale")
_WHAT = "description of a k-means model"


@dataclass(frozen=True, eq=False)
class KMeansModel:
    """Centres that label rows.

    Attributes:
        centres_KD: float64, in input space; for spherical k-means only their direction from the origin (from
            the mean, if standardised) matters.
        space: the comparison space.
        source: settings and size of the training data, for information.
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
            backend: library that computes distances.

        Returns:
            labels (N,) int32, and squared distances (N,) float32 in comparison space: 2 - 2 cosine for
            spherical k-means.

        Raises:
            InputError: rows of another dimension, or with NaN, infinite or huge values.
        """
        with np.errstate(over="ignore"):  # overflow gives infinity, rejected below
            rows_ND = np.array(rows_ND, dtype=np.float32)  # a copy, to modify in place
        if rows_ND.ndim != 2 or rows_ND.shape[1] != self.dimension:
            raise InputError(f"rows have shape {rows_ND.shape}; the model expects (rows, {self.dimension})")
        if unfit := invalid_rows(rows_ND):
            bad_N, problem = unfit
            raise InputError(f"row {int(bad_N.argmax())} {problem}")
        centres_KD = self.space.enter_centres(self.centres_KD)
        return nearest(self.space.enter(rows_ND), centres_KD, backend=backend)

    def predict(self, rows_ND: np.ndarray) -> np.ndarray:
        """Labels (N,) int32; see `nearest`."""
        return self.nearest(rows_ND)[0]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ``.npz`` or ``.safetensors``, neither of which can contain code.

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
            InputError: the file is missing, damaged or not a k-means model.
        """
        path = Path(path)
        _require_suffix(path)
        if not path.is_file():
            raise InputError("no such k-means model", path=path)
        with parsing(path, "is damaged or not a k-means model"):
            arrays, meta = _read_npz(path) if path.suffix == ".npz" else _read_safetensors(path)
        _check(arrays, meta, path)
        space = Space(arrays["mean"], arrays["scale"], bool(meta["spherical"]))
        source = meta.get("source")
        return cls(arrays["centres"], space, source if isinstance(source, dict) else {})


def _require_suffix(path: Path) -> None:
    if path.suffix not in (".npz", ".safetensors"):
        raise InputError("has no suffix of a k-means model", path=path, hint="expected .npz or .safetensors")


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
        raise InputError("is not an sdpn k-means model of format 1", path=path)
    centres_KD, mean_D, scale_D = (arrays[name] for name in _ARRAYS)
    whole = (
        centres_KD.ndim == 2
        and centres_KD.size
        and mean_D.shape == scale_D.shape == centres_KD.shape[1:]
        and all(array.dtype.kind == "f" and np.isfinite(array).all() for array in arrays.values())
        and (scale_D > 0).all()
    )
    if not whole:
        raise InputError("is damaged: its arrays are inconsistent", path=path)
