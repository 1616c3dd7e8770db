"""Spans of turns, against labels of small steps of time."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sdpn.streaming.live_turns import LiveTurns

STEPS = 60


def frames(turns: LiveTurns) -> list[int]:
    labels = [-1] * STEPS
    for span in turns.spans:
        for step in range(round(span.start_s), round(span.end_s)):
            assert labels[step] == -1
            labels[step] = span.label
    return labels


@given(
    spoken=st.lists(st.integers(-1, 2), min_size=STEPS, max_size=STEPS),
    changes=st.lists(
        st.tuples(st.integers(0, STEPS), st.integers(0, STEPS), st.integers(0, 3), st.integers(0, 3)),
        max_size=6,
    ),
)
def test_relabelling(spoken: list[int], changes: list[tuple[int, int, int, int]]) -> None:
    turns = LiveTurns(max_pause_s=0.0)
    expected = list(spoken)
    for step, label in enumerate(spoken):
        if label >= 0:
            turns.add(step, step + 1, label)
    assert frames(turns) == expected
    for first, last, was, now in changes:
        seconds = turns.relabel(first, last, was, now)
        changed = [step for step in range(first, last) if expected[step] == was]
        assert seconds == len(changed)
        for step in changed:
            expected[step] = now
        assert frames(turns) == expected
        of_time = [label for label in dict.fromkeys(expected[first:last]) if label >= 0]
        assert turns.labels_between(first, last) == of_time


def test_short_pauses_are_bridged_and_the_past_is_forgotten() -> None:
    turns = LiveTurns(max_pause_s=0.3)
    for start_s, end_s, label in ((0.0, 1.0, 0), (1.3, 2.0, 0), (2.4, 3.0, 0), (3.0, 4.0, 1)):
        turns.add(start_s, end_s, label)
    assert [tuple(span) for span in turns.spans] == [(0.0, 2.0, 0), (2.4, 3.0, 0), (3.0, 4.0, 1)]
    turns.forget(3.0)
    assert np.array(turns.spans).tolist() == [[3.0, 4.0, 1.0]]
