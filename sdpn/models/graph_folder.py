"""The folder of a model as ONNX graphs, which is run without torch: ``graphs.json`` and the graphs it lists.

Written by ``sdpn convert --to graphs``. A folder holds an embedding model (``features.onnx``,
``encoder.onnx``, ``encoder.int8.onnx``, ``speech.onnx`` for voice activity, maybe ``back_end.safetensors``),
a segmentation network (``segmentation.onnx``), or both. ``graphs.json`` has the SHA-256 of each file, so that
graphs of different models are not mixed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from sdpn.errors import InputError
from sdpn.features.framing import Framing
from sdpn.io.checksum import file_sha256
from sdpn.io.json_text import read_json
from sdpn.io.parsing import parsing
from sdpn.io.text import is_file_name

NAME = "graphs.json"
FEATURES, ENCODER, ENCODER_INT8 = "features.onnx", "encoder.onnx", "encoder.int8.onnx"
SPEECH, SEGMENTATION = "speech.onnx", "segmentation.onnx"
#: Of features, whose recordings are padded to it.
_LONGEST_FRAME_SAMPLES = 16_000
#: A segmentation network hears a few seconds at once; longer windows would not fit into memory.
_LONGEST_WINDOW_SAMPLES = 10 * 60 * 16_000
#: Changes with what graphs compute, or what ``graphs.json`` says.
FORMAT = 1

_AGAIN = "write the folder again: sdpn convert --to graphs"


@dataclass(frozen=True, kw_only=True)
class EmbeddingGraphs:
    """What an embedding model is, apart from its graphs.

    Attributes:
        framing: where the frames of ``features.onnx`` lie.
        embedding_dim: size D of an embedding.
        weights: digest of the weights (`sdpn.models.weights.weights_digest`), the same as in torch.
        calibration: see `sdpn.models.folder.ModelFolder`.
        source: see there.
    """

    framing: Framing
    embedding_dim: int
    weights: str | None
    calibration: dict[str, float] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.framing.window_samples > _LONGEST_FRAME_SAMPLES:
            raise ValueError("frames of features are no longer than a second")


@dataclass(frozen=True, kw_only=True)
class SegmentationGraph:
    """What a segmentation network is, apart from its graph; see `sdpn.models.segmenter.Segmenter`.

    Attributes:
        name: for messages and records.
        weights: digest of the weights.
        num_speakers: local speakers.
        max_together: speakers at the same time, at most.
        window_samples: length of a window.
        hop_samples: from one frame to the next.
        frame_samples: that a frame is about.
    """

    name: str
    weights: str | None
    num_speakers: int
    max_together: int
    window_samples: int
    hop_samples: int
    frame_samples: int

    def __post_init__(self) -> None:
        sizes = (self.num_speakers, self.window_samples, self.hop_samples, self.frame_samples)
        if min(sizes) < 1 or not 1 <= self.max_together <= self.num_speakers <= 16:
            raise ValueError("these are no sizes of a segmentation network")
        if not self.frame_samples <= self.window_samples <= _LONGEST_WINDOW_SAMPLES:
            raise ValueError("its windows are no longer than ten minutes, and its frames than a window")


@dataclass(frozen=True, kw_only=True)
class GraphFolder:
    """A folder as read.

    Attributes:
        path: the folder.
        files: SHA-256 of its files, by name.
        embedding: the embedding model, if there is one.
        segmentation: the segmentation network, if there is one.
    """

    path: Path
    files: Mapping[str, str]
    embedding: EmbeddingGraphs | None
    segmentation: SegmentationGraph | None

    def graph(self, name: str) -> Path:
        """Where a graph is.

        Raises:
            InputError: the folder has no such graph.
        """
        if name not in self.files:
            raise InputError(f"lists no {name}", path=self.path / NAME, hint=_AGAIN)
        return self.path / name


@dataclass(frozen=True, kw_only=True)
class _Document:
    """``graphs.json``."""

    format: int
    files: dict[str, str]
    embedding: EmbeddingGraphs | None = None
    segmentation: SegmentationGraph | None = None


def is_graph_folder(path: Path) -> bool:
    """Whether this is a folder of graphs, even an incomplete one."""
    return (path / NAME).is_file()


def write_graph_document(
    folder: Path, embedding: EmbeddingGraphs | None, segmentation: SegmentationGraph | None
) -> None:
    """Write ``graphs.json`` beside the files that are in the folder."""
    files = {path.name: file_sha256(path) for path in sorted(folder.iterdir())}
    document = {
        "format": FORMAT,
        "files": files,
        "embedding": None if embedding is None else asdict(embedding),
        "segmentation": None if segmentation is None else asdict(segmentation),
    }
    (folder / NAME).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def read_graph_folder(path: Path) -> GraphFolder:
    """Read ``graphs.json``, and check every file that it lists.

    Raises:
        InputError: it is missing, damaged or of another format, or a file is missing, damaged or of another
            model.
    """
    if not is_graph_folder(path):
        raise InputError(
            f"is not a folder of graphs: it has no {NAME}",
            path=path,
            hint=f"{_AGAIN}; the names of included models need none",
        )
    values = read_json(path / NAME, "description of graphs", hint=_AGAIN)
    if values.get("format") != FORMAT:
        raise InputError(
            f"describes graphs of format {values.get('format')!r}, not {FORMAT}",
            path=path / NAME,
            hint=_AGAIN,
        )
    with parsing(path / NAME, "is not a description of graphs", hint=_AGAIN):
        document = msgspec.convert(values, _Document)
    for name, sha256 in document.files.items():
        file = path / name
        if not is_file_name(name) or not file.is_file():
            raise InputError(
                "the folder of graphs is incomplete: this file is missing", path=file, hint=_AGAIN
            )
        if file_sha256(file) != sha256:
            raise InputError(f"is damaged, or of another model than {NAME} beside it", path=file, hint=_AGAIN)
    return GraphFolder(
        path=path, files=document.files, embedding=document.embedding, segmentation=document.segmentation
    )
