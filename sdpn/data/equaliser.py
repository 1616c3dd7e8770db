"""Linear filters of crops, all in one pass through the frequency domain: rooms and smooth equalisers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from sdpn.io.audio import RATE_HZ

#: Points of the equaliser; between them its gain in dB is linear.
_POINTS_HZ = np.array([0.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0])

#: Samples beyond the end that keep the equaliser, which goes round, from carrying the end to the start.
_GUARD = 512


def draw_tilt(rng: np.random.Generator, limit_db: float) -> np.ndarray:
    """A smooth random gain over frequency: (7,) dB at octave points, 0 on average."""
    gains_db = np.clip(np.cumsum(rng.standard_normal(len(_POINTS_HZ))) * limit_db / 3, -limit_db, limit_db)
    centred_db: np.ndarray = gains_db - gains_db.mean()
    return centred_db


def apply_filters(
    waves_VS: np.ndarray, rooms: Sequence[np.ndarray | None], tilts_db: Sequence[np.ndarray | None]
) -> np.ndarray:
    """Convolve each crop with its room and its equaliser; the lengths and the powers stay.

    All crops go through the frequency domain together: scipy transforms four rows in the time of one.

    Args:
        waves_VS: crops (V, S), float32.
        rooms: V impulse responses (R,), float32, or None.
        tilts_db: V times what `draw_tilt` gave, or None.

    Returns:
        (V, S) float32.
    """
    from scipy.fft import irfft, next_fast_len, rfft

    chosen = [view for view in range(len(waves_VS)) if rooms[view] is not None or tilts_db[view] is not None]
    if not chosen:
        return waves_VS
    num_samples = waves_VS.shape[1]
    in_rooms = [(row, room) for row, view in enumerate(chosen) if (room := rooms[view]) is not None]
    tail = max((len(room) for _, room in in_rooms), default=0)
    size = next_fast_len(num_samples + max(tail, _GUARD), real=True)
    padded = np.zeros((_whole_lanes(len(chosen) + len(in_rooms)), size), dtype=np.float32)
    padded[: len(chosen), :num_samples] = waves_VS[chosen]
    for row, (_, room) in enumerate(in_rooms, start=len(chosen)):
        padded[row, : len(room)] = room
    spectra = rfft(padded)
    for row, (wave_row, _) in enumerate(in_rooms, start=len(chosen)):
        spectra[wave_row] *= spectra[row]
    for row, view in enumerate(chosen):
        if (tilt_db := tilts_db[view]) is not None:
            spectra[row] *= _gain(tilt_db, spectra.shape[1])
    filtered = irfft(spectra[: _whole_lanes(len(chosen))], size)[:, :num_samples]
    result = waves_VS.copy()
    for view, wave in zip(chosen, filtered, strict=False):
        result[view] = wave * np.float32(np.sqrt(power(result[view]) / max(power(wave), 1e-12)))
    return result


def _gain(tilt_db: np.ndarray, num_bins: int) -> np.ndarray:
    """Factors over the bins of a spectrum, (num_bins,) float32."""
    log_gain = (tilt_db * (np.log(10) / 20)).astype(np.float32) @ _between_points(num_bins)
    gain: np.ndarray = np.exp(log_gain, out=log_gain)
    return gain


@lru_cache(maxsize=64)  # as many as there are lengths of crops and rooms
def _between_points(num_bins: int) -> np.ndarray:
    """Linear interpolation from the points to the bins of a spectrum, as a matrix (7, num_bins), float32."""
    frequency_hz = np.linspace(0.0, RATE_HZ / 2, num_bins)
    rows = [np.interp(frequency_hz, _POINTS_HZ, unit) for unit in np.eye(len(_POINTS_HZ))]
    return np.array(rows, dtype=np.float32)


def _whole_lanes(rows: int) -> int:
    """The next multiple of four: rows that do not fill the processor's lanes are transformed one by one."""
    return -(-rows // 4) * 4


def power(wave: np.ndarray) -> float:
    """Mean square of (S,) samples."""
    return float(np.dot(wave, wave)) / len(wave)
