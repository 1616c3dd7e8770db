"""Streaming conversion of frame probabilities to speech segments.

The rules are those of silero-vad's ``get_speech_timestamps_from_probs``, which needs the whole recording:
speech starts where the probability reaches a threshold and ends where it falls 0.15 below for long enough.
"""

from __future__ import annotations

from collections.abc import Iterable

from sdpn.diarization.level import FRAME
from sdpn.diarization.speech import Segment
from sdpn.io.audio import RATE_HZ

#: Hysteresis: difference between the thresholds for start and end of speech, and minimum of the latter.
_HYSTERESIS, _LEAST = 0.15, 0.01

#: Probabilities may stay between the two thresholds indefinitely. After this time, in seconds, speech ends
#: where they fell below the upper one. This only difference from silero-vad bounds memory.
UNDECIDED_S = 30.0


class SpeechSpans:
    """Converts the probabilities of consecutive frames to speech segments.

    Args:
        threshold: speech starts where the probability reaches this.
        min_speech_s: shorter speech is dropped.
        min_silence_s: shorter silence does not end a stretch of speech.
        pad_s: added to both ends of each stretch; two that would overlap split the silence between them.
        undecided_s: speech ends after this time between the two thresholds.
    """

    def __init__(
        self,
        *,
        threshold: float,
        min_speech_s: float,
        min_silence_s: float,
        pad_s: float,
        undecided_s: float = UNDECIDED_S,
    ) -> None:
        self._upper, self._lower = threshold, max(threshold - _HYSTERESIS, _LEAST)
        self._min_speech, self._min_silence = RATE_HZ * min_speech_s, RATE_HZ * min_silence_s
        self._pad, self._undecided = RATE_HZ * pad_s, RATE_HZ * undecided_s
        self._at = 0  # the next frame
        self._start: int | None = None  # of what may be speech
        self._sure = False  # it is long enough to be
        self._quiet_from: int | None = None  # where it may have ended
        self._padded = 0  # its padded start, once confirmed
        self._ended: tuple[int, int] | None = None  # the stretch before: padded start, and its bare end
        self._finished: list[Segment] = []

    def push(self, probabilities: Iterable[float]) -> list[Segment]:
        """Add the next frames; returns the stretches that are final."""
        for probability in probabilities:
            at = self._at
            self._at += FRAME
            if probability >= self._upper:
                self._quiet_from = None
                if self._start is None:
                    self._start = at
            elif self._start is not None and (self._quiet_from is not None or probability < self._lower):
                if self._quiet_from is None:
                    self._quiet_from = at
                quiet = at - self._quiet_from
                if (probability < self._lower and quiet >= self._min_silence) or (
                    quiet >= max(self._undecided, self._min_silence)
                ):
                    self._end(self._quiet_from)
                    continue
            if self._start is not None and not self._sure:
                self._grow(at if self._quiet_from is None else self._quiet_from)
        if (
            self._ended is not None
            and self._start is None
            and self._at - self._ended[1] >= 2 * self._pad + FRAME
        ):
            self._finish_ended(self._ended[1] + self._pad)
        return self._taken()

    def finish(self, num_samples: int) -> list[Segment]:
        """End the recording; returns the last stretches."""
        if self._start is not None:
            if not self._sure:
                self._grow(num_samples)
            if self._sure:
                self._ended = (self._padded, num_samples)
        if self._ended is not None:
            self._finish_ended(min(num_samples, self._ended[1] + self._pad))
        self._start = None
        self._at = num_samples
        return self._taken()

    @property
    def growing(self) -> Segment | None:
        """The stretch in progress: its start, which is final, and the earliest possible end."""
        if self._start is None or not self._sure:
            return None
        return Segment(self._padded / RATE_HZ, self._certain / RATE_HZ)

    @property
    def undecided_from_s(self) -> float:
        """Speech before this time, in seconds, is final."""
        marks = [self._at]
        if self._start is not None:
            marks.append(self._certain if self._sure else self._start)
        if self._ended is not None:
            marks.append(self._ended[1])
        return max(0.0, (min(marks) - self._pad) / RATE_HZ)

    @property
    def _certain(self) -> int:
        return self._at - FRAME if self._quiet_from is None else self._quiet_from

    def _grow(self, until: int) -> None:
        """Confirm the current stretch once it is long enough; this also fixes the end of the previous one."""
        assert self._start is not None
        if until - self._start <= self._min_speech:
            return
        self._sure = True
        self._padded = int(max(0, self._start - self._pad))
        if self._ended is not None:
            silence = self._start - self._ended[1]
            if silence < 2 * self._pad:
                self._padded = int(max(0, self._start - silence // 2))
                self._finish_ended(self._ended[1] + int(silence // 2))
            else:
                self._finish_ended(self._ended[1] + self._pad)

    def _end(self, end: int) -> None:
        if not self._sure:
            self._grow(end)
        if self._sure:
            self._ended = (self._padded, end)
        self._start, self._sure, self._quiet_from = None, False, None

    def _finish_ended(self, end: float) -> None:
        assert self._ended is not None
        segment = Segment(self._ended[0] / RATE_HZ, int(end) / RATE_HZ)
        self._ended = None
        if segment.duration_s > 0:
            self._finished.append(segment)

    def _taken(self) -> list[Segment]:
        finished, self._finished = self._finished, []
        return finished
