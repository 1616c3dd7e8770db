"""sdpn.metrics.diarization: by hand, by md-eval, by brute force, and by pyannote.metrics called directly."""

from __future__ import annotations

import warnings
from dataclasses import astuple, replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import (
    DiarizationCoverage,
    DiarizationErrorRate,
    DiarizationPurity,
    JaccardErrorRate,
)

from sdpn.errors import InputError
from sdpn.io.rttm import Turn, merge_overlaps, read_rttms, to_annotation
from sdpn.io.uem import read_uem
from sdpn.metrics import diarization
from sdpn.metrics.diarization import (
    ClusterComponents,
    CountComponents,
    DerComponents,
    JerComponents,
    score_recordings,
    total_components,
    total_figures,
)

Spans = list[tuple[float, float, str]]


def annotation(spans: Spans) -> Annotation:
    result = Annotation()
    for track, (start_s, end_s, speaker) in enumerate(spans):
        result[Segment(start_s, end_s), track] = speaker
    return result


def turns(recording: str, spans: Spans) -> list[Turn]:
    return [Turn(recording, start_s, end_s - start_s, speaker) for start_s, end_s, speaker in spans]


def components(
    reference: Spans,
    hypothesis: Spans,
    *,
    regions: list[tuple[float, float]] | None = None,
    **options: object,
) -> tuple[float, ...]:
    sides = {"r": turns("r", reference)}, {"r": turns("r", hypothesis)}
    uem = None if regions is None else {"r": regions}
    (score,) = score_recordings(*sides, regions=uem, **options)  # type: ignore[arg-type]
    result = score.components
    return result.missed_s, result.false_alarm_s, result.confusion_s, result.total_s


def test_each_error_by_hand() -> None:
    reference = [(0, 10, "A"), (10, 16, "B")]
    hypothesis = [(0, 8, "x"), (9, 13, "y"), (13, 16, "x"), (20, 21, "z")]
    # 8-9 is missed; 9-10 is A called y; 13-16 is B called x; 20-21 is a false alarm
    assert components(reference, hypothesis) == pytest.approx((1, 1, 4, 16))
    assert DerComponents(1, 1, 4, 16).der == pytest.approx(6 / 16)


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
    assert DerComponents(*components(reference, hypothesis, collar_s=0.25)).der == pytest.approx(expected)
    (score,) = score_recordings({"r": turns("r", reference)}, {"r": turns("r", hypothesis)})
    assert score.nist.der == pytest.approx(expected)
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
        assert components(reference, hypothesis) == expected
        assert DerComponents(*components(reference, hypothesis)).der == der
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
    assert a.speakers == CountComponents(reference=1, hypothesis=0, error=1, num_exact=0, num_recordings=1)
    assert b.components == DerComponents(0, 0, 1, 5)
    assert b.has_hypothesis
    assert b.speakers == CountComponents(reference=2, hypothesis=1, error=1, num_exact=0, num_recordings=1)
    assert quiet.components == DerComponents()
    assert total_components(scores) == DerComponents(5, 0, 1, 10)
    assert total_figures(scores).components == DerComponents(5, 0, 1, 10)
    assert total_figures(scores).speakers == CountComponents(3, 1, error=2, num_exact=1, num_recordings=3)
    assert total_figures(scores).speakers.mean_error == pytest.approx(2 / 3)
    assert CountComponents().mean_error == 0


def test_extra_recordings_are_refused_or_ignored() -> None:
    reference = {"a": turns("a", [(0, 5, "A")])}
    hypothesis = {name: turns(name, [(0, 5, "x")]) for name in "abcde"}
    with pytest.raises(
        InputError, match=r"has 4 recordings \('b', 'c', 'd', …\), which is not in the reference"
    ):
        score_recordings(reference, hypothesis)
    assert total_components(score_recordings(reference, hypothesis, ignore_extra=True)) == DerComponents(
        total_s=5
    )


def test_every_recording_needs_a_region_and_speakers_count_there() -> None:
    reference = {"a": turns("a", [(0, 5, "A"), (5, 9, "B")])}
    (score,) = score_recordings(reference, reference, regions={"a": [(0, 5)], "unused": [(0, 1)]})
    assert score.components == DerComponents(total_s=5)
    assert (score.speakers.reference, score.speakers.hypothesis) == (1, 1)
    with pytest.raises(InputError, match="the UEM has no region for recording 'a'"):
        score_recordings(reference, reference, regions={"b": [(0, 5)]})
    (score,) = score_recordings(reference, reference, regions={"a": [(0, 1), (8.9, 20)]})
    assert (score.speakers.reference, score.speakers.hypothesis) == (2, 2)


