"""Given speech, used instead of voice activity detection."""

from __future__ import annotations

from collections.abc import Iterable

from sdpn.diarization.level import Levelled
from sdpn.diarization.speech import Segment, union
from sdpn.io.audio import RATE_HZ


class GivenSpeech:
    """Returns the given speech chunk by chunk, with the interface of `sdpn.diarization.vad.SpeechDetector`.

    Args:
        spans: as for `union`.
    """

    def __init__(self, spans: Iterable[tuple[float, float]]) -> None:
        self._waiting = union(spans, duration_s=float("inf"))[::-1]
        self._num_samples = 0
        self._heard_s = 0.0

    def push(self, piece: Levelled) -> list[Segment]:
        """Note that the next chunk has been read; returns the segments that have ended."""
        self._num_samples += len(piece.wave_S)
        self._heard_s = self._num_samples / RATE_HZ
        heard_s = self._heard_s
        finished = []
        while self._waiting and self._waiting[-1].end_s <= heard_s:
            finished.append(self._waiting.pop())
        return finished

    def finish(self) -> list[Segment]:
        """End the recording, and with it the segment in progress."""
        growing, self._waiting = self.growing, []
        return [] if growing is None else [growing]

    @property
    def growing(self) -> Segment | None:
        """The segment in progress, up to the end of what has been read."""
        if not self._waiting or self._waiting[-1].start_s >= self._heard_s:
            return None
        return Segment(self._waiting[-1].start_s, self._heard_s)

    @property
    def undecided_from_s(self) -> float:
        """Speech before this time, in seconds, is final."""
        return self._heard_s
