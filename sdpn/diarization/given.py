"""Speech that is known beforehand, in the place of a detector."""

from __future__ import annotations

from collections.abc import Iterable

from sdpn.diarization.level import Levelled
from sdpn.diarization.speech import Segment, union
from sdpn.io.audio import RATE_HZ


class GivenSpeech:
    """Tells of it as the recording goes on, as `sdpn.diarization.vad.SpeechDetector` does.

    Args:
        spans: as for `union`.
    """

    def __init__(self, spans: Iterable[tuple[float, float]]) -> None:
        self._waiting = union(spans, duration_s=float("inf"))[::-1]
        self._num_samples = 0
        self._heard_s = 0.0

    def push(self, piece: Levelled) -> list[Segment]:
        """Say that the next chunk has been read; returns the segments that are over."""
        self._num_samples += len(piece.wave_S)
        self._heard_s = self._num_samples / RATE_HZ
        heard_s = self._heard_s
        finished = []
        while self._waiting and self._waiting[-1].end_s <= heard_s:
            finished.append(self._waiting.pop())
        return finished

    def finish(self) -> list[Segment]:
        """Say that the recording has ended, which ends the segment that goes on, too."""
        growing, self._waiting = self.growing, []
        return [] if growing is None else [growing]

    @property
    def growing(self) -> Segment | None:
        """The segment that is not over, up to where the recording has been heard."""
        if not self._waiting or self._waiting[-1].start_s >= self._heard_s:
            return None
        return Segment(self._waiting[-1].start_s, self._heard_s)

    @property
    def undecided_from_s(self) -> float:
        """What was speech before this is certain, in seconds."""
        return self._heard_s
