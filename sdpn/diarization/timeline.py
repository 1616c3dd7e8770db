"""Speaker turns from labelled windows.

Shapes: N windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sdpn.diarization.speech import Segment
from sdpn.diarization.windows import Windows


class LabelledSpan(NamedTuple):
    """A stretch of one speaker, in seconds; ``label`` is the clusterer's number for the speaker."""

    start_s: float
    end_s: float
    label: int


def label_speech(
    speech: Sequence[Segment], windows: Windows, labels_N: np.ndarray, *, max_pause_s: float
) -> list[LabelledSpan]:
    """Assign all speech to the speakers of its windows.

    Within a segment, overlapping windows are split halfway; the first is extended to the segment's start and
    the last to its end. Every moment of speech gets exactly one speaker.

    Args:
        speech: segments in order of time.
        windows: from `sdpn.diarization.windows.sliding_windows` over ``speech``.
        labels_N: speaker of each window.
        max_pause_s: a pause of at most this, with the same speaker before and after, is bridged; apart from
            that, spans lie within speech.

    Returns:
        disjoint spans in order of time; two that touch have different labels.
    """
    if not speech:
        return []
    start_M, end_M = np.array(speech, dtype=np.float64).T
    starts_N, ends_N = start_M[windows.segment_N], end_M[windows.segment_N]
    same_segment = windows.segment_N[1:] == windows.segment_N[:-1]
    meet = (windows.times_N2[:-1, 1] + windows.times_N2[1:, 0]) / 2
    ends_N[:-1][same_segment] = meet[same_segment]
    starts_N[1:][same_segment] = meet[same_segment]

    # a span starts wherever the speaker changes or the pause is too long; rounding is no pause
    pause_long = starts_N[1:] - ends_N[:-1] > max_pause_s + 1e-9
    is_first = np.concatenate([[True], (labels_N[1:] != labels_N[:-1]) | pause_long])
    first = np.flatnonzero(is_first)
    last = np.append(first[1:], len(labels_N)) - 1
    return [
        LabelledSpan(float(start_s), float(end_s), int(label))
        for start_s, end_s, label in zip(starts_N[first], ends_N[last], labels_N[first], strict=True)
    ]
