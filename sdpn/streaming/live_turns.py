"""The turns of a stream as they stand: spans of one speaker, extended, cut and relabelled."""

from __future__ import annotations

from bisect import bisect_right

from sdpn.diarization.timeline import LabelledSpan


class LiveTurns:
    """Disjoint spans in order of time; those of one speaker that follow each other closely are one.

    Args:
        max_pause_s: longest pause within a span.
    """

    def __init__(self, *, max_pause_s: float) -> None:
        self._max_pause_s = max_pause_s
        self._starts: list[float] = []
        self._ends: list[float] = []
        self._labels: list[int] = []

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def spans(self) -> list[LabelledSpan]:
        """All of them."""
        return list(map(LabelledSpan, self._starts, self._ends, self._labels))

    def add(self, start_s: float, end_s: float, label: int) -> None:
        """Add a span behind all others."""
        if self._labels and self._joins(len(self._labels) - 1, label, start_s):
            self._ends[-1] = end_s
        else:
            self._starts.append(start_s)
            self._ends.append(end_s)
            self._labels.append(label)

    def relabel(self, start_s: float, end_s: float, was: int, now: int) -> float:
        """Give what is one speaker's, between two times, to another; returns how many seconds that were."""
        first = max(0, bisect_right(self._starts, start_s) - 1)
        last = bisect_right(self._starts, end_s)
        pieces: list[LabelledSpan] = []
        changed_s = 0.0
        for at in range(first, last):
            begin, end, label = self._starts[at], self._ends[at], self._labels[at]
            inner_begin, inner_end = max(begin, start_s), min(end, end_s)
            if label != was or inner_end - inner_begin <= 1e-9:
                pieces.append(LabelledSpan(begin, end, label))
                continue
            changed_s += inner_end - inner_begin
            if inner_begin > begin:
                pieces.append(LabelledSpan(begin, inner_begin, label))
            pieces.append(LabelledSpan(inner_begin, inner_end, now))
            if inner_end < end:
                pieces.append(LabelledSpan(inner_end, end, label))
        if changed_s:
            behind = list(zip(self._starts[last:], self._ends[last:], self._labels[last:], strict=True))
            for column in (self._starts, self._ends, self._labels):
                del column[first:]
            for begin, end, label in (*pieces, *behind):
                self.add(begin, end, label)
        return changed_s

    def labels_between(self, start_s: float, end_s: float) -> list[int]:
        """The speakers between two times, each once."""
        first = max(0, bisect_right(self._starts, start_s) - 1)
        return list(
            dict.fromkeys(
                self._labels[at]
                for at in range(first, len(self._starts))
                if min(self._ends[at], end_s) - max(self._starts[at], start_s) > 1e-9
            )
        )

    def forget(self, before_s: float) -> None:
        """Forget what ended before a time."""
        count = bisect_right(self._ends, before_s)
        for column in (self._starts, self._ends, self._labels):
            del column[:count]

    def _joins(self, at: int, label: int, start_s: float) -> bool:
        return self._labels[at] == label and start_s - self._ends[at] <= self._max_pause_s + 1e-9
