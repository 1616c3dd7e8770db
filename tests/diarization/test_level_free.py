"""The same turns however loud a recording is, on real meetings with the model that comes with sdpn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from pyannote.core import Annotation
from pyannote.metrics.diarization import DiarizationErrorRate

import sdpn
from sdpn.diarization.pipeline import Diarizer
from sdpn.io import audio

FEW = ("dev00", "trn07", "trn09")


@pytest.fixture(scope="module")
def diarizer() -> Diarizer:
    return Diarizer(sdpn.load_model())


def turns(annotation: Annotation) -> list[tuple[float, float, str]]:
    return [(turn.start, turn.end, speaker) for turn, _, speaker in annotation.itertracks(yield_label=True)]


def check(diarizer: Diarizer, clip: Path, folder: Path) -> tuple[float, float]:
    """Factors on floats move no turn by more than 0.1 s, powers of two none at all.

    Returns:
        seconds of error between 16 bits at full scale and 20 dB below, and of speech.
    """
    wave = audio.read(clip)
    expected = turns(diarizer((wave, audio.RATE_HZ)))
    for factor in (0.1, 10.0):
        found = turns(diarizer((np.float32(factor) * wave, audio.RATE_HZ)))
        assert [speaker for *_, speaker in found] == [speaker for *_, speaker in expected]
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one[:2], other[:2], atol=0.1)
    assert turns(diarizer((np.float32(0.125) * wave, audio.RATE_HZ))) == expected
    soundfile.write(folder / f"{clip.stem}.wav", 0.125 * wave, audio.RATE_HZ, subtype="FLOAT")
    assert turns(diarizer(folder / f"{clip.stem}.wav")) == expected
    loud = wave / np.abs(wave).max()
    in_16_bits = [
        diarizer(((gain * 32767 * loud).round().astype(np.int16), audio.RATE_HZ)) for gain in (1.0, 0.1)
    ]
    if not in_16_bits[0]:
        assert not in_16_bits[1]
        return 0.0, 0.0
    details = DiarizationErrorRate()(*in_16_bits, detailed=True)
    return details["diarization error rate"] * details["total"], details["total"]


@pytest.mark.parametrize("name", FEW)
def test_a_clip_at_any_level(name: str, diarizer: Diarizer, shared_data: Path, tmp_path: Path) -> None:
    error_s, speech_s = check(diarizer, shared_data / "ami_excerpt" / f"{name}.flac", tmp_path)
    assert speech_s > 3.0
    assert error_s <= 0.05 * speech_s  # rounding may decide a tie: a turn of one of the twelve goes elsewhere


@pytest.mark.slow
def test_all_clips_at_any_level(diarizer: Diarizer, shared_data: Path, tmp_path: Path) -> None:
    clips = sorted((shared_data / "ami_excerpt").glob("*.flac"))
    assert len(clips) == 12
    errors_s, speech_s = np.transpose([check(diarizer, clip, tmp_path) for clip in clips])
    assert errors_s.sum() <= 0.01 * speech_s.sum()