def test_a_turn_given_twice_counts_once() -> None:
    once = {"a": turns("a", [(0, 5, "A")])}
    twice = {"a": turns("a", [(0, 5, "A"), (0, 5, "A"), (3, 5, "A")])}
    for reference, hypothesis, merged in [(once, twice, (0, 2)), (twice, once, (2, 0))]:
        (score,) = score_recordings(reference, hypothesis)
        assert score.components == DerComponents(total_s=5)
        assert (score.num_merged_reference, score.num_merged_hypothesis) == merged


def test_jer_pairs_the_most_alike_and_counts_every_speaker_alike() -> None:
    # the example of the DIHARD evaluation plan's definition, worked by hand: A and x share 8 of 10 s in
    # which either talks, B and y 2 of 4, C has nobody
    reference = [(0, 9, "A"), (10, 13, "B"), (20, 30, "C")]
    hypothesis = [(1, 10, "x"), (11, 14, "y")]
    (score,) = score_recordings({"r": turns("r", reference)}, {"r": turns("r", hypothesis)})
    assert score.jaccard.error == pytest.approx(0.2 + 0.5 + 1)
    assert (score.jaccard.num_speakers, score.jaccard.num_hypothesis) == (3, 2)
    assert score.jaccard.jer == pytest.approx(1.7 / 3)
    # Neither collar nor skipped overlap changes it
    (same,) = score_recordings(
        {"r": turns("r", reference)}, {"r": turns("r", hypothesis)}, collar_s=1, skip_overlap=True
    )
    assert same.jaccard == score.jaccard


def test_jer_is_dscores_where_pyannote_pairs_otherwise() -> None:
    # x is 9 of A's 20 s and nothing else; y is the other 11 s, and 100 s in which nobody talks
    reference, hypothesis = [(0, 20, "A")], [(0, 9, "x"), (9, 20, "y"), (30, 130, "y")]
    (score,) = score_recordings({"r": turns("r", reference)}, {"r": turns("r", hypothesis)})
    assert score.jaccard.jer == pytest.approx(1 - 9 / 20)  # the most alike
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pyannotes = JaccardErrorRate()(annotation(reference), annotation(hypothesis))
    assert pyannotes == pytest.approx(1 - 11 / 120)  # those who share the most


def test_jer_without_speakers() -> None:
    speech, nothing = {"r": turns("r", [(0, 2, "A")])}, {"r": []}
    for reference, hypothesis, jer in [(speech, nothing, 1), (nothing, speech, 1), (nothing, nothing, 0)]:
        (score,) = score_recordings(reference, hypothesis)
        assert score.jaccard.jer == jer
    # a silent recording with false alarms adds no reference speaker to the corpus's mean
    assert (JerComponents(0.5, 2, 2) + JerComponents(0, 0, 3)).jer == 0.25


def test_purity_and_coverage_by_hand() -> None:
    # x: 6 s of A, 2 s of B, 2 s of nobody; y: 2 s of B. A: 6 of 8 s in x; B: 2 in x, 2 in y, 1 missed
    reference = [(0, 8, "A"), (10, 15, "B")]
    hypothesis = [(2, 12, "x"), (12, 14, "y")]
    (score,) = score_recordings({"r": turns("r", reference)}, {"r": turns("r", hypothesis)})
    assert score.clusters == ClusterComponents(pure_s=8, hypothesis_s=12, covered_s=8, reference_s=13)
    assert score.clusters.purity == pytest.approx(8 / 12)
    assert score.clusters.coverage == pytest.approx(8 / 13)
    assert (ClusterComponents().purity, ClusterComponents().coverage) == (1, 1)


def test_processes_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"rec{number:02}" for number in range(7)]
    reference = {name: turns(name, [(0, 5 + at, "A"), (3, 9, "B")]) for at, name in enumerate(names)}
    hypothesis = {name: turns(name, [(1, 8, "x"), (4, 10 + at, "y")]) for at, name in enumerate(names[1:])}
    alone = score_recordings(reference, hypothesis, collar_s=0.1)
    assert score_recordings(reference, hypothesis, collar_s=0.1, jobs=3) == alone
    assert score_recordings(reference, hypothesis, collar_s=0.1, jobs=100) == alone
    monkeypatch.setattr(diarization, "_START_METHOD", "spawn")  # where there is no fork
    assert score_recordings(reference, hypothesis, collar_s=0.1, jobs=2) == alone
    assert score_recordings({}, {}, jobs=2) == []
    with pytest.raises(ValueError, match="jobs must be >= 1"):
        score_recordings(reference, hypothesis, jobs=0)


