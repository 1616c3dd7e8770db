"""What is kept of a stream for the final pass: speech, windows and their embeddings, of the last day or so.

Shapes: N windows, D embedding dimensions.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from sdpn.diarization.speech import Segment
from sdpn.diarization.windows import Windows

#: Windows that are kept and forgotten together.
_BLOCK = 1024


class KeptWindows:
    """The latest windows, at most about ``most``, and the segments of speech that they cover.

    Args:
        most: number of windows: 115,200 are a day of uninterrupted speech, 88 MB of 192 dimensions.
    """

    def __init__(self, most: int) -> None:
        self._most = max(1, -(-most // _BLOCK))
        self._times: deque[np.ndarray] = deque()
        self._segments_of: deque[np.ndarray] = deque()
        self._embeddings: deque[np.ndarray] = deque()
        self._filled = _BLOCK  # rows of the last block
        self._segments: deque[Segment] = deque()
        self._num_forgotten = 0  # segments

    @property
    def has_forgotten(self) -> bool:
        """Whether the beginning of the stream is no longer there."""
        return self._num_forgotten > 0

    @property
    def start_s(self) -> float:
        """The stream is kept from here on."""
        return float(self._times[0][0, 0]) if self.has_forgotten and self._times else 0.0

    def add_segment(self, segment: Segment) -> None:
        """Keep a segment, in order of time."""
        self._segments.append(segment)

    def add_window(self, start_s: float, end_s: float, segment: int, embedding_D: np.ndarray) -> bool:
        """Keep a window, in order of time.

        Args:
            start_s: its start.
            end_s: its end.
            segment: its segment, counted from the first of the stream.
            embedding_D: its embedding.

        Returns:
            whether older windows were forgotten for it.
        """
        forgets = False
        if self._filled == _BLOCK:
            forgets = len(self._times) == self._most
            if forgets:
                for column in (self._times, self._segments_of, self._embeddings):
                    column.popleft()
                first = int(self._segments_of[0][0]) if self._segments_of else segment
                while self._segments and self._num_forgotten < first:
                    self._segments.popleft()
                    self._num_forgotten += 1
            self._times.append(np.zeros((_BLOCK, 2)))
            self._segments_of.append(np.zeros(_BLOCK, dtype=np.int64))
            self._embeddings.append(np.zeros((_BLOCK, len(embedding_D)), dtype=np.float32))
            self._filled = 0
        self._times[-1][self._filled] = start_s, end_s
        self._segments_of[-1][self._filled] = segment
        self._embeddings[-1][self._filled] = embedding_D
        self._filled += 1
        return forgets

    def recalled(self) -> tuple[list[Segment], Windows, np.ndarray]:
        """Segments, windows and embeddings (N, D)."""
        if not self._times:
            return (
                [],
                Windows(times_N2=np.zeros((0, 2)), segment_N=np.zeros(0, dtype=np.int64)),
                np.zeros((0, 0)),
            )
        count = _BLOCK * (len(self._times) - 1) + self._filled
        times_N2, segment_N, emb_ND = (
            np.concatenate(column)[:count] for column in (self._times, self._segments_of, self._embeddings)
        )
        segments = list(self._segments)
        if self.has_forgotten:  # of the first segment, some windows may be forgotten
            segments[0] = Segment(max(segments[0].start_s, float(times_N2[0, 0])), segments[0].end_s)
        return segments, Windows(times_N2=times_N2, segment_N=segment_N - self._num_forgotten), emb_ND
