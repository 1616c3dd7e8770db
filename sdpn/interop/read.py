"""Reading of models of any supported format, for torch."""

from __future__ import annotations

import os
from pathlib import Path

from sdpn.errors import InputError
from sdpn.interop import pyannote
from sdpn.interop.registry import FORMATS
from sdpn.interop.source import ModelSource
from sdpn.models.embedder import Model
from sdpn.models.folder import ModelFolder
from sdpn.models.graph_folder import is_graph_folder
from sdpn.pretrained import is_included, model_path
from sdpn.pretrained.names import format_at, refuse_missing

#: Files that belong to a model folder: giving the file is equivalent to giving the folder.
_FILES_OF_FOLDERS = {
    "model.safetensors": "config.yaml",
    "avg_model.pt": "config.yaml",
    "embedding_model.ckpt": "hyperparams.yaml",
}


def read_any(path: str | os.PathLike[str] | None = None, format: str | None = None) -> ModelFolder:
    """Read the weights of a model of any supported format, or of the one included in the package.

    Raises:
        InputError: as `load_model`, or the weights cannot be extracted.
    """
    model = read_model_or_graph(path, format)
    if not isinstance(model, ModelFolder):
        raise InputError(
            "is a graph, whose weights cannot be extracted",
            path=path,
            hint="use the model that it was converted from",
        )
    return model


def read_model_or_graph(path: str | os.PathLike[str] | None, format: str | None) -> Model:
    """Read a model of any supported format: its weights, or an ONNX graph.

    Raises:
        InputError: as `sdpn.interop.load.load_model`.
    """
    path = model_path(path)
    if is_included(path):
        return _read_included(path, format)
    refuse_missing(path)
    format = format if format is not None else format_at(path)
    if format is not None and format not in FORMATS:
        raise InputError(f"unknown format {format!r}", hint=f"expected one of: {', '.join(FORMATS)}")
    if path.is_file() and (beside := _FILES_OF_FOLDERS.get(path.name)) and (path.parent / beside).is_file():
        path = path.parent
    source = ModelSource(path)
    if format is None:
        format = _find_format(source)
    elif path.is_file() and format != "onnx":
        _refuse_segmentation(source)
    return FORMATS[format].read(source)


def _read_included(path: Path, format: str | None) -> Model:
    if format not in (None, "sdpn"):
        raise InputError(
            f"format {format!r}, but the included model {path.name} is a model folder of sdpn",
            hint="give the model that is meant with --model",
        )
    try:
        return FORMATS["sdpn"].read(ModelSource(path))
    except InputError as error:
        raise InputError(
            f"the model {path.name}, included in sdpn, is damaged: {error.message}",
            path=error.path,
            hint="reinstall sdpn: pip install --force-reinstall --no-deps sdpn",
        ) from error


def _find_format(source: ModelSource) -> str:
    """The format determined by folder or keys.

    Raises:
        InputError: there is none, or there are several.
    """
    is_folder = source.path.is_dir()
    if not is_folder and FORMATS["onnx"].fits_file(source):
        return "onnx"  # other formats would try to read weights from it
    candidates = [
        name
        for name, format in FORMATS.items()
        if (format.fits_folder(source) if is_folder else format.fits_file(source))
    ]
    if len(candidates) == 1:
        return candidates[0]
    if not is_folder:
        _refuse_segmentation(source)
    if is_graph_folder(source.path):
        raise InputError(
            "is a folder of graphs, which onnxruntime runs", path=source.path, hint="add --runtime onnx"
        )
    if not candidates:
        known = "; ".join(f"{name}: {format.expects}" for name, format in FORMATS.items())
        what = (
            "is not a model folder of a supported format"
            if is_folder
            else "its keys match no supported network"
        )
        raise InputError(what, path=source.path, hint=f"supported: {known}")
    raise InputError(
        f"may be of {' or '.join(candidates)}, whose files look the same but need different features",
        path=source.path,
        hint=f"use --format {' or --format '.join(candidates)}, or format= in Python",
    )


def _refuse_segmentation(source: ModelSource) -> None:
    if pyannote.is_segmentation(source):
        raise InputError(
            "is a segmentation network, not a speaker embedding",
            path=source.path,
            hint="give it to sdpn diarize with --segmentation",
        )
