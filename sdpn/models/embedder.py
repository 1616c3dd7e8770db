"""The user interface of a trained model: waveforms to embeddings.

Shapes: S samples, B batch, N utterances or windows, F mel bins, T frames, D embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from sdpn.errors import InputError
from sdpn.features.frontend import FrontEnd
from sdpn.features.registry import AnyFeatureConfig, build_features
from sdpn.features.waveform import WaveformConfig
from sdpn.io import audio as audio_files
from sdpn.io.audio import RATE_HZ, Audio, Channel, is_audio
from sdpn.models.batching import SECONDS_AT_ONCE, UTTERANCES_AT_ONCE, batches_by_length
from sdpn.models.encoder import Encoder

#: Shorter audio is repeated up to this length: a few frames carry no speaker information.
_SHORTEST_S = 0.5
#: Windows per batch: bounds memory; more is not faster on CPUs.
_WINDOWS_AT_ONCE = 64
#: Seconds of a recording whose features windows share, from the start of the first to the end of the last; of
#: 64 windows that are spread over an hour, the features of the hour would take 0.6 GB.
_SPAN_S = 120.0

Precision = Literal["fp32", "bf16"]


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


class Embedder:
    """Computes speaker embeddings.

    >>> embedder = Embedder(read_model("exp/mini/model"))
    >>> embedder.embed(wave, sample_rate=16000)     # (D,) float32
    >>> embedder.embed(["a.wav", "b.flac"])         # (2, D)

    Args:
        model: encoder, features, calibration.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        precision: precision of the network; features, pooling statistics and the result are always float32.
    """

    def __init__(self, model: Model, *, device: str = "cpu", precision: Precision = "fp32") -> None:
        self.device = torch.device(device)
        self.precision: Precision = precision
        self.encoder: Encoder = model.encoder.to(self.device)
        self.feature_config = model.features
        self.features: FrontEnd = build_features(model.features).to(self.device)
        self.calibration: Mapping[str, float] = model.calibration

    @property
    def embedding_dim(self) -> int:
        """Size D of an embedding."""
        return self.encoder.embedding_dim

    def embed(
        self, audio: Audio | Sequence[Audio], sample_rate: int | None = None, *, channel: Channel = None
    ) -> np.ndarray:
        """Embed an utterance, or several.

        Args:
            audio: a recording of any kind (`sdpn.io.audio.Audio`: a file, samples, ...), or a list of them,
                which is batched.
            sample_rate: rate in Hz of samples given without one; anything but 16 kHz is resampled.
            channel: channel to read, counted from 0; None and "mix" average all.

        Returns:
            (D,) float32, not normalised; (N, D) for a list.

        Raises:
            InputError: samples have no rate, an invalid shape, or NaN or infinite values, a file cannot be
                read, or the list is empty.
        """
        if is_audio(audio):
            embedding: np.ndarray = self.embed_batch([_read(cast(Audio, audio), sample_rate, channel)])[0]
            return embedding
        several = cast("Sequence[Audio]", audio)
        if not len(several):
            raise InputError("the list of recordings is empty")
        waves = [_read(one, sample_rate, channel) for one in several]
        embeddings_ND = np.empty((len(waves), self.embedding_dim), dtype=np.float32)
        for batch in batches_by_length(
            [len(wave) for wave in waves],
            samples=int(SECONDS_AT_ONCE[self.device.type] * RATE_HZ),
            utterances=UTTERANCES_AT_ONCE[self.device.type],
        ):
            embeddings_ND[batch] = self.embed_batch([waves[index] for index in batch])
        return embeddings_ND

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
    def embed_windows(self, audio: Audio, windows_N2: np.ndarray) -> np.ndarray:
        """Embed windows of one recording; neighbouring windows share their features.

        Args:
            audio: samples at 16 kHz, or a recording of any other kind (`sdpn.io.audio.Audio`).
            windows_N2: (N, 2) start and end in seconds; rounded to whole frames.

        Returns:
            (N, D) float32.

        Raises:
            InputError: the waveform is not finite, the file cannot be read, or a window is empty or outside
                the audio.
        """
        wave_S = _read(audio, RATE_HZ, None)
        windows_N2 = np.asarray(windows_N2, dtype=np.float64).reshape(-1, 2)
        starts_N, ends_N = windows_N2.T
        duration_s = len(wave_S) / RATE_HZ
        if not ((starts_N >= 0) & (ends_N > starts_N) & (starts_N < duration_s)).all():
            raise InputError(f"windows must start before they end, within the {duration_s:.2f} s of audio")
        embeddings_ND = np.empty((len(windows_N2), self.embedding_dim), dtype=np.float32)
        hop, window = self.features.hop_samples, self.features.window_samples
        # Centred frames need samples before their time: the block begins earlier by that much.
        lead = -(-window // hop) * hop if self.features.centred else 0
        for block in _blocks(starts_N, np.minimum(ends_N, duration_s)):
            first = max(0, round(starts_N[block[0]] * RATE_HZ / hop) * hop - lead)
            last = int(np.ceil(ends_N[block].max() * RATE_HZ)) + window
            wave_1S = torch.from_numpy(wave_S[first:last]).unsqueeze(0).to(self.device)
            log_FT = self.features.log_mel(wave_1S)[0]
            by_length: dict[int, list[int]] = {}
            offsets: dict[int, int] = {}
            for index in block:
                start = round(starts_N[index] * RATE_HZ / hop) - first // hop
                length = self.features.num_frames(round((ends_N[index] - starts_N[index]) * RATE_HZ))
                offsets[index] = min(start, log_FT.shape[1] - 1)
                by_length.setdefault(min(length, log_FT.shape[1] - offsets[index]), []).append(index)
            for length, indices in by_length.items():
                stacked_BFT = torch.stack([log_FT[:, offsets[i] : offsets[i] + length] for i in indices])
                shortest = int(_SHORTEST_S * RATE_HZ) // hop
                if length < shortest:
                    stacked_BFT = stacked_BFT.repeat(1, 1, -(-shortest // length))[..., :shortest]
                embeddings_ND[indices] = self._encode(self.features.normalise(stacked_BFT))
        return embeddings_ND

    def _encode(self, features_BFT: Tensor, lengths_B: Tensor | None = None) -> np.ndarray:
        """Embeddings (B, D) in float32."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            embedding_BD: Tensor = self.encoder(features_BFT, lengths_B)
        return embedding_BD.float().cpu().numpy()


def _read(audio: Audio, sample_rate: int | None, channel: Channel) -> np.ndarray:
    """The samples (S,) at 16 kHz, checked."""
    return audio_files.read(audio, sample_rate=sample_rate, channel=channel)


def long_enough(wave_S: np.ndarray) -> np.ndarray:
    """Repeat samples (S,) that are too short to characterise a speaker."""
    shortest = int(_SHORTEST_S * RATE_HZ)
    return np.resize(wave_S, shortest) if len(wave_S) < shortest else wave_S


def _blocks(starts_N: np.ndarray, ends_N: np.ndarray) -> Iterator[np.ndarray]:
    """Groups of neighbouring windows, as indices: bounded in number and in span, with at least one window."""
    order = np.argsort(starts_N, kind="stable")
    begin = 0
    while begin < len(order):
        block = order[begin : begin + _WINDOWS_AT_ONCE]
        until_s = np.maximum.accumulate(ends_N[block])
        block = block[: max(1, int((until_s - starts_N[block[0]] <= _SPAN_S).sum()))]
        yield block
        begin += len(block)
