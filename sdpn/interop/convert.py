"""Any supported model as a model folder, or as an ONNX graph."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from sdpn.errors import InputError
from sdpn.interop.graph_export import export_graphs
from sdpn.interop.onnx_export import export_onnx, quantise_onnx
from sdpn.interop.read import read_any
from sdpn.interop.segmentation import load_segmentation
from sdpn.models.adapter_folder import with_adapters
from sdpn.models.folder import ModelFolder, save_model
from sdpn.models.pretraining import own_pretraining, read_pretraining
from sdpn.pretrained import model_path
from sdpn.verification.storage import BACK_END, has_back_end


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What was written.

    Attributes:
        path: folder or graph.
        kind: of the encoder; None for a segmentation network alone, which has no embeddings.
        features: kind of its features.
        embedding_dim: size of an embedding.
        parameters: of the encoder, or of the segmentation network alone.
        source: where the weights come from.
    """

    path: Path
    kind: str | None
    features: str | None
    embedding_dim: int | None
    parameters: int
    source: dict[str, object]


def convert(
    model: Path | None,
    out: Path,
    *,
    format: str | None = None,
    to: Literal["folder", "onnx", "graphs"] = "folder",
    features: Literal["inside", "outside"] | None = None,
    int8: bool = False,
    head: Path | None = None,
    half: bool = False,
    segmentation: str | None = None,
    adapters: Path | None = None,
) -> Converted:
    """Convert a model.

    Args:
        model: of any supported format; None is the one included in sdpn, or none with a segmentation network.
        out: folder or graph to write.
        format: of the model; None detects it.
        to: what to write.
        features: ONNX only: whether the graph computes its features itself; None is "outside".
        int8: ONNX only: weights in 8 bits.
        head: folder only: a model whose head and prototypes are stored; None takes the model's own.
        half: folder only: weights in 16 bits.
        segmentation: graphs only: a segmentation network, as `sdpn.load_segmentation` takes it.
        adapters: folder of adapters that were trained on this model (``sdpn finetune``); the result lacks the
            model's back end, which does not fit.

    Raises:
        InputError: the model cannot be read, arguments exclude each other, ``out`` exists already, or the
            adapters are of another base.
    """
    if to != "onnx" and (int8 or features):
        raise InputError("--int8 and --features apply to single ONNX graphs only", hint="add --to onnx")
    if to != "folder" and (half or head):
        raise InputError("--half and --head apply to model folders only", hint="for a graph use --int8")
    if to != "graphs" and segmentation is not None:
        raise InputError("--segmentation applies to folders of graphs only", hint="add --to graphs")
    if to == "onnx" and out.suffix != ".onnx":
        raise InputError("the file name of a graph must end in .onnx", path=out)
    if segmentation is not None and model is None:
        segmenter = load_segmentation(segmentation)
        export_graphs(out, None, segmenter)
        return Converted(
            path=out,
            kind=None,
            features=None,
            embedding_dim=None,
            parameters=_parameters(segmenter.network),
            source={"segmentation": segmentation},
        )
    found = read_any(model, format)
    named = model_path(model)
    if adapters is not None:
        found = with_adapters(found, adapters)
    beside = [named / BACK_END] if has_back_end(named) and adapters is None else []
    segmenter_beside = None if segmentation is None else load_segmentation(segmentation)
    if to == "folder":
        pretraining = own_pretraining(named) if head is None else read_pretraining(head)
        save_model(out, found, pretraining=pretraining, half=half, beside=beside)
    elif to == "graphs":
        export_graphs(out, found, segmenter_beside, beside=beside)
    else:
        _write_graph(out, found, features, int8=int8)
    return Converted(
        path=out,
        kind=found.encoder_config.kind,
        features=found.features.kind,
        embedding_dim=found.encoder.embedding_dim,
        parameters=_parameters(found.encoder)
        + (0 if segmenter_beside is None else _parameters(segmenter_beside.network)),
        source=dict(found.source),
    )


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _write_graph(
    out: Path, model: ModelFolder, features: Literal["inside", "outside"] | None, *, int8: bool
) -> None:
    """Write the graph; an 8-bit one is quantised from the full-precision graph."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "model.onnx" if int8 else out
        export_onnx(whole, model, input="waveform" if features == "inside" else "features")
        if int8:
            quantise_onnx(whole, out)
