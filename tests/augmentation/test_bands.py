"""Band limits: what is left of tones inside and outside the band, and how coarse µ-law makes it."""

from __future__ import annotations

import numpy as np
import pytest

from sdpn.augmentation.bands import BANDS, BandName, limit_band


def _tone(frequency_hz: float, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(2 * np.pi * frequency_hz * np.arange(24000) / 16000)).astype(np.float32)


def _gain_db(frequency_hz: float, name: BandName) -> float:
    before, after = _tone(frequency_hz), limit_band(_tone(frequency_hz), BANDS[name])
    middle = slice(4000, 20000)  # the ends ring
    return float(10 * np.log10(np.mean(after[middle] ** 2) / np.mean(before[middle] ** 2) + 1e-12))


@pytest.mark.parametrize("name", BANDS)
def test_tones_inside_pass_and_tones_outside_do_not(name: BandName) -> None:
    band = BANDS[name]
    for share in (0.15, 0.5, 0.85):
        inside_hz = band.low_hz * 1.3 + share * (band.high_hz * 0.85 - band.low_hz * 1.3)
        assert _gain_db(inside_hz, name) == pytest.approx(0.0, abs=0.15)
    assert _gain_db(band.high_hz, name) == pytest.approx(-6.0, abs=0.3)  # half of the amplitude
    assert _gain_db(min(band.high_hz * 1.12, 7990), name) < -35
    assert _gain_db(band.low_hz * 0.8, name) < -35


def test_a_telephone_adds_the_noise_of_8_bits_mu_law() -> None:
    """About 38 dB below speech of any usual level (G.711), and nothing above 4 kHz."""
    wave = np.random.default_rng(0).standard_normal(24000)
    wave = limit_band((wave * 0.1).astype(np.float32), BANDS["narrow"]._replace(low_hz=400.0, high_hz=3000.0))
    sent = limit_band(wave, BANDS["telephone"])
    clean = limit_band(wave, BANDS["telephone"]._replace(companded=False))
    noise = sent - clean
    ratio_db = 10 * np.log10(np.mean(clean**2) / np.mean(noise**2))
    assert 34 < ratio_db < 41
    power = np.abs(np.fft.rfft(noise)) ** 2
    assert power[: 12000 // 2].sum() > 1e3 * power[12000 // 2 + 50 :].sum()


def test_length_type_and_silence_stay() -> None:
    for size in (1, 100, 23999):
        limited = limit_band(np.zeros(size, dtype=np.float32), BANDS["telephone"])
        assert limited.shape == (size,) and limited.dtype == np.float32 and not limited.any()
