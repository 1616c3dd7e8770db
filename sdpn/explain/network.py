"""A model as explanations see it: features of a waveform, and gradients of what is computed of them.

Shapes: B batch, S samples, F mel bins, T frames, D embedding.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from sdpn.errors import InputError
from sdpn.explain.layers import main_layers, time_axes
from sdpn.explain.target import Target
from sdpn.io.audio import RATE_HZ
from sdpn.models.embedder import Embedder, long_enough

#: Longest stretch that is explained at once: the activations of a minute of CAM++ take gigabytes.
LONGEST_S = 30.0

#: Largest sample of a recording that counts as silent: rounding of 16 bits.
_SILENT = 1.5 / 32768


class ExplainedNetwork:
    """The network of an embedder, to be asked about its features.

    Args:
        embedder: the model.

    Raises:
        InputError: the model is a graph of another runtime, which has neither layers nor gradients.

    Attributes:
        embedder: the model.
        encoder: its network, in evaluation mode.
        layers: names of its main layers, in order.
        hop_s: seconds between frames.
    """

    def __init__(self, embedder: Embedder) -> None:
        if next(embedder.encoder.parameters(), None) is None:
            raise InputError(
                "the model is a graph, which has neither layers nor gradients to explain",
                hint="use the model that it was converted from",
            )
        self.embedder = embedder
        self.encoder = embedder.encoder.eval()
        self.layers = main_layers(self.encoder)
        self.hop_s = embedder.features.hop_samples / RATE_HZ
        self._axes: dict[str, int | None] | None = None

    @property
    def num_mels(self) -> int:
        """Bands F of the features."""
        return self.embedder.features.num_mels

    @property
    def time_axes(self) -> dict[str, int | None]:
        """The axis of time in the output of every main layer that runs; None: one output per utterance."""
        if self._axes is None:
            self._axes = time_axes(self.encoder, self.layers, self.num_mels, self.embedder.device)
        return self._axes

    def axes_of(self, layer: str) -> dict[str, int | None]:
        """`time_axes`, with those of a further layer."""
        if layer not in self.time_axes:
            found = time_axes(self.encoder, [layer], self.num_mels, self.embedder.device)
            self.time_axes.update(found)
        return self.time_axes

    @property
    def last_frame_layer(self) -> str:
        """The last main layer with an output for every frame: what pooling sees."""
        return [name for name in self.layers if self.time_axes.get(name) is not None][-1]

    def features(self, wave_S: np.ndarray) -> Tensor:
        """Features (1, F, T) of samples (S,) at 16 kHz; very short ones are repeated as for an embedding.

        Raises:
            InputError: the samples are silent.
        """
        refuse_silence(wave_S)
        with torch.no_grad():
            return self.embedder.features(
                torch.from_numpy(long_enough(wave_S)).unsqueeze(0).to(self.embedder.device)
            )

    def log_mel(self, wave_S: np.ndarray) -> np.ndarray:
        """The log-mel picture (F, T) before normalisation over time, for the eye."""
        with torch.no_grad():
            wave_1S = torch.from_numpy(long_enough(wave_S)).unsqueeze(0).to(self.embedder.device)
            return self.embedder.features.log_mel(wave_1S)[0].cpu().numpy()

    def embed(self, features_BFT: Tensor) -> Tensor:
        """Embeddings (B, D), with gradients where the features have them."""
        embedding_BD: Tensor = self.encoder(features_BFT)
        return embedding_BD.float()

    def scorer(self, target: Target) -> Callable[[Tensor], Tensor]:
        """The function from features (B, F, T) to the target's scores (B,)."""
        return lambda features_BFT: target.score(self.embed(features_BFT))

    def num_frames(self, wave_S: np.ndarray) -> int:
        """Frames of the features of samples (S,)."""
        return self.embedder.features.num_frames(len(long_enough(wave_S)))

    def pieces(self, wave_S: np.ndarray) -> list[np.ndarray]:
        """A recording in equal parts that are short enough.

        Raises:
            InputError: all of it is silent.
        """
        refuse_silence(wave_S)
        return np.array_split(wave_S, max(1, int(np.ceil(len(wave_S) / (LONGEST_S * RATE_HZ)))))

    def first_piece(self, wave_S: np.ndarray) -> tuple[np.ndarray, slice]:
        """The first part of a recording that is not silent, and its frames among those of all parts.

        Raises:
            InputError: all of it is silent.
        """
        start = 0
        pieces = self.pieces(wave_S)
        for piece in pieces:
            frames = self.num_frames(piece)
            if not is_silent(piece):
                return piece, slice(start, start + frames)
            start += frames
        raise InputError("is silent in every part: there is nothing to explain")


def is_silent(wave_S: np.ndarray) -> bool:
    """Whether samples hold nothing but rounding."""
    return bool(not len(wave_S) or np.abs(wave_S - wave_S.mean()).max() <= _SILENT)


def refuse_silence(wave_S: np.ndarray) -> None:
    """Check that there is something to hear.

    Raises:
        InputError: the samples are silent.
    """
    if is_silent(wave_S):
        raise InputError("is silent: there is nothing to explain", hint="give a recording with speech")
