"""A back end as a file: ``back_end.safetensors``, beside the weights of the model that it belongs to."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from sdpn.clustering.plda import Plda
from sdpn.errors import InputError
from sdpn.io.atomic import atomic_path
from sdpn.io.parsing import parsing
from sdpn.verification.back_end import BackEnd

#: Its name in a model folder.
BACK_END = "back_end.safetensors"
_FORMAT = "sdpn.back-end/1"
_TENSORS = ("mean", "plda.mean", "plda.transform", "plda.psi", "cohort", "top", "strangers")


def write_back_end(path: str | os.PathLike[str], back_end: BackEnd) -> None:
    """Write a back end; it appears under its name only when it is whole.

    Raises:
        InputError: the folder does not let us write.
    """
    tensors = {
        "mean": back_end.mean_D,
        "plda.mean": back_end.plda.mean_D,
        "plda.transform": np.ascontiguousarray(back_end.plda.transform_ED),
        "plda.psi": back_end.plda.psi_E,
        "cohort": back_end.cohort_CD,
        "top": np.array([back_end.top], dtype=np.int64),
        "strangers": back_end.strangers_Q,
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, metadata={"format": _FORMAT}))


def has_back_end(model: Path) -> bool:
    """Whether a model folder holds a back end."""
    return (model / BACK_END).is_file()


def read_back_end(path: str | os.PathLike[str]) -> BackEnd:
    """Read the back end of a model folder, or a file of its own.

    Raises:
        InputError: there is none, or it is damaged, of another kind, or its parts do not fit together.
    """
    path = Path(path)
    if path.is_dir():
        path = path / BACK_END
    if not path.is_file():
        raise InputError(
            "no such back end", path=path, hint="'sdpn backend' learns one from unlabelled recordings"
        )
    with (
        parsing(path, "is damaged or no safetensors file", hint="copy or learn it again"),
        safe_open(path, "numpy") as file,
    ):
        known = (file.metadata() or {}).get("format")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if known != _FORMAT or set(tensors) != set(_TENSORS):
        raise InputError(f"is no back end of {_FORMAT!r}", path=path, hint="'sdpn backend' writes those")
    mean, cohort, strangers = tensors["mean"], tensors["cohort"], tensors["strangers"]
    plda = Plda(tensors["plda.mean"], tensors["plda.transform"], tensors["plda.psi"])
    dimension, kept = len(mean), len(plda.psi_E)
    shapes = {
        "plda.mean": (dimension,),
        "plda.transform": (kept, dimension),
        "cohort": (len(cohort), dimension),
        "top": (1,),
    }
    wrong = [
        f"{name} has shape {tensors[name].shape}, not {shape}"
        for name, shape in shapes.items()
        if tensors[name].shape != shape
    ]
    wrong += [
        f"{name} holds NaN or infinite values" for name in _TENSORS if not np.isfinite(tensors[name]).all()
    ]
    if not wrong and not 2 <= tensors["top"][0] <= len(cohort):
        wrong = [f"AS-norm asks for {tensors['top'][0]} of {len(cohort)} strangers"]
    if not wrong and (strangers.ndim != 1 or len(strangers) < 2 or (np.diff(strangers) < 0).any()):
        wrong = ["strangers are no quantiles"]
    if wrong:
        raise InputError("; ".join(wrong), path=path, hint="learn it again")
    return BackEnd(mean, plda, cohort, int(tensors["top"][0]), strangers)
