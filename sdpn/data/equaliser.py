"""Linear filters of a crop, all in one pass through the frequency domain: a room and a smooth equaliser."""

from __future__ import annotations

import numpy as np

from sdpn.io.audio import RATE_HZ

#: Points of the equaliser; between them its gain in dB is linear.
_POINTS_HZ = np.array([0.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0])

#: Frequencies at which dB become factors.
_COARSE_HZ = np.linspace(0.0, RATE_HZ / 2, 129)


def draw_tilt(rng: np.random.Generator, limit_db: float) -> np.ndarray:
    """A smooth random gain over frequency: (7,) dB at octave points, 0 on average."""
    gains_db = np.clip(np.cumsum(rng.standard_normal(len(_POINTS_HZ))) * limit_db / 3, -limit_db, limit_db)
    centred_db: np.ndarray = gains_db - gains_db.mean()
    return centred_db


def apply_filters(wave: np.ndarray, room: np.ndarray | None, tilt_db: np.ndarray | None) -> np.ndarray:
    """Convolve with a room and an equaliser in one pass; the length and the power stay.

    Args:
        wave: (S,) float32.
        room: (R,) float32 impulse response, or None.
        tilt_db: what `draw_tilt` gave, or None.

    Returns:
        (S,) float32.
    """
    from scipy.fft import irfft, next_fast_len, rfft

    tail = 0 if room is None else len(room)
    size = next_fast_len(len(wave) + tail, real=True)
    spectrum = rfft(wave, size)
    if room is not None:
        spectrum *= rfft(room, size)
    if tilt_db is not None:
        gain = 10 ** (np.interp(_COARSE_HZ, _POINTS_HZ, tilt_db) / 20)
        spectrum *= np.interp(np.linspace(0.0, RATE_HZ / 2, len(spectrum)), _COARSE_HZ, gain).astype(
            np.float32
        )
    filtered: np.ndarray = irfft(spectrum, size)[: len(wave)]
    return filtered * np.sqrt(power(wave) / max(power(filtered), 1e-12)).astype(np.float32)


def power(wave: np.ndarray) -> float:
    """Mean square of (S,) samples."""
    return float(np.dot(wave, wave)) / len(wave)
