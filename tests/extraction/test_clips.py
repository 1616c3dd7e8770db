"""What is read at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from sdpn.errors import InputError
from sdpn.extraction import clips
from sdpn.extraction.clips import WindowPlan, parse_windows, plan_clips
from sdpn.io.kaldi import Utterance
from tests.extraction.conftest import noise


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "recording.wav"
    soundfile.write(path, noise(10.3), 16000, subtype="FLOAT")
    return path


def test_a_whole_file_and_a_segment_are_read_as_the_utterance_is(recording: Path) -> None:
    for utterance in (Utterance("a", recording), Utterance("a", recording, 1.25, 3.5)):
        plan = plan_clips(utterance)
        (clip,) = plan.clips
        np.testing.assert_array_equal(clip.read(utterance), utterance.read())
        assert plan.duration_s == pytest.approx(len(utterance.read()) / 16000)


def test_a_long_utterance_is_cut_into_equal_parts(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "LONGEST_S", 4.0)
    utterance = Utterance("a", recording, 0.3)
    parts = [clip.read(utterance) for clip in plan_clips(utterance).clips]
    assert len(parts) == 3 and max(map(len, parts)) - min(map(len, parts)) <= 1
    whole = utterance.read()
    assert abs(sum(map(len, parts)) - len(whole)) <= 1  # start and length are each rounded to samples
    for number, part in enumerate(parts):
        np.testing.assert_array_equal(part, whole[round(number * 160000 / 3) :][: len(part)])


def test_windows_reach_the_end() -> None:
    # by hand: 0, 0.75, 1.5, 2.25 would end at 3.75; the last is moved back to end at 3.5
    np.testing.assert_allclose(
        parse_windows("1.5/0.75").times(3.5), [[0, 1.5], [0.75, 2.25], [1.5, 3.0], [2.0, 3.5]]
    )
    np.testing.assert_allclose(parse_windows("2").times(1.2), [[0, 1.2]])


def test_windows_are_read_in_pieces_that_know_their_place(recording: Path) -> None:
    plan = WindowPlan(window_s=0.5, hop_s=0.1)
    utterance = Utterance("a", recording, 0.3, 10.2)
    pieces = plan_clips(utterance, plan).clips
    assert len(pieces) == 2  # 95 windows, 64 at once
    whole = utterance.read()
    times = []
    for piece in pieces:
        wave = piece.read(utterance)
        offset_s = piece.start_s - utterance.start_s
        assert len(wave) < 10 * 16000
        assert piece.windows_N2 is not None
        for start, end in piece.windows_N2:
            first, last = round((start + offset_s) * 16000), round((end + offset_s) * 16000)
            np.testing.assert_array_equal(wave[round(start * 16000) : round(end * 16000)], whole[first:last])
        times.append(piece.windows_N2 + offset_s)
    np.testing.assert_allclose(np.concatenate(times), plan.times(9.9))


def test_a_segment_after_the_end_is_refused(recording: Path) -> None:
    with pytest.raises(InputError, match="starts after the end"):
        plan_clips(Utterance("a", recording, 11.0, 12.0))


@pytest.mark.parametrize("text", ["", "x/y", "1.5/2", "1/0", "0.05", "nan/1", "1000", "1/-1"])
def test_what_is_no_plan_of_windows(text: str) -> None:
    with pytest.raises(InputError, match="such as 1"):
        parse_windows(text)
