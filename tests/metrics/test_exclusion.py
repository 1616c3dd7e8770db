"""What the reference takes out of the scoring: by hand, and as md-eval 22 has printed it."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest

from sdpn.io.rttm import Mark, Records, Turn, read_records
from sdpn.metrics.channels import match_channels
from sdpn.metrics.diarization import RecordingScore, score_recordings
from sdpn.metrics.exclusion import unscored_zones


def turn(onset_s: float, end_s: float, speaker: str = "A", channel: str = "1") -> Turn:
    return Turn("rec", onset_s, end_s - onset_s, speaker, channel)


def noscore(onset_s: float, end_s: float, channel: str = "1") -> Mark:
    return Mark(onset_s, end_s, "NOSCORE", channel)


def sound(onset_s: float, end_s: float) -> Mark:
    return Mark(onset_s, end_s, "NON-LEX", "1")


def word(onset_s: float, end_s: float) -> Mark:
    return Mark(onset_s, end_s, "LEXEME", "1")


def covered(zones: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Zones joined where they overlap or touch."""
    joined: list[tuple[float, float]] = []
    for start_s, end_s in zones:
        if joined and start_s <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end_s))
        else:
            joined.append((start_s, end_s))
    return [(round(start_s, 6), round(end_s, 6)) for start_s, end_s in joined]


#: A speaks until 10, B until 20.
TURNS = [turn(0, 10, "A"), turn(10, 20, "B")]


@pytest.mark.parametrize(
    ("marks", "zones"),
    [
        ([], []),
        ([word(3, 4)], []),
        ([noscore(8, 14)], [(8, 14)]),
        ([noscore(8, 14), noscore(12, 15), noscore(2, 3)], [(2, 3), (8, 15)]),
        # half a second around a sound, but not over a boundary of a turn
        ([sound(4, 5)], [(3.5, 5.5)]),
        ([sound(0.2, 0.5)], [(0, 1)]),
        ([sound(9.8, 9.9)], [(9.3, 10)]),
        ([sound(10.3, 10.4)], [(10, 10.9)]),
        ([sound(9.8, 10.1)], [(9.3, 10.6)]),
        ([sound(4, 5), sound(5.8, 6)], [(3.5, 6.5)]),
        ([sound(4, 5), sound(7, 8)], [(3.5, 5.5), (6.5, 8.5)]),
        # nor into a word
        ([sound(4, 5), word(3.8, 3.9), word(5.2, 5.3)], [(3.9, 5.2)]),
        ([sound(4, 5), word(3.9, 4.2)], [(4, 5.5)]),
        ([noscore(4, 5), sound(4.9, 5.1)], [(4, 5.6)]),
        # nothing after the last boundary of a turn closes a zone
        ([noscore(25, 30)], [(25, inf)]),
        ([sound(19.8, 20)], [(19.3, 20)]),
    ],
)
def test_zones_by_hand(marks: list[Mark], zones: list[tuple[float, float]]) -> None:
    assert covered(unscored_zones(TURNS, marks)) == zones
    assert covered(unscored_zones(reversed(TURNS), marks[::-1])) == zones


def scored(
    marks: list[Mark],
    hypothesis: list[Turn],
    regions: list[tuple[float, float]] | None = None,
    **options: float,
) -> RecordingScore:
    sides = match_channels(
        Records({"rec": TURNS}, {"rec": marks}),
        Records({"rec": hypothesis}),
        None if regions is None else {"rec": {"1": regions}},
    )
    (score,) = score_recordings(
        sides.reference,
        sides.hypothesis,
        regions=sides.regions,
        unscored=sides.unscored,
        **options,  # type: ignore[arg-type]
    )
    return score


def test_figures_by_hand() -> None:
    """X speaks until 12, y until 20: two seconds of confusion, which the zone from 8 to 14 covers."""
    hypothesis = [turn(0, 12, "x"), turn(12, 20, "y")]
    assert scored([], hypothesis).components.confusion_s == 2
    score = scored([noscore(8, 14)], hypothesis)
    assert (score.components.total_s, score.components.error_s, score.jaccard.error) == (14, 0, 0)
    assert (score.clusters.purity, score.clusters.coverage) == (1, 1)
    # regions and zones: 5 to 8 and 14 to 18 are left, and B's collar is within the zone
    score = scored([noscore(8, 14)], hypothesis, [(5, 18)], collar_s=0.25)
    assert (score.components.total_s, score.components.error_s) == (7, 0)
    # y is 4 s late in the zone's second half: 14 to 16 is missed; JER: A is found, B has y for 4 of 6 s
    score = scored([noscore(8, 14)], [turn(0, 10, "x"), turn(16, 20, "y")])
    assert (score.components.missed_s, score.components.total_s) == (2, 14)
    assert score.jaccard.error == pytest.approx(2 / 6)
    # a zone that takes all speech of B leaves one speaker
    score = scored([noscore(9, 21)], hypothesis)
    assert (score.speakers.reference, score.components.total_s) == (1, 9)
    # what the hypothesis marks has no effect: only the reference says what is scored
    both = Records({"rec": TURNS}), Records({"rec": hypothesis}, {"rec": [noscore(8, 14)]})
    assert match_channels(*both).unscored == {"rec": []}


def test_false_alarms_after_the_last_turn_as_in_md_eval() -> None:
    """md-eval -u with 0 to 60 s prints: no false alarm where a zone began before, else ten seconds."""
    hypothesis = [*TURNS, turn(40, 50, "A")]
    assert scored([], hypothesis, [(0, 60)]).components.false_alarm_s == 10
    assert scored([noscore(25, 30)], hypothesis, [(0, 60)]).components.false_alarm_s == 0


def test_the_case(shared_data: Path) -> None:
    """md-eval 22: SCORED SPEAKER TIME = 14.00 secs, OVERALL SPEAKER DIARIZATION ERROR = 0.00 percent."""
    case = shared_data.parent / "cases" / "rttm-noscore"
    sides = match_channels(read_records([case / "ref.rttm"]), read_records([case / "hyp.rttm"]))
    (score,) = score_recordings(sides.reference, sides.hypothesis, unscored=sides.unscored)
    assert (score.components.total_s, score.components.error_s) == (14, 0)
