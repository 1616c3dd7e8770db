"""Band limits of channels and codecs.

A codec affects speech above all by its band; the most important bands for speaker recognition are those of
the telephone (ITU-T G.712: 300 to 3400 Hz, coded by 8 bits of µ-law at 8 kHz, G.711) and those of narrow- and
wide-band codecs (AMR: up to 3.4 or 7 kHz; Opus: 4, 6 and 8 kHz).
"""

from __future__ import annotations

from functools import cache
from typing import Literal, NamedTuple

import numpy as np

from sdpn.io.audio import RATE_HZ

BandName = Literal["telephone", "narrow", "medium", "wide"]


class Band(NamedTuple):
    """The passband of a channel.

    Attributes:
        low_hz: lower edge, at half of the amplitude.
        high_hz: upper edge.
        companded: sent at 8 kHz with 8 bits of µ-law.
    """

    low_hz: float
    high_hz: float
    companded: bool = False


BANDS: dict[BandName, Band] = {
    "telephone": Band(300.0, 3400.0, companded=True),
    "narrow": Band(100.0, 3600.0),
    "medium": Band(50.0, 6000.0),
    "wide": Band(50.0, 7000.0),
}

#: Width of an edge as a share of its frequency.
EDGE = 0.2

#: Padding against circular convolution, in samples.
_GUARD = 512


def limit_band(wave: np.ndarray, band: Band) -> np.ndarray:
    """Limit speech to the band of a channel.

    Args:
        wave: (S,) float32.
        band: passband of the channel.

    Returns:
        (S,) float32.
    """
    from scipy.fft import irfft, rfft

    size = band_size(len(wave))
    spectrum = rfft(wave, size) * _gain(band, size)
    if band.companded:
        # Nothing is left above 4 kHz: µ-law is applied at half the rate.
        half = irfft(spectrum[: size // 4 + 1], size // 2) * np.float32(0.5)
        sent = np.zeros(size // 2 + 1, dtype=spectrum.dtype)
        sent[: size // 4] = rfft(_compand(half))[: size // 4]
        spectrum = 2 * sent
    limited: np.ndarray = irfft(spectrum, size)[: len(wave)]
    return limited


def band_size(num_samples: int) -> int:
    """Length of the transform that limits a crop of so many samples, a multiple of 4."""
    from scipy.fft import next_fast_len

    return 4 * int(next_fast_len(-(-(num_samples + _GUARD) // 4), real=True))


@cache
def _gain(band: Band, size: int) -> np.ndarray:
    """Gain over the bins of a spectrum: 0 and 1 with raised-cosine edges."""
    frequency_hz = np.linspace(0.0, RATE_HZ / 2, size // 2 + 1)

    def rise(edge_hz: float) -> np.ndarray:
        return np.clip((frequency_hz / edge_hz - 1) / EDGE + 0.5, 0.0, 1.0)

    shape = rise(band.low_hz) * (1 - rise(band.high_hz))
    return (np.sin(np.pi / 2 * shape) ** 2).astype(np.float32)


def _compand(wave: np.ndarray) -> np.ndarray:
    """Round to 8 bits on the µ-law scale (G.711), and back."""
    scale = np.float32(np.log1p(255.0))
    code = np.rint(np.log1p(255 * np.minimum(np.abs(wave), 1)) * (127 / scale))
    return np.copysign(np.expm1(code * (scale / 127)) / 255, wave)
