"""The file of a back end: ``back_end.safetensors``, next to the weights of its model."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from sdpn.errors import InputError
from sdpn.io.atomic import atomic_path
from sdpn.io.json_text import read_json
from sdpn.io.parsing import parsing
from sdpn.verification.back_end import BackEnd
from sdpn.verification.calibration import TERMS, Calibration
from sdpn.verification.plda import Plda

#: Its name in a model folder.
BACK_END = "back_end.safetensors"
_FORMAT = "sdpn.back-end/1"
#: In the metadata: digest of the weights that it was trained with; missing in older files.
_MODEL = "model"
#: A tensor that only calibrated back ends have.
_CALIBRATION = "calibration"
_TENSORS = ("mean", "plda.mean", "plda.transform", "plda.psi", "cohort", "top", "strangers")


def write_back_end(path: str | os.PathLike[str], back_end: BackEnd) -> None:
    """Write a back end atomically.

    Raises:
        InputError: the folder is not writable.
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
    if back_end.calibration is not None:
        tensors[_CALIBRATION] = back_end.calibration.weights_W
    metadata = {"format": _FORMAT} | ({} if back_end.model is None else {_MODEL: back_end.model})
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, metadata=metadata))


def model_of_embeddings(embeddings: Path) -> str | None:
    """Digest of the weights that a table of embeddings was extracted with, if `sdpn extract` stored it."""
    try:
        settings = read_json(embeddings.parent / "progress" / "settings.json", "extraction settings file")
    except InputError:
        return None  # a table from elsewhere
    weights = settings.get("weights")
    return weights if isinstance(weights, str) else None


def has_back_end(model: Path) -> bool:
    """Whether a model folder holds a back end."""
    return (model / BACK_END).is_file()


def own_back_end(model: Path) -> BackEnd | None:
    """The back end in a model folder; None where it has none, and for any other model.

    Raises:
        InputError: as `read_back_end`.
    """
    return read_back_end(model) if has_back_end(model) else None


def read_back_end(path: str | os.PathLike[str]) -> BackEnd:
    """Read the back end of a model folder, or a file of its own.

    Raises:
        InputError: there is none, or it is damaged, of another kind, or inconsistent.
    """
    path = Path(path)
    if path.is_dir():
        path = path / BACK_END
    if not path.is_file():
        raise InputError(
            "no such back end", path=path, hint="train one on unlabelled recordings with 'sdpn backend'"
        )
    with (
        parsing(path, "is damaged or not a safetensors file", hint="copy it again or train it again"),
        safe_open(path, "numpy") as file,
    ):
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    calibration = tensors.pop(_CALIBRATION, None)
    if metadata.get("format") != _FORMAT or set(tensors) != set(_TENSORS):
        raise InputError(
            f"is not a back end of format {_FORMAT!r}",
            path=path,
            hint="expected a file written by 'sdpn backend'",
        )
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
        f"{name} contains NaN or infinite values" for name in _TENSORS if not np.isfinite(tensors[name]).all()
    ]
    if not wrong and not 2 <= tensors["top"][0] <= len(cohort):
        wrong = [f"AS-norm needs {tensors['top'][0]} of {len(cohort)} cohort utterances"]
    if not wrong and (strangers.ndim != 1 or len(strangers) < 2 or (np.diff(strangers) < 0).any()):
        wrong = ["strangers are not ascending quantiles"]
    if calibration is not None and (calibration.shape != (len(TERMS),) or not np.isfinite(calibration).all()):
        wrong.append(f"its calibration is not {len(TERMS)} numbers")
    if wrong:
        raise InputError("; ".join(wrong), path=path, hint="train it again")
    return BackEnd(
        mean,
        plda,
        cohort,
        int(tensors["top"][0]),
        strangers,
        metadata.get(_MODEL),
        None if calibration is None else Calibration(calibration),
    )
