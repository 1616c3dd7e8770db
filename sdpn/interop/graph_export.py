"""Export of whole models as folders of ONNX graphs (`sdpn.models.graph_folder`).

Shapes: B batch, S samples, F mel bins, T frames, D embedding, C classes.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch

from sdpn.errors import InputError
from sdpn.interop.onnx_export import (
    EXAMPLE_FRAMES,
    EXAMPLE_SAMPLES,
    EncoderPart,
    FeaturesPart,
    optimise_onnx,
    quantise_onnx,
    write_graph,
)
from sdpn.interop.onnx_lstm import OnnxLstm
from sdpn.io.atomic import atomic_directory
from sdpn.models.folder import ModelFolder
from sdpn.models.graph_folder import (
    ENCODER,
    ENCODER_INT8,
    FEATURES,
    SEGMENTATION,
    SPEECH,
    EmbeddingGraphs,
    SegmentationGraph,
    write_graph_document,
)
from sdpn.models.segmenter import Segmenter
from sdpn.models.weights import weights_digest

#: In the package of silero-vad: its network over any number of frames.
_SILERO = Path("data", "silero_vad_16k_sequence.onnx")


def export_graphs(
    path: Path,
    model: ModelFolder | None,
    segmenter: Segmenter | None,
    *,
    beside: Sequence[Path] = (),
) -> None:
    """Write a folder of graphs, atomically.

    Args:
        path: the folder.
        model: the embedding model; None for none.
        segmenter: the segmentation network; None for none.
        beside: files to copy into the folder, such as the back end of the model.

    Raises:
        InputError: the packages of the extra ``onnx`` are not installed, or the folder cannot be written.
    """
    with atomic_directory(path) as folder:
        embedding = None if model is None else _write_embedding(folder, model)
        segmentation = None if segmenter is None else _write_segmentation(folder, segmenter)
        for file in beside:
            shutil.copyfile(file, folder / file.name)
        write_graph_document(folder, embedding, segmentation)


def _write_embedding(folder: Path, model: ModelFolder) -> EmbeddingGraphs:
    features = FeaturesPart(model)
    generator = torch.Generator().manual_seed(0)
    # batches of two: with one, the exporter would fix the batch size to 1
    wave_BS = 0.1 * torch.randn(2, EXAMPLE_SAMPLES, generator=generator)
    log_BFT = torch.randn(2, model.features.num_mels, EXAMPLE_FRAMES, generator=generator)
    write_graph(folder / FEATURES, features, wave_BS, "waveform", "features")
    write_graph(folder / ENCODER, EncoderPart(model), log_BFT, "features", "embedding")
    quantise_onnx(folder / ENCODER, folder / ENCODER_INT8)
    for name in (FEATURES, ENCODER, ENCODER_INT8):
        optimise_onnx(folder / name)
    shutil.copyfile(_silero(), folder / SPEECH)
    return EmbeddingGraphs(
        framing=features.features.framing,
        embedding_dim=model.encoder.embedding_dim,
        weights=weights_digest(model.encoder),
        calibration=dict(model.calibration),
        source=dict(model.source),
    )


def _write_segmentation(folder: Path, segmenter: Segmenter) -> SegmentationGraph:
    generator = torch.Generator().manual_seed(0)
    wave_BS = 0.1 * torch.randn(2, segmenter.window_samples, generator=generator)
    network = copy.deepcopy(segmenter.network)
    setattr(network, "lstm", OnnxLstm(network.lstm))  # noqa: B010 - of another type
    write_graph(folder / SEGMENTATION, network, wave_BS, "waveform", "log_probabilities")
    optimise_onnx(folder / SEGMENTATION)
    return SegmentationGraph(
        name=segmenter.name,
        weights=segmenter.digest,
        num_speakers=segmenter.num_speakers,
        max_together=segmenter.max_together,
        window_samples=segmenter.window_samples,
        hop_samples=segmenter.hop_samples,
        frame_samples=segmenter.frame_samples,
    )


def _silero() -> Path:
    """The graph in silero-vad's package, which is not imported."""
    found = find_spec("silero_vad")
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        if (path := Path(folder) / _SILERO).is_file():
            return path
    raise InputError(
        f"the installed silero-vad has no {_SILERO.name}", hint="pip install --upgrade 'silero-vad>=6.2.3'"
    )
