"""Fundamental frequency and voicing by autocorrelation.

Source: Boersma, Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio
of a sampled sound, IFA Proceedings 17, 1993: the autocorrelation of a windowed frame divided by that of the
window.

Shapes: S samples, T frames.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sdpn.io.audio import RATE_HZ

#: Voices from a bass to a child.
_LOW_HZ, _HIGH_HZ = 70.0, 500.0
#: Three periods of the lowest voice.
_FRAME = round(3 * RATE_HZ / _LOW_HZ)
#: Autocorrelation from which on a frame is voiced, and level below the loudest frame from which on it is
#: silent.
_VOICED, _SILENT_DB = 0.5, 35.0
#: Octaves are decided for the higher voice: what a halving of the frequency costs (Boersma, section 2.2).
_OCTAVE_COST = 0.05
#: Steps of the lag in a sample: the period of a high voice is few samples.
_FINE = 4
#: Frames at once: bounds memory.
_AT_ONCE = 1024


class Pitch(NamedTuple):
    """What frames sound like.

    Attributes:
        f0_hz: (T,) fundamental frequency; NaN where not voiced.
        is_voiced: (T,).
        level_db: (T,) level of a frame in dB of full scale.
    """

    f0_hz: np.ndarray
    is_voiced: np.ndarray
    level_db: np.ndarray


def track_pitch(wave_S: np.ndarray, num_frames: int, hop_s: float) -> Pitch:
    """Fundamental frequency, voicing and level at ``num_frames`` frames, ``hop_s`` seconds apart.

    Args:
        wave_S: (S,) at 16 kHz.
        num_frames: T.
        hop_s: seconds between frames; frame i is centred 12.5 ms after i hops, as the features are.
    """
    from scipy.ndimage import median_filter

    centre_T = (np.arange(num_frames) * hop_s + 0.0125) * RATE_HZ
    padded = np.pad(wave_S.astype(np.float64), _FRAME)
    start_T = np.clip((centre_T - _FRAME / 2).astype(int) + _FRAME, 0, len(padded) - _FRAME)
    parts = [_track(padded, start_T[at : at + _AT_ONCE]) for at in range(0, num_frames, _AT_ONCE)]
    f0_hz, strength_T, level_db = (np.concatenate(values) for values in zip(*parts, strict=True))
    f0_hz = median_filter(f0_hz, 3)  # of single frames an octave away
    voiced_T = (strength_T > _VOICED) & (level_db > level_db.max() - _SILENT_DB)
    return Pitch(np.where(voiced_T, f0_hz, np.nan), voiced_T, level_db)


def _track(padded: np.ndarray, start_T: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    frames_TW = padded[start_T[:, None] + np.arange(_FRAME)]
    frames_TW = frames_TW - frames_TW.mean(1, keepdims=True)
    power_T = (frames_TW**2).mean(1)
    window_W = np.hanning(_FRAME)
    size = 1 << (2 * _FRAME - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(frames_TW * window_W, size)) ** 2
    rate_hz = _FINE * RATE_HZ
    own = np.fft.irfft(spectrum, _FINE * size)[:, : _FINE * _FRAME]
    windows = np.fft.irfft(np.abs(np.fft.rfft(window_W, size)) ** 2, _FINE * size)[: _FINE * _FRAME]
    lags = np.arange(round(rate_hz / _HIGH_HZ), round(rate_hz / _LOW_HZ) + 1)
    strength_TL = own[:, lags] / np.maximum(1e-12, own[:, :1]) / (windows[lags] / windows[0])
    best_T = (strength_TL - _OCTAVE_COST * np.log2(_LOW_HZ * lags / rate_hz)).argmax(1)
    strength_T = strength_TL[np.arange(len(start_T)), best_T]
    return rate_hz / lags[best_T], strength_T, 10 * np.log10(power_T + 1e-12)
