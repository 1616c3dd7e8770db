"""Sliding windows over the speech of a recording, the units of embedding.

Shapes: M segments, N windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sdpn.diarization.speech import Segment


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Windows in chronological order, and the speech segment that each belongs to.

    Attributes:
        times_N2: start and end in seconds.
        segment_N: index of the segment that the window covers.
    """

    times_N2: np.ndarray
    segment_N: np.ndarray


def windows_at(times_N2: np.ndarray) -> tuple[list[Segment], Windows]:
    """Windows at given times; speech is the time that they cover.

    Args:
        times_N2: start and end in seconds; starts ascend, and so do ends.

    Raises:
        ValueError: the windows are not ordered.
    """
    if (np.diff(times_N2, axis=0) < 0).any():
        raise ValueError("windows are out of order, or one lies within another")
    starts_N, ends_N = times_N2.T
    is_first = np.concatenate([[True], starts_N[1:] > ends_N[:-1]])
    first = np.flatnonzero(is_first)
    last = np.append(first[1:], len(times_N2)) - 1
    speech = [
        Segment(float(start_s), float(end_s))
        for start_s, end_s in zip(starts_N[first], ends_N[last], strict=True)
    ]
    return speech, Windows(times_N2=times_N2, segment_N=np.cumsum(is_first) - 1)


def sliding_windows(
    speech: Sequence[Segment],
    *,
    window_s: float,
    hop_s: float,
    min_window_s: float,
    duration_s: float,
) -> Windows:
    """Cover each segment with windows.

    In a segment longer than a window they start every ``hop_s``, and one more is aligned with the
    segment's end, so that all of it is covered. A shorter segment is one window. One shorter than
    ``min_window_s`` is extended on both sides, within the recording: an embedding of a few frames depends
    more on the phone than on the speaker.

    Args:
        speech: segments in seconds, in order of time.
        window_s: longest window.
        hop_s: from the start of one window to that of the next.
        min_window_s: shortest window, at most ``window_s``.
        duration_s: length of the recording.
    """
    if not speech:
        return Windows(times_N2=np.zeros((0, 2)), segment_N=np.zeros(0, dtype=np.int64))
    start_M, end_M = np.array(speech, dtype=np.float64).T
    # tolerates rounding errors of a millionth of a hop
    num_hops_M = np.ceil(np.maximum(end_M - start_M - window_s, 0.0) / hop_s - 1e-6).astype(np.int64)
    segment_N = np.repeat(np.arange(len(speech)), num_hops_M + 1)
    first_N = np.repeat(np.cumsum(num_hops_M + 1) - (num_hops_M + 1), num_hops_M + 1)
    hop_N = np.arange(len(segment_N)) - first_N
    last_start_M = np.maximum(end_M - window_s, start_M)
    starts_N = np.minimum(start_M[segment_N] + hop_s * hop_N, last_start_M[segment_N])
    ends_N = np.minimum(starts_N + window_s, end_M[segment_N])

    missing_N = np.maximum(min_window_s - (ends_N - starts_N), 0.0)
    return Windows(
        times_N2=np.stack(
            [np.maximum(starts_N - missing_N / 2, 0.0), np.minimum(ends_N + missing_N / 2, duration_s)],
            axis=1,
        ),
        segment_N=segment_N,
    )


def concatenate_windows(parts: Sequence[Windows]) -> Windows:
    """Concatenate consecutive parts of the windows of a recording."""
    return Windows(
        times_N2=np.concatenate([np.zeros((0, 2)), *(part.times_N2 for part in parts)]),
        segment_N=np.concatenate([np.zeros(0, dtype=np.int64), *(part.segment_N for part in parts)]),
    )


class WindowPlanner:
    """Yields the windows of `sliding_windows` while speech is still being detected.

    Args:
        window_s: see `sliding_windows`.
        hop_s: see `sliding_windows`.
        min_window_s: see `sliding_windows`.
    """

    def __init__(self, *, window_s: float, hop_s: float, min_window_s: float) -> None:
        self._settings = {"window_s": window_s, "hop_s": hop_s, "min_window_s": min_window_s}
        self._segment = 0  # the segment being covered
        self._given = 0  # number of its windows yielded so far

    @property
    def reach_s(self) -> float:
        """How far a window can start before the final part of the speech at that time, in seconds."""
        return self._settings["window_s"] + self._settings["min_window_s"]

    def push(self, finished: Sequence[Segment], growing: Segment | None) -> Windows:
        """The windows that have become final.

        Args:
            finished: the next segments in order of time; the first may be the one that was growing.
            growing: the segment in progress after those, up to where it is final; its start stays the same.

        Returns:
            the next windows. They may extend beyond the end of the recording while that is unknown.
        """
        times: list[np.ndarray] = [np.zeros((0, 2))]
        owners: list[int] = []
        for segment in [*finished, *([] if growing is None else [growing])]:
            windows_N2 = sliding_windows([segment], **self._settings, duration_s=float("inf")).times_N2
            if segment is growing:
                windows_N2 = windows_N2[:-1]  # all but the one that ends where the segment does
            times.append(windows_N2[self._given :])
            owners += [self._segment] * len(times[-1])
            if segment is growing:
                self._given = max(self._given, len(windows_N2))
            else:
                self._segment, self._given = self._segment + 1, 0
        return Windows(times_N2=np.concatenate(times), segment_N=np.array(owners, dtype=np.int64))
