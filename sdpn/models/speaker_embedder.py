"""The user interface of a model, whatever runs its network: recordings to embeddings, in NumPy.

Shapes: S samples, N utterances or windows, F mel bins, T frames, D embedding.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, cast

import numpy as np

from sdpn.errors import InputError
from sdpn.features.framing import Framing
from sdpn.io import audio as audio_files
from sdpn.io.audio import RATE_HZ, Audio, Channel, is_audio
from sdpn.models.batching import SECONDS_AT_ONCE, UTTERANCES_AT_ONCE, batches_by_length

#: Shorter audio is repeated up to this length: a few frames carry no speaker information.
_SHORTEST_S = 0.5
#: Windows per batch, by the type of the device: bounds memory; more is not faster on CPUs.
_WINDOWS_AT_ONCE = {"cpu": 64, "cuda": 512}
#: Seconds of a recording whose features windows share, from the start of the first to the end of the last; of
#: 64 windows that are spread over an hour, the features of the hour would take 0.6 GB.
_SPAN_S = {"cpu": 120.0, "cuda": 960.0}

#: Of the network; features and the result are always float32. int8: weights, and activations as they come.
Precision = Literal["fp32", "bf16", "int8"]


class SpeakerEmbedder(abc.ABC):
    """Computes speaker embeddings: `sdpn.models.embedder.Embedder` with torch, or graphs with onnxruntime.

    Attributes:
        calibration: values measured on the model, such as thresholds.
        precision: of the network.
        device: where it computes, as ``str`` names it.
        speech_network: what detects speech with the same runtime (`sdpn.diarization.vad.HearsSpeech`); None
            for torch's.
    """

    calibration: Mapping[str, float]
    precision: Precision
    device: Any
    speech_network: Any = None

    @property
    @abc.abstractmethod
    def embedding_dim(self) -> int:
        """Size D of an embedding."""

    @property
    @abc.abstractmethod
    def framing(self) -> Framing:
        """Where the frames of its features lie."""

    @property
    @abc.abstractmethod
    def device_type(self) -> Literal["cpu", "cuda"]:
        """Where it computes."""

    @property
    @abc.abstractmethod
    def precisions(self) -> tuple[Precision, ...]:
        """What ``precision`` can be set to."""

    @property
    @abc.abstractmethod
    def weights_digest(self) -> str | None:
        """Identifies the weights, for back ends and voiceprints made with them; None if it is not known."""

    @property
    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Identifies everything that embeddings depend on: weights, features, and graphs."""

    @property
    @abc.abstractmethod
    def runtime(self) -> tuple[str, str]:
        """The library that runs the network, and its version."""

    @property
    @abc.abstractmethod
    def num_threads(self) -> int:
        """Threads that compute one batch on a CPU."""

    @property
    @abc.abstractmethod
    def of_each_thread(self) -> Callable[[], None] | None:
        """What a thread has to call before it embeds, where several threads do."""

    @abc.abstractmethod
    def for_threads(self) -> AbstractContextManager[None]:
        """While several threads embed at the same time, each in one thread."""

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
            samples=int(SECONDS_AT_ONCE[self.device_type] * RATE_HZ),
            utterances=UTTERANCES_AT_ONCE[self.device_type],
        ):
            embeddings_ND[batch] = self.embed_batch([waves[index] for index in batch])
        return embeddings_ND

    @abc.abstractmethod
    def embed_batch(self, waves: Sequence[np.ndarray]) -> np.ndarray:
        """Embed utterances together; each result is the same as alone.

        Args:
            waves: (S,) float32 at 16 kHz in [-1, 1] each, checked.

        Returns:
            (N, D) float32.
        """

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
        framing, hop = self.framing, self.framing.hop_samples
        # Centred frames need samples before their time: the block begins earlier by that much.
        lead = -(-framing.window_samples // hop) * hop if framing.centred else 0
        for block in _blocks(starts_N, np.minimum(ends_N, duration_s), self.device_type):
            first = max(0, round(starts_N[block[0]] * RATE_HZ / hop) * hop - lead)
            last = int(np.ceil(ends_N[block].max() * RATE_HZ)) + framing.window_samples
            features = self._features(wave_S[first:last])
            num_frames = features.shape[-1]
            by_length: dict[int, list[int]] = {}
            offsets: dict[int, int] = {}
            for index in block:
                start = round(starts_N[index] * RATE_HZ / hop) - first // hop
                length = framing.num_frames(round((ends_N[index] - starts_N[index]) * RATE_HZ))
                offsets[index] = min(start, num_frames - 1)
                by_length.setdefault(min(length, num_frames - offsets[index]), []).append(index)
            for length, indices in by_length.items():
                starts = [offsets[index] for index in indices]
                shortest = int(_SHORTEST_S * RATE_HZ) // hop
                embeddings_ND[indices] = self._embed_cuts(features, starts, length, max(length, shortest))
        return embeddings_ND

    @abc.abstractmethod
    def _features(self, wave_S: np.ndarray) -> Any:
        """Features before normalisation (F, T), in whatever form the runtime keeps them."""

    @abc.abstractmethod
    def _embed_cuts(self, features: Any, starts: Sequence[int], length: int, wanted: int) -> np.ndarray:
        """Embed pieces of ``length`` frames of features, repeated up to ``wanted`` frames: (N, D) float32."""


def _read(audio: Audio, sample_rate: int | None, channel: Channel) -> np.ndarray:
    """The samples (S,) at 16 kHz, checked."""
    return audio_files.read(audio, sample_rate=sample_rate, channel=channel)


def long_enough(wave_S: np.ndarray) -> np.ndarray:
    """Repeat samples (S,) that are too short to characterise a speaker."""
    shortest = int(_SHORTEST_S * RATE_HZ)
    return np.resize(wave_S, shortest) if len(wave_S) < shortest else wave_S


def _blocks(starts_N: np.ndarray, ends_N: np.ndarray, device_type: str) -> Iterator[np.ndarray]:
    """Groups of neighbouring windows, as indices: bounded in number and in span, with at least one window."""
    order = np.argsort(starts_N, kind="stable")
    begin = 0
    while begin < len(order):
        block = order[begin : begin + _WINDOWS_AT_ONCE[device_type]]
        until_s = np.maximum.accumulate(ends_N[block])
        block = block[: max(1, int((until_s - starts_N[block[0]] <= _SPAN_S[device_type]).sum()))]
        yield block
        begin += len(block)
