"""A local segmentation network over a recording of any length: who speaks in each frame of each window.

The network tells a few speakers apart within seconds of audio, also where two speak at the same time; it
numbers them anew in each window. Windows overlap, and see the samples at one level.

Shapes: B batch, S samples, C windows, T frames of a window, L local speakers, F frames of the recording,
M 1, 2, ... speakers at the same time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from sdpn.diarization.level import hiss
from sdpn.io.audio import RATE_HZ

#: RMS that every window is brought to, -20 dB relative to full scale.
_LEVEL = 10 ** (-20 / 20)

#: Windows in a batch: more are no faster on a CPU.
_AT_ONCE = 8


class SegmentsSpeech(Protocol):
    """The network's interface, that of `sdpn.models.segmenter.Segmenter`."""

    @property
    def num_speakers(self) -> int:
        """Local speakers L."""

    @property
    def max_together(self) -> int:
        """Speakers at the same time, M at most."""

    @property
    def window_samples(self) -> int:
        """Length of a window."""

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""

    @property
    def frame_samples(self) -> int:
        """Samples that a frame is about; the first frame starts with the window."""

    def activities(self, wave_BS: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities of each local speaker (B, T, L), and of at least 1, 2, ... speakers (B, T, M)."""


@dataclass(frozen=True, kw_only=True)
class SegmentationConfig:
    """Settings of the local segmentation; they have no effect without a segmentation network.

    Attributes:
        step_s: from one window of the network to the next, at most a whole window.
        speech: who decides what is speech: the ``detector`` (silero-vad), the ``segmentation``, ``either`` of
            them, or only ``both`` together.
        speech_threshold: probability of speech from which the segmentation starts a segment.
        overlap_threshold: probability that two speak from which there is a second speaker.
        max_overlap: windows with a larger share of overlap are not clustered: they get the speaker that they
            resemble most.
        trust: weight of the window's speaker against the network's local one, 0 for the latter alone.
        min_turn_s: shorter turns are dropped.
    """

    step_s: float = 5.0
    speech: Literal["segmentation", "detector", "either", "both"] = "segmentation"
    speech_threshold: float = 0.5
    overlap_threshold: float = 0.4
    max_overlap: float = 0.5
    trust: float = 1.0
    min_turn_s: float = 0.0

    def __post_init__(self) -> None:
        if not 0.1 <= self.step_s < float("inf"):
            raise ValueError(f"step_s is {self.step_s}; expected at least 0.1 s")
        for name in ("speech_threshold", "overlap_threshold"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a probability above 0")
        if not 0.0 <= self.max_overlap <= 1.0:
            raise ValueError(f"max_overlap is {self.max_overlap}; expected a share, 0 to 1")
        for name in ("trust", "min_turn_s"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 0")


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalSpeech:
    """What a local segmentation network heard in a recording. Probabilities are stored in 255ths.

    Attributes:
        start_C: first frame of each window, ascending.
        active: for each window, the probability that each local speaker speaks, (T, L) uint8.
        together_FM: the probability that at least 1, 2, ... speak, (F, M) uint8, averaged over windows.
        hop_s: from one frame to the next.
        first_s: centre of the first frame.
    """

    start_C: np.ndarray
    active: list[np.ndarray]
    together_FM: np.ndarray
    hop_s: float
    first_s: float

    def edges(self, duration_s: float) -> np.ndarray:
        """Where the frames meet, in seconds, (F + 1,); the outer ones are those of the recording."""
        edges = (np.arange(len(self.together_FM) + 1) - 0.5) * self.hop_s + self.first_s
        edges[0], edges[-1] = 0.0, duration_s
        return np.minimum(edges, duration_s)


def window_weights(num_frames: int) -> np.ndarray:
    """Weights (T,) of a window's frames where windows overlap: its edges lack context."""
    return np.hamming(num_frames).astype(np.float32)


class OverlapAdd:
    """Weighted means over overlapping windows, for one frame after another.

    Args:
        width: numbers for each frame.
    """

    def __init__(self, width: int) -> None:
        self._at = 0  # first frame that is not final
        self._sum = np.zeros((0, width), dtype=np.float32)
        self._weight = np.zeros((0, 1), dtype=np.float32)

    def until(self, start: int) -> np.ndarray:
        """The means of the frames before ``start`` that were not returned yet."""
        count = min(start - self._at, len(self._sum))
        done = self._sum[:count] / self._weight[:count]
        self._sum, self._weight, self._at = self._sum[count:], self._weight[count:], self._at + count
        return done

    def add(self, start: int, values_TW: np.ndarray) -> None:
        """Add a window from a frame on, no earlier than that of any `until` before."""
        end = start - self._at + len(values_TW)
        missing = max(0, end - len(self._sum))
        self._sum = np.pad(self._sum, ((0, missing), (0, 0)))
        self._weight = np.pad(self._weight, ((0, missing), (0, 0)))
        weights_T1 = window_weights(len(values_TW))[:, None]
        self._sum[start - self._at : end] += weights_T1 * values_TW
        self._weight[start - self._at : end] += weights_T1

    def rest(self) -> np.ndarray:
        """The means of all other frames."""
        return self.until(self._at + len(self._sum))


class LocalSegmentation:
    """Runs a segmentation network over the consecutive samples of one recording.

    Memory holds a few windows of samples, and the probabilities: 1.7 MB for an hour at a step of 5 s.

    Args:
        segmenter: the network.
        config: the settings.
    """

    def __init__(self, segmenter: SegmentsSpeech, config: SegmentationConfig) -> None:
        self._segmenter = segmenter
        self._hop = segmenter.hop_samples
        longest = self._segmenter_frames(segmenter.window_samples)  # so that every frame is in a window
        self._step = max(1, min(longest, round(config.step_s * RATE_HZ / self._hop)))
        self._samples = np.zeros(0, dtype=np.float32)  # from the first sample of the next window on
        self._num_samples = 0
        self._next = 0  # first frame of the next window
        self._starts: list[int] = []
        self._active: list[np.ndarray] = []
        self._mean = OverlapAdd(segmenter.max_together)
        self._together: list[np.ndarray] = []
        self.num_decided = 0

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return self._hop

    @property
    def first_sample(self) -> float:
        """Centre of the first frame."""
        return self._segmenter.frame_samples / 2

    def push(self, wave_S: np.ndarray) -> None:
        """Add the next samples."""
        self._num_samples += len(wave_S)
        self._samples = np.concatenate([self._samples, wave_S])
        size, step, ready = self._ready()
        for begin in range(0, ready - ready % _AT_ONCE, _AT_ONCE):
            self._run([(begin + number) * step for number in range(_AT_ONCE)], size)
        self._forget((ready - ready % _AT_ONCE) * self._step)

    def finish(self) -> LocalSpeech:
        """End the recording."""
        size, step, ready = self._ready()
        if ready:
            self._run([number * step for number in range(ready)], size)
        # one more window ends with the recording; in a short recording, it is the only one
        covered = self._starts[-1] * self._hop + size if self._starts else 0
        if covered < self._num_samples:
            last = max(0, (self._num_samples - size) // self._hop)
            if not self._starts or last > self._starts[-1]:
                self._run([(last - self._next) * self._hop], size)
        self._together.append(_bytes(self._mean.rest()))
        together_FM = np.concatenate(self._together)
        missing = -(-self._num_samples // self._hop) - len(together_FM)
        if len(together_FM):  # the last frames have no centre within a window
            together_FM = np.pad(together_FM, ((0, max(0, missing)), (0, 0)), mode="edge")
        else:
            together_FM = np.zeros((max(0, missing), self._segmenter.max_together), dtype=np.uint8)
        self._together, self.num_decided = [together_FM], len(together_FM)
        return LocalSpeech(
            start_C=np.array(self._starts, dtype=np.int64),
            active=self._active,
            together_FM=together_FM,
            hop_s=self._hop / RATE_HZ,
            first_s=self.first_sample / RATE_HZ,
        )

    def speech(self, frames: np.ndarray) -> np.ndarray:
        """Probability of speech in frames, all of them below ``num_decided``."""
        if len(self._together) > 1:
            self._together = [np.concatenate(self._together)]
        return self._together[0][frames, 0].astype(np.float32) / 255

    def _ready(self) -> tuple[int, int, int]:
        """Samples of a window and from one to the next, and how many windows the kept samples fill."""
        size, step = self._segmenter.window_samples, self._step * self._hop
        return size, step, max(0, (len(self._samples) - size) // step + 1)

    def _run(self, offsets: list[int], size: int) -> None:
        """Run the network on windows that start at offsets in the kept samples."""
        wave_BS = np.stack([at_level(self._samples[offset : offset + size]) for offset in offsets])
        if self._segmenter_frames(wave_BS.shape[1]) == 0:
            return
        active_BTL, together_BTM = self._segmenter.activities(wave_BS)
        for offset, active_TL, together_TM in zip(offsets, active_BTL, together_BTM, strict=True):
            start = self._next + offset // self._hop
            self._together.append(_bytes(self._mean.until(start)))
            self._mean.add(start, together_TM)
            self._starts.append(start)
            self._active.append(_bytes(active_TL))
            self.num_decided = start

    def _segmenter_frames(self, num_samples: int) -> int:
        return max(0, (num_samples - self._segmenter.frame_samples) // self._hop + 1)

    def _forget(self, num_frames: int) -> None:
        self._samples = self._samples[num_frames * self._hop :]
        self._next += num_frames


def at_level(wave_S: np.ndarray) -> np.ndarray:
    """Samples at a fixed level, with the hiss that hides the rounding of the file."""
    exact_S = wave_S.astype(np.float64)
    rms = float(np.sqrt(exact_S @ exact_S / max(len(wave_S), 1)))
    scaled_S = wave_S * np.float32(_LEVEL / rms) if rms > 0 else wave_S
    return scaled_S + np.float32(_LEVEL) * hiss(len(wave_S))


def _bytes(probabilities: np.ndarray) -> np.ndarray:
    return np.round(255 * probabilities).astype(np.uint8)
