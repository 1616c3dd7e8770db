"""sdpn.metrics.speaker_states: the sums by hand, and the time that a day of speech takes."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest

from sdpn.io.rttm import Turn, merge_overlaps
from sdpn.metrics.diarization import score_recordings
from sdpn.metrics.speaker_states import SpeakerStates, speaker_states


def turn(start_s: float, end_s: float, speaker: str) -> Turn:
    return Turn("r", start_s, end_s - start_s, speaker)


REFERENCE = [turn(0, 4, "A"), turn(3, 6, "B"), turn(8, 10, "A")]
HYPOTHESIS = [turn(1, 5, "x"), turn(9, 12, "x")]


def durations(states: SpeakerStates) -> dict[tuple[str, str], float]:
    return {
        (
            "".join(np.array(["A", "B"])[row_r[:2]]) if row_r.any() else "",
            "x" if row_h.any() else "",
        ): float(duration_s)
        for row_r, row_h, duration_s in zip(
            states.reference, states.hypothesis, states.duration_s, strict=True
        )
    }


def test_every_combination_has_its_time() -> None:
    states = speaker_states(REFERENCE, HYPOTHESIS)
    assert durations(states) == {
        ("A", ""): 1 + 1,
        ("A", "x"): 2 + 1,
        ("AB", "x"): 1,
        ("B", "x"): 1,
        ("B", ""): 1,
        ("", "x"): 2,
    }
    assert states.reference_s.tolist() == [6, 3]
    assert states.hypothesis_s.tolist() == [7]
    assert states.cooccurrence_s.tolist() == [[4], [2]]
    assert durations(states.without_overlap()).keys() == durations(states).keys() - {("AB", "x")}


def test_regions_and_collars_cut() -> None:
    # overlapping regions count once; nothing outside counts
    states = speaker_states(REFERENCE, HYPOTHESIS, regions=[(2, 5), (2.5, 3.5), (11, 20)])
    assert durations(states) == {("A", "x"): 1, ("AB", "x"): 1, ("B", "x"): 1, ("", "x"): 1}
    # half a second on each side of 0, 3, 4, 6, 8 and 10; the hypothesis's boundaries have no collar
    states = speaker_states(REFERENCE, HYPOTHESIS, collar_s=0.5)
    assert durations(states) == {
        ("A", ""): 0.5 + 0.5,
        ("A", "x"): 1.5 + 0.5,
        ("B", "x"): 0.5,
        ("B", ""): 0.5,
        ("", "x"): 1.5,
    }


def test_no_speaker_and_many() -> None:
    nothing = speaker_states([], [])
    assert nothing.reference.shape == nothing.hypothesis.shape == (0, 0)
    assert nothing.cooccurrence_s.shape == (0, 0)
    # more speakers than the bits of a machine word
    crowd = [turn(at, at + 1.5, f"s{at}") for at in range(100)]
    states = speaker_states(crowd, crowd[:1])
    assert states.reference_s == pytest.approx(np.full(100, 1.5))
    assert states.reference.sum(axis=1).max() == 2
    assert states.cooccurrence_s[:2, 0].tolist() == pytest.approx([1.5, 0.5])


def test_thirty_thousand_turns_take_seconds() -> None:
    # pairwise intersection, n², would take half an hour
    rng = random.Random(0)
    turns, onset_s = [], 0.0
    for _ in range(30_000):
        onset_s += rng.uniform(0, 1)
        turns.append(turn(onset_s, onset_s + rng.uniform(0.1, 3), f"s{rng.randrange(20)}"))
    started = time.perf_counter()
    (score,) = score_recordings({"r": turns}, {"r": turns})
    assert time.perf_counter() - started < 10
    assert score.components.error_s == 0
    merged = merge_overlaps(sorted(turns))
    assert score.components.total_s == pytest.approx(sum(each.duration_s for each in merged))
    assert score.num_merged_reference == len(turns) - len(merged) > 0
