"""Voice activity detection with silero-vad, whose weights come inside its package.

The model turns each frame of 512 samples (32 ms at 16 kHz), preceded by the last 64 of the frame before, into
a probability of speech: STFT, four convolutions, an LSTM over the frames, one output. The stock loop calls
it once per frame. Only the LSTM needs the past, though, so here the STFT and the convolutions see thousands
of frames at once and the LSTM runs over them in one call: the same numbers, up to float32 rounding,
about 13 times faster (``tools/benchmarks/vad.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from sdpn.diarization.speech import Segment
from sdpn.io.audio import RATE_HZ

if TYPE_CHECKING:
    import torch

#: Samples per frame, and samples of the frame before that the model sees again.
FRAME, CONTEXT = 512, 64

#: Frames per call: 65 s of audio. It bounds the memory and does not change the result.
_BLOCK = 2048

#: Below that, what is there to be heard is the noise of the converter.
_MOST_GAIN_DB = 40.0


@dataclass(frozen=True, kw_only=True)
class VadConfig:
    """When a stretch counts as speech.

    Attributes:
        level_db: the model hears less in quiet recordings, so they are first brought to this level, in dB
            relative to full scale; None leaves them as they are. Of read speech in measured rooms at
            -46 dB it misses 15 % as it is and 3 % at the default. The level is the 95th percentile of the
            frames' RMS, hence that of speech unless speech fills less than a twentieth of the time.
        threshold: speech starts where the probability reaches this, and ends where it falls 0.15 below.
        min_speech_s: shorter speech is dropped.
        min_silence_s: shorter silence does not end a stretch of speech.
        pad_s: added to both ends of each stretch; two that meet share the silence between them.
    """

    level_db: float | None = -20.0
    threshold: float = 0.5
    min_speech_s: float = 0.25
    min_silence_s: float = 0.1
    pad_s: float = 0.03

    def __post_init__(self) -> None:
        if self.level_db is not None and not -60.0 <= self.level_db <= 0.0:
            raise ValueError(f"level_db is {self.level_db}; expected -60 to 0, or None")
        if not 0.0 < self.threshold < 1.0:
            raise ValueError(f"threshold is {self.threshold}; expected a probability between 0 and 1")
        for name in ("min_speech_s", "min_silence_s", "pad_s"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}; expected seconds, at least 0")


def detect_speech(wave_S: np.ndarray, config: VadConfig | None = None) -> list[Segment]:
    """Find the speech in a recording.

    Args:
        wave_S: (S,) float32, 16 kHz mono.
        config: None takes the defaults.

    Returns:
        disjoint segments in order of time, inside the recording; none where nobody speaks.
    """
    config = config or VadConfig()
    if len(wave_S) == 0:
        return []
    gain = 1.0 if config.level_db is None else _gain(wave_S, config.level_db)
    timestamps = _silero().get_speech_timestamps_from_probs(
        speech_probabilities(wave_S, gain=gain).tolist(),
        sampling_rate=RATE_HZ,
        threshold=config.threshold,
        min_speech_duration_ms=1000 * config.min_speech_s,
        min_silence_duration_ms=1000 * config.min_silence_s,
        speech_pad_ms=1000 * config.pad_s,
        audio_length_samples=len(wave_S),
    )
    segments = [Segment(span["start"] / RATE_HZ, span["end"] / RATE_HZ) for span in timestamps]
    return [segment for segment in segments if segment.duration_s > 0]


def speech_probabilities(wave_S: np.ndarray, *, gain: float = 1.0) -> np.ndarray:
    """Probability of speech in each frame of 32 ms.

    Args:
        wave_S: (S,) float32, 16 kHz mono, at least one sample.
        gain: factor on the samples.

    Returns:
        (ceil(S / 512),) float32; the last frame is filled up with zeros.
    """
    import torch

    network = _network()
    with _one_thread(), torch.inference_mode():
        padded = np.pad(
            np.asarray(wave_S, dtype=np.float32), (CONTEXT, -len(wave_S) % FRAME)
        )  # the first frame follows silence
        frames = torch.from_numpy(padded).unfold(0, CONTEXT + FRAME, FRAME)
        state, blocks = None, []
        for block in frames.split(_BLOCK):
            probabilities, state = network(block * gain, state)
            blocks.append(probabilities)
        result: np.ndarray = torch.cat(blocks).cpu().numpy()
    return result


def _gain(wave_S: np.ndarray, level_db: float) -> float:
    """Factor that brings the recording to a level, but not by more than `_MOST_GAIN_DB`."""
    if len(wave_S) < FRAME:
        return 1.0
    frames = wave_S[: len(wave_S) // FRAME * FRAME].reshape(-1, FRAME)
    rms = np.sqrt(np.einsum("ts,ts->t", frames, frames) / FRAME)
    loudness = max(float(np.percentile(rms, 95)), 10 ** ((level_db - _MOST_GAIN_DB) / 20))
    return float(10 ** (level_db / 20) / loudness)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Give torch one thread inside the block.

    The LSTM's steps are too small to share: two threads are no faster on idle cores, and wait for each
    other at every step on busy ones (measured: 80 times slower). The block also undoes what importing
    silero_vad does, which is to set one thread for the rest of the process.
    """
    import torch

    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


@cache
def _silero() -> Any:
    with _one_thread():
        import silero_vad

    return silero_vad


@cache
def _network() -> _Network:
    return _Network(_silero().load_silero_vad().state_dict())


class _Network:
    """Silero's 16 kHz network over many consecutive frames at once."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        import torch

        self.stft = weights["_model.stft.forward_basis_buffer"]  # (2 * 129, 1, 256): cosines, then sines
        convolutions = [f"_model.encoder.{layer}.reparam_conv" for layer in range(4)]
        self.convolutions = [(weights[f"{name}.weight"], weights[f"{name}.bias"]) for name in convolutions]
        self.output = (weights["_model.decoder.decoder.2.weight"], weights["_model.decoder.decoder.2.bias"])
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        hidden = weights["_model.decoder.rnn.weight_hh"].shape[1]
        self.lstm = torch.nn.LSTM(hidden, hidden)
        self.lstm.load_state_dict({f"{name}_l0": weights[f"_model.decoder.rnn.{name}"] for name in names})

    def __call__(self, frames: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        """Map consecutive frames (T, 576) and the LSTM's state to probabilities (T,) and its new state."""
        from torch.nn import functional

        padded = functional.pad(frames[:, None], (0, CONTEXT), mode="reflect")
        spectrum = functional.conv1d(padded, self.stft, stride=128)  # (T, 258, 4)
        real, imaginary = spectrum.chunk(2, dim=1)
        features = (real**2 + imaginary**2).sqrt()
        for (weight, bias), stride in zip(self.convolutions, (1, 2, 2, 1), strict=True):
            features = functional.conv1d(features, weight, bias, stride=stride, padding=1).relu()
        hidden, state = self.lstm(features.transpose(1, 2), state)  # (T, 1, 128): T steps of a batch of 1
        weight, bias = self.output
        scores = functional.conv1d(hidden.relu().transpose(1, 2), weight, bias)
        return scores.sigmoid()[:, 0, 0], state
