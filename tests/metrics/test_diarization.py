"""sdpn.metrics.diarization: DER by hand, and against pyannote.metrics called directly."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate

from sdpn.errors import InputError
from sdpn.io.rttm import Turn, read_rttms
from sdpn.io.uem import read_uem
from sdpn.metrics.diarization import (
    DerComponents,
    count_speakers,
    der_components,
    score_recordings,
    total_components,
)

Spans = list[tuple[float, float, str]]


def annotation(spans: Spans) -> Annotation:
    result = Annotation()
    for track, (start_s, end_s, speaker) in enumerate(spans):
        result[Segment(start_s, end_s), track] = speaker
    return result


def turns(recording: str, spans: Spans) -> list[Turn]:
    return [Turn(recording, start_s, end_s - start_s, speaker) for start_s, end_s, speaker in spans]


def components(reference: Spans, hypothesis: Spans, **options: object) -> tuple[float, ...]:
    result = der_components(annotation(reference), annotation(hypothesis), **options)  # type: ignore[arg-type]
    return result.missed_s, result.false_alarm_s, result.confusion_s, result.total_s


def test_each_error_by_hand() -> None:
    reference = [(0, 10, "A"), (10, 16, "B")]
    hypothesis = [(0, 8, "x"), (9, 13, "y"), (13, 16, "x"), (20, 21, "z")]
    # 8-9 is missed; 9-10 is A called y; 13-16 is B called x; 20-21 is a false alarm
    assert components(reference, hypothesis) == pytest.approx((1, 1, 4, 16))
    assert der_components(annotation(reference), annotation(hypothesis)).der == pytest.approx(6 / 16)


def test_overlap_counts_each_speaker_and_may_be_skipped() -> None:
    reference = [(0, 10, "A"), (6, 12, "B")]
    hypothesis = [(0, 12, "x")]
    # 16 s of speech; of B's 6 s four lie under A, and all six find only x, who is A
    assert components(reference, hypothesis) == pytest.approx((4, 0, 2, 16))
    assert components(reference, hypothesis, skip_overlap=True) == pytest.approx((0, 0, 2, 8))


def test_the_collar_is_what_md_eval_forgives_on_each_side() -> None:
    reference, hypothesis = [(1, 9, "A")], [(1.2, 9.3, "x")]
    assert components(reference, hypothesis) == pytest.approx((0.2, 0.3, 0, 8))
    # 0.25 s on each side of 1 and of 9: the miss is forgiven, 0.05 s of the false alarm are not
    assert components(reference, hypothesis, collar_s=0.25) == pytest.approx((0, 0.05, 0, 7.5))
    assert components(reference, hypothesis, collar_s=0.3) == pytest.approx((0, 0, 0, 7.4))
    nist = DiarizationErrorRate(collar=0.5)  # the total width
    expected = nist(annotation(reference), annotation(hypothesis), uem=Timeline([Segment(1, 9.3)]))
    assert der_components(annotation(reference), annotation(hypothesis), collar_s=0.25).der == expected
    with pytest.raises(ValueError, match="collar_s must be >= 0"):
        components(reference, hypothesis, collar_s=-0.1)


def test_only_the_regions_are_scored() -> None:
    reference, hypothesis = [(0, 10, "A")], [(5, 20, "x")]
    assert components(reference, hypothesis) == pytest.approx((5, 10, 0, 10))
    assert components(reference, hypothesis, regions=[(4, 12)]) == pytest.approx((1, 2, 0, 6))
    overlapping = [(4, 8), (7, 12)]  # which count once
    assert components(reference, hypothesis, regions=overlapping) == pytest.approx((1, 2, 0, 6))


def test_silence_has_pyannotes_conventions() -> None:
    speech = [(0.0, 2.0, "A")]
    for reference, hypothesis, expected, der in [
        ([], [], (0, 0, 0, 0), 0.0),
        (speech, [], (2, 0, 0, 2), 1.0),
        ([], speech, (0, 2, 0, 0), 1.0),
    ]:
        result = der_components(annotation(reference), annotation(hypothesis))
        assert components(reference, hypothesis) == expected
        assert result.der == der
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert DiarizationErrorRate()(annotation(reference), annotation(hypothesis)) == der


def test_no_warning_is_left_to_the_user() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        components([(0, 1, "A")], [(0, 1, "x")])


def test_components_add_and_percentages_do_not() -> None:
    short, long = DerComponents(1, 0, 0, 1), DerComponents(0, 1, 2, 99)
    assert short + long == DerComponents(1, 1, 2, 100)
    assert (short + long).der == pytest.approx(0.04)  # not the mean of 1 and 0.03
    assert DerComponents() + short == short
    assert DerComponents().der == 0
    assert DerComponents(false_alarm_s=3).der == 1
    with pytest.raises(AttributeError):
        short.missed_s = 0  # type: ignore[misc]


def test_recordings_are_joined_by_name() -> None:
    reference = {"b": turns("b", [(0, 4, "A"), (4, 5, "B")]), "a": turns("a", [(0, 5, "A")]), "quiet": []}
    hypothesis = {"b": turns("b", [(0, 5, "x")]), "silent": []}
    scores = score_recordings(reference, hypothesis)
    assert [score.recording for score in scores] == ["a", "b", "quiet"]
    a, b, quiet = scores
    assert a.components == DerComponents(5, 0, 0, 5)
    assert not a.has_hypothesis
    assert (a.num_speakers_reference, a.num_speakers_hypothesis) == (1, 0)
    assert b.components == DerComponents(0, 0, 1, 5)
    assert b.has_hypothesis
    assert (b.num_speakers_reference, b.num_speakers_hypothesis) == (2, 1)
    assert quiet.components == DerComponents()
    assert total_components(scores) == DerComponents(5, 0, 1, 10)


def test_extra_recordings_are_refused_or_ignored() -> None:
    reference = {"a": turns("a", [(0, 5, "A")])}
    hypothesis = {name: turns(name, [(0, 5, "x")]) for name in "abcde"}
    with pytest.raises(InputError, match=r"has 4 recordings \('b', 'c', 'd', …\), which the reference lacks"):
        score_recordings(reference, hypothesis)
    assert total_components(score_recordings(reference, hypothesis, ignore_extra=True)) == DerComponents(
        total_s=5
    )


def test_every_recording_needs_a_region_and_speakers_count_there() -> None:
    reference = {"a": turns("a", [(0, 5, "A"), (5, 9, "B")])}
    (score,) = score_recordings(reference, reference, regions={"a": [(0, 5)], "unused": [(0, 1)]})
    assert score.components == DerComponents(total_s=5)
    assert (score.num_speakers_reference, score.num_speakers_hypothesis) == (1, 1)
    with pytest.raises(InputError, match="the UEM has no region for recording 'a'"):
        score_recordings(reference, reference, regions={"b": [(0, 5)]})
    assert count_speakers(reference["a"]) == 2
    assert count_speakers(reference["a"], [(0, 1), (8.9, 20)]) == 2


def test_a_turn_given_twice_is_one_voice() -> None:
    once = {"a": turns("a", [(0, 5, "A")])}
    twice = {"a": turns("a", [(0, 5, "A"), (0, 5, "A"), (3, 5, "A")])}
    assert total_components(score_recordings(once, twice)) == DerComponents(total_s=5)
    assert total_components(score_recordings(twice, once)) == DerComponents(total_s=5)


def direct_call(metric: DiarizationErrorRate, *sides: list[Turn], **options: Timeline) -> DerComponents:
    """Pyannote's components, from annotations that are built here and not by the package."""
    annotations = [
        annotation([(t.onset_s, t.onset_s + t.duration_s, t.speaker) for t in side]) for side in sides
    ]
    with warnings.catch_warnings():  # of the extent that replaces a UEM
        warnings.simplefilter("ignore")
        detail = metric(*annotations, detailed=True, **options)
    return DerComponents(
        detail["missed detection"], detail["false alarm"], detail["confusion"], detail["total"]
    )


