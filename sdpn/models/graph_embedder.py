"""Speaker embeddings with onnxruntime, without torch.

Two graphs: waveform to features, and features to embedding, with normalisation over time in the second, so
that windows of a recording share their features, as with torch. A graph handles no padding: utterances of
different lengths go through it one by one.

Shapes: B batch, S samples, F mel bins, T frames, D embedding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np

from sdpn.errors import InputError
from sdpn.features.framing import Framing
from sdpn.io.audio import RATE_HZ
from sdpn.io.onnx_graph import import_runtime
from sdpn.models.graph_folder import ENCODER, ENCODER_INT8, FEATURES, NAME, GraphFolder
from sdpn.models.graph_session import GraphSession
from sdpn.models.speaker_embedder import Precision, SpeakerEmbedder, long_enough
from sdpn.threads import usable_threads


class GraphEmbedder(SpeakerEmbedder):
    """Computes speaker embeddings with onnxruntime.

    Args:
        folder: its graphs.
        precision: ``fp32`` or ``int8``.
        speech_network: see `SpeakerEmbedder`.

    Raises:
        InputError: the folder holds no embedding model, onnxruntime is not installed or rejects a graph, or
            there is no such precision.
    """

    def __init__(
        self, folder: GraphFolder, *, precision: Precision = "fp32", speech_network: Any = None
    ) -> None:
        if folder.embedding is None:
            raise InputError(
                "holds a segmentation network alone",
                path=folder.path,
                hint="give it as --segmentation, and graphs of a speaker embedding as --model",
            )
        if precision not in ("fp32", "int8"):
            raise InputError(f"precision {precision} needs --runtime torch", hint="onnx has fp32 and int8")
        self.precision = precision
        self.device = "cpu"
        self.speech_network = speech_network
        self._about = folder.embedding
        self.calibration = folder.embedding.calibration
        names = FEATURES, ENCODER if precision == "fp32" else ENCODER_INT8
        self._to_features, self._to_embedding = (GraphSession(folder.graph(name)) for name in names)
        self._fingerprint = hashlib.sha256(
            " ".join([repr(self.framing), *(folder.files[name] for name in names)]).encode()
        ).hexdigest()[:16]
        self._num_threads = usable_threads()
        found = self._to_embedding.open(self._num_threads).get_outputs()[0].shape[-1]
        if found != self.embedding_dim:
            raise InputError(
                f"says that embeddings have {self.embedding_dim} dimensions, but the graph gives {found}",
                path=folder.path / NAME,
            )
        wave_BS = np.zeros((1, RATE_HZ), dtype=np.float32)
        found = self._to_features(wave_BS, self._num_threads).shape[-1]
        expected = self.framing.num_frames(RATE_HZ)
        if found != expected:
            raise InputError(
                f"says that a second has {expected} frames, but the graph gives {found}",
                path=folder.path / NAME,
            )

    @property
    def embedding_dim(self) -> int:
        """Size D of an embedding."""
        return self._about.embedding_dim

    @property
    def framing(self) -> Framing:
        """Where the frames of its features lie."""
        return self._about.framing

    @property
    def device_type(self) -> Literal["cpu", "cuda"]:
        """Where it computes: on the CPU."""
        return "cpu"

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """The one that it was made with."""
        return (self.precision,)

    @property
    def weights_digest(self) -> str | None:
        """Identifies the weights, as in torch, also where they are rounded to 8 bits."""
        return self._about.weights

    @property
    def fingerprint(self) -> str:
        """Identifies the graphs."""
        return self._fingerprint

    @property
    def runtime(self) -> tuple[str, str]:
        """Onnxruntime, and its version."""
        return "onnxruntime", import_runtime().__version__

    @property
    def num_threads(self) -> int:
        """Threads that compute one batch."""
        return self._num_threads

    @property
    def of_each_thread(self) -> Callable[[], None] | None:
        """Nothing: the number of threads belongs to a session."""
        return None

    @contextmanager
    def for_threads(self) -> Iterator[None]:
        """While several threads embed, each with a session of one thread."""
        before, self._num_threads = self._num_threads, 1
        try:
            yield
        finally:
            self._num_threads = before

    def embed_batch(self, waves: Sequence[np.ndarray]) -> np.ndarray:
        """Embed utterances, those of equal length in one batch; each result is the same as alone."""
        waves = [long_enough(wave) for wave in waves]
        embeddings_ND = np.empty((len(waves), self.embedding_dim), dtype=np.float32)
        by_length: dict[int, list[int]] = {}
        for index, wave in enumerate(waves):
            by_length.setdefault(len(wave), []).append(index)
        for indices in by_length.values():
            wave_BS = np.stack([waves[index] for index in indices]).astype(np.float32, copy=False)
            features_BFT = self._to_features(wave_BS, self._num_threads)
            embeddings_ND[indices] = self._to_embedding(features_BFT, self._num_threads)
        return embeddings_ND

    def _features(self, wave_S: np.ndarray) -> np.ndarray:
        """Features before normalisation (F, T)."""
        missing = max(0, self.framing.window_samples - len(wave_S))  # the graph wants a whole window
        wave_S = np.pad(wave_S.astype(np.float32, copy=False), (0, missing))
        features_FT: np.ndarray = self._to_features(wave_S[None], self._num_threads)[0]
        return features_FT

    def _embed_cuts(self, features: Any, starts: Sequence[int], length: int, wanted: int) -> np.ndarray:
        """Embed pieces of ``length`` frames of features, repeated up to ``wanted`` frames."""
        stacked_BFT = np.stack([features[:, start : start + length] for start in starts])
        if length < wanted:
            stacked_BFT = np.tile(stacked_BFT, (1, 1, -(-wanted // length)))[..., :wanted]
        return self._to_embedding(stacked_BFT, self._num_threads)