# Two reference speakers overlap, one is interrupted, one turn lies in another, labels are split and shared.
MEETING = [
    *((0.5, 10.0, "ann"), (8.0, 14.0, "bob"), (14.3, 19.3, "ann"), (20.0, 32.0, "cem")),
    *((25.0, 25.4, "bob"), (31.8, 34.8, "ann")),
]
FOUND = [
    *((0.2, 8.5, "1"), (8.7, 14.2, "2"), (14.2, 17.0, "1"), (17.0, 19.6, "3"), (20.1, 28.1, "3")),
    *((26.0, 33.0, "4"), (36.0, 37.5, "1")),
]
#: md-eval.pl version 22 of NIST's SCTK 2.4.10 (-r -s -u, -c COLLAR, -1 for SKIP) printed these:
#: (collar, skip overlap): missed, false alarm, speaker error, scored speaker time. UEM 0 to 40 s.
MD_EVAL_WHOLE = {
    (0.0, False): (4.7, 4.5, 7.2, 35.9),
    (0.0, True): (1.9, 4.5, 7.0, 30.7),
    (0.25, False): (3.25, 3.7, 6.25, 30.7),
    (0.25, True): (1.55, 3.7, 6.25, 27.7),
    (1.0, False): (0.8, 3.2, 4.0, 18.7),
    (1.0, True): (0.8, 3.2, 4.0, 18.7),
}
#: The same with the UEM 2 to 18 s and 22 to 33 s.
MD_EVAL_PARTS = {
    (0.0, False): (2.8, 2.4, 5.9, 29.3),
    (0.0, True): (0.0, 2.4, 5.7, 24.1),
    (0.25, False): (1.7, 2.1, 5.2, 25.1),
    (0.25, True): (0.0, 2.1, 5.2, 22.1),
    (1.0, False): (0.0, 1.7, 3.7, 16.1),
    (1.0, True): (0.0, 1.7, 3.7, 16.1),
}


def test_md_evals_numbers() -> None:
    for (collar_s, skip_overlap), expected in MD_EVAL_WHOLE.items():
        found = components(MEETING, FOUND, regions=[(0, 40)], collar_s=collar_s, skip_overlap=skip_overlap)
        assert found == pytest.approx(expected, abs=0.005), (collar_s, skip_overlap)


def test_md_eval_maps_speakers_before_it_cuts_out_what_is_not_scored() -> None:
    # ... and pyannote.metrics after: its mapping is the best for what counts, and its confusion may be less
    for (collar_s, skip_overlap), expected in MD_EVAL_PARTS.items():
        missed_s, false_alarm_s, confusion_s, total_s = components(
            MEETING, FOUND, regions=[(2, 18), (22, 33)], collar_s=collar_s, skip_overlap=skip_overlap
        )
        apart = (expected[0], expected[1], expected[3])
        assert (missed_s, false_alarm_s, total_s) == pytest.approx(apart, abs=0.005)
        if collar_s or skip_overlap:
            assert confusion_s < expected[2]
        else:
            assert confusion_s == pytest.approx(expected[2], abs=0.005)


