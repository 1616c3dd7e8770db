"""The channels of the experiment have the stated effect, and are reproducible."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from sdpn.io.kaldi import Utterance, read_data_dir, write_data_dir
from tools.adaptation_experiment import CHANNELS, hall, shift, telephone


def _tone(hz: float) -> np.ndarray:
    tone: np.ndarray = 0.1 * np.sin(2 * np.pi * hz * np.arange(32000) / 16000)
    return tone


def _at(wave_S: np.ndarray, hz: float) -> float:
    """Amplitude at a frequency, by correlation with it."""
    phase = np.exp(-2j * np.pi * hz * np.arange(len(wave_S)) / 16000)
    return float(2 * abs(np.mean(wave_S * phase)))


def test_the_telephone_has_a_band() -> None:
    gain_db = {}
    for hz in (50, 1000, 3000, 3900, 6000):
        both = telephone(_tone(hz) + _tone(800), np.random.default_rng(0))
        gain_db[hz] = 20 * np.log10(_at(both, hz) / _at(both, 800))
    assert abs(gain_db[1000]) < 1 and abs(gain_db[3000]) < 2
    assert gain_db[50] < -25 and gain_db[3900] < -8 and gain_db[6000] < -40


def test_the_hall_rings_on_after_the_sound() -> None:
    wave = np.zeros(48000)
    wave[:16000] = _tone(500)[:16000]
    after = hall(wave, np.random.default_rng(0))[16000:]
    early, late = (float(np.mean(part**2)) for part in (after[:1600], after[-1600:]))
    assert early > 3 * late > 0


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_shift_is_the_same_again(channel: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", _tone(500), 16000)
    write_data_dir(tmp_path / "data", [Utterance("a", tmp_path / "a.wav")])
    for name in ("one", "two"):
        shift(tmp_path / "data", tmp_path / name, channel)
    first, second = (read_data_dir(tmp_path / name)[0].read() for name in ("one", "two"))
    np.testing.assert_array_equal(first, second)
    assert len(first) == 32000 and 0.45 < np.abs(first).max() <= 0.55
