"""Channels of a recording as recordings of their own, and which belong to which."""

from __future__ import annotations

import logging

import pytest

from sdpn.errors import InputError
from sdpn.io.rttm import Mark, Records, Turn
from sdpn.metrics.channels import match_channels
from sdpn.metrics.diarization import score_recordings, total_components

Spans = list[tuple[float, float]]


def turn(onset_s: float, end_s: float, speaker: str, channel: str = "1") -> Turn:
    return Turn("call", onset_s, end_s - onset_s, speaker, channel)


#: Ann and Bob on the telephone; both are called "s" by who annotated their channel.
CALL = Records({"call": [turn(0, 10, "s", "1"), turn(8, 20, "s", "2")]})


def test_each_channel_is_a_recording_of_its_own() -> None:
    """By hand: channel 1 is right; on channel 2 two of twelve seconds are missed."""
    found = Records({"call": [turn(0, 10, "x", "1"), turn(10, 20, "x", "2")]})
    sides = match_channels(CALL, found)
    scores = score_recordings(sides.reference, sides.hypothesis)
    assert [score.recording for score in scores] == ["call channel 1", "call channel 2"]
    assert [score.components.missed_s for score in scores] == [0, 2]
    total = total_components(scores)
    assert (total.total_s, total.error_s) == (22, 2)


def test_channels_are_called_alike_in_either_case_of_letters() -> None:
    reference = Records({"call": [turn(0, 5, "a", "A"), turn(0, 5, "b", "B")]})
    sides = match_channels(reference, Records({"call": [turn(0, 5, "x", "b"), turn(1, 5, "x", "a")]}))
    scores = score_recordings(sides.reference, sides.hypothesis)
    assert [score.components.missed_s for score in scores] == [1, 0]


@pytest.mark.parametrize("channel", ["1", "A", "0", "<NA>"])
def test_one_channel_on_each_side_belongs_together_however_it_is_called(channel: str) -> None:
    sides = match_channels(
        Records({"call": [turn(0, 5, "a", "1")]}),
        Records({"call": [turn(0, 5, "x", channel)]}),
        {"call": {channel: [(0.0, 4.0)]}},
    )
    (score,) = score_recordings(sides.reference, sides.hypothesis, regions=sides.regions)
    assert score.recording == "call"
    assert (score.components.total_s, score.components.error_s) == (4, 0)


def test_regions_of_a_uem_are_of_their_channel() -> None:
    uem: dict[str, dict[str, Spans]] = {"call": {"1": [(0, 4)], "2": [(0, 12)]}}
    sides = match_channels(CALL, CALL, uem)
    scores = score_recordings(sides.reference, sides.hypothesis, regions=sides.regions)
    assert [score.components.total_s for score in scores] == [4, 4]
    sides = match_channels(CALL, CALL, {"call": {"1": [(0, 4)]}})
    with pytest.raises(InputError, match="the UEM has no region for recording 'call channel 2'"):
        score_recordings(sides.reference, sides.hypothesis, regions=sides.regions)


def test_ambiguous_channels_are_refused() -> None:
    one = Records({"call": [turn(0, 5, "a", "A")]})
    with pytest.raises(InputError, match=r"the hypothesis of 'call' has channels 1, 2.*only channel a"):
        match_channels(one, CALL)
    with pytest.raises(InputError, match=r"the UEM of 'call' has channels 1, 2"):
        match_channels(one, one, {"call": {"1": [(0, 4)], "2": [(0, 4)]}})
    # called like it: the other one is too many, which --ignore-extra allows
    sides = match_channels(Records({"call": [turn(0, 10, "a", "1")]}), CALL)
    with pytest.raises(
        InputError, match=r"the hypothesis has recording 'call channel 2', which is not in the reference"
    ):
        score_recordings(sides.reference, sides.hypothesis)
    (score,) = score_recordings(sides.reference, sides.hypothesis, ignore_extra=True)
    assert score.components.error_s == 0


def test_a_channel_without_a_hypothesis_is_missed() -> None:
    sides = match_channels(CALL, Records({"call": [turn(0, 10, "x", "1")]}))
    assert [score.components.missed_s for score in score_recordings(sides.reference, sides.hypothesis)] == [
        0,
        12,
    ]


def test_in_a_silent_reference_every_channel_is_a_false_alarm() -> None:
    sides = match_channels(Records({"call": []}), CALL, {"call": {"1": [(0, 30)]}})
    (score,) = score_recordings(sides.reference, sides.hypothesis, regions=sides.regions)
    assert (score.recording, score.components.false_alarm_s) == ("call", 22)


def test_no_score_regions_are_of_their_channel(caplog: pytest.LogCaptureFixture) -> None:
    """One on channel 2, one on any, one on a channel without speech."""
    marks = [
        Mark(0, 5, "NOSCORE", "2"),
        Mark(9, 10, "NOSCORE", "<NA>"),
        Mark(12, 14, "NOSCORE", "3"),
    ]
    with caplog.at_level(logging.WARNING):
        sides = match_channels(Records(CALL.turns, {"call": marks}), CALL)
    scores = score_recordings(sides.reference, sides.hypothesis, unscored=sides.unscored)
    assert [score.components.total_s for score in scores] == [9, 11]
    assert "no speech on channel 3" in caplog.text
