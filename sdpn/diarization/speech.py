"""Speech segments regardless of speaker: from VAD or from a reference."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Segment(NamedTuple):
    """A stretch of speech, in seconds from the start of the recording."""

    start_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.end_s - self.start_s


def union(spans: Iterable[tuple[float, float]], *, duration_s: float) -> list[Segment]:
    """Merge spans that overlap or touch, and cut them at the ends of the recording.

    Args:
        spans: (start, end) in seconds, in any order, possibly overlapping.
        duration_s: length of the recording.

    Returns:
        disjoint segments in order of time, none of them empty.
    """
    merged: list[Segment] = []
    for start_s, end_s in sorted(spans):
        start_s, end_s = max(start_s, 0.0), min(end_s, duration_s)
        if end_s <= start_s:
            continue
        if merged and start_s <= merged[-1].end_s:
            merged[-1] = Segment(merged[-1].start_s, max(merged[-1].end_s, end_s))
        else:
            merged.append(Segment(start_s, end_s))
    return merged
