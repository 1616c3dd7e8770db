"""Labelled windows to turns, by hand and for any labels."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpn.diarization.speech import Segment, union
from sdpn.diarization.timeline import label_speech
from sdpn.diarization.windows import Windows, sliding_windows


def label(
    speech: list[tuple[float, float]], labels: list[int], *, max_pause_s: float = 0.0
) -> list[tuple[float, float, int]]:
    segments = [Segment(*span) for span in speech]
    windows = sliding_windows(segments, window_s=1.5, hop_s=0.75, min_window_s=0.75, duration_s=100.0)
    return [
        (round(start_s, 9), round(end_s, 9), number)
        for start_s, end_s, number in label_speech(
            segments, windows, np.array(labels), max_pause_s=max_pause_s
        )
    ]


def test_overlapping_windows_meet_halfway() -> None:
    """Windows 0-1.5, 0.75-2.25, 1.5-3 overlap from 0.75 to 1.5 and from 1.5 to 2.25."""
    assert label([(0, 3)], [0, 1, 0]) == [(0, 1.125, 0), (1.125, 1.875, 1), (1.875, 3, 0)]
    assert label([(0, 3)], [0, 0, 1]) == [(0, 1.875, 0), (1.875, 3, 1)]


def test_a_segment_keeps_to_its_own_windows() -> None:
    """A short word next to a long stretch has a window that reaches into it, and still only labels itself."""
    assert label([(0, 1.5), (1.6, 1.7)], [0, 1]) == [(0, 1.5, 0), (1.6, 1.7, 1)]


@pytest.mark.parametrize(
    ("max_pause_s", "expected"),
    [
        (0.0, [(0, 1, 0), (1.3, 2, 0), (2.3, 3, 1), (3.2, 4, 0)]),
        (0.3, [(0, 2, 0), (2.3, 3, 1), (3.2, 4, 0)]),
    ],
)
def test_only_a_pause_of_one_speaker_is_bridged(max_pause_s: float, expected: list) -> None:
    assert label([(0, 1), (1.3, 2), (2.3, 3), (3.2, 4)], [0, 0, 1, 0], max_pause_s=max_pause_s) == expected


def test_a_longer_pause_ends_the_turn() -> None:
    assert label([(0, 1), (1.31, 2)], [0, 0], max_pause_s=0.3) == [(0, 1, 0), (1.31, 2, 0)]


def test_no_speech_no_turns() -> None:
    nothing = Windows(times_N2=np.zeros((0, 2)), segment_N=np.zeros(0, dtype=np.int64))
    assert label_speech([], nothing, np.zeros(0, dtype=np.int64), max_pause_s=0.3) == []


@given(data=st.data())
def test_without_bridging_the_turns_are_exactly_the_speech(data: st.DataObject) -> None:
    bounds = data.draw(st.lists(st.integers(0, 3000), min_size=2, max_size=16, unique=True).map(sorted))
    speech = union(
        ((a / 100, b / 100) for a, b in zip(bounds[::2], bounds[1::2], strict=False)), duration_s=30.0
    )
    windows = sliding_windows(speech, window_s=1.5, hop_s=0.75, min_window_s=0.75, duration_s=30.0)
    count = len(windows.segment_N)
    labels = np.array(data.draw(st.lists(st.integers(0, 2), min_size=count, max_size=count)))
    spans = label_speech(speech, windows, labels, max_pause_s=0.0)
    assert all(span.end_s > span.start_s for span in spans)
    assert all(before.end_s <= after.start_s for before, after in pairwise(spans))
    covered = union(((span.start_s, span.end_s) for span in spans), duration_s=30.0)
    np.testing.assert_allclose(covered, speech, atol=1e-9)
    assert {span.label for span in spans} == set(labels.tolist())
