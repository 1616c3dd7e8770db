"""Voice activity detection with silero-vad, whose weights are part of its package.

The model turns each frame of 512 samples (32 ms at 16 kHz), preceded by the last 64 of the frame before, into
a probability of speech: STFT, four convolutions, an LSTM over the frames, one output. The stock loop calls
it once per frame. Only the LSTM needs the past, though, so here the STFT and the convolutions see thousands
of frames at once and the LSTM runs over them in one call: the same numbers, up to float32 rounding,
about 13 times faster (``tools/benchmarks/vad.py``).

The model misses more speech in quiet recordings, and nearly all of it 40 dB below a loud sound. So it is run
twice: once with the level of the surroundings (a minute) normalised, once with that of the neighbourhood
(three seconds on the quieter side), see `sdpn.diarization.level`. Speech is the union of both;
docs/diarization.md has an ablation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from sdpn.diarization.level import CHUNK_FRAMES, FRAME, Levelled, hiss, levelled
from sdpn.diarization.speech import Segment
from sdpn.diarization.speech_spans import UNDECIDED_S, SpeechSpans

if TYPE_CHECKING:
    import torch

#: Samples of the previous frame that the model uses as context.
CONTEXT = 64

#: Maximum ratio of the gain of the neighbourhood to that of the surroundings.
_MOST_RISE_DB = 40.0

#: Frames this much louder than their neighbourhood are excluded from its pass, which is restarted after them.
_TOO_LOUD_DB = 20.0

#: Penalty on probabilities of the neighbourhood pass, which also amplifies the noise between words.
_RISE_COSTS = 0.1


@dataclass(frozen=True, kw_only=True)
class VadConfig:
    """Settings of voice activity detection.

    Attributes:
        level_db: level to which recordings are first normalised, in dB relative to full scale, because the
            model misses more in quiet ones; None leaves the level unchanged. Of read speech in measured rooms
            at -46 dB it misses 15 % without normalisation and 3 % with the default.
        threshold: speech probability at which a segment starts; it ends where the probability falls 0.15
            below.
        min_speech_s: minimum length of a speech segment; shorter ones are dropped.
        min_silence_s: minimum length of a pause between segments; shorter silence does not end a segment.
        pad_s: padding at both ends of each segment; closer segments split the silence between them.
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
    """Find the speech in a recording that is in memory.

    Args:
        wave_S: (S,) float32, 16 kHz mono.
        config: None takes the defaults.

    Returns:
        disjoint segments in chronological order, within the recording.
    """
    detector = SpeechDetector(config or VadConfig())
    found: list[Segment] = []
    for piece in levelled([wave_S]):
        found += detector.push(piece)
    return found + detector.finish()


class SpeechDetector:
    """Streaming speech detection in constant memory.

    Args:
        config: its settings.
        undecided_s: speech ends after this time between the two thresholds.
    """

    def __init__(self, config: VadConfig, *, undecided_s: float = UNDECIDED_S) -> None:
        self._level = None if config.level_db is None else 10 ** (config.level_db / 20)
        self._spans = SpeechSpans(
            threshold=config.threshold,
            min_speech_s=config.min_speech_s,
            min_silence_s=config.min_silence_s,
            pad_s=config.pad_s,
            undecided_s=undecided_s,
        )
        hiss_level = self._level or 0.0
        self._around, self._near = SpeechProbabilities(hiss_level), SpeechProbabilities(hiss_level)
        self._num_samples = 0

    def push(self, piece: Levelled) -> list[Segment]:
        """Add the next chunk; returns the segments that are final."""
        return self.decide(self.hear(piece))

    def hear(self, piece: Levelled) -> np.ndarray:
        """Probabilities of speech in the frames of the next chunk, (T,) float32, for `decide`."""
        self._num_samples += len(piece.wave_S)
        if self._level is None:
            return self._around(piece.wave_S)
        around_T = piece.around_T
        near_T = np.maximum(piece.near_T, around_T * 10 ** (-_MOST_RISE_DB / 20))
        too_loud_T = piece.rms_T > near_T * 10 ** (_TOO_LOUD_DB / 20)
        heard_T: np.ndarray = np.maximum(
            self._around(piece.wave_S, _gains(around_T, self._level)),
            self._near(piece.wave_S, _gains(near_T, self._level), too_loud_T) - np.float32(_RISE_COSTS),
        )
        return heard_T

    def ignore(self, piece: Levelled) -> np.ndarray:
        """As `hear`, without listening: probabilities of 0."""
        self._num_samples += len(piece.wave_S)
        return np.zeros(len(piece.rms_T), dtype=np.float32)

    def decide(self, heard_T: np.ndarray) -> list[Segment]:
        """Take the probabilities of the next frames; returns the segments that are final."""
        return self._spans.push(heard_T.tolist())

    def finish(self) -> list[Segment]:
        """End the recording; returns the last segments."""
        return self._spans.finish(self._num_samples)

    @property
    def growing(self) -> Segment | None:
        """The segment in progress, up to where it is final."""
        return self._spans.growing

    @property
    def undecided_from_s(self) -> float:
        """Speech before this time, in seconds, is final."""
        return self._spans.undecided_from_s


