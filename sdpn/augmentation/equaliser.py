"""Linear filters of crops in the frequency domain: rooms and smooth equalisers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from sdpn.augmentation.rooms import LONGEST_ROOM
from sdpn.io.audio import RATE_HZ

#: Points of the equaliser; between them its gain in dB is linear.
POINTS_HZ = np.array([0.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0])

#: Padding against circular convolution, in samples.
FILTER_GUARD = 512

#: Rows that scipy transforms in the time of one, by SIMD.
_LANES = 4


def draw_tilt(rng: np.random.Generator, limit_db: float) -> np.ndarray:
    """A smooth random gain over frequency: (7,) dB at octave points, 0 on average."""
    gains_db: np.ndarray = rng.standard_normal(len(POINTS_HZ)).cumsum() * limit_db / 3
    np.maximum(np.minimum(gains_db, limit_db, out=gains_db), -limit_db, out=gains_db)
    gains_db -= gains_db.sum() / len(gains_db)
    return gains_db


def flat_tilt() -> np.ndarray:
    """The tilt that changes nothing, (7,) dB."""
    return np.zeros(len(POINTS_HZ))


def apply_filters(
    waves: Sequence[np.ndarray], rooms: Sequence[np.ndarray | None], tilts_db: Sequence[np.ndarray | None]
) -> np.ndarray:
    """Convolve each crop with its room and its equaliser, keeping length and power.

    Crops are transformed in groups of four, which takes scipy the time of one. The transform length is that
    of a single crop, so that up to rounding the result does not depend on the group.

    Args:
        waves: V crops (S,), float32.
        rooms: V impulse responses (R,), float32, or None; R at most `LONGEST_ROOM`.
        tilts_db: V results of `draw_tilt`, or None.

    Returns:
        (V, S) float32.
    """
    from scipy.fft import next_fast_len

    num_samples = len(waves[0])
    filtered_VS = np.empty((len(waves), num_samples), dtype=np.float32)
    in_rooms, tilted = [], []
    for view, (room, tilt_db) in enumerate(zip(rooms, tilts_db, strict=True)):
        if room is not None:
            in_rooms.append(view)
        elif tilt_db is not None:
            tilted.append(view)
        else:
            filtered_VS[view] = waves[view]
    for views, tail in ((in_rooms, LONGEST_ROOM), (tilted, FILTER_GUARD)):
        size = next_fast_len(num_samples + tail, real=True)
        for first in range(0, len(views), _LANES):
            four = views[first : first + _LANES]
            filtered = _filter(
                [waves[view] for view in four],
                [rooms[view] for view in four],
                [tilts_db[view] for view in four],
                size,
            )
            for view, wave in zip(four, filtered[:, :num_samples], strict=False):
                level = np.sqrt(power(waves[view]) / max(power(wave), 1e-12))
                np.multiply(wave, np.float32(level), out=filtered_VS[view])
    return filtered_VS


def _filter(
    waves: Sequence[np.ndarray],
    rooms: Sequence[np.ndarray | None],
    tilts_db: Sequence[np.ndarray | None],
    size: int,
) -> np.ndarray:
    """Filter crops, all with or all without rooms, to rows of ``size`` samples of any level."""
    from scipy.fft import irfft, rfft

    spectra = rfft(_padded(waves, size))
    responses = [room for room in rooms if room is not None]
    if responses:
        spectra *= rfft(_padded(responses, size))
    if any(tilt_db is not None for tilt_db in tilts_db):
        spectra[: len(waves)] *= _gains(tilts_db, spectra.shape[1])
    # not normalised: the level is set afterwards
    filtered: np.ndarray = irfft(spectra, size, norm="forward")
    return filtered


def _padded(waves: Sequence[np.ndarray], size: int) -> np.ndarray:
    """Zero-padded rows; two or three rows are extended to four, which take less time."""
    rows = np.empty((1 if len(waves) == 1 else _LANES, size), dtype=np.float32)
    for row, wave in zip(rows, waves, strict=False):
        row[: len(wave)] = wave
        row[len(wave) :] = 0.0
    rows[len(waves) :] = 0.0
    return rows


def _gains(tilts_db: Sequence[np.ndarray | None], num_bins: int) -> np.ndarray:
    """Gains over the bins of V spectra, (V, num_bins) float32; 1 without an equaliser."""
    flat_db = flat_tilt()
    tilt_VP = np.array([flat_db if tilt_db is None else tilt_db for tilt_db in tilts_db])
    log_gain = (tilt_VP * (np.log(10) / 20)).astype(np.float32) @ _between_points(num_bins)
    gains: np.ndarray = np.exp(log_gain, out=log_gain)
    return gains


@lru_cache(maxsize=8)  # two for each length of crops
def _between_points(num_bins: int) -> np.ndarray:
    """Linear interpolation from the points to the bins of a spectrum, as a matrix (7, num_bins), float32."""
    frequency_hz = np.linspace(0.0, RATE_HZ / 2, num_bins)
    rows = [np.interp(frequency_hz, POINTS_HZ, unit) for unit in np.eye(len(POINTS_HZ))]
    return np.array(rows, dtype=np.float32)


def power(wave: np.ndarray) -> float:
    """Mean square of (S,) samples."""
    return float(np.dot(wave, wave)) / len(wave)
