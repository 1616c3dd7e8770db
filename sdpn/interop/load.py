"""Loading of models of any supported format, for torch or for onnxruntime, which needs no torch."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, overload

from sdpn.errors import InputError

if TYPE_CHECKING:
    from sdpn.models.embedder import Embedder
    from sdpn.models.graph_embedder import GraphEmbedder
    from sdpn.models.speaker_embedder import Precision, SpeakerEmbedder

#: What runs networks.
Runtime = Literal["torch", "onnx"]


@overload
def load_model(
    path: str | os.PathLike[str] | None = ...,
    format: str | None = ...,
    *,
    device: str = ...,
    precision: Precision = ...,
    runtime: Literal["torch"] = ...,
) -> Embedder: ...


@overload
def load_model(
    path: str | os.PathLike[str] | None = ...,
    format: str | None = ...,
    *,
    device: str = ...,
    precision: Precision = ...,
    runtime: Literal["onnx"],
) -> GraphEmbedder: ...


@overload
def load_model(
    path: str | os.PathLike[str] | None = ...,
    format: str | None = ...,
    *,
    device: str = ...,
    precision: Precision = ...,
    runtime: Runtime,
) -> SpeakerEmbedder: ...


def load_model(
    path: str | os.PathLike[str] | None = None,
    format: str | None = None,
    *,
    device: str = "cpu",
    precision: Precision = "fp32",
    runtime: Runtime = "torch",
) -> SpeakerEmbedder:
    """Load a model of any supported format, without executing code in its files.

    >>> model = load_model()                        # the default of the models included in the package
    >>> model = load_model("small")                 # one of them by name
    >>> model = load_model("exp/mini/model")
    >>> model = load_model("campplus.bin", format="3dspeaker")
    >>> model = load_model(runtime="onnx")          # torch is not imported

    Args:
        path: a model folder (``EXP/model``), a file or folder of another toolkit, or the name of a model in
            the package, an installed wheel or the user's folder; None loads the default (`sdpn.pretrained`).
            For onnxruntime also a folder of ``sdpn convert --to graphs``.
        format: ``sdpn``, ``3dspeaker``, ``wespeaker``, ``speechbrain``, ``redimnet`` or ``onnx``; None
            detects it, and raises an error if it is ambiguous.
        device: ``cpu``, ``cuda`` or ``cuda:N``; onnxruntime computes on the CPU.
        precision: of the network: ``fp32``, or ``bf16`` with torch, or ``int8`` with onnxruntime.
        runtime: ``torch``, or ``onnx`` for onnxruntime. The graphs of a model that is no folder of graphs are
            written once, by another process and with torch, and kept in the user's folder
            (`sdpn.interop.graph_cache`).

    Raises:
        InputError: there is no such model, the format is unknown or ambiguous, the model is incomplete,
            damaged or does not match its layout, or device or precision are not the runtime's.
    """
    if runtime == "onnx":
        if device != "cpu":
            raise InputError(
                f"--device {device}: --runtime onnx computes on the CPU", hint="leave out one of the two"
            )
        from sdpn.diarization.silero_graph import SileroGraph
        from sdpn.interop.graph_cache import graphs_of_model
        from sdpn.models.graph_embedder import GraphEmbedder
        from sdpn.models.graph_folder import SPEECH

        folder = graphs_of_model(path, format)
        return GraphEmbedder(
            folder,
            precision=precision,
            speech_network=SileroGraph(folder.graph(SPEECH)) if folder.embedding is not None else None,
        )
    if runtime != "torch":
        raise InputError(f"unknown runtime {runtime!r}", hint="expected torch or onnx")
    if precision == "int8":
        raise InputError("precision int8 needs --runtime onnx")
    from sdpn.interop.read import read_model_or_graph
    from sdpn.models.embedder import Embedder

    return Embedder(read_model_or_graph(path, format), device=device, precision=precision)
