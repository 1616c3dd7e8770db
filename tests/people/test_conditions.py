"""Noise and bandwidth of recordings that are made to have them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

from sdpn.people.conditions import differences, measure_conditions
from sdpn.people.voiceprint import RecordingConditions

RATE_HZ = 16000
SPEECH = [(1.0, 3.0), (4.0, 7.0)]


def recording(noise_db: float | None, band_hz: float | None, seconds: float = 9.0) -> np.ndarray:
    """White noise as speech, and as noise this far below it; both below the end of the band."""
    rng = np.random.default_rng(0)
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    wave = np.zeros(len(times))
    for start_s, end_s in SPEECH:
        inside = (times >= start_s) & (times < end_s)
        wave[inside] = 0.1 * rng.standard_normal(int(inside.sum()))
    if noise_db is not None:
        wave += 0.1 * 10 ** (-noise_db / 20) * rng.standard_normal(len(wave))
    if band_hz is not None:
        wave = sosfilt(butter(16, band_hz, output="sos", fs=RATE_HZ), wave)
    return wave.astype(np.float32)


@pytest.mark.parametrize("noise_db", [0.0, 10.0, 30.0])
@pytest.mark.parametrize("band_hz", [None, 3400.0])
def test_noise_beside_the_speech(noise_db: float, band_hz: float | None) -> None:
    found = measure_conditions((recording(noise_db, band_hz), RATE_HZ), SPEECH)
    assert found is not None and found.snr_db == pytest.approx(noise_db, abs=0.5)


@pytest.mark.parametrize(
    ("band_hz", "low", "high"), [(None, 8000, 8000), (3400.0, 3175, 5100), (2000.0, 2000, 3200)]
)
def test_the_end_of_the_band(band_hz: float | None, low: float, high: float) -> None:
    found = measure_conditions((recording(40.0, band_hz), RATE_HZ), SPEECH)
    assert found is not None and low <= found.bandwidth_hz <= high


def test_without_pauses_or_speech() -> None:
    wave = recording(None, None)
    assert measure_conditions((wave, RATE_HZ), []) is None
    assert measure_conditions((np.zeros(RATE_HZ, dtype=np.float32), RATE_HZ), [(0.0, 1.0)]) is None
    whole = measure_conditions((wave[RATE_HZ : 3 * RATE_HZ], RATE_HZ), [(0.0, 2.0)])
    assert whole is not None and whole.snr_db is None
    silent_pauses = measure_conditions((wave, RATE_HZ), SPEECH)
    assert silent_pauses is not None and silent_pauses.snr_db == 60.0


def test_differences() -> None:
    wide, narrow = (
        RecordingConditions(snr_db=30, bandwidth_hz=8000),
        RecordingConditions(snr_db=30, bandwidth_hz=4000),
    )
    noisy, unknown = (
        RecordingConditions(snr_db=15, bandwidth_hz=8000),
        RecordingConditions(snr_db=None, bandwidth_hz=6350),
    )
    assert differences(wide, [wide, unknown]) == [] and differences(unknown, [wide]) == []
    assert differences(narrow, [wide, narrow]) == []
    (band,) = differences(narrow, [wide])
    assert band == "its band ends at 4.0 kHz, a telephone's, and that of the enrolments at 8.0 to 8.0 kHz"
    (noise,) = differences(noisy, [wide])
    assert noise == "speech is 15 dB above the noise, and 30 dB or more in the enrolments"
    assert len(differences(wide, [narrow])) == 1
