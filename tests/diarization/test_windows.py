"""Windows by hand, and what must hold for any speech."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpn.diarization.speech import Segment, union
from sdpn.diarization.windows import WindowPlanner, Windows, concatenate_windows, sliding_windows, windows_at

DURATION_S = 60.0


def windows(*spans: tuple[float, float], min_window_s: float = 0.0) -> Windows:
    return sliding_windows(
        [Segment(*span) for span in spans],
        window_s=1.5,
        hop_s=0.75,
        min_window_s=min_window_s,
        duration_s=DURATION_S,
    )


def test_a_segment_of_whole_hops_needs_no_extra_window() -> None:
    np.testing.assert_allclose(windows((10, 13)).times_N2, [[10, 11.5], [10.75, 12.25], [11.5, 13]])


def test_the_last_window_ends_with_the_segment() -> None:
    np.testing.assert_allclose(windows((0, 2)).times_N2, [[0, 1.5], [0.5, 2]])
    np.testing.assert_allclose(windows((0, 2.35)).times_N2, [[0, 1.5], [0.75, 2.25], [0.85, 2.35]])


def test_a_segment_up_to_a_window_is_one_window() -> None:
    np.testing.assert_allclose(windows((1, 2.5), (4, 4.2)).times_N2, [[1, 2.5], [4, 4.2]])


def test_windows_know_their_segment() -> None:
    assert windows((0, 1), (2, 5), (6, 8)).segment_N.tolist() == [0, 1, 1, 1, 2, 2]


def test_short_speech_borrows_context_on_both_sides_as_far_as_the_recording_goes() -> None:
    found = windows((0.0, 0.2), (30.0, 30.25), (59.9, 60.0), (40.0, 41.0), min_window_s=0.75)
    np.testing.assert_allclose(found.times_N2, [[0, 0.475], [29.75, 30.5], [59.575, 60], [40, 41]])


def test_no_speech_no_windows() -> None:
    assert windows().times_N2.shape == (0, 2)


@given(
    starts=st.lists(st.floats(0, 55), min_size=1, max_size=8),
    lengths=st.lists(st.floats(0.01, 9.0), min_size=8, max_size=8),
    window_s=st.floats(0.5, 3.0),
    hop_share=st.floats(0.1, 1.0),
)
def test_all_speech_is_covered_by_bounded_windows_inside_the_recording(
    starts: list[float], lengths: list[float], window_s: float, hop_share: float
) -> None:
    speech = union(
        ((start, start + length) for start, length in zip(starts, lengths, strict=False)),
        duration_s=DURATION_S,
    )
    hop_s = window_s * hop_share
    found = sliding_windows(speech, window_s=window_s, hop_s=hop_s, min_window_s=0.3, duration_s=DURATION_S)
    begins, ends = found.times_N2.T
    assert (begins >= 0).all()
    assert (ends <= DURATION_S).all()
    assert (ends > begins).all()
    assert (ends - begins <= window_s + 1e-9).all()
    for index, segment in enumerate(speech):
        mine = found.times_N2[found.segment_N == index]
        assert mine[0, 0] <= segment.start_s + 1e-9
        assert mine[-1, 1] >= segment.end_s - 1e-9
        assert (np.diff(mine[:, 0]) <= hop_s + 1e-5).all()
        assert (np.diff(mine[:, 0]) > 0).all()


def test_windows_that_are_given_cover_their_speech() -> None:
    """Overlapping and touching windows are of one segment; a gap of 0.1 s begins another."""
    times = np.array([[0.0, 1.5], [0.75, 2.25], [2.25, 3.0], [3.1, 4.0]])
    speech, found = windows_at(times)
    assert speech == [(0.0, 3.0), (3.1, 4.0)]
    assert found.segment_N.tolist() == [0, 0, 0, 1]
    np.testing.assert_array_equal(found.times_N2, times)
    for wrong in ([[1.0, 2.0], [0.5, 2.5]], [[0.0, 3.0], [1.0, 2.0]]):
        with pytest.raises(ValueError, match="out of order, or one lies within another"):
            windows_at(np.array(wrong))


@given(data=st.data())
def test_windows_come_while_the_speech_goes_on(data: st.DataObject) -> None:
    """Whatever is known of the segments when, the windows are in the end those of all of them together."""
    bounds = data.draw(st.lists(st.integers(0, 3000), min_size=2, max_size=12, unique=True).map(sorted))
    speech = [Segment(a / 100, b / 100) for a, b in zip(bounds[::2], bounds[1::2], strict=False)]
    settings = {"window_s": 1.5, "hop_s": 0.75, "min_window_s": 0.5}
    planner = WindowPlanner(**settings)
    parts = []
    waiting: list[Segment] = []
    for segment in speech:
        for end_s in data.draw(st.lists(st.floats(segment.start_s, segment.end_s), max_size=3).map(sorted)):
            parts.append(planner.push(waiting, Segment(segment.start_s, end_s)))
            assert (parts[-1].times_N2[:, 1] <= max([end_s, *(each.end_s + 0.25 for each in waiting)])).all()
            waiting = []
        waiting.append(segment)
    parts.append(planner.push(waiting, None))
    expected = sliding_windows(speech, **settings, duration_s=float("inf"))
    np.testing.assert_array_equal(concatenate_windows(parts).times_N2, expected.times_N2)
    np.testing.assert_array_equal(concatenate_windows(parts).segment_N, expected.segment_N)
