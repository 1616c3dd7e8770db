"""Voice activity detection with silero-vad, whose weights are part of its package.

The model turns each frame of 512 samples (32 ms at 16 kHz), preceded by the last 64 of the frame before, into
a probability of speech: STFT, four convolutions, an LSTM over the frames, one output. It runs over thousands
of frames at once (`sdpn.diarization.silero`, or `sdpn.diarization.silero_graph` without torch).

The model misses more speech in quiet recordings, and nearly all of it 40 dB below a loud sound. So it is run
twice: once with the level of the surroundings (a minute) normalised, once with that of the neighbourhood
(three seconds on the quieter side), see `sdpn.diarization.level`. Speech is the union of both;
docs/diarization.md has an ablation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from sdpn.diarization.level import CHUNK_FRAMES, FRAME, Levelled, hiss, levelled
from sdpn.diarization.speech import Segment
from sdpn.diarization.speech_spans import UNDECIDED_S, SpeechSpans

#: Samples of the previous frame that the model uses as context.
CONTEXT = 64

#: Maximum ratio of the gain of the neighbourhood to that of the surroundings.
_MOST_RISE_DB = 40.0

#: Frames this much louder than their neighbourhood are excluded from its pass, which is restarted after them.
_TOO_LOUD_DB = 20.0

#: Penalty on probabilities of the neighbourhood pass, which also amplifies the noise between words.
_RISE_COSTS = 0.1


class HearsSpeech(Protocol):
    """Silero's network, whatever runs it: `sdpn.diarization.silero` with torch, or a graph."""

    def features(self, frames_TS: np.ndarray) -> Any:
        """What frames (T, 576) become without the past: T rows, which can be cut."""

    def probabilities(self, features: Any, state: Any) -> tuple[np.ndarray, Any]:
        """Map consecutive features and the state, None at first, to probabilities (T,) and the new state."""


def network_of(model: object) -> HearsSpeech | None:
    """The network that a model brings along, so that one runtime serves for both; None for torch's."""
    network: HearsSpeech | None = getattr(model, "speech_network", None)
    return network


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
        network: computes probabilities; None takes torch's.
    """

    def __init__(
        self,
        config: VadConfig,
        *,
        undecided_s: float = UNDECIDED_S,
        network: HearsSpeech | None = None,
    ) -> None:
        self._level = None if config.level_db is None else 10 ** (config.level_db / 20)
        self._spans = SpeechSpans(
            threshold=config.threshold,
            min_speech_s=config.min_speech_s,
            min_silence_s=config.min_silence_s,
            pad_s=config.pad_s,
            undecided_s=undecided_s,
        )
        hiss_level = self._level or 0.0
        self._around, self._near = (SpeechProbabilities(hiss_level, network) for _ in range(2))
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
        network: computes them; None takes torch's.
    """

    def __init__(self, level: float = 0.0, network: HearsSpeech | None = None) -> None:
        self._level, self._network = np.float32(level), network
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
        network = self._network or _torch_network()
        padded = np.concatenate([self._before, wave_S, np.zeros(-len(wave_S) % FRAME, dtype=np.float32)])
        self._before = padded[-CONTEXT:]
        frames_TS = _frames(padded)
        if gain_T is not None:
            frames_TS = frames_TS * gain_T.astype(np.float32)[:, None]
        if self._level:
            frames_TS = frames_TS + _frames(self._level * hiss(len(padded)))
        features = network.features(frames_TS)
        result = np.zeros(len(frames_TS), dtype=np.float32)
        for begin, end, deaf in _stretches(
            np.zeros(len(frames_TS), dtype=bool) if ignored_T is None else ignored_T
        ):
            if deaf:
                self._state = None
            else:
                result[begin:end], self._state = network.probabilities(features[begin:end], self._state)
        return result


def _torch_network() -> HearsSpeech:
    from sdpn.diarization.silero import silero_network  # torch is needed where no other network is given

    return silero_network()


def _frames(padded: np.ndarray) -> np.ndarray:
    """Frames (T, 576) of samples that begin with the context of the first."""
    frames: np.ndarray = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + FRAME)[::FRAME]
    return frames


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
