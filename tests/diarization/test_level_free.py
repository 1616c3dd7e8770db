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

FEW = ("dev00", "trn03", "trn07", "trn09")


@pytest.fixture(scope="module")
def diarizer() -> Diarizer:
    return Diarizer(sdpn.load_model())


def turns(annotation: Annotation) -> list[tuple[float, float, str]]:
    return [(turn.start, turn.end, speaker) for turn, _, speaker in annotation.itertracks(yield_label=True)]


def check(diarizer: Diarizer, clip: Path, folder: Path) -> None:
    """Factors on floats move no turn by more than 0.1 s, powers of two none at all; 16 bits cost little."""
    wave = audio.read(clip)
    expected = diarizer((wave, audio.RATE_HZ))
    assert len(expected)
    for factor in (0.1, 10.0):
        found = diarizer((np.float32(factor) * wave, audio.RATE_HZ))
        pairs = list(zip(turns(found), turns(expected), strict=True))
        assert [one[2] for one, _ in pairs] == [other[2] for _, other in pairs]
        for one, other in pairs:
            np.testing.assert_allclose(one[:2], other[:2], atol=0.1)
    soundfile.write(folder / f"{clip.stem}.wav", 0.1 * wave, audio.RATE_HZ, subtype="FLOAT")
    assert turns(diarizer(folder / f"{clip.stem}.wav")) == turns(diarizer((np.float32(0.1) * wave, 16000)))
    assert turns(diarizer((np.float32(0.125) * wave, audio.RATE_HZ))) == turns(expected)
    loud = wave / np.abs(wave).max()
    in_16_bits = [diarizer((np.round(g * 32767 * loud).astype(np.int16), audio.RATE_HZ)) for g in (1.0, 0.1)]
    assert DiarizationErrorRate()(*in_16_bits) <= 0.01


@pytest.mark.parametrize("name", FEW)
def test_a_clip_at_any_level(name: str, diarizer: Diarizer, shared_data: Path, tmp_path: Path) -> None:
    check(diarizer, shared_data / "ami_excerpt" / f"{name}.flac", tmp_path)


@pytest.mark.slow
def test_all_clips_at_any_level(diarizer: Diarizer, shared_data: Path, tmp_path: Path) -> None:
    clips = sorted((shared_data / "ami_excerpt").glob("*.flac"))
    assert len(clips) == 12
    for clip in clips:
        check(diarizer, clip, tmp_path)
