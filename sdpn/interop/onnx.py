"""ONNX graphs: one file with the network, optionally with its features, run by onnxruntime.

Graphs written by sdpn describe their input in their metadata (``sdpn``, as JSON): {``format``, ``input``:
``features`` or ``waveform``, ``features``, ``embedding_dim``, ``calibration``, ``source``}.

Shapes: B batch, F mel bins, T frames, S samples, D embedding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from sdpn.config import choose
from sdpn.errors import InputError
from sdpn.features.registry import AnyFeatureConfig, FeatureChoice
from sdpn.features.waveform import WaveformConfig
from sdpn.interop.source import ModelSource
from sdpn.io.json_text import parse_json
from sdpn.io.onnx_graph import open_graph
from sdpn.io.parsing import parsing
from sdpn.models.encoder import Encoder

#: Metadata key of sdpn in a graph.
METADATA = "sdpn"


@dataclass(frozen=True)
class OnnxModel:
    """A graph as read; `sdpn.models.embedder.Model`.

    Attributes:
        encoder: runs the graph.
        features: features that the graph expects.
        calibration: see `ModelFolder`.
        source: see `ModelFolder`.
    """

    encoder: OnnxEncoder
    features: AnyFeatureConfig | WaveformConfig
    calibration: Mapping[str, float] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)


class OnnxEncoder(Encoder):
    """A graph as an encoder.

    Graphs do not support padding: utterances of different lengths are processed one by one.

    Args:
        path: of the graph.
        embedding_dim: size D of its embeddings.

    Raises:
        InputError: onnxruntime is not installed, or rejects the graph.
    """

    digest: Tensor

    def __init__(self, path: Path, embedding_dim: int) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        self._path = path
        self._sessions: dict[int, Any] = {}
        self._lock = Lock()
        # for comparing models by their weights
        digest = hashlib.sha256(path.read_bytes()).digest()
        self.register_buffer("digest", torch.frombuffer(bytearray(digest), dtype=torch.uint8))
        self._session()

    def forward(self, features_BFT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute embeddings (B, D); see `Encoder.forward`."""
        session = self._session()
        name = session.get_inputs()[0].name
        features = features_BFT.float().cpu().numpy()
        if len(session.get_inputs()[0].shape) == 2:
            features = features[:, 0]  # (B, 1, S): a graph with its features inside
        if lengths_B is None:
            embedding_BD = session.run(None, {name: features})[0]
            return torch.from_numpy(embedding_BD).to(features_BFT.device)
        rows = [
            session.run(None, {name: features[at : at + 1, ..., :length]})[0]
            for at, length in enumerate(lengths_B.tolist())
        ]
        return torch.cat([torch.from_numpy(row) for row in rows]).to(features_BFT.device)

    def _session(self) -> Any:
        """Create a session with as many threads as torch uses on the calling thread."""
        threads = torch.get_num_threads()
        with self._lock:
            if threads not in self._sessions:
                self._sessions[threads] = open_graph(self._path, threads)
            return self._sessions[threads]


def fits_file(source: ModelSource) -> bool:
    """Whether a file is a graph, by its suffix: protocol buffers have no signature."""
    return source.path.suffix == ".onnx"


def read(source: ModelSource) -> OnnxModel:
    """Read a graph that `sdpn convert --to onnx` has written.

    Raises:
        InputError: the graph is damaged, was not written by sdpn, or onnxruntime is not installed.
    """
    path = source.path
    metadata = open_graph(path, 1).get_modelmeta().custom_metadata_map
    if METADATA not in metadata:
        raise InputError(
            "the graph does not describe its features: it was not written by 'sdpn convert --to onnx'",
            path=path,
            hint="convert the original weights",
        )
    document = parse_json(metadata[METADATA], "sdpn model description", path=path)
    with parsing(path, "its metadata are not those of an sdpn model"):
        if document["format"] != 1 or document["input"] not in ("features", "waveform"):
            raise ValueError("another format")
        embedding_dim = int(document["embedding_dim"])
        calibration = {name: float(value) for name, value in (document.get("calibration") or {}).items()}
        origin = dict(document.get("source") or {})
    features: AnyFeatureConfig | WaveformConfig = WaveformConfig()
    if document["input"] == "features":
        features = choose(FeatureChoice, document.get("features") or {}, path=path)
    return OnnxModel(
        OnnxEncoder(path, embedding_dim),
        features,
        calibration,
        origin,
    )
