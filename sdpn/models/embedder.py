"""A trained model as its users see it: waveforms to embeddings.

Shapes: S samples, N windows, F mel bins, T frames, D embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from sdpn.data.feature_registry import build_features
from sdpn.errors import InputError
from sdpn.io.audio import RATE_HZ, resample
from sdpn.models.folder import ModelFolder

#: Shorter stretches are repeated up to this length: a few frames alone tell nothing about a voice.
_SHORTEST_S = 0.5
#: Windows embedded together: bounds memory, and more does not run faster on CPUs.
_WINDOWS_AT_ONCE = 64


class Embedder:
    """Turns speech into speaker embeddings.

    >>> embedder = Embedder(read_model("exp/mini/model"))
    >>> embedder.embed(wave, sample_rate=16000)     # (D,) float32
    """

    def __init__(self, model: ModelFolder) -> None:
        self._encoder = model.encoder
        self._features = build_features(model.features)
        self.calibration: Mapping[str, float] = model.calibration

    @property
    def embedding_dim(self) -> int:
        """Size D of an embedding."""
        return self._encoder.embedding_dim

    @torch.inference_mode()
    def embed(self, wave: np.ndarray | Tensor, sample_rate: int) -> np.ndarray:
        """Embed one utterance.

        Args:
            wave: (S,) samples in [-1, 1].
            sample_rate: its rate in Hz; anything but 16 kHz is resampled.

        Returns:
            (D,) float32, not normalised.

        Raises:
            InputError: the waveform is empty, not one-dimensional, or holds NaN or infinite values.
        """
        wave_S = resample(_checked(wave), sample_rate, RATE_HZ)
        if len(wave_S) < _SHORTEST_S * RATE_HZ:
            wave_S = np.resize(wave_S, int(_SHORTEST_S * RATE_HZ))
        embedding_1D: Tensor = self._encoder(self._features(torch.from_numpy(wave_S).unsqueeze(0)))
        return embedding_1D[0].float().numpy()

    @torch.inference_mode()
    def embed_windows(self, wave_S: np.ndarray, windows_N2: np.ndarray) -> np.ndarray:
        """Embed windows of one recording; neighbouring windows share their features.

        Args:
            wave_S: (S,) float32 at 16 kHz in [-1, 1].
            windows_N2: (N, 2) start and end in seconds, in order of start; rounded to whole frames.

        Returns:
            (N, D) float32.

        Raises:
            InputError: the waveform is not finite, or a window ends before it starts or lies outside.
        """
        wave_S = _checked(wave_S)
        windows_N2 = np.asarray(windows_N2, dtype=np.float64).reshape(-1, 2)
        starts_N, ends_N = windows_N2.T
        duration_s = len(wave_S) / RATE_HZ
        if not ((starts_N >= 0) & (ends_N > starts_N) & (starts_N < duration_s)).all():
            raise InputError(f"windows must start before they end, inside the {duration_s:.2f} s of audio")
        embeddings_ND = np.empty((len(windows_N2), self.embedding_dim), dtype=np.float32)
        hop, window = self._features.hop_samples, self._features.window_samples
        # A frame that stands around its time sees what lies before it: the block begins that much earlier.
        lead = -(-window // hop) * hop if self._features.centred else 0
        for block in _blocks(starts_N):
            first = max(0, round(starts_N[block[0]] * RATE_HZ / hop) * hop - lead)
            last = int(np.ceil(ends_N[block].max() * RATE_HZ)) + window
            log_FT = self._features.log_mel(torch.from_numpy(wave_S[first:last]).unsqueeze(0))[0]
            by_length: dict[int, list[int]] = {}
            offsets: dict[int, int] = {}
            for index in block:
                start = round(starts_N[index] * RATE_HZ / hop) - first // hop
                length = self._features.num_frames(round((ends_N[index] - starts_N[index]) * RATE_HZ))
                offsets[index] = min(start, log_FT.shape[1] - 1)
                by_length.setdefault(min(length, log_FT.shape[1] - offsets[index]), []).append(index)
            for length, indices in by_length.items():
                stacked_BFT = torch.stack([log_FT[:, offsets[i] : offsets[i] + length] for i in indices])
                shortest = int(_SHORTEST_S * RATE_HZ) // hop
                if length < shortest:
                    stacked_BFT = stacked_BFT.repeat(1, 1, -(-shortest // length))[..., :shortest]
                embedded = self._encoder(self._features.normalise(stacked_BFT))
                embeddings_ND[indices] = embedded.float().numpy()
        return embeddings_ND


def _blocks(starts_N: np.ndarray) -> Iterator[np.ndarray]:
    """Indices of neighbouring windows, a bounded number at a time."""
    order = np.argsort(starts_N, kind="stable")
    for begin in range(0, len(order), _WINDOWS_AT_ONCE):
        yield order[begin : begin + _WINDOWS_AT_ONCE]


def _checked(wave: np.ndarray | Tensor) -> np.ndarray:
    array = np.ascontiguousarray(wave, dtype=np.float32)
    if array.ndim != 1 or not len(array):
        raise InputError(f"a waveform of shape (samples,) was expected, found {array.shape}")
    if not np.isfinite(array).all():
        raise InputError("the waveform holds NaN or infinite samples")
    return array
