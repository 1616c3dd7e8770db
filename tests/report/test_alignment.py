"""Mapping of speakers, and error spans."""

from __future__ import annotations

import random
import warnings

import pytest
from pyannote.core import Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate

from sdpn.io.rttm import Turn, read_rttm, to_annotation
from sdpn.report.alignment import (
    CONFUSION,
    FALSE_ALARM,
    MISSED,
    ErrorSpan,
    align,
)


def _turns(*rows: tuple[float, float, str]) -> list[Turn]:
    return [Turn("r", start, end - start, speaker) for start, end, speaker in rows]


def test_lanes_pair_each_reference_speaker_with_the_hypothesis_speaker_of_most_overlap() -> None:
    # x: 1 s with A, 3 s with B; y: 2 s with A; z: with nobody
    alignment = align(
        _turns((0, 3, "A"), (4, 7, "B"), (7, 8, "C")),
        _turns((0, 1, "x"), (1, 3, "y"), (4, 7, "x"), (9, 10, "z")),
    )
    assert [(lane.reference, lane.hypothesis) for lane in alignment.lanes] == [
        ("A", "y"),
        ("B", "x"),
        ("C", None),
        (None, "z"),
    ]
    assert alignment.lanes[1].hypothesis_spans == ((0, 1), (4, 7))
    assert alignment.lanes[3].reference_spans == ()
    assert alignment.errors == (
        ErrorSpan(CONFUSION, 0, 1, 1),  # x speaks, who is B, while A does
        ErrorSpan(MISSED, 7, 8, 1),
        ErrorSpan(FALSE_ALARM, 9, 10, 1),
    )


def test_two_speakers_at_once_count_twice() -> None:
    # in 1–2 s A and B talk and nobody is found; in 2–3 s A and B talk, and x (A) and q are found
    alignment = align(
        _turns((0, 3, "A"), (1, 3, "B")), _turns((0, 1, "x"), (2, 3, "x"), (2, 2.5, "q"), (2.5, 3, "p"))
    )
    assert (alignment.lanes[0].reference, alignment.lanes[0].hypothesis) == ("A", "x")
    assert ErrorSpan(MISSED, 1, 2, 2) in alignment.errors
    assert alignment.error_seconds(MISSED) == 2
    assert alignment.error_seconds(CONFUSION) == 0.5  # one of q and p is mapped to B, the other is not
    assert alignment.error_seconds(FALSE_ALARM) == 0


def test_an_unmatched_speaker_with_the_name_of_a_reference_speaker_is_another() -> None:
    # x is A (10 s); the hypothesis also calls somebody A, who talks while A does
    alignment = align(_turns((0, 10, "A"), (12, 13, "B")), _turns((0, 8, "x"), (8, 10, "A")))
    assert alignment.error_seconds(CONFUSION) == 2
    assert [(lane.reference, lane.hypothesis) for lane in alignment.lanes] == [
        ("A", "x"),
        ("B", None),
        (None, "A"),
    ]


def test_what_the_uem_leaves_out_is_not_scored() -> None:
    alignment = align(_turns((0, 4, "A"), (6, 9, "A")), _turns((0, 1, "x")), uem=[(0, 3), (5, 8)])
    assert alignment.not_scored == ((3, 5), (8, 9))
    assert alignment.error_seconds(MISSED) == 4  # 1–3 and 6–8
    assert (alignment.start_s, alignment.end_s) == (0, 9)


def test_the_collar_is_on_each_side() -> None:
    alignment = align(_turns((2, 4, "A")), _turns((2, 3, "x")), uem=[(0, 10)], collar_s=0.25)
    assert alignment.not_scored == ((1.75, 2.25), (3.75, 4.25))
    assert alignment.error_seconds(MISSED) == pytest.approx(0.75)  # 3 to 3.75


def test_an_excerpt_from_deep_inside_a_recording_fills_the_picture() -> None:
    alignment = align(_turns((1000, 1010, "A")), [])
    assert (alignment.start_s, alignment.end_s) == (1000, 1010)


def test_silence_on_both_sides_is_empty() -> None:
    alignment = align([], [])
    assert (alignment.lanes, alignment.errors, alignment.not_scored, alignment.end_s) == ((), (), (), 0)


@pytest.mark.parametrize("collar_s", [0.0, 0.25])
@pytest.mark.parametrize("skip_overlap", [False, True])
@pytest.mark.parametrize("uem", [None, [(5.0, 40.0), (50.0, 70.0)]])
def test_error_seconds_are_the_components_of_pyannote(collar_s, skip_overlap, uem) -> None:
    generator = random.Random(7)
    for _ in range(5):
        reference, hypothesis = (
            _turns(
                *(
                    (start, start + generator.uniform(0.1, 6), generator.choice(names))
                    for start in (generator.uniform(0, 80) for _ in range(25))
                )
            )
            for names in ("ABCD", "ABXYZ")
        )
        metric = DiarizationErrorRate(collar=2 * collar_s, skip_overlap=skip_overlap)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it approximates the UEM
            expected = metric(
                to_annotation(reference),
                to_annotation(hypothesis),
                uem=None if uem is None else Timeline([Segment(*span) for span in uem]),
                detailed=True,
            )
        alignment = align(reference, hypothesis, uem=uem, collar_s=collar_s, skip_overlap=skip_overlap)
        for kind, name in (
            (MISSED, "missed detection"),
            (FALSE_ALARM, "false alarm"),
            (CONFUSION, "confusion"),
        ):
            assert alignment.error_seconds(kind) == pytest.approx(expected[name], abs=1e-6)


def test_real_meetings_agree_with_pyannote(shared_data) -> None:
    meetings = read_rttm(shared_data / "ami_excerpt" / "reference.rttm")
    for turns in meetings.values():
        shifted = [
            Turn(turn.recording, turn.onset_s + 0.3, turn.duration_s, turn.speaker[-2:]) for turn in turns
        ]
        uem = Timeline([Segment(0, 30)])
        expected = DiarizationErrorRate()(
            to_annotation(turns), to_annotation(shifted), uem=uem, detailed=True
        )
        alignment = align(turns, shifted, uem=[(0, 30)])
        assert alignment.error_seconds(MISSED) == pytest.approx(expected["missed detection"], abs=1e-6)
        assert alignment.error_seconds(CONFUSION) == pytest.approx(expected["confusion"], abs=1e-6)


def test_regions_that_the_reference_leaves_out_are_not_scored() -> None:
    """Confusion from 10 to 12, which 8 to 14 covers; a region without an end; and collars beside it."""
    reference, hypothesis = _turns((0, 10, "A"), (10, 20, "B")), _turns((0, 12, "x"), (12, 20, "y"))
    assert align(reference, hypothesis).error_seconds(CONFUSION) == pytest.approx(2)
    alignment = align(reference, hypothesis, unscored=[(8, 14)])
    assert alignment.errors == ()
    assert alignment.not_scored == ((8, 14),)
    alignment = align(reference, hypothesis, uem=[(0, 30)], unscored=[(15, float("inf"))], collar_s=0.25)
    assert alignment.error_seconds(CONFUSION) == pytest.approx(1.75)
    assert alignment.not_scored[-1] == (15, 30)
