"""Speaker embeddings with torch.

Shapes: S samples, B batch, N utterances, F mel bins, T frames, D embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from sdpn.features.framing import Framing
from sdpn.features.frontend import FrontEnd
from sdpn.features.registry import AnyFeatureConfig, build_features
from sdpn.features.waveform import WaveformConfig
from sdpn.models.cpu_threads import single_thread_convolutions, use_one_thread
from sdpn.models.encoder import Encoder
from sdpn.models.speaker_embedder import Precision, SpeakerEmbedder, long_enough
from sdpn.models.weights import fingerprint, weights_digest


class Model(Protocol):
    """The parts of an embedder: a model folder, or a graph of another runtime."""

    @property
    def encoder(self) -> Encoder:
        """Features to embeddings, in evaluation mode."""

    @property
    def features(self) -> AnyFeatureConfig | WaveformConfig:
        """The features that the encoder expects."""

    @property
    def calibration(self) -> Mapping[str, float]:
        """Values measured on the model, such as thresholds."""


class Embedder(SpeakerEmbedder):
    """Computes speaker embeddings with torch.

    >>> embedder = Embedder(read_model("exp/mini/model"))
    >>> embedder.embed(wave, sample_rate=16000)     # (D,) float32
    >>> embedder.embed(["a.wav", "b.flac"])         # (2, D)

    Args:
        model: encoder, features, calibration.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        precision: precision of the network; features, pooling statistics and the result are always float32.
    """

    def __init__(self, model: Model, *, device: str = "cpu", precision: Precision = "fp32") -> None:
        self.device: torch.device = torch.device(device)
        self.precision: Precision = precision
        self.encoder: Encoder = model.encoder.to(self.device)
        self.feature_config = model.features
        self.features: FrontEnd = build_features(model.features).to(self.device)
        self.calibration: Mapping[str, float] = model.calibration

    @property
    def embedding_dim(self) -> int:
        """Size D of an embedding."""
        return self.encoder.embedding_dim

    @property
    def framing(self) -> Framing:
        """Where the frames of its features lie."""
        return self.features.framing

    @property
    def device_type(self) -> Literal["cpu", "cuda"]:
        """Where it computes."""
        return "cpu" if self.device.type == "cpu" else "cuda"

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """What ``precision`` can be set to: a graph has its own."""
        is_graph = next(self.encoder.parameters(), None) is None
        return ("fp32",) if is_graph else ("fp32", "bf16")

    @property
    def weights_digest(self) -> str | None:
        """Identifies the weights; None if they are not accessible, as in an ONNX graph."""
        return weights_digest(self.encoder)

    @property
    def fingerprint(self) -> str:
        """Identifies weights and features."""
        return fingerprint(self.encoder, self.feature_config)

    @property
    def runtime(self) -> tuple[str, str]:
        """Torch, and its version."""
        return "torch", torch.__version__

    @property
    def num_threads(self) -> int:
        """Threads that compute one batch on a CPU."""
        return torch.get_num_threads()

    @property
    def of_each_thread(self) -> Callable[[], None] | None:
        """Torch takes one thread per thread of ours: of what it computes on a CPU."""
        return use_one_thread

    def for_threads(self) -> AbstractContextManager[None]:
        """While several threads embed, each on one core."""
        return single_thread_convolutions(self.encoder) if self.device_type == "cpu" else nullcontext()

    @torch.inference_mode()
    def embed_batch(self, waves: Sequence[np.ndarray]) -> np.ndarray:
        """Embed utterances in one batch, padded to the longest; each result is the same as alone.

        Args:
            waves: (S,) float32 at 16 kHz in [-1, 1] each, checked.

        Returns:
            (N, D) float32.
        """
        waves = [long_enough(wave) for wave in waves]
        longest = max(map(len, waves))
        if min(map(len, waves)) == longest:
            wave_BS = torch.from_numpy(np.stack(waves)).to(self.device)
            return self._encode(self.features(wave_BS))
        padded_BS = np.zeros((len(waves), longest), dtype=np.float32)
        for row, wave in zip(padded_BS, waves, strict=True):
            row[: len(wave)] = wave
        lengths_B = torch.tensor([len(wave) for wave in waves], device=self.device)
        features_BFT = self.features(torch.from_numpy(padded_BS).to(self.device), lengths_B)
        return self._encode(features_BFT, self.features.frame_lengths(lengths_B))

    @torch.inference_mode()
    def _features(self, wave_S: np.ndarray) -> Tensor:
        """Features before normalisation (F, T), on the device."""
        wave_1S = torch.from_numpy(wave_S).unsqueeze(0).to(self.device)
        return self.features.log_mel(wave_1S)[0]

    @torch.inference_mode()
    def _embed_cuts(self, features: Tensor, starts: Sequence[int], length: int, wanted: int) -> np.ndarray:
        """Embed pieces of ``length`` frames of features, repeated up to ``wanted`` frames."""
        stacked_BFT = torch.stack([features[:, start : start + length] for start in starts])
        if length < wanted:
            stacked_BFT = stacked_BFT.repeat(1, 1, -(-wanted // length))[..., :wanted]
        return self._encode(self.features.normalise(stacked_BFT))

    def _encode(self, features_BFT: Tensor, lengths_B: Tensor | None = None) -> np.ndarray:
        """Embeddings (B, D) in float32."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            embedding_BD: Tensor = self.encoder(features_BFT, lengths_B)
        return embedding_BD.float().cpu().numpy()