def by_frames(
    reference: Spans,
    hypothesis: Spans,
    *,
    regions: list[tuple[float, float]],
    collar_s: float,
    skip_overlap: bool,
) -> tuple[tuple[float, ...], float, tuple[float, ...]]:
    """DER, JER and clusters from their definitions: frames of 10 ms, and every mapping there is."""
    num = 1000

    def active(spans: Spans) -> dict[str, np.ndarray]:
        rows: dict[str, np.ndarray] = {}
        for start_s, end_s, speaker in spans:
            row = rows.setdefault(speaker, np.zeros(num, dtype=bool))
            row[round(100 * start_s) : round(100 * end_s)] = True
        return rows

    inside = np.zeros(num, dtype=bool)
    for start_s, end_s in regions:
        inside[round(100 * start_s) : round(100 * end_s)] = True
    ref = np.array(list(active(reference).values())).reshape(-1, num)
    hyp = np.array(list(active(hypothesis).values())).reshape(-1, num)

    # the DER has its own region
    scored = inside.copy()
    for turn in merge_overlaps(sorted(turns("r", reference))):
        for edge_s in (turn.onset_s, turn.end_s):
            scored[max(0, round(100 * (edge_s - collar_s))) : round(100 * (edge_s + collar_s))] = False
    if skip_overlap:
        scored &= ref.sum(axis=0) < 2
    r, h = ref[:, scored], hyp[:, scored]
    size = max(len(r), len(h))
    padded = np.zeros((size, r.shape[1]), dtype=bool)
    padded[: len(r)] = r
    correct = max(
        (
            sum((padded[to] & h[at]).sum() for at, to in enumerate(mapping))
            for mapping in permutations(range(size), len(h))
        ),
        default=0,
    )
    num_r, num_h = r.sum(axis=0), h.sum(axis=0)
    both = np.minimum(num_r, num_h).sum()
    der = (num_r.sum() - both, num_h.sum() - both, both - correct, num_r.sum())

    r, h = ref[:, inside], hyp[:, inside]
    r, h = r[r.any(axis=1)], h[h.any(axis=1)]
    error = np.array([[1 - (a & b).sum() / (a | b).sum() for b in h] for a in r]).reshape(len(r), len(h))
    padded_error = np.ones((len(r), len(r) + len(h)))  # a speaker may also go without
    padded_error[:, : len(h)] = error
    jer = min(
        sum(padded_error[at, to] for at, to in enumerate(mapping))
        for mapping in permutations(range(len(r) + len(h)), len(r))
    )
    shared = (r.astype(int) @ h.T.astype(int)).reshape(len(r), len(h))
    clusters = (
        sum(shared[:, at].max(initial=0) for at in range(len(h))),
        h.sum(),
        sum(shared[at].max(initial=0) for at in range(len(r))),
        r.sum(),
    )
    return tuple(part / 100 for part in der), jer, tuple(part / 100 for part in clusters)


HUNDREDTHS = st.integers(0, 900)
SPANS = st.lists(
    st.tuples(HUNDREDTHS, st.integers(1, 99), st.sampled_from("ABC")).map(
        lambda span: (span[0] / 100, (span[0] + span[1]) / 100, span[2])
    ),
    max_size=8,
)


@given(
    reference=SPANS,
    hypothesis=SPANS,
    regions=st.lists(st.tuples(HUNDREDTHS, st.integers(1, 100)), min_size=1, max_size=3).map(
        lambda spans: [(start / 100, (start + length) / 100) for start, length in spans]
    ),
    collar_s=st.sampled_from([0.0, 0.1, 0.25]),
    skip_overlap=st.booleans(),
)
def test_every_figure_is_what_its_definition_gives_frame_by_frame(
    reference: Spans,
    hypothesis: Spans,
    regions: list[tuple[float, float]],
    collar_s: float,
    skip_overlap: bool,
) -> None:
    (score,) = score_recordings(
        {"r": turns("r", reference)},
        {"r": turns("r", hypothesis)},
        regions={"r": regions},
        collar_s=collar_s,
        skip_overlap=skip_overlap,
    )
    der, jer, clusters = by_frames(
        reference, hypothesis, regions=regions, collar_s=collar_s, skip_overlap=skip_overlap
    )
    assert astuple(score.components) == pytest.approx(der, abs=1e-6)
    assert score.jaccard.error == pytest.approx(jer, abs=1e-6)
    assert astuple(score.clusters) == pytest.approx(clusters, abs=1e-6)


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
        expected = direct_call(metric, reference[name], hypothesis[name], uem=uem)
        assert astuple(score.components) == pytest.approx(astuple(expected), abs=1e-9)
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
    assert all(0 <= score.jaccard.error < 1e-12 for score in scores)
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
        expected = direct_call(metric, reference[name], shifted[name])
        assert astuple(score.components) == pytest.approx(astuple(expected), abs=1e-9)
    assert total_components(scores).der == pytest.approx(abs(metric), rel=1e-12)
    assert total_components(scores).der > 0.01
    for metric_type, rate in [
        (DiarizationPurity, total_figures(scores).clusters.purity),
        (DiarizationCoverage, total_figures(scores).clusters.coverage),
    ]:
        clusters = metric_type()
        for name in reference:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                clusters(*(to_annotation(side[name]) for side in (reference, shifted)))
        assert rate == pytest.approx(abs(clusters), rel=1e-9)