@pytest.mark.parametrize(("collar_s", "skip_overlap"), [(0.0, False), (0.25, False), (0.1, True)])
def test_real_meetings_match_a_direct_call(shared_data: Path, collar_s: float, skip_overlap: bool) -> None:
    reference = read_rttms([shared_data / "ami_excerpt" / "reference.rttm"])
    regions = read_uem(shared_data / "ami_excerpt" / "reference.uem")
    # a diarizer that is late, drops every fifth turn, and takes everybody for new people after 15 s
    hypothesis = {
        name: [
            replace(turn, onset_s=turn.onset_s + 0.15, speaker=turn.speaker + "'" * (turn.onset_s > 15))
            for at, turn in enumerate(turns)
            if at % 5
        ]
        for name, turns in reference.items()
    }
    metric = DiarizationErrorRate(collar=2 * collar_s, skip_overlap=skip_overlap)
    scores = score_recordings(
        reference, hypothesis, regions=regions, collar_s=collar_s, skip_overlap=skip_overlap
    )
    for score in scores:
        name = score.recording
        uem = Timeline([Segment(*region) for region in regions[name]])
        assert score.components == direct_call(metric, reference[name], hypothesis[name], uem=uem)
    total = total_components(scores)
    assert min(total.missed_s, total.confusion_s, total.total_s) > 1
    assert total.der == pytest.approx(abs(metric), rel=1e-12)


@pytest.fixture(scope="module")
def voxconverse(shared_data: Path) -> dict[str, list[Turn]]:
    references = read_rttms(sorted((shared_data / "voxconverse_rttm").glob("*.rttm")))
    assert len(references) == 216
    return references


def test_voxconverse_against_itself_is_exactly_zero(voxconverse: dict[str, list[Turn]]) -> None:
    scores = score_recordings(voxconverse, voxconverse)
    assert all(score.components.error_s == 0 for score in scores)
    assert total_components(scores).der == 0
    assert total_components(scores).total_s == pytest.approx(
        sum(turn.duration_s for turns in voxconverse.values() for turn in turns)
    )


@pytest.mark.parametrize(
    ("shift_s", "collar_s", "skip_overlap", "every"), [(0.3, 0.0, False, 1), (1.7, 0.25, True, 6)]
)
def test_voxconverse_against_shifted_copies_is_what_pyannote_gives(
    voxconverse: dict[str, list[Turn]], shift_s: float, collar_s: float, skip_overlap: bool, every: int
) -> None:
    reference = {name: voxconverse[name] for name in sorted(voxconverse)[::every]}
    shifted = {
        name: [replace(turn, onset_s=turn.onset_s + shift_s) for turn in turns]
        for name, turns in reference.items()
    }
    scores = score_recordings(reference, shifted, collar_s=collar_s, skip_overlap=skip_overlap)
    metric = DiarizationErrorRate(collar=2 * collar_s, skip_overlap=skip_overlap)
    for score in scores:
        name = score.recording
        assert score.components == direct_call(metric, reference[name], shifted[name])
    assert total_components(scores).der == pytest.approx(abs(metric), rel=1e-12)
    assert total_components(scores).der > 0.01
