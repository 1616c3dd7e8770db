"""Acoustics of synthetic recordings: rooms, microphones, noise. The caller provides the random generator."""

from __future__ import annotations

import numpy as np

from sdpn.io.audio import RATE_HZ

#: Power falls with frequency as 1/f^exponent.
NOISE_COLOURS = {"white": 0.0, "pink": 1.0, "brown": 2.0, "rumble": 3.0}


def coloured_noise(rng: np.random.Generator, num_samples: int, exponent: float) -> np.ndarray:
    """Stationary noise whose power falls as 1/f^exponent above 50 Hz.

    Returns:
        (num_samples,) float32 with an RMS of 1.
    """
    length = _fast_length(num_samples)
    spectrum = np.fft.rfft(rng.standard_normal(length))
    frequency_hz = np.fft.rfftfreq(length, 1 / RATE_HZ)
    spectrum *= np.maximum(frequency_hz, 50.0) ** (-exponent / 2)
    noise = np.fft.irfft(spectrum, length)[:num_samples]
    return (noise / np.sqrt(np.mean(noise**2))).astype(np.float32)


def babbling_noise(rng: np.random.Generator, num_samples: int, exponent: float) -> np.ndarray:
    """`coloured_noise` with fluctuating level, a few times per second, so that it is not stationary.

    Returns:
        (num_samples,) float32 with an RMS of 1.
    """
    knots = max(2, round(num_samples / RATE_HZ * 3))
    swell = np.interp(np.linspace(0, knots - 1, num_samples), np.arange(knots), rng.uniform(0.2, 1.0, knots))
    noise = coloured_noise(rng, num_samples, exponent) * swell
    return (noise / np.sqrt(np.mean(noise**2))).astype(np.float32)


def room(rng: np.random.Generator, reverberation_s: float, direct_to_reverberant_db: float) -> np.ndarray:
    """A room impulse response: the direct sound, then noise that decays by 60 dB in ``reverberation_s``.

    Returns:
        (S,) float32; the direct sound is sample 0, so that convolving does not shift speech in time.
    """
    num_samples = max(2, round(reverberation_s * RATE_HZ))
    time_s = np.arange(num_samples) / RATE_HZ
    tail = rng.standard_normal(num_samples) * 10 ** (-3 * time_s / reverberation_s)
    tail[: round(0.002 * RATE_HZ)] = 0.0  # the nearest wall is some 35 cm of detour away
    tail *= 10 ** (-direct_to_reverberant_db / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    return tail.astype(np.float32)


def microphone(rng: np.random.Generator, samples: np.ndarray, spread_db: float) -> np.ndarray:
    """Colour ``samples`` (S,) by a smooth random frequency response of +- ``spread_db``, without delay."""
    length = _fast_length(len(samples))
    spectrum = np.fft.rfft(samples, length)
    gain_db = np.interp(
        np.linspace(0, 1, len(spectrum)), np.linspace(0, 1, 7), rng.uniform(-spread_db, spread_db, 7)
    )
    coloured = np.fft.irfft(spectrum * 10 ** (gain_db / 20), length)
    return coloured[: len(samples)].astype(np.float32)


def reverberate(samples: np.ndarray, impulse_response: np.ndarray) -> np.ndarray:
    """``samples`` (S,) convolved with ``impulse_response``, (S,) float32; the tail is cut."""
    from scipy.signal import fftconvolve

    return fftconvolve(samples, impulse_response)[: len(samples)].astype(np.float32)


def add_noise(speech: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Add ``noise`` (S,) to ``speech`` (S,) at ``snr_db`` below the speech's own power."""
    power = np.mean(speech**2)
    gain = np.sqrt(power / np.mean(noise**2) / 10 ** (snr_db / 10))
    return (speech + gain * noise).astype(np.float32)


def set_level(samples: np.ndarray, level_db: float) -> np.ndarray:
    """Scale ``samples`` (S,) to an RMS of ``level_db`` dBFS, or to a peak of 0.95 where that is quieter."""
    gain = 10 ** (level_db / 20) / np.sqrt(np.mean(samples**2))
    return (samples * min(gain, 0.95 / np.max(np.abs(samples)))).astype(np.float32)


def _fast_length(num_samples: int) -> int:
    """A length of at least ``num_samples`` without large prime factors, which an FFT is slow on."""
    from scipy.fft import next_fast_len

    return int(next_fast_len(num_samples, real=True))
