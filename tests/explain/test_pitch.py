"""Pitch and frame kinds: tones of known frequency, noise, silence."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import sawtooth

from sdpn.explain.frame_kinds import frame_kinds
from sdpn.explain.louder import as_mp3, louder_where_relevant
from sdpn.explain.pitch import track_pitch


@pytest.mark.parametrize("f0_hz", [85.0, 120.0, 210.0, 330.0, 450.0])
def test_voiced_frames_have_the_right_frequency(f0_hz: float) -> None:
    time_S = np.arange(16000) / 16000
    pitch = track_pitch(0.3 * sawtooth(2 * np.pi * f0_hz * time_S), 95, 0.01)
    assert pitch.is_voiced[5:90].all()
    assert np.abs(pitch.f0_hz[5:90] / f0_hz - 1).max() < 0.03


def test_noise_and_silence_are_not_voiced() -> None:
    rng = np.random.default_rng(0)
    noise_S = 0.1 * rng.standard_normal(16000)
    assert track_pitch(noise_S, 95, 0.01).is_voiced.mean() < 0.02
    time_S = np.arange(16000) / 16000
    half_S = np.where(time_S < 0.5, 0.3 * sawtooth(2 * np.pi * 150 * time_S), 1e-5 * noise_S)
    pitch = track_pitch(half_S, 95, 0.01)
    assert pitch.is_voiced[5:45].all() and not pitch.is_voiced[55:].any()
    assert np.isnan(pitch.f0_hz[60])
    assert pitch.level_db[20] - pitch.level_db[70] > 60


def test_kinds_without_speech_are_noise_and_silence() -> None:
    rng = np.random.default_rng(0)
    wave_S = np.concatenate([0.1 * rng.standard_normal(16000), np.zeros(16000)]).astype(np.float32)
    kinds = frame_kinds(wave_S, track_pitch(wave_S, 198, 0.01), 0.01)
    assert set(kinds[110:]) == {"silence"} and kinds[:90].count("noise") > 80


def test_relevant_parts_are_louder() -> None:
    wave_S = np.full(32000, 0.1, np.float32)
    relevance_T = np.where(np.arange(200) < 100, 1.0, -1.0)
    louder_S = louder_where_relevant(wave_S, relevance_T, 0.01)
    assert louder_S[8000] == pytest.approx(0.1, rel=1e-3)
    assert 20 * np.log10(louder_S[24000] / 0.1) == pytest.approx(-24, abs=0.1)
    assert len(as_mp3(louder_S)) > 1000
