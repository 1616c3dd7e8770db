"""Turns that overlap, from hums that sound together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from pyannote.core import Annotation

from sdpn.diarization.local_speech import LocalSpeech, SegmentationConfig
from sdpn.diarization.overlap import overlapping_turns, windows_to_cluster, with_others
from sdpn.diarization.pipeline import DiarizationConfig, Diarizer
from sdpn.diarization.recordings import RecordingOptions, diarize_recordings
from sdpn.diarization.speech import Segment
from sdpn.diarization.windows import Windows
from sdpn.io.rttm import read_rttm
from sdpn.models.segmentation_net import SegmentationNet
from sdpn.models.segmenter import Segmenter
from tests.diarization.hums import RATE_HZ, HumSegmenter, hum
from tests.diarization.test_pipeline import HumEmbedder
from tests.distill.test_segmentation import TINY

#: (start, end, speaker).
Turns = list[tuple[float, float, str]]

#: Two hum at the same time from 8 to 10 and from 31 to 31.7 s.
TOGETHER = [
    (1.0, 10.0, 200.0),
    (8.0, 14.0, 1000.0),
    (15.0, 24.0, 3000.0),
    (25.0, 33.0, 200.0),
    (31.0, 31.7, 3000.0),
    (34.0, 39.0, 1000.0),
]
EXPECTED = [
    (1.0, 10.0, "speaker00"),
    (8.0, 14.0, "speaker01"),
    (15.0, 24.0, "speaker02"),
    (25.0, 33.0, "speaker00"),
    (31.0, 31.7, "speaker02"),
    (34.0, 39.0, "speaker01"),
]
#: Hums are no speech to the detector.
ALONE = SegmentationConfig(speech="segmentation")


def diarizer(segmentation: SegmentationConfig = ALONE, **settings: Any) -> Diarizer:
    config = DiarizationConfig(segmentation=segmentation, **settings)
    return Diarizer(HumEmbedder(), config=config, segmentation=HumSegmenter())


def turns(annotation: Annotation) -> Turns:
    found = annotation.itertracks(yield_label=True)
    return sorted((segment.start, segment.end, label) for segment, _, label in found)


def check(
    found: list[tuple[float, float, str]], expected: list[tuple[float, float, str]], by_s: float
) -> None:
    assert [label for *_, label in found] == [label for *_, label in expected]
    np.testing.assert_allclose([turn[:2] for turn in found], [turn[:2] for turn in expected], atol=by_s)


@pytest.mark.parametrize("step_s", [1.0, 2.5, 5.0])
def test_two_at_the_same_time(step_s: float) -> None:
    found = diarizer(SegmentationConfig(speech="segmentation", step_s=step_s))((hum(TOGETHER, 40), RATE_HZ))
    check(turns(found), EXPECTED, 0.15)  # padded by 0.1 s


def test_one_speaker_at_a_time() -> None:
    found = diarizer()((hum(TOGETHER, 40), RATE_HZ), exclusive=True)
    assert found.get_overlap().duration() == 0
    everything = diarizer()((hum(TOGETHER, 40), RATE_HZ))
    assert found.get_timeline().support() == everything.get_timeline().support()
    assert everything.get_overlap().duration() == pytest.approx(2.7, abs=0.1)


def test_without_overlap_it_is_the_pipeline_as_before() -> None:
    apart = [(1.0, 10.0, 200.0), (15.0, 24.0, 3000.0)]
    found = diarizer()((hum(apart, 30), RATE_HZ))
    check(turns(found), [(1.0, 10.0, "speaker00"), (15.0, 24.0, "speaker01")], 0.15)
    assert turns(found) == turns(diarizer()((hum(apart, 30), RATE_HZ), exclusive=True))


def test_given_speech_is_covered_exactly() -> None:
    speech = [(1.003, 9.999), (12.0, 13.5), (20.0, 20.2), (31.0, 32.0)]
    found = diarizer()((hum(TOGETHER, 40), RATE_HZ), speech=speech, exclusive=True)
    assert [(turn.start, turn.end) for turn in found.get_timeline().support()] == speech
    overlapping = diarizer()((hum(TOGETHER, 40), RATE_HZ), speech=speech)
    assert overlapping.get_timeline().support() == found.get_timeline().support()
    assert overlapping.get_overlap().duration() == pytest.approx(2.0 + 0.7, abs=0.1)


def test_the_threshold_of_overlap() -> None:
    found = diarizer(SegmentationConfig(speech="segmentation", overlap_threshold=1.0))
    assert found((hum(TOGETHER, 40), RATE_HZ)).get_overlap().duration() > 2  # the network is sure


@pytest.mark.parametrize("number", [1, 2, 5])
def test_the_number_of_speakers_is_kept(number: int) -> None:
    audio = (hum(TOGETHER, 40), RATE_HZ)
    for exclusive in (False, True):
        assert len(diarizer()(audio, num_speakers=number, exclusive=exclusive).labels()) == number


@pytest.mark.parametrize("duration_s", [0.01, 0.06, 0.3, 2.0, 9.99, 10.0, 10.01, 15.0])
def test_short_recordings(duration_s: float) -> None:
    found = diarizer()((hum([(0.0, 20.0, 200.0)], duration_s), RATE_HZ), speech=[(0.0, 20.0)])
    assert turns(found) == [(0.0, duration_s, "speaker00")]


def test_nothing_but_overlap() -> None:
    """Two hum together for half a minute; given speech, so that windows of overlap are all that there is."""
    both = [(0.0, 30.0, 200.0), (0.0, 30.0, 3000.0)]
    found = diarizer()((hum(both, 30), RATE_HZ), num_speakers=2)
    assert len(found.labels()) == 2
    alone = diarizer()((hum(both, 30), RATE_HZ))
    assert len(alone.labels()) == 1  # every window sounds the same: there is one voice
    assert turns(alone) == [(0.0, 30.0, "speaker00")]


@pytest.mark.parametrize("duration_s", [0.01, 0.3, 2.0, 10.01, 25.0])
@pytest.mark.parametrize("silent", [True, False])
def test_a_network_of_our_own_that_knows_nothing(duration_s: float, silent: bool) -> None:
    """Random weights: whatever they hear, turns lie within the recording."""
    torch.manual_seed(0)
    segmenter = Segmenter(SegmentationNet(TINY), window_s=10.0, name="random")
    network = Diarizer(HumEmbedder(), segmentation=segmenter)
    wave_S = hum([(0.0, 30.0, 200.0)], duration_s) * (not silent)
    found = network((wave_S, RATE_HZ))
    assert all(0.0 <= turn.start < turn.end <= duration_s for turn in found.itersegments())
    embedded = network.embed((wave_S, RATE_HZ))
    assert embedded.local is not None and len(embedded.local.together_FM) == -(-len(wave_S) // 320)


def test_samples_in_any_pieces(tmp_path: Path) -> None:
    """A file is read in blocks, an array at once; recordings of more than one chunk of 65.5 s."""
    long = [(start + at, end + at, pitch) for at in range(0, 160, 40) for start, end, pitch in TOGETHER]
    wave_S = hum(long, 160)
    soundfile.write(tmp_path / "long.wav", wave_S, RATE_HZ, subtype="FLOAT")
    found = turns(diarizer()(tmp_path / "long.wav"))
    assert found == turns(diarizer()((wave_S, RATE_HZ)))
    expected = [(start + at, end + at, label) for at in range(0, 160, 40) for start, end, label in EXPECTED]
    check(found, sorted(expected), 0.15)


def test_every_frame_in_windows_of_one_step() -> None:
    """A minute at a step of 2.5 s: windows start every 148 frames, and the last one ends with the minute."""
    segmenter = HumSegmenter()
    config = DiarizationConfig(segmentation=SegmentationConfig(speech="segmentation", step_s=2.5))
    embedded = Diarizer(HumEmbedder(), config=config, segmentation=segmenter).embed(
        (hum(TOGETHER, 60), RATE_HZ)
    )
    assert embedded.local is not None
    starts = embedded.local.start_C.tolist()
    assert starts[:-1] == list(range(0, starts[-1], 148))
    assert starts[-1] == (60 - 10) * RATE_HZ // 270
    assert segmenter.num_windows == len(starts)
    assert len(embedded.local.together_FM) == -(-60 * RATE_HZ // 270)


def test_local_speakers_of_a_window_are_different_people() -> None:
    """Two local speakers, most of both in windows of speaker 0: the one with less of it is speaker 1."""
    frames = 100
    active_TL = np.zeros((frames, 2), dtype=np.uint8)
    active_TL[:60, 0] = active_TL[60:, 1] = 255
    local = LocalSpeech(
        start_C=np.array([0]),
        active=[active_TL],
        together_FM=np.tile(np.array([255, 0], dtype=np.uint8), (frames, 1)),
        hop_s=0.1,
        first_s=0.05,
    )
    windows = Windows(
        times_N2=np.array([[0.0, 4.0], [4.0, 9.0], [9.0, 10.0]]), segment_N=np.zeros(3, dtype=np.int64)
    )
    found = overlapping_turns(
        local,
        [Segment(0.0, 10.0)],
        windows,
        np.array([0, 0, 1]),
        np.eye(2)[[0, 0, 1]],
        SegmentationConfig(trust=0.0),
        duration_s=10.0,
        max_pause_s=0.3,
    )
    assert [(round(start, 6), round(end, 6), label) for start, end, label in found.turns] == [
        (0.0, 6.0, 0),
        (6.0, 10.0, 1),
    ]
    assert found.exclusive == found.turns


def test_the_level_does_not_matter() -> None:
    wave_S = hum(TOGETHER, 40)
    expected = turns(diarizer()((wave_S, RATE_HZ)))
    for factor in (2.0**-10, 2.0):
        assert turns(diarizer()((np.float32(factor) * wave_S, RATE_HZ))) == expected


@pytest.mark.parametrize(
    ("overlapped", "at_least", "expected"),
    [
        ([(0, 3)], 1, [False, False, False, True, True, True, True]),  # 2 to 3 of 2 to 3.5 s overlap
        ([(0, 2)], 1, [False, False, True, True, True, True, True]),
        ([(0, 3)], 6, [True] * 7),  # more are needed
        ([(0, 5)], 1, [True] * 7),  # more than half overlap
        ([], 1, [True] * 7),
    ],
)
def test_windows_that_are_mostly_overlap_are_not_clustered(
    overlapped: list[tuple[int, int]], at_least: int, expected: list[bool]
) -> None:
    """Windows of 1.5 s every second, frames of 0.1 s."""
    together_FM = np.zeros((100, 2), dtype=np.uint8)
    for start_s, end_s in overlapped:
        together_FM[10 * start_s : 10 * end_s] = 255
    local = LocalSpeech(
        start_C=np.zeros(0, dtype=np.int64), active=[], together_FM=together_FM, hop_s=0.1, first_s=0.05
    )
    times_N2 = np.stack([np.arange(7.0), np.arange(7.0) + 1.5], axis=1)
    found = windows_to_cluster(local, times_N2, SegmentationConfig(), duration_s=10.0, at_least=at_least)
    assert found.tolist() == expected


def test_windows_that_are_not_clustered_get_who_they_resemble() -> None:
    emb_ND = np.array([[1, 0], [0.9, 0.5], [0, 2], [0.2, 1], [1, 0.1]])
    chosen_N = np.array([True, False, True, False, True])
    assert with_others(emb_ND, chosen_N, np.array([0, 1, 0])).tolist() == [0, 0, 1, 1, 0]
    everyone = np.ones(5, dtype=bool)
    assert with_others(emb_ND, everyone, np.array([1, 0, 0, 1, 0])).tolist() == [1, 0, 0, 1, 0]


def test_short_turns_are_dropped() -> None:
    config = SegmentationConfig(speech="segmentation", min_turn_s=1.0)
    found = diarizer(config)((hum(TOGETHER, 40), RATE_HZ))
    check(turns(found), [turn for turn in EXPECTED if turn[1] - turn[0] > 1], 0.15)


def test_files_hold_overlap_or_one_speaker_at_a_time(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", hum(TOGETHER, 40), RATE_HZ)
    for exclusive, overlapped in ((False, True), (True, False)):
        options = RecordingOptions(exclusive=exclusive)
        done = diarize_recordings(
            diarizer(), {"a": tmp_path / "a.wav"}, tmp_path / "out", options, made_with={}
        )
        assert not done.files[0]["finished_before"]  # the other output is another result
        found = read_rttm(tmp_path / "out" / "a.rttm")["a"]
        ends = [turn.end_s for turn in found]
        assert any(turn.onset_s < max(ends[:at]) for at, turn in enumerate(found) if at) == overlapped


@pytest.mark.parametrize(
    "wrong",
    [
        {"step_s": 0.0},
        {"speech_threshold": 0.0},
        {"overlap_threshold": 1.1},
        {"trust": -1.0},
        {"max_overlap": 1.5},
        {"min_turn_s": float("inf")},
    ],
)
def test_settings_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .* expected"):
        SegmentationConfig(**wrong)  # type: ignore[arg-type]
