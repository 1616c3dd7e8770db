"""Samples are the same however much memory there is, for every format, rate and stretch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import lfilter

from sdpn.io.kaldi import Utterance
from sdpn.io.recordings import Recordings

FORMATS: dict[str, dict[str, str]] = {
    "wav": {},
    "flac": {},
    "ogg": {},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "mp3": {},
}


def _speechlike(rate_hz: int, duration_s: float) -> np.ndarray:
    """Noise of a changing level: decoders that remember have something to remember."""
    rng = np.random.default_rng(0)
    level = np.repeat(rng.uniform(0.01, 1, int(duration_s * 10)), rate_hz // 10)
    wave = lfilter([1.0], [1.0, -1.6, 0.8], rng.standard_normal(len(level))) * level
    return 0.5 * wave / np.abs(wave).max()


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("rate_hz", [16000, 48000, pytest.param(8000, marks=pytest.mark.slow)])
def test_ranges_are_those_of_the_whole(tmp_path: Path, suffix: str, rate_hz: int) -> None:
    path = tmp_path / f"long.{suffix}"
    with soundfile.SoundFile(path, "w", rate_hz, 1, **FORMATS[suffix]) as file:
        for second in np.split(_speechlike(rate_hz, 50.0), 50):  # libsndfile's Vorbis dies of more at once
            file.write(second)
    utterances = [Utterance("whole", path), Utterance("segment", path, 3.456789, 44.4)]
    cached, ranges = Recordings(utterances, cache_mb=100), Recordings(utterances, cache_mb=0)
    rng = np.random.default_rng(1)
    for index in (0, 1):
        length = ranges.length(index)
        assert length == cached.length(index)
        for first in (0, length - 24000, *rng.integers(0, length - 24000, 4)):
            left, right = cached.read(index, int(first), 24000), ranges.read(index, int(first), 24000)
            assert left.shape == (24000,) and left.dtype == np.float32
            np.testing.assert_array_equal(left, right)


def test_a_short_utterance_is_decoded_once_for_all_its_crops(tmp_path: Path) -> None:
    path = tmp_path / "short.wav"
    wave = _speechlike(16000, 2.0)
    soundfile.write(path, wave, 16000)
    recordings = Recordings([Utterance("short", path)], cache_mb=0)
    before = recordings.read(0, 100, 1000)
    path.unlink()
    np.testing.assert_array_equal(recordings.read(0, 100, 1000), before)
    np.testing.assert_allclose(before, wave[100:1100], atol=1e-4)


def test_one_of_several_channels(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    left, right = _speechlike(16000, 2.0), np.zeros(32000)
    soundfile.write(path, np.stack([left, right], axis=1), 16000)
    utterance = [Utterance("stereo", path)]
    assert not Recordings(utterance, cache_mb=1, channel=1).read(0, 0, 32000).any()
    mean = Recordings(utterance, cache_mb=1).read(0, 0, 32000)
    np.testing.assert_allclose(mean, left / 2, atol=1e-4)
