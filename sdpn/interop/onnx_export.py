"""Export of a model as an ONNX graph, for use without torch and in other languages.

Batch and time are dynamic axes. Utterances of a batch have the same length: graphs do not support padding.

Shapes: B batch, F mel bins, T frames, S samples, D embedding.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sdpn.config import to_dict
from sdpn.errors import InputError
from sdpn.features.registry import build_features
from sdpn.interop.onnx import METADATA
from sdpn.io.atomic import atomic_path
from sdpn.io.onnx_graph import import_runtime
from sdpn.models.folder import ModelFolder

#: Input of a graph.
Input = Literal["features", "waveform"]

#: Old enough for any onnxruntime of the last years.
_OPSET = 18
#: Frames and samples of the example for tracing the graph; arbitrary.
EXAMPLE_FRAMES, EXAMPLE_SAMPLES = 211, 16037


class FeaturesPart(nn.Module):
    """Waveforms (B, S) to features (B, F, T) before normalisation."""

    def __init__(self, model: ModelFolder) -> None:
        super().__init__()
        self.features = build_features(model.features)

    def forward(self, wave_BS: Tensor) -> Tensor:
        log_BFT: Tensor = self.features.log_mel(wave_BS)
        return log_BFT


class EncoderPart(nn.Module):
    """Features (B, F, T) before normalisation to embeddings (B, D)."""

    def __init__(self, model: ModelFolder) -> None:
        super().__init__()
        self.features, self.encoder = build_features(model.features), model.encoder

    def forward(self, log_BFT: Tensor) -> Tensor:
        embedding_BD: Tensor = self.encoder(self.features.normalise(log_BFT))
        return embedding_BD


def export_onnx(path: str | os.PathLike[str], model: ModelFolder, *, input: Input = "features") -> None:
    """Write a graph: ``features`` (B, F, T) or ``waveform`` (B, S) to ``embedding`` (B, D).

    Args:
        path: of the graph.
        model: the model.
        input: ``waveform`` (16 kHz, [-1, 1]) puts the features into the graph.

    Raises:
        InputError: the packages of the extra ``onnx`` are not installed, or the graph cannot be written.
    """
    document = {
        "format": 1,
        "input": input,
        "features": to_dict(model.features),
        "embedding_dim": model.encoder.embedding_dim,
        "calibration": dict(model.calibration),
        "source": dict(model.source),
    }
    if input == "waveform":
        module: nn.Module = nn.Sequential(FeaturesPart(model), EncoderPart(model))
        # a batch of two: with one, the exporter would fix the batch size to 1
        example = 0.1 * torch.randn(2, EXAMPLE_SAMPLES, generator=torch.Generator().manual_seed(0))
    else:
        module = model.encoder
        shape = (2, model.features.num_mels, EXAMPLE_FRAMES)
        example = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    write_graph(path, module, example, input, "embedding", properties={METADATA: json.dumps(document)})


def write_graph(
    path: str | os.PathLike[str],
    module: nn.Module,
    example: Tensor,
    input: str,
    output: str,
    *,
    properties: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write a graph of one input and one output, whose batch and time have any size.

    Args:
        path: of the graph.
        module: what it computes.
        example: input with which it is traced, (B, ..., T).
        input: name of the input.
        output: name of the output.
        properties: metadata.

    Raises:
        InputError: the packages of the extra ``onnx`` are not installed, or the graph cannot be written.
    """
    onnx = import_onnx()
    axes: dict[int, Any] = {0: torch.export.Dim("batch"), example.ndim - 1: torch.export.Dim("time")}
    with _quiet():
        program = torch.onnx.export(
            module.eval(),
            (example,),
            dynamo=True,
            dynamic_shapes=(axes,),
            input_names=[input],
            output_names=[output],
            opset_version=_OPSET,
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    del graph.graph.value_info[
        :
    ]  # intermediate shapes of the example, which quantisation would treat as fixed
    onnx.helper.set_model_props(graph, dict(properties))
    with atomic_path(path) as temporary:
        onnx.save(graph, temporary)


def quantise_onnx(path: str | os.PathLike[str], out: str | os.PathLike[str]) -> None:
    """Write a graph with 8-bit integer weights; activations are quantised to 8 bits dynamically.

    Args:
        path: of the graph.
        out: path of the quantised graph; may be the same.

    Raises:
        InputError: the packages of the extra ``onnx`` are not installed.
    """
    onnx = import_onnx()
    import_runtime()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load(path)
    # Features are matrix products with a dynamic range of ten orders of magnitude, 8 bits have two. The size
    # of encoders is dominated by convolutions.
    kinds = ["Conv", "Gemm"] if graph.graph.input[0].name == "waveform" else ["Conv", "Gemm", "MatMul"]
    with atomic_path(out) as temporary, _quiet():
        quantize_dynamic(graph, temporary, op_types_to_quantize=kinds, weight_type=QuantType.QUInt8)


def optimise_onnx(path: str | os.PathLike[str]) -> None:
    """Replace a graph by what onnxruntime makes of it before the first run, so that opening it is faster.

    Fusions for one kind of processor are left to opening: the graph runs on any.

    Args:
        path: of the graph.

    Raises:
        InputError: the packages of the extra ``onnx`` are not installed.
    """
    runtime = import_runtime()
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3
    with atomic_path(path) as temporary:
        options.optimized_model_filepath = str(temporary)
        runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def import_onnx() -> Any:
    """Import onnx, and check that the exporter's other dependencies are installed.

    Raises:
        InputError: a package is not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"writing ONNX needs {error.name}", hint="pip install 'sdpn[onnx]'") from error
    return onnx


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress messages of the exporters, which concern their internals."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
