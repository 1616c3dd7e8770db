"""Speakers of words, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdpn.errors import InputError
from sdpn.formats.turns_file import RecordingTurns
from sdpn.io.rttm import Turn
from sdpn.words.attribute import attribute_words, check_same_recording, words_and_turns_agree
from sdpn.words.transcript import Transcript, Word


def word(start_s: float, end_s: float, text: str = "w") -> Word:
    return Word(start_s=start_s, end_s=end_s, text=text, segment=0)


TURNS = [
    Turn("m", 0.0, 2.0, "A", confidence=0.9),
    Turn("m", 2.0, 2.0, "B", confidence=0.6),
    Turn("m", 3.5, 1.5, "A", confidence=0.8),  # from 3.5 to 4 both speak
]


def test_most_of_a_word_decides() -> None:
    found = attribute_words([word(0.5, 1.0), word(1.6, 2.1), word(1.9, 2.3), word(2.5, 3.0)], TURNS)
    assert [each.speaker for each in found[:2]] == ["A", "A"]
    assert found[0].confidence == 0.9
    assert found[1].confidence == pytest.approx(0.9 * 0.4 / 0.5)
    # three quarters of it are B's, whose turn is right with 0.6: less than a half in all
    assert found[2].likely == "B" and found[2].speaker is None
    assert found[2].confidence == pytest.approx(0.6 * 0.75)
    assert found[3].speaker == "B" and found[3].confidence == 0.6


def test_under_two_at_once_the_speaker_goes_on() -> None:
    found = attribute_words([word(3.0, 3.4), word(3.55, 3.95)], TURNS, least_confidence=0.0)
    assert [each.speaker for each in found] == ["B", "B"]
    assert found[1].confidence == pytest.approx(0.3)  # the half of it that B's turn has
    found = attribute_words([word(4.1, 4.4)], TURNS)
    assert found[0].speaker == "A"


def test_away_from_turns() -> None:
    near, far = attribute_words([word(5.2, 5.4), word(8.0, 8.2)], TURNS)
    assert near.speaker == "A" and near.confidence == pytest.approx(0.8 * (1 - 0.5 * 0.2 / 0.5), abs=1e-4)
    assert far.speaker is None and far.likely is None and far.confidence == 0.0
    assert attribute_words([word(0, 1)], [])[0].likely is None


def test_turns_without_confidence_are_believed() -> None:
    found = attribute_words([word(0.5, 1.0)], [Turn("m", 0.0, 2.0, "A")])
    assert found[0].speaker == "A" and found[0].confidence == 1.0


def transcript(words: list[Word]) -> Transcript:
    return Transcript(words=words, estimated=0, recording=None)


def check(words: list[Word], turns: list[Turn], duration_s: float | None) -> None:
    spoken = RecordingTurns(recording="m", turns=turns, duration_s=duration_s)
    check_same_recording(transcript(words), spoken, asr=Path("asr.json"), path=Path("m.json"))


def test_another_recording_is_refused() -> None:
    every = [word(t / 2, t / 2 + 0.4) for t in range(240)]  # two minutes of words without a pause
    turns = [Turn("m", 6.0 * k, 3.0, "A") for k in range(20)]
    with pytest.raises(
        InputError, match=r"asr\.json: its last word ends at 119\.9 s, after the end.*another"
    ):
        check(every, turns, 60.0)
    spoken = [one for one in every if one.start_s % 6 < 2.6]
    silent = [one for one in every if one.start_s % 6 >= 3.0]
    check(spoken, turns, 120.0)
    with pytest.raises(InputError, match="0 % of their time is within turns"):
        check(silent, turns, 120.0)
    shifted = [word(one.start_s + 1.5, one.end_s + 1.5) for one in spoken if one.end_s < 118]
    with pytest.raises(InputError, match="do not lie where somebody speaks"):
        check(shifted, turns, 121.0)


def test_milliseconds_are_recognised() -> None:
    words = [word(1000.0 * t, 1000.0 * t + 400) for t in range(40)]
    with pytest.raises(InputError, match=r"its times are in milliseconds: --times ms"):
        check(words, [Turn("m", 0.0, 40.0, "A")], 41.0)


def test_agreement_by_hand() -> None:
    within, kappa = words_and_turns_agree(
        [word(0.0, 1.0), word(2.0, 3.0)], [Turn("m", 0.0, 1.0, "A"), Turn("m", 2.0, 1.0, "A")]
    )
    assert within == 1.0 and kappa == pytest.approx(1.0)
    # half of either is common: agreement 20 of 40 tenths, expected by chance 20
    within, kappa = words_and_turns_agree(
        [word(0.0, 2.0)], [Turn("m", 1.0, 2.0, "A"), Turn("m", 3.99, 0.01, "A")]
    )
    assert within == pytest.approx(0.5, abs=0.05) and kappa == pytest.approx(0.0, abs=0.1)
