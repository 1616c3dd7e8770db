"""Mean embeddings of the speakers of a recording."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sdpn.diarization.speakers import seconds_within, speaker_embeddings
from sdpn.io.rttm import Turn

edges = st.lists(st.integers(0, 400), min_size=2, max_size=12, unique=True).map(sorted)


@given(edges=edges, windows=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 60)), max_size=9))
def test_seconds_within_spans(edges: list[int], windows: list[tuple[int, int]]) -> None:
    spans = list(zip(edges[::2], edges[1::2], strict=False))
    times_N2 = np.array([(start, start + length) for start, length in windows], dtype=float).reshape(-1, 2)
    by_hand = [
        sum(any(start <= t < end for start, end in spans) for t in range(int(first), int(last)))
        for first, last in times_N2
    ]
    np.testing.assert_allclose(seconds_within(times_N2, np.array(spans, dtype=float)), by_hand)


def test_windows_count_by_the_seconds_in_the_turns() -> None:
    times_N2 = np.array([[0.0, 2.0], [1.0, 3.0], [5.0, 7.0]])
    emb_ND = np.array([[2.0, 0.0], [0.0, 3.0], [0.0, 1.0]])
    turns = [Turn("m", 1.0, 2.0, "A"), Turn("m", 6.0, 1.0, "B"), Turn("m", 9.0, 1.0, "C")]
    found = speaker_embeddings(times_N2, emb_ND, turns)
    assert list(found) == ["A", "B"]  # no window meets C
    np.testing.assert_allclose(found["A"], [2.0 / 3, 3.0 * 2 / 3], rtol=1e-6)  # 1 s and 2 s
    np.testing.assert_allclose(found["B"], [0.0, 1.0])
    assert speaker_embeddings(times_N2[:0], emb_ND[:0], []) == {}