class SpeechProbabilities:
    """Silero's network over the consecutive chunks of one recording.

    Args:
        level: that the gains bring the samples to, which also sets the level of the added hiss; 0 for none.
    """

    def __init__(self, level: float = 0.0) -> None:
        self._level = np.float32(level)
        self._before = np.zeros(CONTEXT, dtype=np.float32)  # the first frame follows silence
        self._state: Any = None

    def __call__(
        self, wave_S: np.ndarray, gain_T: np.ndarray | None = None, ignored_T: np.ndarray | None = None
    ) -> np.ndarray:
        """Probability of speech in each frame of 32 ms.

        Args:
            wave_S: (S,) float32, 16 kHz mono, whole frames but in the last chunk.
            gain_T: factor on the samples of each frame.
            ignored_T: frames with probability 0, after which the network's state is reset.

        Returns:
            (ceil(S / 512),) float32; the last frame is filled up with zeros.
        """
        import torch

        network = _network()
        with _one_thread(), torch.inference_mode():
            padded = np.concatenate([self._before, wave_S, np.zeros(-len(wave_S) % FRAME, dtype=np.float32)])
            self._before = padded[-CONTEXT:]
            frames = torch.from_numpy(padded).unfold(0, CONTEXT + FRAME, FRAME)
            if gain_T is not None:
                frames = frames * torch.from_numpy(gain_T.astype(np.float32))[:, None]
            if self._level:
                noise = torch.from_numpy(self._level * hiss(len(padded)))
                frames = frames + noise.unfold(0, CONTEXT + FRAME, FRAME)
            features = network.features(frames)
            result = np.zeros(len(frames), dtype=np.float32)
            for begin, end, deaf in _stretches(
                np.zeros(len(frames), dtype=bool) if ignored_T is None else ignored_T
            ):
                if deaf:
                    self._state = None
                else:
                    probabilities, self._state = network.probabilities(features[begin:end], self._state)
                    result[begin:end] = probabilities.cpu().numpy()
        return result


def _stretches(mark_T: np.ndarray) -> Iterator[tuple[int, int, bool]]:
    """Runs of equal marks: (begin, end, mark)."""
    cuts = [0, *(np.flatnonzero(mark_T[1:] != mark_T[:-1]) + 1).tolist(), len(mark_T)]
    for begin, end in pairwise(cuts):
        yield begin, end, bool(mark_T[begin])


def speech_probabilities(wave_S: np.ndarray) -> np.ndarray:
    """Probability of speech in each frame of 32 ms of a recording in memory, without level normalisation.

    Args:
        wave_S: (S,) float32, 16 kHz mono, at least one sample.

    Returns:
        (ceil(S / 512),) float32; the last frame is filled up with zeros.
    """
    listener, size = SpeechProbabilities(), CHUNK_FRAMES * FRAME
    return np.concatenate([listener(wave_S[at : at + size]) for at in range(0, len(wave_S), size)])


def _gains(level_T: np.ndarray, wanted: float) -> np.ndarray:
    """Gains that bring levels to the target; silence is unchanged."""
    sounding_T = level_T > 0
    gains_T: np.ndarray = np.where(sounding_T, wanted / np.where(sounding_T, level_T, 1.0), 1.0)
    return gains_T


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run torch with one thread inside the block.

    The LSTM's steps are too small for several threads: two are no faster on idle cores, and wait for each
    other at every step on busy ones (measured: 80 times slower). The block also restores the number of
    threads, which importing silero_vad sets to one for the whole process.
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

    def features(self, frames: torch.Tensor) -> torch.Tensor:
        """Inputs of the LSTM for frames (T, 576): (T, 128, 1)."""
        from torch.nn import functional

        padded = functional.pad(frames[:, None], (0, CONTEXT), mode="reflect")
        spectrum = functional.conv1d(padded, self.stft, stride=128)  # (T, 258, 4)
        real, imaginary = spectrum.chunk(2, dim=1)
        features = (real**2 + imaginary**2).sqrt()
        for (weight, bias), stride in zip(self.convolutions, (1, 2, 2, 1), strict=True):
            features = functional.conv1d(features, weight, bias, stride=stride, padding=1).relu()
        return features

    def probabilities(self, features: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        """Map consecutive features and the LSTM's state to probabilities (T,) and its new state."""
        from torch.nn import functional

        hidden, state = self.lstm(features.transpose(1, 2), state)  # (T, 1, 128): T steps of a batch of 1
        weight, bias = self.output
        scores = functional.conv1d(hidden.relu().transpose(1, 2), weight, bias)
        return scores.sigmoid()[:, 0, 0], state
