"""One door for models: whatever trained them, what comes out is an `Embedder`."""

from __future__ import annotations

import os
from pathlib import Path

from sdpn.errors import InputError
from sdpn.interop.registry import FORMATS
from sdpn.interop.source import Source
from sdpn.models.embedder import Embedder, Model, Precision
from sdpn.models.folder import ModelFolder
from sdpn.pretrained import SHIPPED

#: Files that have a folder's settings beside them: naming the file is naming the folder.
_FILES_OF_FOLDERS = {
    "model.safetensors": "config.yaml",
    "avg_model.pt": "config.yaml",
    "embedding_model.ckpt": "hyperparams.yaml",
}


def load_model(
    path: str | os.PathLike[str] | None = None,
    format: str | None = None,
    *,
    device: str = "cpu",
    precision: Precision = "fp32",
) -> Embedder:
    """Load a model of any known format; nothing that a file says is executed.

    >>> model = load_model()                        # the one that comes with the package
    >>> model = load_model("exp/mini/model")
    >>> model = load_model("campplus.bin", format="3dspeaker")

    Args:
        path: a model folder (``EXP/model``), or a file or folder of another toolkit; None takes the model
            that comes with the package (`sdpn.pretrained`).
        format: ``sdpn``, ``3dspeaker``, ``wespeaker``, ``speechbrain`` or ``onnx``; None finds out, and asks
            where folder and keys leave it open.
        device: where it computes: ``cpu``, ``cuda`` or ``cuda:N``.
        precision: of the network: ``fp32`` or ``bf16``.

    Raises:
        InputError: there is nothing there, the format is unknown, several formats are possible, or the
            model is incomplete, damaged or does not fit its layout.
    """
    return Embedder(_read(path, format), device=device, precision=precision)


def read_any(path: str | os.PathLike[str] | None = None, format: str | None = None) -> ModelFolder:
    """Read the weights of a model of any known format, or of the one that comes with the package.

    Raises:
        InputError: also where it has no weights to be taken out.
    """
    model = _read(path, format)
    if not isinstance(model, ModelFolder):
        raise InputError(
            "is a graph, which runs as it is; its weights cannot be taken out",
            path=path,
            hint="use the model that it was made from",
        )
    return model


def _read(path: str | os.PathLike[str] | None, format: str | None) -> Model:
    if path is None:
        return _read_shipped(format)
    path = Path(path)
    if not path.exists():
        raise InputError(
            "no such model folder or file",
            path=path,
            hint="expected the folder that training writes, EXP/model, or a model of another toolkit",
        )
    if format is not None and format not in FORMATS:
        raise InputError(f"unknown format {format!r}", hint=f"there are: {', '.join(FORMATS)}")
    if path.is_file() and (beside := _FILES_OF_FOLDERS.get(path.name)) and (path.parent / beside).is_file():
        path = path.parent
    source = Source(path)
    return FORMATS[format if format is not None else _find_format(source)].read(source)


def _read_shipped(format: str | None) -> Model:
    if format not in (None, "sdpn"):
        raise InputError(f"format {format!r} without a model", hint="name the model that is of this format")
    try:
        return FORMATS["sdpn"].read(Source(SHIPPED))
    except InputError as error:
        raise InputError(
            f"the model that comes with sdpn is damaged: {error.message}",
            path=error.path,
            hint="install sdpn again: pip install --force-reinstall --no-deps sdpn",
        ) from error


def _find_format(source: Source) -> str:
    """The one format that folder or keys settle on.

    Raises:
        InputError: there is none, or there are several.
    """
    is_folder = source.path.is_dir()
    if not is_folder and FORMATS["onnx"].fits_file(source):
        return "onnx"  # the others would look for weights in it
    candidates = [
        name
        for name, format in FORMATS.items()
        if (format.fits_folder(source) if is_folder else format.fits_file(source))
    ]
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        known = "; ".join(f"{name}: {format.expects}" for name, format in FORMATS.items())
        what = "is a model folder of no known format" if is_folder else "its keys are of no known network"
        raise InputError(what, path=source.path, hint=f"known: {known}")
    raise InputError(
        f"may be of {' or '.join(candidates)}, whose files look alike but are heard through other features",
        path=source.path,
        hint=f"say which: --format {' or --format '.join(candidates)}, or format= in Python",
    )
