"""What is kept for the final pass is bounded, and whole at its beginning."""

from __future__ import annotations

import numpy as np

from sdpn.diarization.speech import Segment
from sdpn.streaming.kept import KeptWindows


def filled(most: int, num: int) -> KeptWindows:
    """Segments of 3 s with three windows each; the embedding of a window is its number."""
    kept = KeptWindows(most)
    for number in range(num):
        segment, place = divmod(number, 3)
        start_s = 4.0 * segment + 0.75 * place
        kept.add_window(start_s, start_s + 1.5, segment, np.full(2, number, dtype=np.float32))
        if place == 2:
            kept.add_segment(Segment(4.0 * segment, 4.0 * segment + 3.0))
    return kept


def test_everything_is_kept_while_there_is_room() -> None:
    segments, windows, emb_ND = filled(3000, 2400).recalled()
    np.testing.assert_array_equal(emb_ND[:, 0], np.arange(2400))
    np.testing.assert_array_equal(windows.segment_N, np.arange(2400) // 3)
    assert (segments[0], len(segments)) == (Segment(0.0, 3.0), 800)
    assert not filled(3000, 2400).has_forgotten


def test_the_oldest_are_forgotten() -> None:
    kept = filled(2048, 30_000)
    segments, windows, emb_ND = kept.recalled()
    assert 1024 < len(emb_ND) <= 2048
    first = int(emb_ND[0, 0])
    np.testing.assert_array_equal(emb_ND[:, 0], np.arange(first, 30_000))
    assert kept.has_forgotten
    assert kept.start_s == windows.times_N2[0, 0] == segments[0].start_s
    assert len(segments) == windows.segment_N[-1] + 1
    start_M, end_M = np.array(segments).T
    assert (windows.times_N2[:, 0] >= start_M[windows.segment_N] - 1e-9).all()
    assert (windows.times_N2[:, 1] <= end_M[windows.segment_N] + 1e-9).all()


def test_nothing() -> None:
    segments, windows, emb_ND = KeptWindows(10).recalled()
    assert (segments, len(windows.times_N2), len(emb_ND)) == ([], 0, 0)
