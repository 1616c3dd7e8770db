"""Speed: a tone becomes the tone of the other pitch, exactly where it should be."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from sdpn.augmentation.speed import change_speed, samples_needed, speed_fraction


@pytest.mark.parametrize("factor", [0.9, 1.1, 0.95, 1.05, 0.5, 2.0])
def test_a_tone_has_the_other_pitch(factor: float) -> None:
    speed = speed_fraction(factor)
    needed = samples_needed(16000, speed)
    wave = np.sin(2 * np.pi * 1000 * np.arange(needed) / 16000).astype(np.float32)
    changed = change_speed(wave, speed, 16000)
    assert changed.shape == (16000,) and changed.dtype == np.float32
    spectrum = np.abs(np.fft.rfft(changed))  # 1 Hz per bin
    assert int(spectrum.argmax()) == pytest.approx(1000 * factor, abs=1)
    # as loud from the first sample to the last: no filter's edge is left in
    times_s = np.arange(16000) / 16000
    basis = np.stack(
        [np.sin(2 * np.pi * 1000 * factor * times_s), np.cos(2 * np.pi * 1000 * factor * times_s)]
    )
    weights, *_ = np.linalg.lstsq(basis.T, changed, rcond=None)
    np.testing.assert_allclose(weights @ basis, changed, atol=5e-3)
    assert np.hypot(*weights) == pytest.approx(1.0, abs=5e-3)


def test_speeds_are_ratios_of_small_numbers() -> None:
    assert [speed_fraction(factor) for factor in (0.9, 1.1, 1.0)] == [Fraction(9, 10), Fraction(11, 10), 1]
