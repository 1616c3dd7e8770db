"""Any supported model as a model folder, or as an ONNX graph."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sdpn.errors import InputError
from sdpn.interop.load import read_any
from sdpn.interop.onnx_export import export_onnx, quantise_onnx
from sdpn.models.folder import ModelFolder, save_model
from sdpn.models.pretraining import PRETRAINING, Pretraining, read_pretraining
from sdpn.pretrained import model_path
from sdpn.verification.storage import BACK_END, has_back_end


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What was written.

    Attributes:
        path: folder or graph.
        kind: of the encoder.
        features: kind of its features.
        embedding_dim: size of an embedding.
        parameters: of the encoder.
        source: where the weights come from.
    """

    path: Path
    kind: str
    features: str
    embedding_dim: int
    parameters: int
    source: dict[str, object]


def convert(
    model: Path | None,
    out: Path,
    *,
    format: str | None = None,
    to: Literal["folder", "onnx"] = "folder",
    features: Literal["inside", "outside"] | None = None,
    int8: bool = False,
    head: Path | None = None,
    half: bool = False,
) -> Converted:
    """Convert a model.

    Args:
        model: of any supported format; None is the one included in sdpn.
        out: folder or graph to write.
        format: of the model; None detects it.
        to: what to write.
        features: ONNX only: whether the graph computes its features itself; None is "outside".
        int8: ONNX only: weights in 8 bits.
        head: folder only: a model whose head and prototypes are stored; None takes the model's own.
        half: folder only: weights in 16 bits.

    Raises:
        InputError: the model cannot be read, arguments exclude each other, or ``out`` exists already.
    """
    if to == "folder" and (int8 or features):
        raise InputError("--int8 and --features apply to ONNX graphs only", hint="add --to onnx")
    if to == "onnx" and (half or head):
        raise InputError("--half and --head apply to model folders only", hint="for a graph use --int8")
    if to == "onnx" and out.suffix != ".onnx":
        raise InputError("the file name of a graph must end in .onnx", path=out)
    found = read_any(model, format)
    if to == "folder":
        named = model_path(model)
        beside = [named / BACK_END] if has_back_end(named) else []
        save_model(out, found, pretraining=_pretraining(named, head), half=half, beside=beside)
    else:
        _write_graph(out, found, features, int8=int8)
    return Converted(
        path=out,
        kind=found.encoder_config.kind,
        features=found.features.kind,
        embedding_dim=found.encoder.embedding_dim,
        parameters=sum(parameter.numel() for parameter in found.encoder.parameters()),
        source=dict(found.source),
    )


def _pretraining(model: Path, head: Path | None) -> Pretraining | None:
    """What an sdpn model folder holds besides its encoder."""
    if head is not None:
        return read_pretraining(head)
    return read_pretraining(model) if (model / PRETRAINING).is_file() else None


def _write_graph(
    out: Path, model: ModelFolder, features: Literal["inside", "outside"] | None, *, int8: bool
) -> None:
    """Write the graph; an 8-bit one is quantised from the full-precision graph."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "model.onnx" if int8 else out
        export_onnx(whole, model, input="waveform" if features == "inside" else "features")
        if int8:
            quantise_onnx(whole, out)
