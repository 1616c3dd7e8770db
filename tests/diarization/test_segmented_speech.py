"""Who decides what is speech: a network that hears hums alone, and a detector that hears people alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sdpn.diarization.level import levelled
from sdpn.diarization.local_speech import LocalSegmentation, SegmentationConfig
from sdpn.diarization.segmented_speech import SegmentedSpeech
from sdpn.diarization.speech import Segment
from sdpn.diarization.vad import VadConfig, detect_speech
from sdpn.io.audio import read
from tests.diarization.hums import RATE_HZ, HumSegmenter, hum

HUMS = [(2.0, 30.0, 200.0), (31.0, 32.0, 1000.0), (64.0, 67.0, 3000.0), (80.0, 99.0, 1000.0)]


class Deaf(HumSegmenter):
    """Hears nothing."""

    def activities(self, wave_BS: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        active_BTL, together_BTM = super().activities(wave_BS)
        return 0 * active_BTL, 0 * together_BTM


def detect(wave_S: np.ndarray, network: HumSegmenter, rule: str) -> list[Segment]:
    config = SegmentationConfig(speech=rule)  # type: ignore[arg-type]
    local = LocalSegmentation(network, config)
    source = SegmentedSpeech(VadConfig(pad_s=0.0), config, local)
    found: list[Segment] = []
    for piece in levelled([wave_S]):
        local.push(piece.wave_S)
        found += source.push(piece)
        if source.growing is not None:
            assert source.growing.start_s <= source.growing.end_s
    local.finish()
    return found + source.finish()


@pytest.mark.parametrize(("rule", "heard"), [("segmentation", True), ("either", True), ("both", False)])
def test_the_network_hears_hums(rule: str, heard: bool) -> None:
    found = detect(hum(HUMS, 100), HumSegmenter(), rule)
    expected = [hums[:2] for hums in HUMS] if heard else []
    for (start_s, end_s), (begins_s, ends_s) in zip(found, expected, strict=True):
        assert start_s == pytest.approx(begins_s, abs=0.06)  # frames of both
        assert end_s == pytest.approx(ends_s, abs=0.06)


def test_the_detector_hears_people(shared_data: Path) -> None:
    wave_S = read(shared_data.parent / "cases" / "speech8.wav")
    expected = detect_speech(wave_S, VadConfig(pad_s=0.0))
    assert expected
    assert detect(wave_S, Deaf(), "either") == expected
    assert detect(wave_S, Deaf(), "segmentation") == detect(wave_S, Deaf(), "both") == []


def test_speech_that_goes_on_until_the_end() -> None:
    found = detect(hum([(60.0, 77.7, 200.0)], 77.7), HumSegmenter(), "segmentation")
    assert len(found) == 1 and found[0].end_s == pytest.approx(77.7)


def test_chunks_do_not_matter() -> None:
    wave_S = hum(HUMS, 100)
    config = SegmentationConfig(speech="segmentation", step_s=2.5)
    whole, pieces = (LocalSegmentation(HumSegmenter(), config) for _ in range(2))
    whole.push(wave_S)
    for at in range(0, len(wave_S), 12_345):
        pieces.push(wave_S[at : at + 12_345])
    one, other = whole.finish(), pieces.finish()
    np.testing.assert_array_equal(one.start_C, other.start_C)
    np.testing.assert_array_equal(one.together_FM, other.together_FM)
    assert one.edges(100.0)[[0, -1]].tolist() == [0.0, 100.0]
    # frames in which a hum sounds
    centre_F = (one.edges(100.0)[:-1] + one.edges(100.0)[1:]) / 2
    inside_F = np.any([(centre_F > start + 0.1) & (centre_F < end - 0.1) for start, end, _ in HUMS], axis=0)
    assert (one.together_FM[inside_F, 0] == 255).all()


def test_silence_and_no_samples() -> None:
    assert detect(np.zeros(20 * RATE_HZ, dtype=np.float32), Deaf(), "either") == []
    local = LocalSegmentation(HumSegmenter(), SegmentationConfig()).finish()
    assert len(local.start_C) == len(local.together_FM) == 0
